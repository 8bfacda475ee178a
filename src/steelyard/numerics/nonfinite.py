"""Find NaN and Inf: a net with them has the right shapes, but its outputs are NaN."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from steelyard import sizes
from steelyard.core.indexing import place_of
from steelyard.core.stacked import relaid
from steelyard.core.together import likeness, read_rows
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import is_inexact, numpy_dtype
from steelyard.errors import printable
from steelyard.numerics.blocks import blocks_of, is_far
from steelyard.numerics.small import groups_of_small
from steelyard.numerics.summary import Summary, surely_finite_block
from steelyard.storage.source import Source, Stored

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader
    from steelyard.core.weights import Weights


class NonFinite(NamedTuple):
    """The counts of NaN and infinite numbers in a weight, and the index of the first."""

    name: str
    nan: int
    inf: int
    first: tuple[int, ...]

    @property
    def counts(self) -> str:
        """The counts in words."""
        return " and ".join(f"{count:,} {word}" for count, word in ((self.nan, "NaN"), (self.inf, "Inf")) if count)

    def __str__(self) -> str:
        return f"{printable(self.name) or 'the tensor'} is not finite: {self.counts}, first at {list(self.first)}"


def nonfinite(weights: Iterable[Weight]) -> Iterator[NonFinite]:
    """Yield a finding for each weight with NaN or Inf; every number is read once, block by block."""
    for weight in weights:
        if is_inexact(weight.dtype):
            scan = _Scan(weight, lambda _: None)
            scan.finish()
            if (finding := scan.finding()) is not None:
                yield finding


def counted(weight: Weight, start: int, stop: int) -> tuple[int, int, int | None]:
    """Return the counts of NaN and of infinite numbers among the elements [start, stop), and the offset of the first."""
    found = Summary(wide=False)
    for at, block in blocks_of(weight, start, stop, sizes.SUMMARY_BLOCK):
        if not surely_finite_block(block):
            found.finite_ones(block, at)
    return found.nan, found.inf, None if found.first is None else found.first[1]


class Scans:
    """Looks for NaN and Inf in the numbers of weights while something else reads them, so that they are read only once.

    `weights` are the same weights, whose readers pass each number that is read for the first time to the scan of its weight;
    `report` is called with the finding of a weight once its last number is read. `finish` reads those that nothing has read.
    """

    __slots__ = ("_scans", "weights")

    def __init__(self, weights: Weights, report: Callable[[NonFinite], None]) -> None:
        scanned = (w for w in weights.distinct().values() if is_inexact(w.dtype) and not isinstance(w.read, Refused))
        self._scans = {weight.name: _Scan(weight, report) for weight in scanned}
        self.weights = weights.with_weights(
            weight.replace(read=self._scans[weight.name].reader()) if weight.name in self._scans else weight
            for weight in weights.values()
        )

    def finish(self) -> None:
        """Scan the numbers that were not read."""
        for scan in self._scans.values():
            scan.finish()


class _Scan:
    """The search in one weight, in order: `done` is the number of elements that it has seen."""

    __slots__ = ("_report", "_summary", "done", "weight")

    def __init__(self, weight: Weight, report: Callable[[NonFinite], None]) -> None:
        self.weight = weight
        self._report = report
        self._summary: Summary | None = None
        self.done = 0

    def add(self, start: int, block: Array) -> None:
        """Look at a block that was read; numbers that were seen before, or that are beyond a gap, are passed over."""
        stop = start + block.size
        if not start <= self.done < stop:
            return
        block, start = block[self.done - start :], self.done
        self.done = stop
        if not surely_finite_block(block):
            self._summary = self._summary or Summary(wide=False)
            self._summary.finite_ones(block, start)
        if self.done == self.weight.size and (finding := self.finding()) is not None:
            self._report(finding)

    def pass_over(self) -> None:
        """Leave out all numbers, which are finite, unless some were seen before."""
        self.done = self.done or self.weight.size

    def finding(self) -> NonFinite | None:
        """Return what was found so far."""
        found, weight = self._summary, self.weight
        if found is None or found.first is None:
            return None
        return NonFinite(weight.name, found.nan, found.inf, place_of(weight.shape, found.first[1]))

    def finish(self) -> None:
        """Look at the numbers that are left."""
        for start, block in blocks_of(self.weight, self.done, self.weight.size, sizes.SUMMARY_BLOCK):
            self.add(start, block)

    def reader(self) -> Reader:
        """Return a reader of the weight that passes on what it reads; one of a file stays so, to be copied unchanged."""
        read = self.weight.read
        if isinstance(read, Stored) and (self.weight.size > sizes.SMALL_WEIGHT or is_far(self.weight)):
            return Stored(_seen(read, self.add), read.offset, read.dtype, read.byteorder)
        return relaid(read, _Scanned(self))


class _Scanned:
    """A reader of a weight that passes on what it reads to a scan."""

    __slots__ = ("scan",)

    def __init__(self, scan: _Scan) -> None:
        self.scan = scan

    def __call__(self, start: int, stop: int) -> Array:
        block = self.scan.weight.read(start, stop)
        self.scan.add(start, block)
        return block

    def likeness(self) -> Hashable:
        """Return what readers share that are read together; see `core.together`."""
        return likeness(self.scan.weight.read)

    def rows(self, readers: Sequence[_Scanned], _: int) -> Array | None:
        """Return the numbers of several weights as rows; None where they may not be finite, so that each scan reports in turn."""
        rows = read_rows([reader.scan.weight for reader in readers])
        if rows is None or not surely_finite_block(rows.reshape(-1)):
            return None
        for reader in readers:
            reader.scan.pass_over()
        return rows


def _seen(read: Stored, add: Callable[[int, Array], None]) -> Source:
    """Return the source of stored numbers, which passes on those that it reads."""
    source = read.source
    dtype = numpy_dtype(read.dtype).newbyteorder(">") if read.byteorder == ">" else numpy_dtype(read.dtype)

    def fill(offset: int, buffer: memoryview) -> None:
        source.fill(offset, buffer)
        start, rest = divmod(offset - read.offset, dtype.itemsize)
        if not rest and len(buffer) % dtype.itemsize == 0:
            add(start, np.frombuffer(buffer, dtype))

    return Source(source.name, source.size, fill, source.beside, source.path, remote=source.remote)


def surely_finite(weights: Sequence[Weight]) -> set[str]:
    """Return the names of the small weights in large groups that can be read, and whose numbers are all finite."""
    finite: set[str] = set()
    for some, rows in groups_of_small([weight for weight in weights if not is_far(weight)], lambda _: None):
        with np.errstate(invalid="ignore"):  # isfinite of ml_dtypes warns of NaN
            good = np.all(np.asarray(np.isfinite(rows), bool), axis=1).tolist()
        finite.update(weight.name for weight, is_good in zip(some, good, strict=True) if is_good)
    return finite
