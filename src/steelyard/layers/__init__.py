"""What the layers of each framework keep under which name: roles, and axes in words.

One table a framework, known to its live models and to its files alike.
"""
