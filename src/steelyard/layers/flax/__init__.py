"""Flax's layers: their kinds and settings, and the names that linen gives."""
