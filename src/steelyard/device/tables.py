"""Tables of weights: each once, cast and laid out as asked, in a type that every language has, with what a cast changed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.core.casting import cast, converted
from steelyard.core.packing import packed, packed_notes
from steelyard.device.elements import laid_out, plain
from steelyard.device.exported import Export, Loss, Options, Table
from steelyard.device.symbols import Symbols
from steelyard.dtypes import is_floating, is_inexact, itemsize, numpy_dtype
from steelyard.errors import NonFiniteWarning, ShapeError, first_of, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader, Weight
    from steelyard.core.weights import Weights

AVR_ARRAY = 32767
"""Maximum bytes of an array of avr-gcc, whose sizes are signed numbers of 16 bits."""


def tabled(
    weights: Weights,
    source: str,
    digest: str,
    options: Options,
    symbols: Symbols,
    *,
    bits: bool,
    derived: Callable[[int], list[str]],
) -> Export:
    """Return the tables of weights, with symbols from `symbols`; every number is read once. Raises as `export` does.

    With `bits` short floats keep their bits. `derived` has the endings of the other names that a writer makes of a symbol of
    an array with this number of axes.
    """
    _refuse_bare_codes(weights)
    finite = _surely_finite(weights, options.dtype)
    tables: list[Table] = []
    wholes: dict[str, Table] = {}
    ties: dict[str, Table] = {}
    names: dict[str, str] = {}
    for weight in weights.values():
        symbol = symbols.of(weight.name, derived(len(weight.shape) + 1))
        names[symbol] = weight.name
        owner = wholes.get(weight.tied or weight.name)
        if owner is not None:
            ties[symbol] = owner
            continue
        whole = wholes[weight.tied or weight.name] = _table(symbol, weight, options, finite, bits=bits)
        tables += _parts(whole, symbols, derived) if options.progmem and whole.nbytes > AVR_ARRAY else [whole]
    kept = {table.symbol for table in tables}
    if split := [names[symbol] for symbol, owner in ties.items() if owner.symbol not in kept]:
        raise ShapeError(f"{printable(split[0])} is tied to a weight that must be split for AVR; leave one of them out by select")
    return Export(source, digest, options, tables, ties, names, [*_notes(weights, wholes.values())])


def _refuse_bare_codes(weights: Weights) -> None:
    """Raise `ShapeError` for packed weights whose scales are facts of the file, and no weights: codes alone say nothing."""
    bare = [weight for weight in packed(weights) if weight.derivation and len(weight.derivation.parts) == 1]
    if bare:
        raise ShapeError(
            f"{first_of([weight.name for weight in bare], 1)}: codes whose scales are not weights of the file; "
            "steelyard.effective(source), or --effective, has the numbers of the net; nothing was written"
        )


def _surely_finite(weights: Weights, dtype: str | None) -> set[str]:
    """Return the names of small weights that are not cast, and whose numbers are all finite."""
    from steelyard.numerics.nonfinite import surely_finite

    return surely_finite([weight for weight in weights.distinct().values() if not _is_cast(weight, dtype)])


def _is_cast(weight: Weight, dtype: str | None) -> bool:
    return dtype is not None and dtype != weight.dtype and is_floating(weight.dtype)


def _table(symbol: str, weight: Weight, options: Options, known: Collection[str], *, bits: bool) -> Table:
    """Make the table of a weight; its numbers are read once, so that nothing is written if one of them does not fit.

    Those of a name that is `known` were read before, and are finite.
    """
    dtype = options.dtype
    finite, loss = (True, None) if weight.name in known else _surveyed(weight, dtype)
    if not finite:
        _warn_of(weight)
    laid = laid_out(weight, options.channels) if options.channels else weight
    written = cast(laid, dtype) if dtype else laid
    named = dtype is not None and is_floating(written.dtype)  # a short type that was asked for is not widened again
    return Table(symbol, weight, plain(written, bits=bits or named), finite, loss)


def _surveyed(weight: Weight, dtype: str | None) -> tuple[bool, Loss | None]:
    """Return whether all numbers are finite, and what a cast changes. Raises `LossyError` for one that does not fit."""
    import numpy as np

    if not is_inexact(weight.dtype):
        return True, None
    is_cast = _is_cast(weight, dtype)
    finite, start, largest, scale, zeros = True, 0, 0.0, 0.0, 0
    for block in weight.blocks():
        with np.errstate(invalid="ignore"):
            good = np.isfinite(block)
        finite = finite and bool(good.all())
        if is_cast and dtype is not None:
            after = converted(weight.name, block, numpy_dtype(dtype), start, weight.shape)
            off, size, gone = _changes(block[good], after[good])
            largest, scale, zeros = max(largest, off), max(scale, size), zeros + gone
        start += block.size
    return finite, Loss(weight.dtype, dtype, largest, scale, zeros) if is_cast and dtype else None


def _changes(before: Array, after: Array) -> tuple[float, float, int]:
    """Return the largest difference, the largest number, and how many numbers became 0."""
    import numpy as np

    wide, short = before.astype(np.float64), after.astype(np.float64)
    gone = int(np.count_nonzero((short == 0) & (wide != 0)))
    return float(np.abs(short - wide).max(initial=0.0)), float(np.abs(wide).max(initial=0.0)), gone


def _warn_of(weight: Weight) -> None:
    from steelyard.numerics.nonfinite import nonfinite

    for finding in nonfinite([weight]):
        warnings.warn(str(finding), NonFiniteWarning, stacklevel=5)


def _parts(whole: Table, symbols: Symbols, derived: Callable[[int], list[str]]) -> Iterator[Table]:
    """Split a table into tables of whole rows, none longer than an array of avr-gcc may be."""
    shape, weight = whole.plain.shape, whole.plain
    width = prod(shape[1:])
    rows = AVR_ARRAY // max(width * itemsize(weight.dtype), 1)
    if not shape or not rows:
        raise ShapeError(
            f"a row of {printable(weight.name)} has {width * itemsize(weight.dtype):,} bytes, and avr-gcc refuses arrays above "
            f"{AVR_ARRAY:,}; cast it to a shorter type, or leave out progmem"
        )
    for first in range(0, shape[0], rows):
        last = min(first + rows, shape[0])
        part = weight.replace(shape=(last - first, *shape[1:]), read=_from(weight, first * width))
        symbol = symbols.of(f"{whole.weight.name}_{first}", derived(len(shape)))
        yield whole._replace(symbol=symbol, plain=part, part=f"rows {first} to {last - 1} of {shape[0]}")


def _from(weight: Weight, offset: int) -> Reader:
    return lambda start, stop: weight.read(offset + start, offset + stop)


def _notes(weights: Weights, tables: Iterable[Table]) -> Iterator[str]:
    """Yield what a reader of the arrays must know: casts, packed codes, types, numbers that are not finite."""
    listed = list(tables)
    lossy = [(table.loss, table.weight.name) for table in listed if table.loss]
    for before in dict.fromkeys(loss.before for loss, _ in lossy):
        alike = [(loss, name) for loss, name in lossy if loss.before == before]
        worst, name = max(alike, key=lambda pair: pair[0].relative)
        where = f" (most in {printable(name)})" if worst.largest else ""
        yield f"cast: {worst._replace(zeros=sum(loss.zeros for loss, _ in alike))}{where}"
    for note in packed_notes(weights):
        yield f"{note}; the arrays have the codes and scales as they are stored, steelyard.effective() has the numbers"
    short = {table.loss.after if table.loss else table.weight.dtype: table.plain.dtype for table in listed}
    for dtype, word in sorted(short.items()):
        if is_floating(dtype) and word.startswith("uint"):
            yield f"{dtype} is written as its bits, in {word}"
    if odd := sum(not table.finite for table in listed):
        yield f"{odd:,} array{'s have' if odd > 1 else ' has'} NaN or Inf"
