"""Two thin matrices in place of a large one: the nearest product of a rank, by the singular value decomposition.

X = U S V', cut to the largest r singular values. A layer becomes two: L.0, whose kernel has sqrt(S) V', and L.1, whose kernel has
U sqrt(S) and which has the bias of L. Both take r (rows + columns) numbers, which is less than rows times columns where
r < rows columns / (rows + columns).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.computed import held
from steelyard.core.roles import leaf_of
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import is_floating, numpy_dtype
from steelyard.errors import LossyError, ShapeError, printable, quoted
from steelyard.io import weights as weights_of
from steelyard.numerics.row_changes import kept

if TYPE_CHECKING:
    from steelyard.core.weight import Array, DType, Reader

FACTORIZED = "factorized"
"""The key in `meta` with the ranks, and the numbers before and after."""
_KERNELS = (Role.KERNEL, Role.RECURRENT_KERNEL)
_EXACT = 2048
"""The shorter side of matrices that are decomposed in float64; larger ones are in float32."""
_OUT_FIRST = {"weight": True, "kernel": False}
"""Whether the outputs are the first axis, by the word for kernels of PyTorch, and of Keras and JAX."""


class LowRank(NamedTuple):
    """One factorised weight: its rank, its numbers before and after, and the share of the sum of squares that the rank keeps.

    `energy` is None where the matrix was not decomposed yet.
    """

    name: str
    shape: tuple[int, int]
    rank: int
    energy: float | None

    @property
    def before(self) -> int:
        """The numbers of the matrix."""
        return self.shape[0] * self.shape[1]

    @property
    def after(self) -> int:
        """The numbers of both factors."""
        return self.rank * sum(self.shape)

    def to_dict(self) -> dict[str, object]:
        """Return it as plain Python, for JSON."""
        facts: dict[str, object] = {"shape": list(self.shape), "rank": self.rank, "energy": self.energy}
        return {"name": self.name, **facts, "before": self.before, "after": self.after}


def factorize(
    source: Any, *, rank: int | None = None, energy: float | None = None, cut: float = 0.0, skip: str | Iterable[str] = ()
) -> Weights:
    """Return weights with two layers in place of each dense one: the nearest product of low rank, computed when it is read.

    `rank` is that of all kernels with two axes; with `energy`, from 0 to 1, each has the smallest rank whose squared singular
    values sum to that share of all. Singular values of at most `cut` are left out, so that a rank may be smaller; with
    `energy` or `cut` each matrix is decomposed at once. A layer L becomes L.0, which takes the inputs, and L.1, which has the
    bias: two layers in a row, without an activation between them. Kernels that would not become smaller stay as they are, as do
    those that `skip` matches; `meta["factorized"]` has the numbers before and after, and why others stay.
    Raises `ShapeError` unless one of `rank` and `energy` is given, and where no kernel would become smaller.

    Examples:
        >>> import numpy as np, steelyard
        >>> one = {"fc": {"weight": np.outer([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]), "bias": np.zeros(3)}}
        >>> thin = steelyard.factorize(one, rank=1)
        >>> {name: weight.shape for name, weight in thin.items()}
        {'fc.0.weight': (1, 3), 'fc.1.weight': (3, 1), 'fc.1.bias': (3,)}
        >>> (thin["fc.1.weight"].numpy() @ thin["fc.0.weight"].numpy()).round(6)[2].tolist()
        [12.0, 15.0, 18.0]
    """
    listed = weights_of(source)
    weights = listed.with_weights(held(listed).values())
    found, left = ranks(weights, rank=rank, energy=energy, cut=cut, skip=skip)
    if not found:
        raise ShapeError(f"no weight would become smaller: {_reasons(left)}")
    record = {"rank": rank, "energy": energy, "weights": [each.to_dict() for each in found.values()], "left": left}
    renamed = _split_layers(weights, found)
    meta = {**weights.meta, FACTORIZED: record}
    made = Weights(_listed(weights, found, renamed), meta=meta, live=weights.live, remote=weights.remote)
    made._net = made._net.replace(beside=weights._net.beside)
    return made


def ranks(
    weights: Weights,
    *,
    rank: int | None = None,
    energy: float | None = None,
    cut: float = 0.0,
    skip: str | Iterable[str] = (),
    measured: bool = False,
) -> tuple[dict[str, LowRank], dict[str, str]]:
    """Return the rank of each weight that becomes smaller, and why the other kernels stay; `measured` has all energies."""
    _check(rank, energy, cut)
    skipped = set(weights.select(skip, missing_ok=True)) if skip else set()
    found: dict[str, LowRank] = {}
    left: dict[str, str] = {}
    for name, weight in weights.items():
        if weight.role not in _KERNELS:
            continue
        reason = "skipped" if name in skipped else _unsuitable(weight, weights)
        if reason is None:
            row = _row(weight, rank, energy, cut, measured=measured)
            reason = None if 0 < row.after < row.before else _no_gain(row)
            if reason is None:
                found[name] = row
        if reason is not None:
            left[name] = reason
    return found, left


def _check(rank: int | None, energy: float | None, cut: float) -> None:
    if (rank is None) == (energy is None):
        raise ShapeError("pass either rank=, such as 64, or energy=, such as 0.99")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 1):
        raise ShapeError(f"rank is {quoted(rank)}; it must be a positive integer")
    if energy is not None and (isinstance(energy, bool) or not isinstance(energy, (int, float)) or not 0 < energy <= 1):
        raise ShapeError(f"energy is {quoted(energy)}; it must be above 0 and at most 1")
    if isinstance(cut, bool) or not isinstance(cut, (int, float)) or not cut >= 0:
        raise ShapeError(f"cut is {quoted(cut)}; it must be a number of at least 0")


def _unsuitable(weight: Weight, weights: Weights) -> str | None:
    if len(weight.shape) != 2 or not weight.size:
        return f"has the shape {list(weight.shape)}, which is not a matrix"
    if weight.unreadable or not is_floating(weight.dtype):
        return "cannot be read" if weight.unreadable else f"stored as {weight.dtype}"
    if weight.tied or any(other.tied == weight.name for other in weights.values()):
        return "shares its numbers with another weight"
    if "+" in weight.axes:
        return "kernels and biases in one matrix"
    return None if _is_out_first(weight) is not None else "its axes are not known"


def _is_out_first(weight: Weight) -> bool | None:
    words = weight.axes.split()
    if len(words) == 2 and "in" in words:
        return words[1] == "in"
    return _OUT_FIRST.get(leaf_of(weight.name))


def _no_gain(row: LowRank) -> str:
    if not row.rank:
        return "all of its singular values are cut"
    limit = -(-row.before // sum(row.shape)) - 1
    return f"rank {row.rank:,} takes {row.after:,} numbers, and the matrix {row.before:,}; it saves up to rank {limit:,}"


def _reasons(left: Mapping[str, str]) -> str:
    shown = [f"{printable(name)}: {reason}" for name, reason in left.items()]
    return "; ".join(shown[:3]) + ("; ..." if len(shown) > 3 else "") if shown else "there is no kernel"


def _row(weight: Weight, rank: int | None, energy: float | None, cut: float, *, measured: bool) -> LowRank:
    import numpy as np

    shape = (weight.shape[0], weight.shape[1])
    if energy is None and not cut and not measured:
        return LowRank(weight.name, shape, min(rank or 0, *shape), None)
    values = np.linalg.svd(_matrix(weight), compute_uv=False).astype(np.float64)
    squares = np.cumsum(values**2)
    whole = float(squares[-1])
    if energy is not None:
        rank = int(np.searchsorted(squares, energy * whole * (1 - 1e-12))) + 1
    found = min(rank or 0, *shape, int((values > cut).sum()) if cut else len(values))
    return LowRank(weight.name, shape, found, (float(squares[found - 1]) / whole if whole else 1.0) if found else 0.0)


def _matrix(weight: Weight) -> Array:
    import numpy as np

    matrix = weight.numpy().astype(np.float64 if min(weight.shape) <= _EXACT else np.float32)
    if not np.isfinite(matrix).all():
        raise LossyError(f"{printable(weight.name)} holds NaN or Inf, which has no singular values")
    return matrix


def factors(matrix: Array, rank: int) -> tuple[Array, Array]:
    """Return two matrices of a rank whose product is the nearest to `matrix`; both have the roots of its singular values.

    >>> import numpy as np
    >>> left, right = factors(np.array([[3.0, 0.0], [0.0, 1.0]]), 1)
    >>> (left @ right).round(6).tolist()
    [[3.0, 0.0], [0.0, 0.0]]
    """
    import numpy as np

    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    roots = np.sqrt(values[:rank])
    return left[:, :rank] * roots, roots[:, None] * right[:rank]


def _split_layers(weights: Weights, found: Mapping[str, LowRank]) -> dict[str, str]:
    """Return the new names of the other weights of factorised layers: the second layer has them."""
    layers = {weights[name].layer for name in found if weights[name].layer}
    return {
        name: _inside(weight, "1")
        for name, weight in weights.items()
        if name not in found and weight.layer in layers and _is_own(weight)
    }


def _is_own(weight: Weight) -> bool:
    return weight.name.startswith(weight.layer) and weight.role is Role.BIAS


def _inside(weight: Weight, part: str) -> str:
    """Return the name of a weight in the first or the second of two layers."""
    leaf = leaf_of(weight.name)
    stem = weight.name.removesuffix(leaf)
    return f"{stem}{part}{stem[-1:] or '.'}{leaf}"


def _listed(weights: Weights, found: Mapping[str, LowRank], renamed: Mapping[str, str]) -> Iterable[Weight]:
    for name, weight in weights.items():
        if name in found:
            yield from _pair(weight, found[name])
        elif name in renamed:
            yield weight.replace(name=renamed[name], layer=_layer(renamed[name]))
        else:
            yield weight if weight.tied not in renamed else weight.replace(tied=renamed[weight.tied or ""])


def _layer(name: str) -> str:
    return name[: -len(leaf_of(name)) - 1]


def _pair(weight: Weight, row: LowRank) -> list[Weight]:
    """Return the kernels of both layers; one decomposition makes both."""
    height, width, rank = *row.shape, row.rank
    both = kept(partial(_both, weight, rank))
    left = (height, rank), lambda start, stop: both()[start:stop]
    right = (rank, width), lambda start, stop: both()[height * rank :][start:stop]
    first, second = (right, left) if _is_out_first(weight) else (left, right)
    plain = {"tied": None, "overlaps": None, "encoding": ""}
    made = []
    for part, (shape, read) in (("0", first), ("1", second)):
        name = _inside(weight, part)
        dtype = numpy_dtype(weight.dtype)
        typed = partial(_typed, read, dtype)
        made.append(weight.replace(name=name, layer=_layer(name), shape=shape, read=typed, **plain))
    return made


def _typed(read: Reader, dtype: DType, start: int, stop: int) -> Array:
    made: Array = read(start, stop).astype(dtype)
    return made


def _both(weight: Weight, rank: int) -> Array:
    import numpy as np

    left, right = factors(_matrix(weight), rank)
    return np.concatenate([left.reshape(-1), right.reshape(-1)])
