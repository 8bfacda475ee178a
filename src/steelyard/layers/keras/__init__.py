"""Keras's layers: the slots of their weights, their kinds, output shapes and settings."""
