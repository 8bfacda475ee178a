"""Keras's layers: the slots of their weights, their kinds, shapes and settings, and which call feeds which."""
