"""How much a net holds: parameters and buffers, types, and bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from steelyard.core.weight import Role, Weight
from steelyard.dtypes import UNKNOWN, is_floating, itemsize
from steelyard.errors import printable
from steelyard.measures.stored import in_int8, stored_bytes
from steelyard.storage.source import Stored
from steelyard.text.units import in_units

if TYPE_CHECKING:
    from steelyard.core.selection import Counts
    from steelyard.text.rows import Row

NAMED = 2
"""Maximum types that are named."""


SMALL = 10_000
"""Bytes below which those of int8 are of no interest."""


def short(count: int) -> str:
    """Format a count: exact below a million, then three digits and a letter.

    >>> short(38_314), short(12_582_912), short(1_240_000_000)
    ('38,314', '12.6 M', '1.24 B')
    """
    if count < 1_000_000:
        return f"{count:,}"
    number, unit = count / 1e6, "M"
    for larger in ("B", "T"):
        if number < 999.5:
            break
        number, unit = number / 1000, larger
    return f"{number:.{max(2 - len(str(int(round(number, 2)))) + 1, 0)}f} {unit}"


def amount_text(counts: Counts) -> str:
    """Count parameters and buffers apart; numbers of which it is not known are counted as such."""
    parameters, buffers, unknown = counts
    if not parameters and not buffers:
        return f"{short(unknown)} number{'s' * (unknown != 1)}"
    words = [
        f"{short(parameters)} parameter{'s' * (parameters != 1)}",
        f"{short(buffers)} in buffers" if buffers else "0 buffers",
    ]
    words += [f"{short(unknown)} other number{'s' * (unknown != 1)}"] if unknown else []
    return " + ".join(words)


def trained(rows: Iterable[Row]) -> str:
    """Count the parameters that are trainable, where some are known to be and some not to be; else blank."""
    sizes: Counter[bool | None] = Counter()
    for row in rows:
        sizes[row.weight.trainable] += row.size if row.weight.role not in (Role.MEAN, Role.VARIANCE, Role.COUNT) else 0
    return f"{short(sizes[True])} of them trainable" if sizes[True] and sizes[False] else ""


def types(rows: Sequence[Row]) -> str:
    """Name the types of most bytes, with the share of the first; counters do not count.

    >>> import numpy as np, steelyard
    >>> from steelyard.text.rows import rows_of
    >>> types(rows_of(steelyard.weights({"a": np.zeros(30, "float32"), "b": np.zeros(4, "float16")})))
    'float32 (94%) and float16'
    """
    sizes: Counter[str] = Counter()
    for row in rows:
        if row.weight.role is not Role.COUNT and row.counted:
            sizes[_word(row.weight)] += _stored(row)
    words = [word for word, _ in sizes.most_common()]
    if len(words) < 2:
        return "".join(words)
    first = f"{words[0]} ({min(max(round(100 * sizes[words[0]] / max(sizes.total(), 1)), 1), 99)}%)"
    if len(words) > NAMED:
        return f"{first}, {words[1]} and {len(words) - NAMED:,} more type{'s' * (len(words) > NAMED + 1)}"
    return f"{first} and {words[1]}"


def in_bytes(rows: Sequence[Row]) -> str:
    """Return the bytes as they are stored, and those of int8 where most numbers are floats of more than a byte."""
    stored = sum(map(_stored, rows))
    wide = sum(row.size for row in rows if is_floating(row.weight.dtype) and itemsize(row.weight.dtype) > 1)
    logical = sum(row.weight.nbytes * len(row.counted) for row in rows)
    if stored < logical:
        return f"{in_units(stored)} ({in_units(logical)} as numbers)"
    if stored < SMALL or 2 * wide <= sum(row.size for row in rows):
        return in_units(stored)
    small = sum(in_int8(row.weight, is_parameter=_may_be_parameter(row.weight)) * len(row.counted) for row in rows)
    return f"{in_units(stored)}; at int8 {in_units(small)}"


def _stored(row: Row) -> int:
    return stored_bytes(row.weight) * len(row.counted)


def _may_be_parameter(weight: Weight) -> bool:
    return weight.role not in (Role.MEAN, Role.VARIANCE, Role.COUNT)


def _word(weight: Weight) -> str:
    """Return the word of the file for the type of its numbers, such as "Q4_K", else that of the dtype.

    Packed integers (LEB128) and numbers in a text have the dtype as which they are read.
    """
    is_other = is_floating(weight.dtype) or weight.dtype == UNKNOWN
    other = is_other and weight.encoding not in ("", "text", weight.dtype) and not isinstance(weight.read, Stored)
    return printable(weight.encoding if other else weight.dtype, 40)
