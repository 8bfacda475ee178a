"""Equinox's layers: their kinds and settings."""
