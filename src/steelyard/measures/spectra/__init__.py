"""`spectra`: the singular values of weights and their statistics, compared with those of random weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from math import hypot, isfinite, sqrt
from typing import TYPE_CHECKING, Any

from steelyard import sizes
from steelyard.core.weight import Role, Weight
from steelyard.errors import ShapeError, printable, quoted
from steelyard.io import readable_weights
from steelyard.text import tabular

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.measures.spectra.power_law import PowerLaw
    from steelyard.measures.spectra.singular import Blocks, Singular

EXACT = 1024
"""All singular values are computed if the shorter side of a matrix is at most this."""
LARGEST = 128
DRAWS = 19
"""Random matrices drawn for each weight, if they take no more than a few seconds."""
WORK = 4e9
"""Maximum cost of all draws of a weight: rows times columns times the shorter side, summed."""
TOGETHER = 1 << 10
"""A matrix up to this size is decomposed together with its random ones."""
MARGIN = 1.1
"""A value must exceed all draws by this factor, since nineteen draws alone give a false positive once in twenty times."""
PASSED_OVER = (Role.BIAS, Role.COUNT, Role.MEAN, Role.VARIANCE)


class Null:
    """The spectra of random weights of the same shape and scale: the weight's own entries in random order.

    `draws` is the number of such matrices: `spectral_norm` is their maximum, `stable_rank`, `effective_rank`, `alpha` and
    `distance` are their means, None where not defined. `values` are the mean singular values by rank.
    """

    __slots__ = ("alpha", "distance", "draws", "effective_rank", "spectral_norm", "stable_rank", "values")

    def __init__(self, drawn: Sequence[Spectrum]) -> None:
        self.draws = len(drawn)
        self.spectral_norm = max((each.spectral_norm for each in drawn), default=0.0)
        self.stable_rank = _mean(each.stable_rank for each in drawn)
        self.effective_rank = _mean(each.effective_rank for each in drawn)
        self.alpha = _mean(each.law.alpha if each.law else None for each in drawn)
        self.distance = _mean(each.law.distance if each.law else None for each in drawn)
        ranks = zip(*(each.values for each in drawn), strict=True)
        self.values = tuple(sum(values) / self.draws for values in ranks)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        return {word: getattr(self, word) for word in self.__slots__ if word != "values"}


class Spectrum:
    """The singular values of one weight as a matrix of `shape`, the largest first in `values`.

    `method` is the algorithm, and each value is within `error` of a true one. `stable_rank` is the sum of the squares
    divided by the largest square, `effective_rank` the exponential of the entropy of the values divided by their sum, `rank`
    the number of values above rounding errors; the latter two are None if only the largest values are known, as is `law`, the
    power law of the eigenvalues (the squares), which `quick_spectrum` leaves out. `edge` is the upper edge of the spectrum of
    random weights of this scale (Marchenko and Pastur), and `beyond` the number of values above it. `null` has the statistics of
    random weights. `verdict` is blank unless the largest value exceeds all random ones.
    """

    __slots__ = (
        *("beyond", "edge", "effective_rank", "error", "frobenius", "law", "method", "name", "null", "rank", "shape"),
        *("spectral_norm", "stable_rank", "values", "verdict"),
    )

    def __init__(self, name: str, shape: tuple[int, int], singular: Singular, frobenius: float) -> None:
        values = singular.values
        whole = len(values) == min(shape)
        self.name = name
        self.shape = shape
        self.values: tuple[float, ...] = tuple(values.tolist())
        self.method = singular.method
        self.error = singular.error
        self.frobenius = frobenius
        self.spectral_norm = self.values[0]
        self.stable_rank = (frobenius / self.spectral_norm) ** 2 if self.spectral_norm else 0.0
        self.effective_rank = _effective_rank(values) if whole else None
        self.rank = int((values > singular.error).sum()) if whole else None
        self.law: PowerLaw | None = None
        self.edge = frobenius * (1 / sqrt(shape[0]) + 1 / sqrt(shape[1]))
        self.beyond = int((values > self.edge).sum())
        self.null: Null | None = None
        self.verdict = ""

    def __repr__(self) -> str:
        from steelyard.text.differences import spectrum_line

        return spectrum_line(self)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python, for JSON."""
        plain = {word: getattr(self, word) for word in self.__slots__ if word not in ("law", "null", "shape", "values")}
        return plain | {
            "shape": list(self.shape),
            "values": list(self.values),
            "law": self.law and self.law._asdict(),
            "null": self.null and self.null.to_dict(),
        }


