"""What can be seen of weights: as text, and as HTML."""
