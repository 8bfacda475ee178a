"""Near files and families: pairs that sketches propose, without comparing all, and that `lineage` judges.

The four largest weights of each file with two axes or more are taken, one of each digest. 1,024 random hyperplanes cut the
space of sketches, and a weight has a bit for each: two whose angle is a agree in one with probability 1 - a/pi (Charikar, 2002).
Weights of one shape that agree in all 16 bits of one of 64 bands are proposed, each with the next two of its band only: so
there are at most 128 pairs for each weight, whatever the size of a family. A pair with a cosine of 0.9 is proposed with
probability 0.99, one of 0.7 with 0.5, and unrelated ones with 0.001.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.catalogs.answers import CatalogTable
from steelyard.catalogs.asking import connected
from steelyard.errors import SteelyardError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array

LARGEST = 4
BANDS, BITS = 64, 16
NEXT = 2
LIKELY = 0.2
"""A pair is judged if the cosine of its sketches is at least this: six standard deviations of that of unrelated ones."""
RELATED = 0.5
"""The least cosine of relatives by an estimate alone."""
NEAR = 0.1
"""The largest distance of near files, |a - b| / sqrt(|a|^2 + |b|^2)."""
TRIES = 3
"""Pairs that are judged in vain for each file, at most."""
CHUNK = 4096

CHOSEN = """
    select file_row_number as row, file, shape::varchar as shape, digest, l2 from catalog
    where kind = 'weight' and digest is not null and tied is null and len(shape) >= 2 and size >= 16 and l2 > 0
        and (dtype like '%float%' or dtype like 'complex%')
    qualify row_number() over (partition by file order by size desc, name) <= ? order by row
"""
DIGESTS = "select file, digest, stamp from files where error is null order by file"


class Pair(NamedTuple):
    """Two files, in the order of their names, with the largest cosine of their sketches, and the distance of these weights."""

    one: str
    other: str
    cosine: float
    distance: float


class Files(NamedTuple):
    """The files of a catalogue: one `leader` of each that has the same weights, and the version of each."""

    leader: dict[str, str]
    stamps: dict[str, str]


class Judged(NamedTuple):
    """What `lineage` says of a pair; of one that cannot be compared any more, the `error`."""

    distance: float | None
    verdict: str
    p: float | None
    error: str = ""


def near(path: str, *, estimate: bool) -> CatalogTable:
    """Return the files that are nearly equal to another one, with the nearest of each."""
    pairs = sorted(_pairs(path), key=lambda pair: (pair.distance, pair.one, pair.other))
    files = _files(path)
    rows: list[tuple[Any, ...]] = []
    seen: set[str] = set()
    for pair in pairs:
        if pair.distance > NEAR or {pair.one, pair.other} <= seen:
            continue
        seen |= {pair.one, pair.other}
        judged = Judged(pair.distance, "", None) if estimate else _judged(pair, files)
        if judged.distance is None or judged.distance <= NEAR:
            rows.append((pair.one, pair.other, *judged))
    names = ("file", "nearest", "distance", "verdict", "p", "error")
    return _table(names, rows, "files nearly equal to another", estimate=estimate)


def families(path: str, *, estimate: bool) -> CatalogTable:
    """Return the files of common origin, family by family."""
    files = _files(path)
    groups, tried = _Groups(files.leader), Counter[str]()
    kin: dict[str, dict[str, Judged]] = {}
    for pair in sorted(_pairs(path), key=lambda pair: (-pair.cosine, pair.one, pair.other)):
        one, other = pair[:2]
        if groups.root(one) == groups.root(other) or max(tried[one], tried[other]) >= TRIES:
            continue
        judged = Judged(pair.distance, "", None) if estimate else _judged(pair, files)
        if judged.verdict or (estimate and pair.cosine >= RELATED):
            groups.join(one, other)
            kin.setdefault(one, {})[other] = kin.setdefault(other, {})[one] = judged
        else:
            tried.update((one, other))
    for file, leader in files.leader.items():
        if file != leader:
            groups.join(file, leader)
            kin.setdefault(leader, {})[file] = kin.setdefault(file, {})[leader] = Judged(0.0, "same weights", None)
    names = ("family", "file", "relative", "distance", "verdict", "p")
    return _table(names, _members(groups.members(), kin), "families", estimate=estimate)


def _members(families: Iterable[Sequence[str]], kin: dict[str, dict[str, Judged]]) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each member of each family, with the one through which it belongs there; the first has none."""
    for number, own in enumerate(families, 1):
        through: dict[str, tuple[str | None, Judged]] = {own[0]: (None, Judged(None, "", None))}
        due = [own[0]]
        for file in due:  # which grows
            for relative, judged in kin.get(file, {}).items():
                if relative not in through:
                    through[relative] = file, judged
                    due.append(relative)
        for file in own:
            kinsman, judged = through[file]
            yield number, file, kinsman, judged.distance, judged.verdict or None, judged.p


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]], title: str, *, estimate: bool) -> CatalogTable:
    note = "" if not estimate else "Estimated from the sketches of the weights that are the most alike; no file was opened."
    return CatalogTable(names, rows, title, note)


