"""The rows of one file: every number is read once, for its digest, its statistics and its sketch.

A weight is read in pieces of 16 MiB, which are the leaves of its digest, so that several workers can share a large one. The
pieces are merged in their order: rows do not depend on the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from steelyard import sizes
from steelyard.core.threads import in_turn
from steelyard.dtypes import UNKNOWN, itemsize
from steelyard.engines.opening import listed
from steelyard.engines.tasks import Failure, failure
from steelyard.errors import FormatError, ShapeError, SteelyardError, printable
from steelyard.measures.digest import LEAF, hash_of, joined, leaf_digest, whole_of

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight
    from steelyard.core.weights import Weights
    from steelyard.engines.opening import Opening
    from steelyard.measures.check.findings import Finding
    from steelyard.measures.digest import Algorithm
    from steelyard.numerics.summary import Summary
    from steelyard.runs.sketch import Signs

    Piece = tuple[bytes, Summary, Array | None]
    """Of 16 MiB of a weight: the digest, the statistics, and the sketch in float64."""
    Row = dict[str, Any]

SEED = 0
"""The seed of all sketches: those of equal shape can be compared."""


def rows_of(algorithm: Algorithm, opening: Opening) -> dict[str, Any]:
    """Return the row of a file, and those of its weights; a file that cannot be read has a row with its error."""
    opening.require_unchanged()
    try:
        weights = listed(opening)
    except FormatError as error:
        return rows_of_refused(opening, error)
    found = dict(zip(weights.distinct(), _measured(list(weights.distinct().values()), algorithm), strict=True))
    rows = [_row(weight, found[weight.tied or name]) for name, weight in weights.items()]
    return {"file": _file_row(weights, rows, found, algorithm), "weights": rows}


def rows_of_refused(opening: Opening, error: SteelyardError | Failure) -> dict[str, Any]:
    """Return the row of a file that cannot be read; one that ended its process is not looked at again."""
    real = error.error() if isinstance(error, Failure) else error
    found = _before_reading(opening, real) if isinstance(real, FormatError) else ()
    return {"file": {**refused(error), "findings": _findings(found)}, "weights": []}


def refused(error: SteelyardError | Failure) -> Row:
    """Return what a row says of an error."""
    kind, text = (error.kind, error.text) if isinstance(error, Failure) else failure(error)
    return {"error": text, "error_kind": kind}


def _before_reading(opening: Opening, error: FormatError) -> Sequence[Finding]:
    """Return what can be found of a file that cannot be read: missing shards, and what loading it would run."""
    from steelyard.measures.check import refused as looked

    try:
        return looked(opening.path, error).findings
    except SteelyardError:
        return ()


def _measured(distinct: Sequence[Weight], algorithm: Algorithm) -> Iterator[Piece | Failure]:
    """Yield of each weight the digest, the statistics and the sketch, or why it cannot be read."""
    new = hash_of(algorithm)
    pieces = in_turn(_jobs(distinct), partial(piece, algorithm), _is_worth_a_thread)
    for weight in distinct:
        own = [next(pieces) for _ in _jobs([weight])]
        failed = next((each for each in own if isinstance(each, Failure)), None)
        yield failed or _merged(weight, [each for each in own if not isinstance(each, Failure)], new)


def _jobs(weights: Iterable[Weight]) -> Iterator[tuple[Weight, int]]:
    """Yield each weight with the first element of each of its pieces; one that holds no numbers has one piece."""
    for weight in weights:
        step = LEAF // itemsize(weight.dtype) if _has_numbers(weight) else max(weight.size, 1)
        yield from ((weight, start) for start in range(0, max(weight.size, 1), step))


def _has_numbers(weight: Weight) -> bool:
    return weight.unreadable is None and weight.dtype not in (UNKNOWN, "object")


def _is_worth_a_thread(weight: Weight, start: int) -> bool:
    from steelyard.numerics.blocks import is_shared

    return _has_numbers(weight) and weight.size - start >= sizes.SUMMARY_THRESHOLD and is_shared(weight)


def piece(algorithm: Algorithm, weight: Weight, start: int) -> Piece | Failure:
    """Read a piece of a weight once, and return its digest, statistics and sketch; or why it cannot be read."""
    import numpy as np

    from steelyard.core.readers import array_reader
    from steelyard.numerics.summary import Summary

    try:
        if not _has_numbers(weight):
            weight.read(0, min(weight.size, 1))  # which has a more precise reason
            raise ShapeError(f"{printable(weight.name)} holds no numbers")
        numbers = np.ascontiguousarray(weight.read(start, min(start + LEAF // itemsize(weight.dtype), weight.size))).reshape(-1)
    except SteelyardError as error:
        return failure(error)
    held = weight.replace(shape=(len(numbers),), read=array_reader(numbers), tied=None)
    summary = Summary()
    for at in range(0, len(numbers), sizes.SUMMARY_BLOCK):
        summary.add(numbers[at : at + sizes.SUMMARY_BLOCK], start + at)
    summary.histogram.bins()
    return leaf_digest(held, 0, hash_of(algorithm)), summary, _sketch(weight, numbers, start, finite=summary.finite)


def _sketch(weight: Weight, numbers: Array, start: int, *, finite: bool) -> Array | None:
    """Return the sketch of some numbers of a weight, the first of which is element `start`; None for integers."""
    import numpy as np

    from steelyard.runs.measuring import is_sketched, moved, real
    from steelyard.runs.sketch import BLOCK, empty

    if not is_sketched(weight.dtype):
        return None
    flat, total = real(numbers), empty()
    pairs = 2 if weight.dtype.startswith("complex") else 1
    signs = partial(_signs(weight.size * pairs).add, total, 0)
    block, skipped = divmod(start * pairs, BLOCK)
    if skipped:  # the piece begins within a block: zeros take the place of what precedes it there
        head = np.concatenate([np.zeros(skipped, flat.dtype), flat[: BLOCK - skipped]])
        moved(head, None, signs, finite=finite, first=block)
        flat, block = flat[BLOCK - skipped :], block + 1
    moved(flat, None, signs, finite=finite, first=block)
    return total


@lru_cache(maxsize=64)
def _signs(size: int) -> Signs:
    from steelyard.runs.sketch import Signs

    return Signs([size], SEED)


def _merged(weight: Weight, pieces: Sequence[Piece], new: Any) -> Piece:
    leaves, summaries, sketches = zip(*pieces, strict=True)
    summary: Summary = summaries[0]
    for each in summaries[1:]:
        summary.merge(each)
    digest = joined(weight, leaves if weight.nbytes else (), new)
    return digest, summary, None if sketches[0] is None else sum(sketches[1:], sketches[0])


def _row(weight: Weight, found: Piece | Failure) -> Row:
    """Return the row of a weight; one that is tied has what was found of the other."""
    row: Row = {
        "name": weight.name,
        "role": str(weight.role),
        "layer": weight.layer,
        "shape": list(weight.shape),
        "dtype": weight.dtype,
        "encoding": weight.encoding,
        "tied": weight.tied,
        "size": weight.size,
        "bytes": weight.nbytes if _has_numbers(weight) else None,
    }
    if isinstance(found, Failure):
        return row | refused(found)
    digest, summary, sketch = found
    return row | _figures(weight, summary) | {"digest": digest.hex(), "sketch": None if sketch is None else _float32(sketch)}


def _float32(sketch: Array) -> bytes:
    import numpy as np

    with np.errstate(over="ignore"):  # a sum beyond float32 becomes Inf
        return sketch.astype("<f4").tobytes()


def _figures(weight: Weight, summary: Summary) -> Row:
    from steelyard.numerics.weight_stats import FIGURES, QUANTILE_NAMES, Subject, weight_stats

    plain = weight_stats(Subject(weight.name), summary, [weight]).to_dict()
    first = plain["first_nonfinite"]
    return {key: plain.get(key) for key in (*FIGURES, *QUANTILE_NAMES)} | {"first_nonfinite": first and first["index"]}


def _file_row(weights: Weights, rows: Sequence[Row], found: Mapping[str, Piece | Failure], algorithm: Algorithm) -> Row:
    digests = {row["name"]: bytes.fromhex(row["digest"]) for row in rows if "digest" in row}
    own = [row for row in rows if row["tied"] is None]
    bad = [row for row in own if "error" in row]
    return {
        "format": _format_of(weights),
        "digest": whole_of(digests, hash_of(algorithm)).hex() if len(digests) == len(rows) else None,
        "weights": len(rows),
        "unreadable": len(bad),
        "size": sum(row["size"] for row in own),
        "bytes": sum(row["bytes"] or 0 for row in own),
        "nan": sum(row.get("nan") or 0 for row in own),
        "inf": sum(row.get("inf") or 0 for row in own),
        "findings": _findings(_all_findings(weights, found)),
    }


def _format_of(weights: Weights) -> str | None:
    """Return the word for the format; a shard's is that of its index."""
    from steelyard.core.net_facts import opened_file
    from steelyard.formats import format_of

    opened = opened_file(weights)
    if opened is None:
        return None
    module: Any = format_of(opened[0])
    return str(module.__name__).rpartition(".")[2]


def _all_findings(weights: Weights, found: Mapping[str, Piece | Failure]) -> Iterator[Finding]:
    """Yield the findings of the file as a whole, and those of its weights, as `check` does."""
    from steelyard.core.indexing import place_of
    from steelyard.measures.check import not_finite, of_file, unreadable
    from steelyard.numerics.nonfinite import NonFinite

    yield from of_file(weights)
    for name, each in found.items():
        weight = weights[name]
        if isinstance(each, Failure):
            yield unreadable(weight, each.error())
        elif each[1].first is not None and each[2] is not None:
            bad = NonFinite(name, each[1].nan, each[1].inf, place_of(weight.shape, each[1].first[1]))
            yield not_finite(weight, bad, weights)


def _findings(found: Iterable[Finding]) -> list[Row]:
    return [
        {"rule": each.rule, "severity": each.severity, "weight": each.name, "what": printable(each.what, 2000)} for each in found
    ]
