"""Flax's layers: their kinds and settings, and linen's automatic names."""
