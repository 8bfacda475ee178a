"""Pictures of weights, drawn with matplotlib, which is imported on first use (`pip install "steelyard[plot]"`).

Every function takes any source that `steelyard.weights` takes, or a single `Weight`. It draws into one Axes, the given `ax` or
that of a new figure, and returns it; the panels of a picture with several are the `child_axes` of this Axes. Nothing is shown
or saved, and no setting of matplotlib is changed: text and background have the colours of your style.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.errors import MissingExtraError

if TYPE_CHECKING:
    from steelyard.plot._architecture import architecture
    from steelyard.plot._diff import diff
    from steelyard.plot._embedding import embedding
    from steelyard.plot._filters import filters
    from steelyard.plot._grid import grid
    from steelyard.plot._heads import heads
    from steelyard.plot._heatmap import heatmap
    from steelyard.plot._histograms import histograms
    from steelyard.plot._history import history
    from steelyard.plot._network import network
    from steelyard.plot._overview import overview
    from steelyard.plot._size import size
    from steelyard.plot._spectrum import spectrum

__all__ = [
    "architecture",
    "diff",
    "embedding",
    "filters",
    "grid",
    "heads",
    "heatmap",
    "histograms",
    "history",
    "network",
    "overview",
    "size",
    "spectrum",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'steelyard.plot' has no attribute {name!r}; the pictures are {', '.join(__all__)}")
    from importlib import import_module

    try:
        module = import_module(f"steelyard.plot._{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise MissingExtraError("a plot", "plot") from None
    function = globals()[name] = getattr(module, name)
    return function


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
