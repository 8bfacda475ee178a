"""What is printed: tables, trees, heat maps, and results, in a terminal and in a notebook."""