class _Groups:
    """Disjoint groups that are joined."""

    __slots__ = ("_parent",)

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}

    def root(self, name: str) -> str:
        """Return the name that stands for the group of this one."""
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def join(self, one: str, other: str) -> None:
        """Join the groups of two names."""
        first, second = sorted((self.root(one), self.root(other)))
        self._parent[second] = first

    def members(self) -> list[list[str]]:
        """Return the groups of several names, the largest first."""
        found: dict[str, list[str]] = {}
        for name in sorted(self._parent):
            found.setdefault(self.root(name), []).append(name)
        return sorted((own for own in found.values() if len(own) > 1), key=lambda own: (-len(own), own))


def _files(path: str) -> Files:
    with connected(path) as connection:
        rows = connection.execute(DIGESTS).fetchall()
    first: dict[str, str] = {}
    leader = {file: file if digest is None else first.setdefault(digest, file) for file, digest, _ in rows}
    return Files(leader, {file: stamp for file, _, stamp in rows})


def _judged(pair: Pair, files: Files) -> Judged:
    """Compare two files weight by weight, if they are what they were. A catalogue is a file too: no URL in it is requested."""
    from steelyard.engines.opening import Opening, opened
    from steelyard.io import readable_weights
    from steelyard.measures.lineage import kinship_of

    if far := next((file for file in pair[:2] if "://" in file), None):
        return Judged(None, "", None, f"{printable(far)} is a URL, and no URL in a file is requested; ask with an estimate")
    try:
        nets = [
            readable_weights(opened(Opening(file, stamp=_stamp(files.stamps[file]))), skip_unreadable=True) for file in pair[:2]
        ]
        found = kinship_of(pair.one, nets[0], pair.other, nets[1])
    except (SteelyardError, OSError) as error:
        return Judged(None, "", None, str(error))
    return Judged(found.distance, found.verdict, found.p)


def _stamp(text: str | None) -> tuple[int | str, ...]:
    """Return the version that a catalogue gives for a file; a value that cannot be a version matches no file."""
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        found = None
    return tuple(found) if isinstance(found, list) else ("damaged",)


