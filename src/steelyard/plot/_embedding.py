"""`embedding`: the rows of an embedding on their first two principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.weight import Weight
from steelyard.errors import ShapeError, printable
from steelyard.measures.components import components, has_components, is_embedding
from steelyard.plot.canvas import axes_for, caption, entitle, inks, shown
from steelyard.plot.sources import one_weight, weights_of
from steelyard.text.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from steelyard.core.weight import Array
    from steelyard.measures.components import Components

LABELLED = 60
"""The most labels that are written: of all points, or of those that are the farthest from the others."""
ROOM = (0.12, 0.03)
"""The room of a label, across and up, as a part of the picture."""
CANDIDATES = 3000  # points, the farthest from the centre, of which some get labels
LETTERS = 18  # characters of a label
JOINED, NEAR = 2048, 0.5
"""Points up to which a line joins each with the next, if neighbours are at most this part as far apart as any two."""


def embedding(source: Any, name: str | None = None, *, labels: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw the rows of an embedding as points on their first two principal components, coloured by their index.

    Without a `name` the only embedding of the source is drawn; any matrix can be named. `labels` are the names of the rows, such
    as a vocabulary: all of up to sixty are written, and of more those that are far from the centre and from each other. Rows
    that are a path, as those of positions are, are joined in their order. The axes give the share of the variance along each
    component, so a picture that shows little of it says so. Rows with NaN or Inf are left out, and counted.

    The weight is read three times, in blocks. Raises `WeightNotFoundError`, `AmbiguityError` for several embeddings without a
    `name`, and `ShapeError` for a weight that is not a matrix of real numbers, or another number of labels than of rows.

    Examples:
        >>> from steelyard import plot
        >>> ax = plot.embedding({"wte": np.array([[0.0, 0.0], [1.0, 0.1], [2.0, 0.0]])}, "wte", labels=["a", "b", "c"])
        >>> len(ax.collections[0].get_offsets()), [text.get_text() for text in ax.texts][:3]
        (3, ['a', 'b', 'c'])
    """
    listed = weights_of(source)
    fits, what = (is_embedding, "an embedding") if name is None else (has_components, "a matrix of real numbers")
    weight = one_weight(listed, name, fits, what)
    if labels is not None and len(labels) != weight.shape[0]:
        raise ShapeError(f"labels has {len(labels):,} names, but {printable(weight.name)} has {weight.shape[0]:,} rows")
    found = components(weight)
    ax = axes_for(ax, 6.4, 5.4)
    _draw(ax, found)
    for axis, share, nth in zip((ax.xaxis, ax.yaxis), found.shares, ("first", "second"), strict=True):
        axis.set_label_text(f"{nth} component: {share:.1%} of the variance")
    if labels is not None:
        ax.margins(x=0.2)
        _write(ax, found.points, labels)
    entitle(ax, weight.name)
    caption(ax, _notes(weight, found, labels))
    return ax


def _draw(ax: Axes, found: Components) -> None:
    ink, points = inks(ax), found.points
    count = len(points)
    if _is_path(points):
        ax.plot(*points.T, color=ink.soft, linewidth=0.5, alpha=0.4, zorder=1)
    drawn = ax.scatter(
        points[:, 0],
        points[:, 1],
        c=np.arange(count),
        cmap="viridis",
        s=float(np.clip(6000 / count, 1.5, 24)),
        alpha=float(np.clip(20_000 / count, 0.25, 0.95)),
        linewidths=0,
        rasterized=count > JOINED,
        plotnonfinite=False,
        zorder=2,
    )
    bar = ax.figure.colorbar(drawn, ax=ax, label="row", fraction=0.05, pad=0.02)
    if bar.solids is not None:
        bar.solids.set_alpha(1)
    bar.outline.set_visible(False)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_aspect("equal", adjustable="datalim")


def _is_path(points: Array) -> bool:
    """Whether the rows are a path, as positions are: each is much closer to the next than to any other, on average.

    >>> _is_path(np.arange(18.0).reshape(9, 2)), _is_path(np.array([[0.0, 0.0], [9.0, 0.0], [1.0, 0.0], [8.0, 0.0]]))
    (True, False)
    """
    known = points[np.isfinite(points).all(axis=1)]
    if not 3 <= len(known) <= JOINED:
        return False
    steps = np.square(np.diff(known, axis=0)).sum(axis=1).mean()
    return bool(steps < NEAR**2 * 2 * np.square(known - known.mean(axis=0)).sum(axis=1).mean())


def _write(ax: Axes, points: Array, labels: Sequence[str]) -> None:
    """Write labels on the outer side of their points."""
    for nth in _labelled(points):
        right = points[nth, 0] >= 0
        ax.annotate(
            shown(labels[nth], LETTERS),
            points[nth],
            (4 if right else -4, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize="x-small",
            color=inks(ax).text,
        )


def _labelled(points: Array) -> list[int]:
    """Return the points whose labels are written: all if they are few, else those far from the centre and from each other.

    >>> _labelled(np.array([[np.nan, 0.0], [1.0, 0.0], [-1.0, 0.0]]))
    [1, 2]
    """
    finite = np.flatnonzero(np.isfinite(points).all(axis=1))
    if len(finite) <= LABELLED:
        return [int(nth) for nth in finite]
    known = points[finite]
    room = np.ptp(known, axis=0) * ROOM
    chosen: list[int] = []
    for nth in np.argsort(-np.square(known).sum(axis=1), kind="stable")[:CANDIDATES].tolist():
        if len(chosen) < LABELLED and not (np.abs(known[chosen] - known[nth]) < room).all(axis=1).any():
            chosen.append(nth)
    return [int(finite[nth]) for nth in sorted(chosen)]


def _notes(weight: Weight, found: Components, labels: Sequence[str] | None) -> list[str]:
    rows, columns = weight.shape
    joined = ", each joined with the next" if _is_path(found.points) else ""
    return [
        f"{counted(rows, 'row')} of {columns:,} numbers{joined}",
        f"{found.lost:,} of them with NaN or Inf, left out" if found.lost else "",
        "labels of some points that are far from the centre" if labels is not None and rows > LABELLED else "",
    ]
