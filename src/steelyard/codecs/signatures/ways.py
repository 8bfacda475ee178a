"""The ways out that several formats share, as parts of a sentence."""

from __future__ import annotations

NET = "not a net, and so without weights"
OTHER = "not a weight file"


def arrays_of(function: str) -> str:
    """Return the advice to load a file with its own library.

    >>> arrays_of("mx.nd.load")
    'load it with mx.nd.load, and pass its arrays to steelyard.weights as a dict'
    """
    return f"load it with {function}, and pass its arrays to steelyard.weights as a dict"


def source_of(kinds: str) -> str:
    """Return the advice to open what a file was converted from.

    >>> source_of("ONNX")
    'open the model that it was made from, such as one of ONNX'
    """
    return f"open the model that it was made from, such as one of {kinds}"
