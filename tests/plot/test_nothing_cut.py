"""No title, label or caption is cut by the edge of a new figure, whatever the names and the number of blocks."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text

import steelyard
from steelyard import plot

STEMS = ("h", "model.layers", "model.transformer.decoder.a_rather_long_name_of_a_module.layers")
NETS = ((6, 3), (20, 2), (3, 12))
"""Blocks and parts."""


def net(stem, blocks, parts, shift=0.0):
    chance = np.random.default_rng(0)
    held = {f"{stem}.{block}.p{part}.weight": chance.normal(size=(8, 16)) for block in range(blocks) for part in range(parts)}
    held["embedding.weight"], held["conv.weight"] = chance.normal(size=(20, 6)), chance.normal(size=(4, 3, 3, 3))
    return steelyard.weights({name: value + shift for name, value in held.items()})


def cut(ax):
    """Return the texts that are not whole within the figure; numbers of axes, which may lie off their scale, are left out."""
    figure = ax.figure
    figure.canvas.draw()
    edges = figure.bbox
    texts = [text for text in figure.findobj(Text) if text.get_visible() and sum(map(str.isalpha, text.get_text())) > 3]
    texts = [text for text in texts if "math" not in text.get_text()]
    assert texts
    boxes = {text.get_text(): text.get_window_extent() for text in texts}
    plt.close(figure)
    return [text for text, box in boxes.items() if box.x0 < -1 or box.y0 < -1 or box.x1 > edges.x1 + 1 or box.y1 > edges.y1 + 1]


@pytest.mark.parametrize(("blocks", "parts"), NETS)
@pytest.mark.parametrize("stem", STEMS)
def test_a_grid_of_changes_is_whole(stem, blocks, parts):
    assert cut(plot.grid(net(stem, blocks, parts, 0.1), before=net(stem, blocks, parts))) == []


@pytest.mark.parametrize("blocks", [2, 12])
def test_a_grid_of_one_net_is_whole(blocks):
    assert cut(plot.grid(net(STEMS[1], blocks, 3))) == []


@pytest.mark.parametrize("kind", ["heatmap", "spectrum", "filters", "embedding"])
@pytest.mark.parametrize("stem", STEMS)
def test_a_picture_of_one_weight_is_whole(stem, kind):
    shape = (4, 3, 3, 3) if kind == "filters" else (20, 6)
    weights = steelyard.weights({f"{stem}.0.word_embedding.weight": np.random.default_rng(0).normal(size=shape)})
    assert cut(getattr(plot, kind)(next(iter(weights.values())))) == []
