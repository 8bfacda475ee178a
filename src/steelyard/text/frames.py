"""Tables for other tools: CSV and JSON without any library, data frames and Parquet with the libraries installed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from steelyard.errors import MissingExtraError, ShapeError, printable, quoted

LIBRARIES = ("polars", "pandas", "pyarrow")
SUFFIXES = (".csv", ".json", ".parquet")


def columns_of(records: Iterable[Mapping[str, object]]) -> dict[str, list[object]]:
    """Turn records into columns; lists and indices become strings, so that every cell is a string or a number.

    >>> columns_of([{"name": "w", "shape": [2, 3], "law": {"alpha": 1.5}}, {"name": "b", "shape": [], "law": None}])
    {'name': ['w', 'b'], 'shape': ['2x3', 'scalar'], 'law.alpha': [1.5, None]}
    """
    listed = _flat(list(records))
    names = dict.fromkeys(name for record in listed for name in record)
    return {name: [_cell(record.get(name)) for record in listed] for name in names}


def _flat(records: list[Mapping[str, object]]) -> list[dict[str, object]]:
    """Put what is in a part of a record beside it, under a name with a dot; a part that is missing has no column."""
    parts = {name for record in records for name, value in record.items() if _is_part(value)}
    flat: list[dict[str, object]] = []
    for record in records:
        flat.append({})
        for name, value in record.items():
            if isinstance(value, Mapping) and name in parts:
                flat[-1] |= {f"{name}.{key}": each for key, each in value.items()}
            elif name not in parts:
                flat[-1][name] = value
    return flat


def _is_part(value: object) -> bool:
    return isinstance(value, Mapping) and value.keys() != {"weight", "index"}


def _cell(value: object) -> object:
    if isinstance(value, list):
        return "x".join("?" if part is None else str(part) for part in value) or "scalar"
    if isinstance(value, dict):
        return f"{value['weight']}{value['index']}"
    return value


def frame_of(columns: Mapping[str, list[object]], library: str | None = None) -> Any:
    """Return a data frame of the named library, else of one already imported, else of one installed."""
    if library not in (None, *LIBRARIES):
        raise ShapeError(f"{quoted(library)} is not a data-frame library; choose one of {', '.join(LIBRARIES)}")
    chosen = library or next((name for name in LIBRARIES if name in sys.modules), None)
    chosen = chosen or next((name for name in LIBRARIES if find_spec(name) is not None), "polars")
    try:
        narwhals, backend = import_module("narwhals"), import_module(chosen)
    except ImportError:
        raise MissingExtraError(f"a frame of {chosen}", "frames") from None
    types = {name: _type(narwhals, values) for name, values in columns.items()}
    return narwhals.from_dict(dict(columns), schema=types, backend=backend).to_native()


def _type(narwhals: Any, values: Iterable[Any]) -> Any:
    """Return the narwhals type of a column, which may be empty."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {str}:
        return narwhals.String()
    if kinds == {bool}:
        return narwhals.Boolean()
    return narwhals.Int64() if kinds == {int} and all(abs(v) < 2**63 for v in values if v is not None) else narwhals.Float64()


_FORMULA = ("=", "+", "-", "@")


def csv_lines(columns: Mapping[str, list[object]]) -> Iterable[str]:
    """Yield the lines of a CSV file: numbers as Python's repr, which reads back bit for bit; None as a blank."""
    yield ",".join(map(_quoted, columns))
    for row in zip(*columns.values(), strict=True):
        yield ",".join("" if value is None else _quoted(value) if isinstance(value, str) else repr(value) for value in row)


def _quoted(text: str) -> str:
    """Quote a text if CSV requires it; names from files may contain control characters, which become escapes.

    A spreadsheet takes a cell that begins with one of `_FORMULA` as a formula, which an apostrophe before it prevents.
    """
    shown = printable(text, 10_000)
    if shown.startswith(_FORMULA):
        shown = f"'{shown}"
    return '"' + shown.replace('"', '""') + '"' if any(mark in shown for mark in ',"') else shown


def write_table(columns: Mapping[str, list[object]], record: Mapping[str, object], path: str) -> None:
    """Write a table into a file of the type that its suffix names."""
    from pathlib import Path

    from steelyard.storage.atomic import replacing
    from steelyard.text.records import as_json, plain

    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise ShapeError(f"{printable(path)}: a table is written as one of {', '.join(SUFFIXES)}")
    if target.suffix.lower() == ".parquet":
        data = _parquet(columns)
    else:
        text = as_json(plain(dict(record))) if target.suffix.lower() == ".json" else "\n".join(csv_lines(columns))
        data = f"{text}\n".encode()
    with replacing(target) as file:
        file.write(data)


def _parquet(columns: Mapping[str, list[object]]) -> bytes:
    """Return a Parquet file, made by polars or pyarrow."""
    from io import BytesIO

    chosen = next((name for name in ("polars", "pyarrow") if find_spec(name) is not None), "polars")
    frame, room = frame_of(columns, chosen), BytesIO()
    import_module("narwhals").from_native(frame).write_parquet(room)
    return room.getvalue()
