"""`history`: the weights of a net along its training: norms, update ratios, distributions, and the path."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter

from steelyard.core.weight import Role
from steelyard.errors import ShapeError, meant, printable, quoted
from steelyard.plot.canvas import LARGEST, axes_for, caption, entitle, inks, shown
from steelyard.runs.curves import BAND, STATE
from steelyard.runs.history import history as looked_back
from steelyard.text.units import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from steelyard.core.weight import Array
    from steelyard.runs.curves import Curves
    from steelyard.runs.history import History
    from steelyard.runs.places import Ridgeline

VIEWS = ("norms", "ratios", "ridgeline", "path")
NAMED = 12
"""The most curves with names of their own; of more, the layers are drawn, and of more layers those that moved most."""
RIDGES = 24
RISE = 2.2
"""The height of the densest bin of all ridges, in rows."""
SHADES = (0.08, 0.86)
"""The part of the colour map that is used: the rest is too near to white or black."""
LETTERS, IN_PANEL = 26, 17
"""Characters of a name beside a picture, and beside a panel."""
MERGED_BINS = ((1, 20_000), (2, 4000), (4, 400), (8, 0))
"""How many bins of a ridge are merged into one, by the numbers of the weight."""
STRETCH = 3.0
"""An axis of ridges ends where it would be this many times as far as the middle 98% of the numbers."""
LOSSES = ("val_loss", "valid_loss", "eval_loss", "loss", "train_loss")
"""The metrics by which a path is coloured, the first that is there."""


def history(source: Any, view: str = "", name: str | None = None, *, by: str = "", ax: Axes | None = None) -> Axes:
    """Draw a net along its training; `source` is what `steelyard.history` takes, or a history.

    Without a `view` there are four panels. "norms" has the Euclidean norm of each weight, or layer if there are more than twelve
    weights, or as `by` says. "ratios" has the update ratios, with a band around 1e-3, which is usual for steps of an optimizer.
    "ridgeline" has the distributions of one weight, `name`, by default the largest kernel, the first record at the back; heights
    are densities, on one scale. "path" has all weights on the first two principal components of the records, by their sketches,
    coloured by the loss, if the records have one. A dotted line is where NaN or Inf began.

    Raises the errors of `steelyard.history`, `WeightNotFoundError`, and `ShapeError` for another view or fewer than two records.

    Examples:
        >>> from steelyard import plot
        >>> nets = {step: {"w": np.arange(1.0, 4.0) * (1 + step)} for step in range(3)}
        >>> ax = plot.history(nets, "norms")
        >>> ax.lines[0].get_ydata().round(3).tolist()
        [3.742, 7.483, 11.225]
    """
    if view and view not in VIEWS:
        raise ShapeError(f"view is {quoted(view)}; it must be one of {', '.join(VIEWS)}{meant(view, VIEWS)}")
    h = looked_back(source)
    if len(h) < 2:
        raise ShapeError(f"{printable(h.path)} has {counted(len(h), 'record')}, and a curve needs two")
    ax = axes_for(ax, *((7.2, 4.2) if view else (11.0, 7.6)))
    if view:
        caption(ax, _view(ax, h, view, name, by))
        return ax
    ax.set_axis_off()
    places = {"norms": (0, 0.56), "ratios": (0.53, 0.56), "ridgeline": (0, 0), "path": (0.53, 0)}
    for each, (left, bottom) in places.items():
        panel = ax.inset_axes((left, bottom, 0.34, 0.4))
        _view(panel, h, each, name, by, is_panel=True)
        panel.set_title({"ratios": "update ratios", "ridgeline": panel.get_title()}.get(each, each), fontsize="medium")
    caption(ax, [_sentence(h)], below=0.09)
    return ax


def _sentence(h: History) -> str:
    """Return what is drawn, without the folders above that of the run."""
    from steelyard.text.histories import sentence

    text, path = sentence(h), printable(h.path)
    return shown(text.replace(path, os.path.basename(os.path.normpath(path)), 1) if path else text, 200)


def _view(ax: Axes, h: History, view: str, name: str | None, by: str, *, is_panel: bool = False) -> list[str]:
    ax.spines[["top", "right"]].set_visible(False)
    if view == "ridgeline":
        return _ridgeline(ax, h, name)
    if view == "path":
        return _path(ax, h)
    return _curves(ax, h, view, by, is_panel=is_panel)


def _curves(ax: Axes, h: History, view: str, by: str, *, is_panel: bool) -> list[str]:
    chosen: Any = by or ("weight" if len(h.names) <= NAMED else "layer")
    curves = h.norms(chosen) if view == "norms" else h.ratios(chosen)
    states = {fact.name for fact in h.run.layout.recorded if fact.role in STATE} if chosen == "weight" else set()
    drawn = _drawn(curves, states)
    ink = inks(ax)
    for nth, shade in zip(drawn, _shades(len(drawn), ink.dark), strict=True):
        values = np.where(curves.values[:, nth] > 0, curves.values[:, nth], np.nan)
        values = np.clip(values, 1 / LARGEST, LARGEST)
        marker = "o" if len(h) <= 30 else ""
        label = shown(curves.names[nth], IN_PANEL if is_panel else LETTERS)
        ax.plot(curves.steps, values, color=shade, linewidth=1.2, marker=marker, markersize=2.5, label=label)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    if view == "ratios":
        ax.axhspan(*BAND, color=ink.soft, alpha=0.15, linewidth=0, zorder=0)
        ax.axhline(1e-3, color=ink.soft, linewidth=0.7, linestyle=(0, (4, 3)), zorder=0)
    _mark(ax, h)
    ax.set(xlabel="step", ylabel="norm" if view == "norms" else "update / norm")
    ax.legend(
        loc="upper left", bbox_to_anchor=(1.0, 1.02), frameon=False, fontsize="x-small", handlelength=1.2, labelcolor=ink.soft
    )
    left = len(curves) - len(drawn) - len(states)
    band = f"the band is {BAND[0]:g} to {BAND[1]:g}, usual for steps of an optimizer" if view == "ratios" else ""
    state = "running statistics and counters not drawn" if states else ""
    return [band, "; ".join(filter(None, (f"{counted(left, chosen)} that moved less not drawn" if left else "", state)))]


def _drawn(curves: Curves, states: set[str]) -> list[int]:
    """Return the curves that are drawn, in order: those that changed most, without running statistics and counters."""
    listed = [nth for nth, name in enumerate(curves.names) if name not in states]
    if len(listed) <= NAMED:
        return listed
    values = np.where(curves.values > 0, curves.values, np.nan)
    known = ~np.isnan(values)
    spread = np.max(values, axis=0, where=known, initial=0.0) / np.min(values, axis=0, where=known, initial=np.inf)
    return sorted(sorted(listed, key=lambda nth: -float(spread[nth]))[:NAMED])


def _shades(count: int, dark: bool) -> Array:
    """Return colours from the first to the last; on a dark background the first is lighter."""
    low, high = SHADES if not dark else (1 - SHADES[1] + 0.14, 1.0)
    made: Array = mpl.colormaps["viridis"](np.linspace(low, high, max(count, 1)))
    return made[:count]


def _mark(ax: Axes, h: History) -> None:
    """Mark the step at which NaN or Inf began."""
    started = h.nonfinite()
    if len(started):
        ink = inks(ax)
        ax.axvline(started[0].step, color=ink.text, linewidth=0.8, linestyle=":")
        word = "NaN" if started[0].nan else "Inf"
        ax.annotate(
            f" {word}", (started[0].step, 1.0), xycoords=ax.get_xaxis_transform(), va="top", fontsize="x-small", color=ink.text
        )


def _ridgeline(ax: Axes, h: History, name: str | None) -> list[str]:
    name = name if name is not None else _largest(h)
    ridge = h.ridgeline(name)
    known = np.flatnonzero(np.isfinite(ridge.edges).all(axis=1) & (ridge.counts.sum(axis=1) > 0))
    if not len(known):
        raise ShapeError(f"{printable(name)} has no finite numbers in any record with a histogram")
    kept = known[np.unique(np.linspace(0, len(known) - 1, min(RIDGES, len(known))).round().astype(int))]
    low, high = _ends(ridge.edges[kept], ridge.quantiles[kept])
    density, edges = _merged(ridge, kept)
    within = (edges[:, 1:] > low) & (edges[:, :-1] < high)
    scale = RISE / max(float(np.max(density, where=within, initial=0.0)), 1 / LARGEST)
    ink = inks(ax)
    for row, shade in enumerate(_shades(len(kept), ink.dark)):
        steps = np.repeat(row - scale * density[row], 2)
        places = np.repeat(edges[row], 2)[1:-1]
        ax.fill_between(places, row, steps, color=shade, alpha=0.8, linewidth=0, zorder=2 + row)
        ax.plot(places, steps, color=ink.ground, linewidth=0.6, zorder=2 + row)
        ax.axhline(row, color=shade, linewidth=0.5, zorder=2 + row)
    ax.set(xlim=(low, high), ylim=(len(kept) - 0.4, -RISE - 0.2), xlabel="weight value", ylabel="step")
    ticks = np.unique(np.linspace(0, len(kept) - 1, min(8, len(kept))).round().astype(int))
    ax.set_yticks(ticks, [f"{ridge.steps[kept[tick]]:,}" for tick in ticks])
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=5)
    ax.spines[["left"]].set_visible(False)
    entitle(ax, name)
    cut = bool((ridge.edges[kept, 0] < low).any() or (ridge.edges[kept, -1] > high).any())
    some = f", {len(kept)} of {len(ridge.steps):,} with a histogram" if len(kept) < len(ridge.steps) else ""
    return [f"{counted(len(kept), 'record')}{some}; densities on one scale", "few numbers are beyond the axis" if cut else ""]


def _merged(ridge: Ridgeline, kept: Array) -> tuple[Array, Array]:
    """Return densities and edges of some rows; bins of few numbers are merged, which would be noise otherwise."""
    together = next(bins for bins, least in MERGED_BINS if ridge.counts[kept].sum(axis=1).max() >= least)
    counts = ridge.counts[kept].reshape(len(kept), -1, together).sum(axis=2)
    merged = ridge._replace(counts=counts, edges=ridge.edges[kept][:, ::together])
    return merged.density(), merged.edges


def _largest(h: History) -> str:
    """Return the name of the largest kernel, or of the largest weight."""
    facts = h.run.layout.recorded
    kernels = [fact for fact in facts if fact.role in (Role.KERNEL, Role.RECURRENT_KERNEL)] or list(facts)
    return max(kernels, key=lambda fact: int(np.prod(fact.shape))).name


def _ends(edges: Array, quantiles: Array) -> tuple[float, float]:
    """Return the ends of the axis: all numbers, unless a few are far beyond the others."""
    low, high = float(edges[:, 0].min()), float(edges[:, -1].max())
    usual = float(np.nanmin(quantiles[:, 0])), float(np.nanmax(quantiles[:, -1]))
    middle, reach = (usual[0] + usual[1]) / 2, STRETCH * (usual[1] - usual[0]) / 2
    if reach > 0:
        low, high = max(low, middle - reach), min(high, middle + reach)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _path(ax: Axes, h: History) -> list[str]:
    path, ink = h.pca(), inks(ax)
    known = np.isfinite(path.points).all(axis=1)
    x, y = path.points[known].T
    metrics = h.metrics
    loss = next((name for name in LOSSES if name in metrics and np.isfinite(metrics[name][known]).any()), None)
    colours = np.array(path.steps, float) if loss is None else metrics[loss]
    ax.plot(x, y, color=ink.soft, linewidth=0.6, alpha=0.6, zorder=1)
    size = float(np.clip(2000 / len(x), 4, 22))
    drawn = ax.scatter(x, y, c=colours[known], cmap="viridis", s=size, linewidths=0, zorder=2, plotnonfinite=True)
    middle = (x.min() + x.max()) / 2
    for at, word in ((0, "first"), (-1, "last")):
        is_left = x[at] <= middle
        label, place = f"{word}, step {np.array(path.steps)[known][at]:,}", (4 if is_left else -4, 6)
        where: Any = {"textcoords": "offset points", "ha": "left" if is_left else "right"}
        ax.annotate(label, (x[at], y[at]), place, fontsize="x-small", color=ink.text, **where)
    beside = ax.inset_axes((1.02, 0.0, 0.025, 1.0))
    bar = ax.figure.colorbar(drawn, cax=beside, label="step" if loss is None else shown(loss, LETTERS))
    bar.outline.set_visible(False)
    for axis, share, nth in zip((ax.xaxis, ax.yaxis), path.shares, ("first", "second"), strict=True):
        axis.set_label_text(f"{nth} component: {share:.0%} of the variance")
    ax.margins(0.12)
    lost = int((~known).sum())
    return ["by the sketches of all weights", f"{counted(lost, 'record')} with NaN or Inf left out" if lost else ""]
