r"""Digests of numbers: equal for equal weights, in whatever container, order or piece size they come.

This is exactly what is digested with the chosen algorithm H, so that anyone can do the same. All text is UTF-8.

1. The numbers of a weight as bytes, row-major, little-endian, are cut into leaves of 16 MiB (2**24 bytes; the last may
   be shorter, a weight without elements has none). The digest of a leaf is H(its bytes).
2. The digest of a weight is H(b"<dtype> <shape>\n" + the digests of its leaves). <dtype> is the word as NumPy and
   ml_dtypes spell it, <shape> the lengths of the axes with commas between them: b"float32 64,784\n", b"int64 \n".
3. The digest of the whole is H(for each weight, sorted by the bytes of its name: the length of the name as 8 bytes,
   little-endian, the name, the digest of the weight). Tied weights are all named, each with the digest of its numbers.

H gives 32 bytes for blake3 and sha256, and 16 (big-endian, as xxhash prints it) for xxh3, which is XXH3 with 128 bits and seed 0.
Leaves can be digested in any order, or on several machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

from steelyard import sizes
from steelyard.core.readers import raw_run
from steelyard.core.threads import in_turn
from steelyard.core.weight import Weight
from steelyard.dtypes import itemsize
from steelyard.errors import MissingExtraError, ShapeError
from steelyard.io import weights
from steelyard.storage.source import Stored

if TYPE_CHECKING:
    from steelyard.core.weights import Weights

Algorithm = Literal["sha256", "blake3", "xxh3"]
Layout = Literal["own", "canonical"]
ALGORITHMS: tuple[Algorithm, ...] = ("sha256", "blake3", "xxh3")
LAYOUTS: tuple[Layout, ...] = ("own", "canonical")
"""The framework's own order of axes, or one for all frameworks."""
LEAF = 1 << 24
"""Bytes of a leaf."""


class Hash(Protocol):
    """What hashlib and the other libraries offer."""

    def update(self, data: Any, /) -> object:
        """Take bytes in."""

    def digest(self) -> bytes:
        """Return the digest of what was taken in."""


class Digest:
    """The digests of weights: `whole`, and each weight's in `weights` by name, as hexadecimal text.

    Two are equal when the algorithm, the layout and the whole are. `unsure` names the weights of which a canonical
    digest cannot tell for certain how their axes lie.
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


def digest(source: object, algorithm: Algorithm = "sha256", *, layout: Layout = "own") -> Digest:
    """Return the digests of the numbers of a model, a file or anything that `weights` takes.

    They depend on names, dtypes, shapes and numbers only: the same weights in another file, in another order, give the
    same. `algorithm` is "sha256", which needs no extra, "blake3" (extra "digest"; faster) or "xxh3" (the same extra;
    as fast as reading, but no protection against forgery). With the `layout` "canonical" names and the order of axes and
    gates make no difference, so that a net moved from one framework into another keeps its digest; what exactly is
    digested stands in `steelyard.measures.digest.canonical`. It takes the memory of one weight where axes have to be turned.
    Raises `MissingExtraError`, `ShapeError` for another algorithm or layout, and what `weights` raises.

    Examples:
        >>> import numpy as np
        >>> digest({"w": np.arange(3.0), "b": np.zeros(1)}) == digest({"b": [0.0], "w": [0.0, 1.0, 2.0]})
        True
    """
    new = _algorithm(algorithm)
    if layout not in LAYOUTS:
        raise ShapeError(f"{layout!r} is no layout; choose one of {', '.join(LAYOUTS)}")
    if layout == "canonical":
        from steelyard.measures.digest.canonical import Canonical

        net = Canonical(source, new)
        own = {name: each.hex() for name, each in net.weights.items()}
        return Digest(algorithm, net.whole.hex(), own, layout, net.unsure)
    found: Weights = weights(source)
    distinct = list(found.distinct().values())
    digests = {w.tied or w.name: each for w, each in zip(distinct, weight_digests(distinct, new), strict=True)}
    named = {name: digests[weight.tied or name] for name, weight in found.items()}
    whole = new()
    for key, each in sorted((name.encode("utf-8", "surrogatepass"), each) for name, each in named.items()):
        whole.update(len(key).to_bytes(8, "little") + key + each)
    return Digest(algorithm, whole.digest().hex(), {name: each.hex() for name, each in named.items()})


def weight_digests(weights: Sequence[Weight], new: Callable[[], Hash]) -> Iterator[bytes]:
    """Yield the digest of each weight; `new` makes an empty hash. Leaves that lie in a file are digested side by side."""
    in_files = sum(weight.nbytes for weight in weights if _is_shared(weight))
    worthwhile = in_files > LEAF  # else one thread is done before another could begin
    jobs = ((weight, start, new) for weight in weights for start in range(0, weight.nbytes, LEAF))
    leaves = in_turn(jobs, _leaf, lambda weight, *_: worthwhile and _is_shared(weight))
    for weight in weights:
        yield _joined(weight, islice(leaves, -(-weight.nbytes // LEAF)), new)


def _is_shared(weight: Weight) -> bool:
    """Whether the weight is large, and its bytes are in an open file as they are digested, where several threads may read."""
    read = weight.read
    plain = isinstance(read, Stored) and read.byteorder == "<" and read.source.path is not None
    return plain and weight.nbytes > sizes.DIGEST_THRESHOLD_BYTES


def _joined(weight: Weight, leaves: Iterable[bytes], new: Callable[[], Hash]) -> bytes:
    top = new()
    top.update(f"{weight.dtype} {','.join(map(str, weight.shape))}\n".encode())
    for leaf in leaves:
        top.update(leaf)
    return top.digest()


def _leaf(weight: Weight, start: int, new: Callable[[], Hash]) -> bytes:
    """Return the digest of the leaf that begins at this byte of a weight; sizes of elements divide that of a leaf."""
    leaf, size = new(), itemsize(weight.dtype)
    for chunk in raw_run(weight, start // size, min(start + LEAF, weight.nbytes) // size, sizes.DIGEST_CHUNK_BYTES):
        leaf.update(chunk)
    return leaf.digest()


def _algorithm(name: str) -> Callable[[], Hash]:
    """Return what makes an empty hash of an algorithm."""
    if name not in ALGORITHMS:
        raise ShapeError(f"{name!r} is no algorithm; choose one of {', '.join(ALGORITHMS)}")
    new: Callable[[], Hash]
    try:
        if name == "sha256":
            from hashlib import sha256 as new
        elif name == "blake3":
            from blake3 import blake3 as new
        else:
            from xxhash import xxh3_128 as new
    except ImportError:
        raise MissingExtraError(f"a digest by {name} (sha256 is always there)", "digest") from None
    return new
