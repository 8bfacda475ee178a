"""R: files of `saveRDS`, `save` and R torch's `torch_save`, with networks of nnet, neuralnet, caret and more, or plain arrays.

Nothing in a file is evaluated. Names are those of R's lists, joined by dots; the name of an unnamed item is its place, counted
from 1 as in R. If a session has several objects, their names are the first part of the names of their weights.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from steelyard.codecs.r.stream import holds_session, is_r, read_whole
from steelyard.codecs.r.values import Vector
from steelyard.core.net_facts import with_found
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, StaleWarning, printable
from steelyard.formats.r.graph import graph_of
from steelyard.formats.r.networks import meta_of, orders_of, read_contents, weights_and_slices, why_empty
from steelyard.formats.r.plain import other_arrays, unknown_objects

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard.codecs.r.layers import VectorSlice
    from steelyard.codecs.r.values import Value
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array, Weight
    from steelyard.formats.r.networks import Contents
    from steelyard.storage.source import Source

SUFFIXES = (".rds", ".rdata", ".rda")

_ORIGINAL = "model"
"""The key in `meta` of the R object that the weights came from."""


class Original:
    """The file that a network was read from, kept in the weights' `meta` so that it can be written with new numbers.

    `slices` are the slices of R's vectors that are the numbers of each weight; `derived` are the members of the object that
    were computed with them.
    """

    __slots__ = ("derived", "slices", "source")

    def __init__(self, source: Source, slices: dict[str, list[VectorSlice]], derived: list[str]) -> None:
        self.source = source
        self.slices = slices
        self.derived = derived

    def __repr__(self) -> str:
        return f"the R object in {printable(self.source.name)}"


def sniff(source: Source) -> bool:
    """Whether the bytes, decompressed if need be, begin as an R serialization."""
    return is_r(source)


def read(source: Source, scope: Scope) -> Weights:
    """Read in the order of R's own objects; with scope "all" also the other arrays in them, by their full paths."""
    whole = read_whole(source)
    root = whole.root
    if holds_session(source) and isinstance(root, Vector):
        root = _only_object(root)
    contents = read_contents(root, source.name, _weights_in)
    weights, slices = weights_and_slices(contents, source)
    if scope == "all":
        weights += other_arrays(root, slices, {weight.name for weight in weights}, source.name)
    if not weights:
        raise FormatError(source.name, why_empty(root, contents))
    if scope == "all" or not contents.networks:
        weights += unknown_objects(root, {weight.name for weight in weights}, source.name)
    meta = {"format": "R", **meta_of(contents)}
    if contents.networks and len(slices) == len(weights):
        meta[_ORIGINAL] = Original(source, slices, _derived(contents))
    orders = orders_of(contents, source)
    listed = Weights(weights, meta=meta, orders=orders, graph=lambda: graph_of(meta.get("networks", {}), weights))
    return with_found(listed, source, "r", whole)


def _only_object(session: Vector) -> Value:
    """Return the only object of a session, whose name is then not part of its weights' names; an array keeps its name."""
    items = session.items or []
    return items[0] if len(items) == 1 and not (isinstance(items[0], Vector) and items[0].dtype) else session


def _weights_in(inner: Source) -> Weights:
    """List the weights of a file of another format in a raw vector, which is how R's Keras stores models."""
    from steelyard.formats import weights_in

    return weights_in(inner)


def _derived(contents: Contents) -> list[str]:
    return list(dict.fromkeys(name for _, network in contents.networks for name in network.derived))


def write(weights: Weights, path: Path) -> None:
    """Write the R object that the weights were read from with these numbers; any others as a named list for `readRDS`.

    Weights that are left out keep their numbers. Warns with `StaleWarning` if the object has members that were computed
    with its old weights. Raises `FormatError` if the weights do not fit the object, or the suffix is that of another container.
    """
    original = weights.meta.get(_ORIGINAL)
    if isinstance(original, Original):
        _write_again(weights, original, path)
        return
    if not path.name.lower().endswith(".rds"):
        raise FormatError(str(path), "would be a file of several objects, but weights are one list; save them as .rds")
    if not weights:
        raise FormatError(str(path), "would be an empty list, which could not be read back: there are no weights")
    from steelyard.formats.r.writing import write_list

    write_list(weights, path)


def _write_again(weights: Weights, original: Original, path: Path) -> None:
    from steelyard.formats.r.patching import patch

    if holds_session(original.source) == path.name.lower().endswith(".rds"):
        wanted = ".RData" if path.name.lower().endswith(".rds") else ".rds"
        raise FormatError(
            str(path), f"would have the container of {original!r}, which R reads as {wanted}; save it under that suffix"
        )
    new: dict[int, tuple[Vector, Array]] = {}
    for weight in weights.values():
        _copy_into(new, weight, original, path)
    changed = [(vector, values) for vector, values in new.values() if vector.read().tobytes() != values.tobytes()]
    patch(original.source, path, changed)
    if changed and original.derived:
        stale = ", ".join(original.derived)
        warnings.warn(f"{path}: {stale} were computed with the old weights and are unchanged", StaleWarning, stacklevel=4)


def _copy_into(new: dict[int, tuple[Vector, Array]], weight: Weight, original: Original, path: Path) -> None:
    """Copy the numbers of a weight into the new contents of the vectors that its slices belong to."""
    slices = original.slices.get(weight.name)
    if slices is None or sum(count for _, _, count in slices) != weight.size or weight.dtype != slices[0][0].dtype:
        raise FormatError(
            str(path),
            f"{printable(weight.name)}, {list(weight.shape)} {weight.dtype}, is not a weight of {original!r}; to write a "
            "plain named list, save a dict of arrays",
        )
    flat, at = weight.numpy().ravel(order="F"), 0
    for vector, first, count in slices:
        _, values = new.setdefault(id(vector), (vector, vector.read().copy()))
        values[first : first + count] = flat[at : at + count]
        at += count
