"""R: what `saveRDS`, `save` and R torch's `torch_save` write: nnet, neuralnet, caret, R torch and more, or plain arrays.

Nothing in a file is evaluated. Names are those of R's lists, joined by dots; what has no name goes by its place, counted
from 1 as R does. The objects of a session have their names before theirs, where there are several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.r_nets import contents, listed, orders_of, others, said, why_empty
from steelyard.codecs.r_values import Vector
from steelyard.codecs.rdata import holds_session, is_r, read_r
from steelyard.core.weights import Weights
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.codecs.r_values import Value
    from steelyard.core.source import Source

SUFFIXES = (".rds", ".rdata", ".rda")


def sniff(source: Source) -> bool:
    """How a serialization of R begins, also inside a compressed stream."""
    return is_r(source)


def read(source: Source, part: str) -> Weights:
    """In the order of R's own objects; with part "all" also the other arrays that they hold, by their full paths."""
    root = read_r(source)
    if holds_session(source) and isinstance(root, Vector):
        root = _alone(root)
    found = contents(root, source.name, _opened)
    weights, runs = listed(found, source.name)
    if part == "all":
        weights += others(root, runs, {weight.name for weight in weights}, source.name)
    if not weights:
        raise FormatError(source.name, why_empty(root, found))
    return Weights(weights, meta={"format": "R", **said(found)}, orders=orders_of(found, weights))


def _alone(session: Vector) -> Value:
    """Return the only object of a session, whose name says nothing then; an array keeps it."""
    items = session.items or []
    return items[0] if len(items) == 1 and not (isinstance(items[0], Vector) and items[0].dtype) else session


def _opened(inner: Source) -> Weights:
    """List a file of another format that lies in a raw vector, as R's Keras keeps models."""
    from steelyard.formats import weights_in

    return weights_in(inner)
