"""What can be said of weights by reading their numbers once, block by block."""
