"""Kinds of adapters, which change the weights of a base: one module for each.

A kind is a module with the functions of `core.protocols.AdapterKind`. Plug-ins register theirs under the entry point
`steelyard.adapters`.
"""
