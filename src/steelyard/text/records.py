"""Weights as plain Python for JSON: names are exact, and every number is valid JSON."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from steelyard.core.weight import Weight
from steelyard.errors import SteelyardError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard.core.weights import Weights
    from steelyard.numerics.summary import Summary


def as_json(record: object) -> str:
    """Return a record as one JSON document in ASCII."""
    import json

    return json.dumps(record, indent=2, allow_nan=False)


def file_record(file: str, weights: Weights, *, stats: bool = False) -> dict[str, Any]:
    """Return the record of a file that `ls` prints: each weight, the totals (tied weights count once), and any notes."""
    from steelyard.text.table import notes

    record: dict[str, Any] = {
        "file": file,
        "weights": [weight_record(weight, stats=stats) for weight in weights.values()],
        "total": {
            "weights": len(weights),
            "tied": len(weights) - len(weights.distinct()),
            "parameters": weights.counts.parameters,
            "buffers": weights.counts.buffers,
            "other": weights.counts.unknown,
            "unreadable": len(weights.unreadable),
            "bytes": weights.nbytes,
        },
    }
    if isinstance(held := weights.meta.get("metadata"), dict) and held:
        from steelyard.text.metadata import plain_metadata

        record |= {"metadata": plain(plain_metadata(held))}
    return record | {"notes": noted} if (noted := notes(weights)) else record


def weight_record(weight: Weight, *, stats: bool = False) -> dict[str, Any]:
    """Return the facts of a weight; with `stats` also its statistics, or the error that prevents reading them."""
    record: dict[str, Any] = {
        "name": weight.name,
        "layer": weight.layer,
        "shape": list(weight.shape),
        "dtype": weight.dtype,
        "role": str(weight.role),
        "axes": weight.axes,
        "trainable": weight.trainable,
        "tied": weight.tied,
        "encoding": weight.encoding,
        "overlaps": weight.overlaps,
        "unreadable": weight.unreadable,
        "size": weight.size,
        "bytes": weight.nbytes,
    }
    if weight.derivation is not None:
        record["derivation"] = plain(as_lists(weight.derivation._asdict()))
    if stats:
        from steelyard.numerics.summary import summarise

        try:
            record["stats"] = summary_record(weight, summarise([weight]))
        except SteelyardError as error:
            record |= {"stats": None, "error": printable(error, 2000)}
    return record


def as_lists(record: Mapping[str, object]) -> dict[str, object]:
    """Return a record with lists in place of tuples."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in record.items()}


def summary_record(weight: Weight, summary: Summary) -> dict[str, Any]:
    """Return the range, the mean and the count of numbers that are not finite, with the index of the first of these."""
    from steelyard.core.indexing import place_of

    moments = summary.moments
    return {
        "min": plain(moments.minimum),
        "max": plain(moments.maximum),
        "mean": plain(moments.mean),
        "nan": summary.nan,
        "inf": summary.inf,
        "first_nonfinite": None if summary.first is None else list(place_of(weight.shape, summary.first[1])),
    }


def values_record(weight: Weight) -> Any:
    """Return the numbers as nested lists; complex ones as pairs, NaN and infinities as words."""
    from steelyard.core.casting import standard

    array = weight.numpy()
    array = array.astype(standard(array.dtype), copy=False)
    if array.dtype.kind == "c":
        array = array.reshape(*array.shape, 1).view(array.real.dtype)
    return plain(array.tolist())


def vector_record(file: str, out: str, weights: Weights, dtype: str, order: str) -> dict[str, Any]:
    """Return the record of the vector that was written, and the offset of each weight in it."""
    from steelyard.core.vector import VectorLayout

    layout = VectorLayout(list(weights.distinct().values()))
    return {
        "file": file,
        "out": out,
        "length": layout.size,
        "dtype": dtype,
        "order": order,
        "weights": [{"name": w.name, "shape": list(w.shape), "start": start, "stop": stop} for w, start, stop in layout.spans()],
    }


_AS_THEY_ARE = frozenset((str, int, bool, type(None)))


def _is_plain(column: list[object]) -> bool:
    """Whether a list surely needs no change; each number is looked at only in a list of numbers alone."""
    kinds = set(map(type, column))
    return kinds <= _AS_THEY_ARE or (kinds == {float} and all(map(isfinite, column)))  # type: ignore[arg-type]


def plain(value: object) -> Any:
    """Return numbers, and lists and dicts of them, with NaN and infinities as words, since JSON has no such numbers.

    >>> plain([1.5, float("nan"), [float("-inf")]])
    [1.5, 'NaN', ['-Infinity']]
    """
    if isinstance(value, list):  # a column may have an item for each of a hundred thousand weights
        return value if _is_plain(value) else [item if type(item) in _AS_THEY_ARE else plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, float) and value - value != 0.0:
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124 - NaN alone differs
    return value
