"""Haiku: trees of modules and their parameters, whose names imply roles, axes and layers."""
