r"""Digests of weights, which do not depend on the container, the order or the block size.

This is the exact definition, for the chosen algorithm H, so that others can reproduce it. All text is UTF-8.

1. The bytes of a weight, row-major and little-endian, are split into leaves of 16 MiB (2**24 bytes; the last may
   be shorter, and a weight without elements has none). The digest of a leaf is H(its bytes).
2. The digest of a weight is H(b"<dtype> <shape>\n" + the digests of its leaves). <dtype> is spelled as in NumPy and
   ml_dtypes, <shape> is the lengths of the axes, separated by commas: b"float32 64,784\n", b"int64 \n".
3. The digest of the whole is H(the concatenated records of all weights, sorted by the bytes of their names). Tied
   weights have records too, with the digest of their numbers. A record is

   | bytes | content |
   |---|---|
   | 8 | length of the name, little-endian |
   | length | name |
   | 32 or 16 | digest of the weight |

H returns 32 bytes for blake3 and sha256, and 16 for xxh3, which is XXH3 with 128 bits and seed 0, big-endian as xxhash
prints it. Leaves can be digested in any order, or on several machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from steelyard import sizes
from steelyard.core.readers import raw_run
from steelyard.core.threads import in_turn
from steelyard.core.weight import Weight
from steelyard.dtypes import itemsize
from steelyard.errors import MissingExtraError, ShapeError
from steelyard.io import readable_weights
from steelyard.paths import is_spread
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    import os

    from steelyard.engines.opening import Opening
    from steelyard.storage.source import Source

Algorithm = Literal["sha256", "blake3", "xxh3"]
Layout = Literal["own", "canonical"]
ALGORITHMS: tuple[Algorithm, ...] = ("sha256", "blake3", "xxh3")
LAYOUTS: tuple[Layout, ...] = ("own", "canonical")
"""The framework's own order of axes, or one common to all frameworks."""
LEAF = 1 << 24
"""Size of a leaf in bytes."""
_SPARSE = 8  # a run of the file is read at once if it is at most this many times as long as the weights in it


class Hash(Protocol):
    """A hash object as in hashlib, blake3 and xxhash."""

    def update(self, data: Any, /) -> object:
        """Add bytes."""

    def digest(self) -> bytes:
        """Return the digest of the bytes added so far."""


