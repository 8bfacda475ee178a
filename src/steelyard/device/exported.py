"""What an export consists of: tables, ties, files, and the facts that its header states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from steelyard import __version__
from steelyard.core.together import in_memory
from steelyard.errors import printable
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.device.writers import Pieces


class Options(NamedTuple):
    """The options of an export, as `steelyard.device.export.export` describes them."""

    name: str = "net"
    dtype: str | None = None
    text: str = "decimal"
    channels: str | None = None
    section: str | None = None
    align: int | None = None
    progmem: bool = False
    names: bool = False


class Loss(NamedTuple):
    """What a cast of one weight changed: the largest difference, the largest number, and how many numbers became 0."""

    before: str
    after: str
    largest: float
    scale: float
    zeros: int

    @property
    def relative(self) -> float:
        """The largest difference as a share of the largest number."""
        return self.largest / self.scale if self.scale else 0.0

    def __str__(self) -> str:
        if not self.largest:
            return f"{self.before} to {self.after}, exactly"
        zeros = f", {self.zeros:,} number{'s' * (self.zeros > 1)} became 0" if self.zeros else ""
        differs = f"off by at most {self.largest:.2g}, {self.relative:.2g} of the largest number"
        return f"{self.before} to {self.after}, {differs}{zeros}"


class Table(NamedTuple):
    """One array of the language: its symbol, the weight that it is made of, and the numbers as they are written.

    `plain` has a type of `elements.NATIVE`. `part` says which rows of a weight that is split; it is blank for a whole one.
    """

    symbol: str
    weight: Weight
    plain: Weight
    finite: bool = True
    loss: Loss | None = None
    part: str = ""

    @property
    def size(self) -> int:
        """The number of numbers."""
        return self.plain.size

    @property
    def nbytes(self) -> int:
        """The size of the numbers on the device, in bytes."""
        return self.plain.nbytes

    @property
    def facts(self) -> str:
        """The facts of the weight in words, for a comment: type, shape, axes, role."""
        weight, shape = self.weight, self.plain.shape
        kept = weight.dtype if weight.dtype == self.plain.dtype else f"{weight.dtype} as {self.plain.dtype}"
        words = [f"{kept} ({', '.join(map(str, shape))})", self.plain.axes, str(weight.role) if weight.role != "other" else ""]
        words += [self.part, f"cast from {self.loss}" if self.loss else "", f"stored as {weight.encoding}" * _unlike(weight)]
        return ", ".join(filter(None, words))


def _unlike(weight: Weight) -> bool:
    """Whether the file has its own word for how it stores the numbers, and they were decoded from that."""
    return (
        weight.encoding[:1] not in ("", "<", ">", "|") and weight.encoding != weight.dtype and not isinstance(weight.read, Stored)
    )


class ForwardPass(Protocol):
    """A forward pass, in floats or integers, that is written with the arrays of its net."""

    def lines(self) -> Iterator[str]:
        """Yield what a header states of it: how it is computed, and how far it is off."""

    def report(self) -> Iterator[str]:
        """Yield what is printed of it after the arrays."""

    def files(self, export: Export, file: str, /) -> dict[str, Pieces]:
        """Return the pieces of each file by its name; `file` is the name of the one that was asked for, which is the first."""


class Export:
    """The arrays of the weights of a net, and the files that hold them.

    `files` are the paths, the one that was asked for first. `tables` are the arrays in order, `ties` the symbols of tied
    weights, each with the symbol of the array that it shares. `digest` is that of the weights before any cast, as
    `steelyard.digest` gives it; `notes` are sentences about what an array does not show. `forward` is the forward pass that is
    written with the arrays, None if the arrays are written alone.
    """

    __slots__ = ("digest", "files", "forward", "notes", "options", "source", "tables", "ties", "true_names")

    def __init__(
        self,
        source: str,
        digest: str,
        options: Options,
        tables: Sequence[Table],
        ties: Mapping[str, Table],
        true_names: Mapping[str, str],
        notes: Sequence[str],
    ) -> None:
        self.source = source
        self.digest = digest
        self.options = options
        self.tables = tuple(tables)
        self.ties = dict(ties)
        self.true_names = dict(true_names)
        self.notes = tuple(notes)
        self.files: tuple[str, ...] = ()
        self.forward: ForwardPass | None = None

    def in_turn(self) -> Iterator[Table]:
        """Yield the tables to write their numbers: those of small ones, unless they go into another file, are read together."""
        if self.options.text == "bin":
            yield from self.tables
            return
        for table, plain in zip(self.tables, in_memory(table.plain for table in self.tables), strict=True):
            yield table if plain is table.plain else table._replace(plain=plain)

    @property
    def size(self) -> int:
        """The number of numbers in all arrays."""
        return sum(table.size for table in self.tables)

    @property
    def nbytes(self) -> int:
        """The size of all arrays on the device, in bytes."""
        return sum(table.nbytes for table in self.tables)

    def __repr__(self) -> str:
        from steelyard.text.exports import export_text

        return export_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain Python, for JSON."""
        arrays = [
            {
                "symbol": table.symbol,
                "name": table.weight.name,
                "dtype": table.weight.dtype,
                "type": table.plain.dtype,
                "shape": list(table.plain.shape),
                "axes": table.plain.axes,
                "bytes": table.nbytes,
                "part": table.part,
                "loss": str(table.loss) if table.loss else None,
            }
            for table in self.tables
        ]
        ties = {symbol: table.symbol for symbol, table in self.ties.items()}
        head = {"files": list(self.files), "source": self.source, "digest": self.digest, "text": self.options.text}
        return {**head, "numbers": self.size, "bytes": self.nbytes, "arrays": arrays, "ties": ties, "notes": list(self.notes)}


def manifest(export: Export) -> dict[str, Any]:
    """Return what the manifests in JSON begin with."""
    facts = {"source": export.source, "digest": f"sha256 {export.digest}", "notes": list(export.notes)}
    return {"format": "steelyard export", "version": 1, **facts}


def head(export: Export, compile_with: str) -> Iterator[str]:
    """Yield the lines of the comment at the beginning of a file: where the numbers are from, and what was done to them.

    It has no date and no path, so the same weights give the same bytes.
    """
    given = {key: value for key, value in export.options._asdict().items() if value not in (None, False)}
    what = "A forward pass" if export.forward else "Weights"
    yield f"{what} of {export.source}, exported by Steelyard {__version__}. Do not edit: export them again."
    yield ""
    yield f"digest   sha256 {export.digest}"
    yield f"options  {', '.join(f'{key}={value}' for key, value in given.items())}"
    yield f"numbers  {export.size:,} in {len(export.tables):,} arrays, {export.nbytes:,} bytes, row-major"
    yield from (f"note     {printable(note, 1000)}" for note in export.notes)
    yield from export.forward.lines() if export.forward else ()
    yield f"use      {compile_with}"
