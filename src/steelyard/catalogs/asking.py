"""Questions to a catalogue, in SQL, which DuckDB answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from steelyard.catalogs.answers import CatalogTable
from steelyard.errors import FormatError, MissingExtraError, ShapeError, printable, quoted

if TYPE_CHECKING:
    from steelyard.catalogs.table import Head

FILES = "file, format, digest, weights, unreadable, size, bytes, nan, inf, findings, error, error_kind, stamp"
WEIGHTS = "* exclude (kind, format, weights, unreadable, findings, stamp)"
"""The columns of the two tables, of those of the file."""
MEMORY = "300MB"
THREADS = 2

DUPLICATES = """
    select digest, count(*) as copies, any_value(bytes) as bytes, list(file order by file) as file
    from files where digest is not null and weights > 0
    group by digest having count(*) > 1 order by count(*) * any_value(bytes) desc, digest
"""
NONFINITE = """
    select file, sum(nan)::bigint as nan, sum(inf)::bigint as inf, list(name order by name) as weights
    from weights where nan > 0 or inf > 0 group by file order by file
"""
FORMATS = """
    select coalesce(format, '(unreadable)') as format, count(*) as files, sum(weights)::bigint as weights,
        sum(size)::bigint as size, sum(bytes)::bigint as bytes
    from files group by 1 order by sum(bytes) desc nulls last, 1
"""
HOLDERS = "select file, name, shape, dtype, digest from weights where starts_with(digest, ?) order by file, name"
FEWEST = 8
"""The digits of a digest that are given, at least."""


@contextmanager
def connected(path: str) -> Iterator[Any]:
    """Yield a connection of DuckDB in which a catalogue is the tables `catalog`, `files` and `weights`.

    Nothing is installed or loaded from elsewhere.
    """
    from steelyard.catalogs.table import known, spelled

    known(path)
    if spelled(path) != path:
        raise ShapeError(f"{printable(path)}: DuckDB opens no path that is not Unicode; rename the catalogue or its folder")
    duckdb = _duckdb()
    settings = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "threads": THREADS}
    with duckdb.connect(":memory:", config={**settings, "memory_limit": MEMORY}) as connection:
        text = _literal(path)
        source = f"select * from read_parquet({text}, file_row_number = true)"  # noqa: S608 - an escaped literal
        try:
            connection.execute(f"create view catalog as {source}")
            for kind, columns in (("file", FILES), ("weight", WEIGHTS)):
                connection.execute(f"create view {kind}s as select {columns} from catalog where kind = '{kind}'")  # noqa: S608
            yield connection
        except (duckdb.Error, UnicodeError) as error:
            raise FormatError(path, f"is damaged, says DuckDB: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return printable(" ".join(str(error).split()), 300)


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError:
        raise MissingExtraError("a question to a catalogue", "catalog") from None
    return duckdb


def _literal(path: str) -> str:
    """Return a path in SQL, in which DuckDB takes no character for that of a pattern."""
    escaped = "".join(f"[{mark}]" if mark in "*?[" else mark for mark in path)
    return "'" + escaped.replace("'", "''") + "'"


def asked(path: str, sql: str, title: str = "rows", given: Sequence[object] = (), note: str = "") -> CatalogTable:
    """Ask a catalogue; `given` takes the places of the question marks in SQL."""
    duckdb = _duckdb()
    with connected(path) as connection:
        try:
            found = connection.execute(sql, given)
            names = [each[0] for each in found.description or ()]
            return CatalogTable(names, found.fetchall() if names else (), title, note)
        except (duckdb.Error, UnicodeError) as error:
            raise ShapeError(f"DuckDB says: {_reason(error)}; the tables are files and weights") from None


def holders(path: str, weight: object) -> CatalogTable:
    """Return the weights with the digest of a weight, or with a digest that begins so."""
    from steelyard.catalogs.table import known

    digest = weight.strip().lower() if isinstance(weight, str) else digest_like(known(path).head, weight)
    if len(digest) < FEWEST or set(digest) - set("0123456789abcdef"):
        raise ShapeError(f"{quoted(digest)} is no digest; pass at least {FEWEST} of its digits, from 0 to 9 and a to f")
    return asked(path, HOLDERS, "weights with this digest", [digest])


def digest_like(head: Head, weight: Any) -> str:
    """Return the digest of a weight or an array, as the catalogue makes it."""
    from steelyard.core.readers import from_array
    from steelyard.core.weight import Weight
    from steelyard.measures.digest import hash_of, weight_digests

    own = weight if isinstance(weight, Weight) else from_array("weight", weight)
    new: Any = hash_of(head.algorithm)
    return next(weight_digests([own], new)).hex()