class Digest:
    """The digests of weights in hexadecimal: that of the `whole`, and those of the single `weights` by name.

    Two digests are equal if their algorithm, layout and whole are. `unsure` names the weights whose axis order is not known
    for certain in a canonical digest.
    """

    __slots__ = ("algorithm", "layout", "unsure", "weights", "whole")

    def __init__(
        self, algorithm: str, whole: str, weights: Mapping[str, str], layout: str = "own", unsure: Iterable[str] = ()
    ) -> None:
        self.algorithm = algorithm
        self.whole = whole
        self.weights = dict(weights)
        self.layout = layout
        self.unsure = tuple(unsure)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digest) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, str, str]:
        return self.algorithm, self.layout, self.whole

    def __repr__(self) -> str:
        from steelyard.text.measured import digest_lines

        return "\n".join(digest_lines(self))

    def _repr_html_(self) -> str:
        from steelyard.text.results import digest_html

        return digest_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the digests as plain Python, for JSON."""
        plain = {"algorithm": self.algorithm, "layout": self.layout, "digest": self.whole, "weights": dict(self.weights)}
        return plain if self.layout == "own" else {**plain, "unsure": list(self.unsure)}


def digest(
    source: object,
    algorithm: Algorithm = "sha256",
    *,
    layout: Layout = "own",
    skip_unreadable: bool = False,
    effective: bool = False,
    engine: object = None,
    workers: int | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> Digest:
    """Return the digests of the weights of a model, a file, or any other source of `weights`.

    They depend on names, dtypes, shapes and numbers only, not on the file or the order of the weights. With `effective` the
    weights are those of `Weights.effective`, so a packed net can be compared with a plain one. `algorithm` is
    "sha256", which needs no extra, "blake3" (extra "digest"; faster) or "xxh3" (same extra; as fast as reading, but it
    detects only accidental changes). With the `layout` "canonical", names and the order of axes and gates do not matter, so
    a net keeps its digest when it moves to another framework; `steelyard.measures.digest.canonical` defines this digest. It
    needs the memory of one weight if its axes have to be transposed. Raises `MissingExtraError`, `ShapeError` for another
    algorithm or layout, `UnreadableError` for weights that cannot be read, unless `skip_unreadable` leaves them out with a
    warning, and the errors of `weights`. With an `engine`, `workers` or `resume` a file is read by several workers, and a pattern
    of paths has a digest for each file, as in `stats`.

    Examples:
        >>> import numpy as np
        >>> digest({"w": np.arange(3.0), "b": np.zeros(1)}) == digest({"b": [0.0], "w": [0.0, 1.0, 2.0]})
        True
    """
    new = hash_of(algorithm)
    if is_spread(source, engine, workers, resume):
        from steelyard.engines.calls import Asked, spread

        here = partial(digest, source, algorithm, layout=layout, skip_unreadable=skip_unreadable, effective=effective)
        asked = Asked(engine, workers, resume)
        found: Digest = spread(
            partial(digest_of, algorithm, layout), here, source, asked, skip_unreadable=skip_unreadable, effective=effective
        )
        return found
    if layout not in LAYOUTS:
        raise ShapeError(f"{layout!r} is not a layout; choose one of {', '.join(LAYOUTS)}")
    listed = readable_weights(source, skip_unreadable=skip_unreadable, effective=effective)
    if layout == "canonical":
        from steelyard.measures.digest.canonical import Canonical

        net = Canonical(listed, new)
        own = {name: each.hex() for name, each in net.weights.items()}
        return Digest(algorithm, net.whole.hex(), own, layout, net.unsure)
    distinct = list(listed.distinct().values())
    digests = {w.tied or w.name: each for w, each in zip(distinct, weight_digests(distinct, new), strict=True)}
    named = {name: digests[weight.tied or name] for name, weight in listed.items()}
    return Digest(algorithm, whole_of(named, new).hex(), {name: each.hex() for name, each in named.items()})


def whole_of(named: Mapping[str, bytes], new: Callable[[], Hash]) -> bytes:
    """Return the digest of the whole, of those of its weights by name."""
    whole = new()
    # sorted by the bytes of the names, whose lengths precede them: two lists of weights cannot have the same bytes
    for key, each in sorted((name.encode("utf-8", "surrogatepass"), each) for name, each in named.items()):
        whole.update(len(key).to_bytes(8, "little") + key + each)
    return whole.digest()


def digest_of(algorithm: Algorithm, layout: Layout, opening: Opening) -> Digest:
    """Return the digests of a file, for an engine."""
    from steelyard.engines.opening import listed

    return digest(listed(opening), algorithm, layout=layout)


def weight_digests(weights: Sequence[Weight], new: Callable[[], Hash]) -> Iterator[bytes]:
    """Yield the digest of each weight; `new` makes an empty hash. Leaves in a file are digested in parallel.

    Many small weights that follow one another in a file are read together.
    """
    start = 0
    for begin, end in _runs_of_small(weights):
        yield from _by_leaves(weights[start:begin], new)
        yield from _together(weights[begin:end], new)
        start = end
    yield from _by_leaves(weights[start:], new)


def _by_leaves(weights: Sequence[Weight], new: Callable[[], Hash]) -> Iterator[bytes]:
    # leaves of a fixed size, hashed into one digest per weight: any number of threads gives the same result
    in_files = sum(weight.nbytes for weight in weights if _is_shared(weight))
    worthwhile = in_files > LEAF  # otherwise one thread finishes before another starts
    jobs = ((weight, start, new) for weight in weights for start in range(0, weight.nbytes, LEAF))
    leaves = in_turn(jobs, leaf_digest, lambda weight, *_: worthwhile and _is_shared(weight))
    for weight in weights:
        yield joined(weight, islice(leaves, -(-weight.nbytes // LEAF)), new)


def _runs_of_small(weights: Sequence[Weight]) -> Iterator[tuple[int, int]]:
    """Yield the runs [start, stop) of small weights that one file stores as they are digested."""
    start, source = 0, None
    for at in range(len(weights) + 1):
        own = _small_in(weights[at]) if at < len(weights) else None
        if own is None or own is not source or at - start == sizes.SMALL_TOGETHER:
            if source is not None and at - start >= sizes.SMALL_RUN:
                yield start, at
            start, source = at, own


def _small_in(weight: Weight) -> Source | None:
    """Return the file that stores a small weight as it is digested; None for any other weight."""
    read = weight.read
    if not isinstance(read, Stored) or read.byteorder != "<" or read.dtype != weight.dtype:
        return None
    return read.source if 0 < weight.nbytes <= sizes.SMALL_WEIGHT else None


def _together(weights: Sequence[Weight], new: Callable[[], Hash]) -> Iterator[bytes]:
    """Yield the digests of small weights of one file, from one read of it if they are near one another there."""
    places = [(cast("Stored", weight.read).offset, weight.nbytes) for weight in weights]
    source = cast("Stored", weights[0].read).source
    low, high = min(offset for offset, _ in places), max(offset + nbytes for offset, nbytes in places)
    if high > source.size or low < 0 or high - low > _SPARSE * sum(nbytes for _, nbytes in places):
        yield from _by_leaves(weights, new)
        return
    held = memoryview(source.read(low, high - low))
    for weight, (offset, nbytes) in zip(weights, places, strict=True):
        leaf = new()
        leaf.update(held[offset - low : offset - low + nbytes])
        yield joined(weight, [leaf.digest()], new)


def _is_shared(weight: Weight) -> bool:
    """Whether several threads may digest the weight: it is large, and an open file has its bytes as they are digested."""
    read = weight.read
    plain = isinstance(read, Stored) and read.byteorder == "<" and read.source.is_file
    return plain and weight.nbytes > sizes.DIGEST_THRESHOLD_BYTES


def joined(weight: Weight, leaves: Iterable[bytes], new: Callable[[], Hash]) -> bytes:
    """Return the digest of a weight, of those of its leaves."""
    top = new()
    top.update(f"{weight.dtype} {','.join(map(str, weight.shape))}\n".encode())
    for leaf in leaves:
        top.update(leaf)
    return top.digest()


def leaf_digest(weight: Weight, start: int, new: Callable[[], Hash]) -> bytes:
    """Return the digest of the leaf that starts at a byte offset of a weight; every item size divides the leaf size."""
    leaf, size = new(), itemsize(weight.dtype)
    for chunk in raw_run(weight, start // size, min(start + LEAF, weight.nbytes) // size, sizes.DIGEST_CHUNK_BYTES):
        leaf.update(chunk)
    return leaf.digest()


def hash_of(name: str) -> Callable[[], Hash]:
    """Return the constructor of an algorithm's hash."""
    if name not in ALGORITHMS:
        raise ShapeError(f"{name!r} is not an algorithm; choose one of {', '.join(ALGORITHMS)}")
    new: Callable[[], Hash]
    try:
        if name == "sha256":
            from hashlib import sha256 as new
        elif name == "blake3":
            from blake3 import blake3 as new
        else:
            from xxhash import xxh3_128 as new
    except ImportError:
        raise MissingExtraError(f"a digest by {name} (sha256 is always available)", "digest") from None
    return new
