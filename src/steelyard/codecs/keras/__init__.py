"""Keras's files: their configuration, their layout, and the layers that they describe."""
