"""The displays of weights. These are the only imports from a higher layer, made when a display is requested."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights


def weights_text(weights: Weights) -> str:
    """Return weights as a table for a terminal."""
    from steelyard.measures.headline import on_top
    from steelyard.text.table import table

    return table(weights, on_top)


def weights_html(weights: Weights) -> str:
    """Return weights as a tree for a notebook."""
    from steelyard.measures.headline import on_top
    from steelyard.text.notebook import weights_html as html

    return html(weights, on_top)


def weight_html(weight: Weight) -> str:
    """Return one weight with its heat map for a notebook."""
    from steelyard.text.notebook import weight_html as html

    return html(weight)
