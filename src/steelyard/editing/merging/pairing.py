"""The weights of a model under the names and in the shapes of the first: what is missing, and rows that one side lacks."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Literal

from steelyard.core.computed import promoted
from steelyard.core.selection import NAMED
from steelyard.dtypes import numpy_dtype
from steelyard.errors import ShapeError, first_of, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array, DType, Reader, Weight
    from steelyard.core.weights import Weights

Missing = Literal["error", "base", "skip"]
Rows = Literal["error", "base"]
_REMEDY = 'missing="base" takes them from the first, missing="skip" merges the models that have them'


def like_first(first: Weights, model: Weights, nth: int, missing: Missing, rows: Rows) -> tuple[Weights, frozenset[str]]:
    """Return a model with the names and shapes of the first, and the names that it lacks, if these are skipped.

    `nth` is its number in messages. A name that is tied in the first may be missing where its owner is there, since many files
    store tied weights once. Raises `ShapeError` for other names and shapes, unless `missing` and `rows` allow them.
    """
    found = {name: _partner(weight, model) for name, weight in first.items()}
    absent = [name for name, weight in found.items() if weight is None]
    if missing == "error":
        _refuse_names(first, absent, _added(first, model), nth)
    made = [first[name] if weight is None else _with_rows(first[name], weight, nth, rows) for name, weight in found.items()]
    used = model.live or (bool(absent) and first.live)
    return model.with_weights(made, live=used), frozenset(absent if missing == "skip" else ())


def left_out(first: Weights, model: Weights, nth: int) -> list[str]:
    """Return a sentence about the names that a model has and the first does not, which a merge leaves out."""
    added = _added(first, model)
    return [f"model {nth} {_named('has', added)}, which the first lacks and the merge leaves out"] if added else []


def _added(first: Weights, model: Weights) -> list[str]:
    return [name for name, weight in model.items() if name not in first and (weight.tied or "") not in first]


def _partner(weight: Weight, model: Weights) -> Weight | None:
    if weight.name in model:
        return model[weight.name]
    if weight.tied is not None and weight.tied in model:
        return model[weight.tied].replace(name=weight.name, tied=weight.tied)
    return None


def _refuse_names(first: Weights, absent: Sequence[str], added: Sequence[str], nth: int) -> None:
    if not absent and not added:
        return
    what = " and ".join(_named(verb, names) for verb, names in (("lacks", absent), ("has", added)) if names)
    is_other = len(absent) == len(first)
    remedy = "steelyard.align(b, to=a) pairs nets of other names" if is_other else _REMEDY
    raise ShapeError(f"model {nth} does not have the names of the first: it {what}; {remedy}")


def _named(verb: str, names: Sequence[str]) -> str:
    return f"{verb} {first_of(names, NAMED)}"


def _with_rows(weight: Weight, other: Weight, nth: int, rows: Rows) -> Weight:
    """Return a weight of a model in the shape of that of the first, whose rows stand in where it has none."""
    if weight.shape == other.shape:
        return other
    is_longer = len(weight.shape) == len(other.shape) > 0 and weight.shape[1:] == other.shape[1:]
    if not is_longer or rows == "error":
        remedy = '; rows="base" merges the rows that both have, and takes the others from the first' if is_longer else ""
        what = f"{printable(weight.name)} has shape {list(weight.shape)}, in model {nth} {list(other.shape)}"
        raise ShapeError(f"{what}{remedy}")
    common = min(weight.shape[0], other.shape[0]) * prod(weight.shape[1:])
    dtype = promoted([weight.dtype, other.dtype])
    return other.replace(shape=weight.shape, dtype=dtype, read=_joined(other, weight, common, numpy_dtype(dtype)))


def _joined(head: Weight, tail: Weight, length: int, dtype: DType) -> Reader:
    """Return a reader of the first `length` elements of one weight, and of the rest of another."""

    def read(start: int, stop: int) -> Array:
        import numpy as np

        front = head.read(start, max(start, min(stop, length))) if start < length else tail.read(0, 0)
        rest = tail.read(max(start, length), stop) if stop > length else tail.read(0, 0)
        return np.concatenate([front.astype(dtype), rest.astype(dtype)])

    return read
