"""PyTorch's layers: the roles of their weights, their kinds and settings."""