def _pairs(path: str) -> list[Pair]:
    """Return the pairs of leaders that sketches propose."""
    with connected(path) as connection:
        rows = connection.execute(CHOSEN, [LARGEST]).fetchall()
    leader = _files(path).leader
    kept: dict[tuple[str, str], Any] = {}
    holders: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        key = row[2], row[3]
        if row[1] in leader:
            kept.setdefault(key, row)
            holders.setdefault(key, set()).add(leader[row[1]])
    chosen = list(kept.values())
    owners = [sorted(holders[row[2], row[3]]) for row in chosen]
    best: dict[tuple[str, str], Pair] = {}
    for pair in _shared(owners):
        _better(best, pair)
    if len(chosen) > 1:
        sketches = _sketches(path, [row[0] for row in chosen])
        ones, others = _proposed(sketches, [row[2] for row in chosen])
        for one, other, cosine, distance in _compared(sketches, ones, others):
            if cosine >= LIKELY and owners[one][0] != owners[other][0]:
                first, second = sorted((owners[one][0], owners[other][0]))
                _better(best, Pair(first, second, cosine, distance))
    return list(best.values())


def _shared(owners: Iterable[Sequence[str]]) -> Iterator[Pair]:
    """Yield pairs of files that share a weight: each with the next one that does."""
    for files in owners:
        for one, other in pairwise(files):
            yield Pair(one, other, 1.0, 0.0)


def _better(best: dict[tuple[str, str], Pair], pair: Pair) -> None:
    old = best.get(pair[:2])
    if old is None or pair.cosine > old.cosine:
        best[pair[:2]] = pair


def _sketches(path: str, rows: Sequence[int]) -> Array:
    """Return the sketches in these rows of the file, in order."""
    import numpy as np

    from steelyard.catalogs.table import GROUP, SKETCH, arrow, parquet_file

    places, found, start, at = np.array(rows), np.zeros((len(rows), SKETCH), np.float32), 0, 0
    with parquet_file(path) as file:
        for batch in file.iter_batches(GROUP, columns=["sketch"]):
            stop = int(places.searchsorted(start + len(batch)))
            own = batch.column(0).take(arrow().array(places[at:stop] - start))
            found[at:stop][own.is_valid().to_numpy(zero_copy_only=False)] = own.flatten().to_numpy().reshape(-1, SKETCH)
            start, at = start + len(batch), stop
    return np.nan_to_num(found, copy=False, posinf=0.0, neginf=0.0)


def _proposed(sketches: Array, shapes: Sequence[str]) -> tuple[Array, Array]:
    """Return the places of proposed pairs."""
    import numpy as np

    planes = np.random.default_rng(0).standard_normal((sketches.shape[1], BANDS * BITS), np.float32)
    keys = np.concatenate(
        [np.packbits(part @ planes > 0, axis=1).view(np.uint16) for part in np.array_split(sketches, -(-len(sketches) // CHUNK))]
    )
    kinds = np.unique(np.array(shapes), return_inverse=True)[1].astype(np.int64)
    pairs = []
    for band in keys.T:
        bucket = kinds << BITS | band
        order = np.argsort(bucket, kind="stable")
        for step in range(1, NEXT + 1):
            same = bucket[order[:-step]] == bucket[order[step:]]
            pairs.append(order[:-step][same] * len(order) + order[step:][same])
    codes = np.unique(np.concatenate(pairs))
    return codes // len(sketches), codes % len(sketches)


def _compared(sketches: Array, ones: Array, others: Array) -> Iterator[tuple[int, int, float, float]]:
    """Yield the places of each pair with the cosine and the distance of its sketches."""
    import numpy as np

    squares = np.einsum("ij,ij->i", sketches, sketches, dtype=np.float64)
    for start in range(0, len(ones), CHUNK):
        one, other = ones[start : start + CHUNK], others[start : start + CHUNK]
        products = np.einsum("ij,ij->i", sketches[one], sketches[other]).astype(np.float64)
        sums = squares[one] + squares[other]
        with np.errstate(invalid="ignore", divide="ignore"):
            cosines = np.nan_to_num(products / np.sqrt(squares[one] * squares[other]))
            distances = np.nan_to_num(np.sqrt(np.maximum(sums - 2 * products, 0) / sums), nan=1.0)
        yield from zip(one.tolist(), other.tolist(), cosines.tolist(), distances.tolist(), strict=True)
