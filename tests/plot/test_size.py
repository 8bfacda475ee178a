"""The treemap of a net: areas are shares of parameters, read back from the rectangles that are drawn."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

import steelyard
from steelyard import plot
from steelyard.errors import ShapeError
from steelyard.plot._size import Box, squarified


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def rectangles(ax):
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def test_areas_of_layers_are_their_shares():
    net = {"a.weight": np.zeros((6, 10)), "b.weight": np.zeros((3, 10)), "c.weight": np.zeros((1, 10))}
    ax = plot.size(net)
    areas = [patch.get_width() * patch.get_height() for patch in rectangles(ax)]
    assert np.allclose(np.array(areas) / sum(areas), [0.6, 0.3, 0.1])
    whole = (ax.get_xlim()[1] - ax.get_xlim()[0]) * (ax.get_ylim()[0] - ax.get_ylim()[1])
    assert sum(areas) == pytest.approx(whole)
    assert [text.get_text() for text in ax.texts][:2] == ["a\n60.0 %", "b\n30.0 %"]


@pytest.mark.parametrize("areas", [[5.0], [6.0, 6, 4, 3, 2, 2, 1], [1e9, 1, 1], [1.0] * 50])
def test_rectangles_fill_the_box_without_overlaps(areas):
    box = Box(1.0, 2.0, 6.0, 4.0)
    found = squarified(areas, box)
    shares = np.array([each.width * each.height for each in found]) / 24
    assert np.allclose(shares, np.array(areas) / sum(areas), rtol=1e-6)
    for nth, one in enumerate(found):
        assert min(one.left - 1, 7 - one.left - one.width, one.top - 2, 6 - one.top - one.height) >= -1e-9
        for other in found[:nth]:
            across = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
            down = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
            assert min(across, down) < 1e-9


def test_repeated_blocks_are_one_rectangle_with_what_they_consist_of():
    net = {f"h.{n}.{part}.weight": np.zeros((size, 8)) for n in range(12) for part, size in (("attn", 8), ("mlp", 24))}
    ax = plot.size(net)
    words = [text.get_text() for text in ax.texts]
    assert words[0].split() == ["h.[0-11]", "12", "×", "100.0", "%"]
    assert {"mlp 12 ×\n75.0 %", "attn 12 ×\n25.0 %"} <= set(words)
    assert "3,072 parameters\nas stored 24.6 kB; all as float16 6.14 kB" in words[-1]


def test_a_size_that_is_measured_already_is_drawn_into_the_given_axes():
    size = steelyard.size({"a.weight": np.zeros((6, 10))})
    ax = plt.figure().add_subplot()
    assert plot.size(size, ax=ax) is ax
    assert len(rectangles(ax)) == 1


def test_nothing_and_buffers_alone_are_refused():
    for net in ({}, {"bn.running_mean": np.zeros(3)}):
        with pytest.raises(ShapeError, match="nothing to draw: the source has no parameters"):
            plot.size(net)
