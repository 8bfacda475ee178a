"""The data model: weights, their roles and axes, graphs, and the protocols of plug-ins."""
