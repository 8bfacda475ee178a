"""Weights into a device: arrays in the languages of microcontrollers, bit for bit.

`tables` makes the arrays of the weights, `symbols` their names, `elements` the types that every language has, `literals` the
text of the numbers. A file in `writers` is one language; it sees tables only, and never a framework.
"""