class Spectra:
    """The spectra of weights, in order, and `notes` on skipped weights and on the computation."""

    __slots__ = ("notes", "rows")

    def __init__(self, rows: Iterable[Spectrum], notes: Iterable[str] = ()) -> None:
        self.rows = list(rows)
        self.notes = list(notes)

    def __getitem__(self, name: str) -> Spectrum:
        """Return the spectrum of a weight by name; raises `ShapeError` if there is none."""
        spectrum = next((row for row in self.rows if row.name == name), None)
        if spectrum is None:
            raise ShapeError(f"{quoted(name)} has no spectrum")
        return spectrum

    def __repr__(self) -> str:
        from steelyard.text.differences import spectra_text

        return spectra_text(self)

    def _repr_html_(self) -> str:
        from steelyard.text.results import spectra_html

        return spectra_html(self)

    def to_records(self) -> list[dict[str, Any]]:
        """Return the rows as plain Python."""
        return [row.to_dict() for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return them as plain Python, for JSON."""
        return {"weights": self.to_records(), "notes": self.notes}

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the rows as columns, without the singular values; `law.alpha` is that of the power law."""
        from steelyard.text.frames import columns_of

        return columns_of(map(_table_row, self.rows))

    to_frame = tabular.to_frame
    write = tabular.write


def _table_row(row: Spectrum) -> dict[str, Any]:
    """Return a row of the table; what is not known is None, so that all tables have the same columns."""
    from steelyard.measures.spectra.power_law import PowerLaw

    law = row.law._asdict() if row.law else dict.fromkeys(PowerLaw._fields)
    null = row.null.to_dict() if row.null else dict.fromkeys(word for word in Null.__slots__ if word != "values")
    plain = {word: value for word, value in row.to_dict().items() if word not in ("name", "shape", "values")}
    return {"name": row.name, "shape": list(row.shape), **plain, "law": law, "null": null}


def spectra(
    source: object,
    *,
    max_exact_size: int = EXACT,
    top_k: int = LARGEST,
    null_draws: int = DRAWS,
    skip_unreadable: bool = False,
    effective: bool = False,
) -> Spectra:
    """Return the singular values of every weight with two or more axes, compared with those of random weights.

    `source` is a model, a file or `Weights`; with `effective`, its `Weights.effective`. A convolution kernel is unfolded into
    outputs by inputs and space. All values are computed if the shorter side is at most `max_exact_size`, else the `top_k`
    largest, by random projection. `null_draws` random matrices are made from the entries of each weight, fewer for large
    ones; 0 makes none, and then there are no verdicts. Weights with NaN or Inf are skipped, with a note. Raises `ShapeError`
    for an option out of range, `UnreadableError` for weights that cannot be read, unless `skip_unreadable` leaves them out
    with a warning, and the errors of `weights`.

    Examples:
        >>> import numpy as np
        >>> found = spectra({"w": np.diag([3.0, 4.0])})["w"]
        >>> found.spectral_norm, round(found.stable_rank, 4)
        (4.0, 1.5625)
    """
    from steelyard.numerics.matrices import one_blas_thread

    if max_exact_size < 1 or top_k < 1 or null_draws < 0:
        raise ShapeError(
            f"max_exact_size is {max_exact_size}, top_k {top_k} and null_draws {null_draws}; the first two must be positive, "
            "null_draws not negative"
        )
    rows, notes = [], []
    with one_blas_thread():
        for weight in readable_weights(source, skip_unreadable=skip_unreadable, effective=effective).distinct().values():
            if without(weight):
                continue
            norm = _norm(weight)
            if norm is None:
                notes.append(f"{printable(weight.name)} is not finite, so it was skipped")
            else:
                rows.append(spectrum(weight, norm, max_exact_size=max_exact_size, top_k=top_k, null_draws=null_draws))
    return Spectra(rows, [*notes, *_threads()])


def _threads() -> list[str]:
    from importlib.util import find_spec

    known = find_spec("threadpoolctl") is not None
    return [] if known else ["threadpoolctl is not installed, so BLAS chose its number of threads itself"]


def _norm(weight: Weight) -> float | None:
    """Return the l2 norm of all entries; None if one is not finite."""
    import numpy as np

    from steelyard.measures.diff.arithmetic import norm

    length = 0.0
    for block in weight.blocks():
        with np.errstate(over="ignore", invalid="ignore"):  # invalid: a signalling NaN
            values = np.abs(block.astype(np.complex128 if block.dtype.kind == "c" else np.float64))
        if not np.isfinite(values).all():
            return None
        length = hypot(length, norm(values))  # the squares may overflow
    return length


def without(weight: Weight) -> str:
    """Return the reason why a weight has no spectrum; blank if it has one.

    >>> from steelyard.core.readers import from_array
    >>> import numpy as np
    >>> without(from_array("w", np.zeros(3))), without(from_array("w", np.zeros((3, 3))))
    ('it has fewer than two rows or columns', '')
    """
    from steelyard.numerics.matrices import matrix_shape

    shape = matrix_shape(weight)
    if shape is None or min(shape) < 2:
        return "it has fewer than two rows or columns"
    if weight.role in PASSED_OVER:
        return f"its role is {weight.role}"
    return "" if weight.dtype.startswith(("float", "bfloat", "complex")) else f"its numbers are {weight.dtype}"


def work(weight: Weight, max_exact_size: int = EXACT, top_k: int = LARGEST) -> int:
    """Return the cost of a weight's spectrum: rows times columns times the number of singular vectors."""
    from steelyard.numerics.matrices import matrix_shape

    rows, columns = matrix_shape(weight) or (0, 0)
    short = min(rows, columns)
    return rows * columns * (short if short <= max_exact_size else min(short, top_k))


def quick_spectrum(weight: Weight, norm: float) -> Spectrum:
    """Return a spectrum, as `spectrum` does, without random weights and power law, by products where no rank is in doubt.

    >>> from steelyard.core.readers import from_array
    >>> import numpy as np
    >>> quick_spectrum(from_array("w", np.eye(40) * 2), 160**0.5).method
    'exact, by products'
    """
    from steelyard.measures.spectra.singular import singular_values
    from steelyard.numerics.matrices import matrix_shape, row_blocks

    shape = matrix_shape(weight) or (1, weight.size)
    values = singular_values(lambda: row_blocks(weight, shape), shape, EXACT, LARGEST, quick=True)
    return Spectrum(weight.name, shape, values, norm)


def spectrum(
    weight: Weight, norm: float, *, max_exact_size: int = EXACT, top_k: int = LARGEST, null_draws: int = DRAWS
) -> Spectrum:
    """Return the spectrum of a weight that has one (see `without`); its numbers must be finite, with the l2 norm `norm`."""
    from steelyard.numerics.matrices import matrix_shape, row_blocks

    shape = matrix_shape(weight) or (1, weight.size)
    draws = min(null_draws, max(int(WORK / work(weight, max_exact_size, top_k)), 1))
    if shape[0] * shape[1] <= min(TOGETHER, sizes.MATRIX_BLOCK, sizes.WHOLE_MATRIX) and min(shape) <= max_exact_size:
        made, *drawn = (_made("", values, shape, norm) for values in _together(weight, shape, draws))
        made.name = weight.name
    else:
        made = _of(weight.name, lambda: row_blocks(weight, shape), shape, norm, max_exact_size, top_k)
        drawn = [_of("", _shuffling(weight, shape, draw), shape, norm, max_exact_size, top_k) for draw in range(draws)]
    if drawn:
        made.null = Null(drawn)
        made.verdict = _verdict(made, made.null)
    return made


def _of(name: str, blocks: Blocks, shape: tuple[int, int], norm: float, max_exact_size: int, top_k: int) -> Spectrum:
    from steelyard.measures.spectra.singular import singular_values

    return _made(name, singular_values(blocks, shape, max_exact_size, top_k), shape, norm)


def _together(weight: Weight, shape: tuple[int, int], draws: int) -> list[Singular]:
    """Return the singular values of a small matrix and of its random ones, all by one call, with the bits of one by one."""
    import numpy as np

    from steelyard.measures.spectra.singular import of_stack
    from steelyard.numerics.matrices import row_blocks

    entries = np.concatenate([block for _, block in row_blocks(weight, shape)]).reshape(-1)
    orders = _orders(draws, shape)
    return of_stack(np.concatenate([entries[None], entries[orders]]).reshape(-1, *shape))


@lru_cache(maxsize=64)
def _orders(draws: int, shape: tuple[int, int]) -> Array:
    """Return the random orders of the entries of small matrices of one shape, a row for each; `_shuffling` has the same."""
    import numpy as np

    made = [np.random.default_rng([draw, *shape]).permutation(shape[0] * shape[1]) for draw in range(draws)]
    return np.stack(made) if made else np.empty((0, shape[0] * shape[1]), np.int64)


def _made(name: str, values: Singular, shape: tuple[int, int], norm: float) -> Spectrum:
    """Return the spectrum of these singular values."""
    from steelyard.measures.spectra.power_law import fitted

    made = Spectrum(name, shape, values, norm)
    if len(values.values) == min(shape) and isfinite(norm * norm):  # the law is fitted to squares
        made.law = fitted(values.values**2)
    return made


def _shuffling(weight: Weight, shape: tuple[int, int], draw: int) -> Blocks:
    """Return a function that yields the rows with all entries in random order; large matrices are shuffled in blocks."""
    import numpy as np

    from steelyard.numerics.matrices import row_blocks

    def blocks() -> Iterator[tuple[int, Array]]:
        chance = np.random.default_rng([draw, *shape])  # every pass must have the same order
        for first, block in row_blocks(weight, shape):
            yield first, chance.permutation(block.reshape(-1)).reshape(block.shape)

    return blocks


def _effective_rank(values: Array) -> float | None:
    """Return the exponential of the entropy of the values' shares; None if a value overflows."""
    import numpy as np

    if not np.isfinite(values).all():
        return None
    shares = values / values.max() if values.any() else values  # so that their sum is finite
    parts = shares[shares > 0] / shares.sum()
    return float(np.exp(-(parts * np.log(parts)).sum())) if parts.size else 0.0


def _verdict(spectrum: Spectrum, null: Null) -> str:
    """Count the values beyond chance, if any: they exceed both the largest random value and the theoretical edge."""
    from steelyard.numerics.matrices import chance_range

    limit = max(MARGIN * null.spectral_norm, chance_range(spectrum.shape, spectrum.frobenius)[1])
    beyond = sum(value - spectrum.error > limit for value in spectrum.values)
    if not beyond:
        return ""
    least = "at least " if beyond == len(spectrum.values) < min(spectrum.shape) else ""
    return (
        f"{least}{beyond} singular value{'s' * (beyond != 1)} beyond chance: the largest is {spectrum.spectral_norm:.4g}, "
        f"by chance at most {limit:.4g}"
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
