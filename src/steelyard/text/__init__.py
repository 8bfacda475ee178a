"""Tables, trees, heat maps and results as text for a terminal and as HTML for a notebook."""
