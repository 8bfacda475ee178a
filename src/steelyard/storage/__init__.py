"""Bytes: where they come from, how they are read ahead, and how files are replaced whole or not at all."""
