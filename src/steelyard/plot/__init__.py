"""Pictures of weights, drawn with matplotlib, which is imported when the first is asked for (`pip install "steelyard[plot]"`).

Every function takes what `steelyard.weights` takes, or a single `Weight`, draws into one Axes, and returns it: the one that
is given as `ax`, or that of a new figure. Where a picture has several panels, they are the `child_axes` of this one.
Nothing is shown or saved, and no setting of matplotlib is changed: colours of text and ground are those of your style.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.errors import MissingExtraError

if TYPE_CHECKING:
    from steelyard.plot._diff import diff
    from steelyard.plot._filters import filters
    from steelyard.plot._heatmap import heatmap
    from steelyard.plot._histograms import histograms
    from steelyard.plot._network import network
    from steelyard.plot._overview import overview
    from steelyard.plot._spectrum import spectrum

__all__ = ["diff", "filters", "heatmap", "histograms", "network", "overview", "spectrum"]


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
    found = globals()[name] = getattr(module, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
