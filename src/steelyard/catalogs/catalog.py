"""`catalog`: write and update the catalogue of many files, and ask it."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from steelyard.errors import FileMissingError, IncompleteWarning, ShapeError, printable, quoted

if TYPE_CHECKING:
    from steelyard.catalogs.answers import CatalogTable
    from steelyard.catalogs.table import TableWriter
    from steelyard.core.protocols import Scope
    from steelyard.engines.calls import Asked, Counter
    from steelyard.engines.opening import Opening
    from steelyard.measures.digest import Algorithm


class Update(NamedTuple):
    """What writing a catalogue did: `read` files, others `kept` as they were, and `dropped`, which are not there any more.

    `refused` of the files that the catalogue has now cannot be read. `links` were left out, since they lead out of their folder.
    """

    read: int
    kept: int
    dropped: int
    refused: int
    links: int


class Catalog:
    """A catalogue in the Parquet file `path`; `update` is what the call did that wrote it, None for one that was there.

    Every question is answered from the file, without opening those that it lists, except by `near` and `families`, which
    compare likely pairs weight by weight. All need the extra "catalog".
    """

    __slots__ = ("path", "update")

    def __init__(self, path: str, update: Update | None = None) -> None:
        self.path = path
        self.update = update

    def __repr__(self) -> str:
        from steelyard.text.catalogs import catalog_line

        return catalog_line(self)

    def query(self, sql: str) -> CatalogTable:
        """Answer a question in SQL, by DuckDB, on the tables `files` and `weights`.

        Raises `ShapeError` for what DuckDB refuses, with its reason.
        """
        from steelyard.catalogs.asking import asked

        return asked(self.path, sql)

    def duplicates(self) -> CatalogTable:
        """Return the groups of files whose weights have equal names and numbers, whatever their format."""
        from steelyard.catalogs.asking import DUPLICATES, asked

        return asked(self.path, DUPLICATES, "files with the same weights")

    def holders(self, weight: object) -> CatalogTable:
        """Return who holds a tensor: a `Weight`, an array, or its digest in hexadecimal, of which the first 8 digits suffice."""
        from steelyard.catalogs.asking import holders

        return holders(self.path, weight)

    def nonfinite(self) -> CatalogTable:
        """Return the files with NaN or Inf, and their weights that have some."""
        from steelyard.catalogs.asking import NONFINITE, asked

        return asked(self.path, NONFINITE, "files with NaN or Inf")

    def formats(self) -> CatalogTable:
        """Return files, weights and bytes by format; those that cannot be read have none."""
        from steelyard.catalogs.asking import FORMATS, asked

        return asked(self.path, FORMATS, "files by format")

    def near(self, *, estimate: bool = False) -> CatalogTable:
        """Return the files that are nearly equal to another one, each with the nearest.

        Sketches find them, without comparing all pairs. Then `lineage` compares the two files: `distance` is that of all their
        weights, `p` the probability that nets of different origin agree so. With `estimate` no file is opened, and the distance
        is that of the two sketches that are the most alike. No URL in a catalogue is requested, so files there have an `error`.
        """
        from steelyard.catalogs.kin import near

        return near(self.path, estimate=estimate)

    def families(self, *, estimate: bool = False) -> CatalogTable:
        """Return the files of common origin: a row for each, with the `relative` through which it belongs to its family.

        Sketches propose pairs, without comparing all, and `lineage` decides, with the p-value of the pair; so it takes a
        comparison of two files for each row, and no URL in a catalogue is requested. With `estimate` no file is opened, and a
        pair belongs together if the cosine of its sketches is at least 0.5.
        """
        from steelyard.catalogs.kin import families

        return families(self.path, estimate=estimate)


def catalog(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None = None,
    *,
    algorithm: Algorithm = "sha256",
    scope: Scope = "model",
    engine: object = None,
    workers: int | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> Catalog:
    """Write the catalogue of all weight files in folders, of patterns and of URLs, into the Parquet file `out`, and return it.

    It has a row for each weight: the file, name, role, shape, dtype and encoding, the digest, the statistics of `stats`, and a
    sketch of 1,024 floats, from which distances follow. And it has a row for each file: the format, totals, the findings that
    `check` has, and the error if it cannot be read. A folder stands for all weight files in it and in its folders. If `out` is a
    catalogue already, only files that are new, changed, or could not be read are read; those that are not among the sources
    any more are dropped. Without `out`, `source` is a catalogue, which is opened.

    Every number is read once, by the `engine`, as in `stats`; two threads by default. Memory does not grow with the number of
    files. Raises `FileMissingError`, `MissingExtraError` for the extra "catalog", and `FormatError` if `out` is something else.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> from steelyard import save
        >>> folder = tempfile.mkdtemp()
        >>> for name in "ab":
        ...     _ = save({"w": np.arange(6.0).reshape(2, 3)}, f"{folder}/{name}.safetensors")
        >>> found = catalog(folder, f"{folder}/catalog.parquet")
        >>> found.query("select name, shape, max from weights").rows
        (('w', [2, 3], 5.0), ('w', [2, 3], 5.0))
        >>> len(found.duplicates())
        1
    """
    if out is None:
        return opened(source)
    from steelyard.engines.calls import Asked

    paths = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    asked = Asked(engine, workers, resume)
    return Catalog(os.fspath(out), written([os.fspath(path) for path in paths], os.fspath(out), algorithm, scope, asked))


def opened(source: object) -> Catalog:
    """Return the catalogue in a file."""
    from steelyard.catalogs.table import known

    if not isinstance(source, (str, os.PathLike)):
        raise ShapeError("to write a catalogue, pass the path of its file as the second argument")
    path = os.fspath(source)
    if os.path.isdir(path):
        raise ShapeError(f"{printable(path)} is a folder; pass the path of the catalogue to be written as the second argument")
    require([path])
    known(path)
    return Catalog(path)


def require(paths: Iterable[str]) -> None:
    """Raise `FileMissingError` for a path, or a pattern, of nothing."""
    from glob import iglob

    from steelyard.codecs.archive import archive_of

    for path in paths:
        if "://" not in path and not os.path.lexists(archive_of(path)) and next(iglob(path, recursive=True), None) is None:
            raise FileMissingError(f"{quoted(path)}: no such file or folder")


def written(paths: list[str], out: str, algorithm: Algorithm, scope: Scope, asked: Asked, *, progress: bool = False) -> Update:
    """Write or update a catalogue; it takes its place when it is complete."""
    from steelyard.catalogs.table import Head, TableWriter, arrow, known
    from steelyard.engines.calls import Counter
    from steelyard.measures.digest import hash_of
    from steelyard.paths import models_below
    from steelyard.storage.atomic import replacing

    arrow()
    hash_of(algorithm)  # what is wrong is said before anything is read
    require(paths)
    head = Head(algorithm, scope)
    old = known(out) if os.path.exists(out) else None
    files, links = models_below(paths)
    stamped = _stamped(files, scope)
    before = old.stamps if old else {}
    same = {key for key, each in stamped.items() if old and old.head == head and before.get(key) == _text(each) != ""}
    due = {key: opening for key, opening in stamped.items() if key not in same}
    asked.require_versions(due.values())
    with replacing(out) as file, TableWriter(file, head) as writer:
        if same:
            writer.copy(out, same)
        _measure(due, writer, algorithm, asked, Counter(len(due), wanted=progress))
    return Update(len(due), len(same), len(before.keys() - stamped.keys()), writer.refused, links)


def _stamped(files: Iterable[str], scope: Scope) -> dict[str, Opening]:
    """Return the files by their names in the catalogue, which are absolute, each with its version."""
    from steelyard.catalogs.table import spelled
    from steelyard.engines.opening import Opening
    from steelyard.storage.opening import public

    full = (file if "://" in file else os.path.abspath(file) for file in files)
    return {spelled(public(file)): Opening(file, scope).stamped() for file in full}


def _text(opening: Opening) -> str:
    return json.dumps(opening.stamp) if opening.stamp else ""


def _measure(due: dict[str, Opening], writer: TableWriter, algorithm: Algorithm, asked: Asked, counter: Counter) -> None:
    """Add the rows of these files, in the order in which an engine is done with them."""
    from steelyard.catalogs.rows import rows_of, rows_of_refused
    from steelyard.engines.many import measured
    from steelyard.engines.tasks import Failure

    names = {opening.path: key for key, opening in due.items()}
    with warnings.catch_warnings(), asked.started() as (engine, journal):
        warnings.simplefilter("ignore", IncompleteWarning)  # which is a finding
        for opening, found in measured(partial(rows_of, algorithm), due.values(), engine, journal):
            rows = rows_of_refused(opening, found) if isinstance(found, Failure) else found
            writer.add(names[opening.path], _text(opening), rows)
            counter.add(opening)
    counter.clear()
