"""R: what `saveRDS`, `save` and R torch's `torch_save` write: nnet, neuralnet, caret, R torch and more, or plain arrays.

Nothing in a file is evaluated. Names are those of R's lists, joined by dots; what has no name goes by its place, counted
from 1 as R does. The objects of a session have their names before theirs, where there are several.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from steelyard.codecs.r.stream import holds_session, is_r, read_r
from steelyard.codecs.r.values import Vector
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, StaleWarning, printable
from steelyard.formats.r.graph import graph_of
from steelyard.formats.r.networks import contents, listed, orders_of, said, why_empty
from steelyard.formats.r.plain import others

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard.codecs.r.layers import Run
    from steelyard.codecs.r.values import Value
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array, Weight
    from steelyard.formats.r.networks import Contents
    from steelyard.storage.source import Source

SUFFIXES = (".rds", ".rdata", ".rda")

_ORIGINAL = "model"
"""The key in `meta` under which weights keep the R object that they came from."""


class Original:
    """The file that a network was read from, kept in the weights' `meta` so that it can be written with new numbers.

    `runs` say where in R's vectors the numbers of each weight lie, and `derived` what the object made with them.
    """

    __slots__ = ("derived", "runs", "source")

    def __init__(self, source: Source, runs: dict[str, list[Run]], derived: list[str]) -> None:
        self.source = source
        self.runs = runs
        self.derived = derived

    def __repr__(self) -> str:
        return f"the R object in {printable(self.source.name)}"


def sniff(source: Source) -> bool:
    """How a serialization of R begins, also inside a compressed stream."""
    return is_r(source)


def read(source: Source, scope: Scope) -> Weights:
    """In the order of R's own objects; with scope "all" also the other arrays that they hold, by their full paths."""
    root = read_r(source)
    if holds_session(source) and isinstance(root, Vector):
        root = _alone(root)
    found = contents(root, source.name, _opened)
    weights, runs = listed(found, source)
    if scope == "all":
        weights += others(root, runs, {weight.name for weight in weights}, source.name)
    if not weights:
        raise FormatError(source.name, why_empty(root, found))
    meta = {"format": "R", **said(found)}
    if found.nets and len(runs) == len(weights):
        meta[_ORIGINAL] = Original(source, runs, _derived(found))
    return Weights(weights, meta=meta, orders=orders_of(found), graph=lambda: graph_of(meta.get("networks", {}), weights))


def _alone(session: Vector) -> Value:
    """Return the only object of a session, whose name says nothing then; an array keeps it."""
    items = session.items or []
    return items[0] if len(items) == 1 and not (isinstance(items[0], Vector) and items[0].dtype) else session


def _opened(inner: Source) -> Weights:
    """List a file of another format that lies in a raw vector, as R's Keras keeps models."""
    from steelyard.formats import weights_in

    return weights_in(inner)


def _derived(found: Contents) -> list[str]:
    return list(dict.fromkeys(name for _, net in found.nets for name in net.derived))


def write(weights: Weights, path: Path) -> None:
    """The R object that the weights were read from, with these numbers; any others as a named list for `readRDS`.

    Weights that are left out stay as they are. Warns with `StaleWarning` of what the object keeps that was made with its
    old numbers. Raises `FormatError` when the weights do not fit the object, or the suffix is that of another container.
    """
    original = weights.meta.get(_ORIGINAL)
    if isinstance(original, Original):
        _write_again(weights, original, path)
        return
    if not path.name.lower().endswith(".rds"):
        raise FormatError(str(path), "would hold the objects of a session, and weights are one list; save them as .rds")
    from steelyard.formats.r.writing import write_list

    write_list(weights, path)


def _write_again(weights: Weights, original: Original, path: Path) -> None:
    from steelyard.formats.r.patching import patch

    if holds_session(original.source) == path.name.lower().endswith(".rds"):
        wanted = ".RData" if path.name.lower().endswith(".rds") else ".rds"
        raise FormatError(str(path), f"would be written as {original!r} is, which R reads as {wanted}; save it under that suffix")
    new: dict[int, tuple[Vector, Array]] = {}
    for weight in weights.values():
        _put(weight, original, path, new)
    changed = [(v, values) for v, values in new.values() if v.read().tobytes() != values.tobytes()]
    patch(original.source, path, changed)
    if changed and original.derived:
        kept = ", ".join(original.derived)
        warnings.warn(f"{path}: {kept} were made with the old weights, and are as they were", StaleWarning, stacklevel=4)


def _put(weight: Weight, original: Original, path: Path, new: dict[int, tuple[Vector, Any]]) -> None:
    """Put the numbers of a weight into copies of the vectors in which they lie."""
    runs = original.runs.get(weight.name)
    if runs is None or sum(count for _, _, count in runs) != weight.size or weight.dtype != runs[0][0].dtype:
        raise FormatError(
            str(path),
            f"{printable(weight.name)}, {list(weight.shape)} {weight.dtype}, is no weight of {original!r}; to write a plain "
            "named list, save a dict of arrays",
        )
    flat, at = weight.numpy().ravel(order="F"), 0
    for vector, first, count in runs:
        _, values = new.setdefault(id(vector), (vector, vector.read().copy()))
        values[first : first + count] = flat[at : at + count]
        at += count
