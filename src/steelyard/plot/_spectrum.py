"""`spectrum`: the singular values of a weight, compared with those of random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.errors import ShapeError, printable
from steelyard.measures.spectra import DRAWS, EXACT, LARGEST, PASSED_OVER, spectra
from steelyard.numerics.matrices import matrix_shape
from steelyard.plot.canvas import axes_for, caption, entitle, inks
from steelyard.plot.sources import one_weight
from steelyard.text.units import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from steelyard.measures.spectra import Spectrum


def spectrum(
    source: Any,
    name: str | None = None,
    *,
    max_exact_size: int = EXACT,
    top_k: int = LARGEST,
    null_draws: int = DRAWS,
    log: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw the singular values of a weight, largest first, and those of random weights for comparison.

    `source` is a `Weight`, or any source of weights; `name` selects one. The grey line shows the singular values of the
    same entries in random order, as the mean of `null_draws` matrices. The dashed line is the theoretical edge for random weights
    of this scale (Marchenko and Pastur). Values above both are structure. A convolution is unfolded into a matrix. All values are
    computed if the shorter side is at most `max_exact_size`, otherwise the `top_k` largest, which the caption notes. `log` makes
    the axis of the values logarithmic.

    Raises the errors of `steelyard.spectra`, `AmbiguityError` for several matrices without a `name`, and `ShapeError` for a
    weight that is not a matrix of floats, or holds NaN or Inf.

    Examples:
        >>> from steelyard import plot
        >>> ax = plot.spectrum({"w": np.diag([3.0, 4.0])})
        >>> ax.lines[0].get_ydata().tolist(), ax.get_ylabel()
        ([4.0, 3.0], 'singular value')
    """
    weight = one_weight(source, name, _is_matrix, "a matrix of floats with a side of two or more")
    rows = spectra(Weights([weight.replace(tied=None)]), max_exact_size=max_exact_size, top_k=top_k, null_draws=null_draws).rows
    if not rows:
        raise ShapeError(f"{printable(weight.name)} has no singular values: it contains NaN or Inf; steelyard.check finds them")
    ax = axes_for(ax, 6.4, 4.2)
    _draw(ax, rows[0])
    if log:
        ax.set_yscale("log")
    else:
        ax.set_ylim(bottom=0)
    entitle(ax, weight.name)
    caption(ax, _notes(rows[0]))
    return ax


def _is_matrix(weight: Weight) -> bool:
    shape = matrix_shape(weight)
    floats = weight.dtype.startswith(("float", "bfloat", "complex"))
    return shape is not None and min(shape) >= 2 and floats and weight.role not in PASSED_OVER


def _draw(ax: Axes, measured: Spectrum) -> None:
    ink = inks(ax)
    ranks = np.arange(1, len(measured.values) + 1)
    size = float(np.clip(400 / len(ranks), 2.8, 5.0))
    ax.plot(ranks, measured.values, "o", color=ink.negative, markersize=size, markeredgewidth=0, label="this weight", zorder=3)
    if measured.null is not None:
        label = f"its entries in random order (mean of {measured.null.draws})"
        ax.plot(ranks, measured.null.values, color=ink.soft, linewidth=1.5, label=label)
    label = f"edge of random weights: {counted(measured.beyond, 'value')} above"
    ax.axhline(measured.edge, color=ink.positive, linewidth=1.2, linestyle=(0, (4, 3)), label=label)
    ax.set(xlabel="rank, largest first", ylabel="singular value")
    ax.set_xlim(1 - max(len(ranks) * 0.02, 0.3), len(ranks) + max(len(ranks) * 0.02, 0.3))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize="small", loc="upper right")


def _notes(measured: Spectrum) -> list[str]:
    count, side = len(measured.values), min(measured.shape)
    some = f", the {count:,} largest of {side:,} values, each within {measured.error:.2g}" if count < side else ""
    ranks = f"stable rank {measured.stable_rank:.3g}"
    ranks += f", effective rank {measured.effective_rank:.3g}" if measured.effective_rank is not None else ""
    verdict = measured.verdict.partition(":")[0] or ("nothing beyond chance" if measured.null else "")
    return [f"as a matrix of {measured.shape[0]:,} \u00d7 {measured.shape[1]:,}{some}", "; ".join(filter(None, (ranks, verdict)))]
