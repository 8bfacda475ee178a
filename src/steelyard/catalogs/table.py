"""The Parquet file of a catalogue: its columns, writing rows as they come, and keeping those of files that did not change.

One table has both kinds of rows, `kind` "weight" and "file". The rows of the weights of a file follow one another, and its own
row follows them. The metadata of the schema say that this is a catalogue, and how its digests are made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Self

from steelyard.errors import FormatError, MissingExtraError
from steelyard.numerics.weight_stats import FIGURES, QUANTILE_NAMES
from steelyard.storage.source import open_regular

if TYPE_CHECKING:
    from collections.abc import Collection

    from steelyard.catalogs.rows import Row

VERSION = 1
KEY = b"steelyard catalog"
GROUP = 2048
"""Rows of a row group: 8 MiB of sketches."""
COUNTS = ("count", "zeros", "near_zeros", "nan", "inf")
SKETCH = 1024
_LARGEST = 2**63
FEW = 1000
"""Rows that a catalogue of any size may have."""


class Head(NamedTuple):
    """How the rows of a catalogue were made; rows of another head are not kept."""

    algorithm: str
    scope: str


class Known(NamedTuple):
    """What a catalogue has: its head, and the stamp of each file; blank for one that could not be read."""

    head: Head
    stamps: Mapping[str, str]


def arrow() -> Any:
    """Return the package pyarrow; raises `MissingExtraError`."""
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("a catalogue", "catalog") from None
    return pa


@contextmanager
def parquet_file(path: str) -> Iterator[Any]:
    """Open a regular Parquet file, also at a path that is not Unicode, which pyarrow cannot open. Raises `OSError`."""
    with open_regular(path) as raw, arrow().parquet.ParquetFile(raw) as file:
        yield file


def schema_of(head: Head | None = None) -> Any:
    """Return the columns; with a head also the metadata."""
    pa = arrow()
    text, whole, number, axes = pa.string(), pa.int64(), pa.float64(), pa.list_(pa.int64())
    finding = pa.struct([(word, text) for word in ("rule", "severity", "weight", "what")])
    fields = [("kind", text), ("file", text), *((word, text) for word in ("name", "role", "layer")), ("shape", axes)]
    fields += [*((word, text) for word in ("dtype", "encoding", "tied", "digest")), ("size", whole), ("bytes", whole)]
    fields += [(word, whole if word in COUNTS else number) for word in (*FIGURES, *QUANTILE_NAMES)]
    fields += [("first_nonfinite", axes), ("sketch", pa.list_(pa.float32(), SKETCH))]
    fields += [("format", text), ("weights", whole), ("unreadable", whole), ("findings", pa.list_(finding))]
    fields += [("error", text), ("error_kind", text), ("stamp", text)]
    metadata = head and {KEY: json.dumps({"version": VERSION, **head._asdict()}).encode()}
    return pa.schema(fields, metadata=metadata)


class TableWriter:
    """Writes rows into an open file, a row group at a time, until the end of its block."""

    __slots__ = ("_rows", "_schema", "_writer", "refused")

    def __init__(self, file: BinaryIO, head: Head) -> None:
        self._schema = schema_of(head)
        plain = [name for name in self._schema.names if name != "sketch"]
        self._writer = arrow().parquet.ParquetWriter(file, self._schema, compression="zstd", use_dictionary=plain)
        self._rows: list[Row] = []
        self.refused = 0

    def add(self, file: str, stamp: str, found: Mapping[str, Any]) -> None:
        """Add the rows of a file."""
        self._rows += [{"kind": "weight", "file": file, **row} for row in found["weights"]]
        self._rows.append({"kind": "file", "file": file, "stamp": stamp, **found["file"]})
        self.refused += "error" in found["file"]
        while len(self._rows) >= GROUP:
            self._flush()

    def copy(self, path: str, kept: Collection[str]) -> None:
        """Copy the rows of these files from another catalogue."""
        pa = arrow()
        with parquet_file(path) as old:
            for batch in old.iter_batches(GROUP):
                own = batch.filter(pa.array([file in kept for file in batch.column("file").to_pylist()]))
                if len(own):
                    self._writer.write_batch(own.cast(self._schema))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._rows and kind is None:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        pa, rows = arrow(), self._rows[:GROUP]
        del self._rows[:GROUP]
        columns = [_column(pa, field, [row.get(field.name) for row in rows]) for field in self._schema]
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))


def _column(pa: Any, field: Any, values: list[Any]) -> Any:
    if field.name == "sketch":
        return _sketches(pa, field.type, values)
    if field.type == pa.float64():
        return pa.array([None if value is None else float(value) for value in values], field.type)
    return pa.array([_cell(value) for value in values], field.type)


def _sketches(pa: Any, kind: Any, values: list[bytes | None]) -> Any:
    """Return sketches as one array, without a Python number for each entry."""
    blank = bytes(4 * SKETCH)
    flat = pa.Array.from_buffers(
        pa.float32(), SKETCH * len(values), [None, pa.py_buffer(b"".join(value or blank for value in values))]
    )
    absent = pa.array([value is None for value in values], pa.bool_())
    return pa.FixedSizeListArray.from_arrays(flat, type=kind, mask=absent)


def _cell(value: Any) -> Any:
    """Return a value that Parquet can hold: texts in UTF-8, and whole numbers of at most 64 bits, else None."""
    if isinstance(value, str):
        return spelled(value)
    if isinstance(value, dict):
        return {key: _cell(each) for key, each in value.items()}
    if isinstance(value, list):
        cells = [_cell(each) for each in value]
        return None if any(each is None for each in cells) else cells
    return None if isinstance(value, int) and not -_LARGEST <= value < _LARGEST else value


def spelled(text: str) -> str:
    r"""Return a text as the catalogue has it: what is not Unicode, as in the name of a file, is escaped.

    >>> spelled("a\udcff") == "a" + chr(92) + "udcff"
    True
    """
    return text.encode("utf-8", "backslashreplace").decode()


def known(path: str) -> Known:
    """Return what a catalogue has. Raises `FormatError` for a file that is none."""
    pa = arrow()
    try:
        with parquet_file(path) as file:
            head = _head(path, file.schema_arrow)
            _require_rows(path, file.metadata)
            rows = _light(file)
            stamps = {name: "" if error else stamp or "" for kind, name, stamp, error in rows if kind == "file"}
            if None in stamps:
                raise FormatError(path, "is damaged: it has a row of no file")
    except FormatError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:  # a text that is not Unicode is a ValueError
        if isinstance(error, OSError) and error.errno:
            raise
        raise FormatError(path, "is not a catalogue: it is no Parquet file, or is damaged") from None
    return Known(head, stamps)


def _require_rows(path: str, facts: Any) -> None:
    """Raise `FormatError` for more rows than a file of this size has: a few bytes of Parquet can repeat one a billion times."""
    rows = max(facts.num_rows, sum(facts.row_group(nth).num_rows for nth in range(facts.num_row_groups)))
    if rows > FEW + os.path.getsize(path):
        raise FormatError(path, f"claims {rows:,} rows, too many for its size")


def _light(file: Any) -> Iterator[tuple[Any, ...]]:
    for batch in file.iter_batches(1 << 16, columns=["kind", "file", "stamp", "error"]):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _head(path: str, schema: Any) -> Head:
    given = (schema.metadata or {}).get(KEY)
    if given is None:
        raise FormatError(path, "is a Parquet file, but no catalogue of Steelyard; pass another path")
    try:
        found = json.loads(given)
        version, head = found.pop("version"), Head(**found)
    except (ValueError, KeyError, TypeError, AttributeError):
        version, head = None, None
    from steelyard.measures.digest import ALGORITHMS

    is_ours = version == VERSION and head is not None and head.algorithm in ALGORITHMS and head.scope in ("model", "all")
    if not is_ours or head is None or schema.remove_metadata() != schema_of():
        raise FormatError(path, "is a catalogue of another version; write a new one")
    return head
