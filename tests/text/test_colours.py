"""The colours of signs are the same in every view."""

import re
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from steelyard.inspector import assets
from steelyard.plot.canvas import inks, signed_colours
from steelyard.text.colours import DARK, LIGHT, NEGATIVE, POSITIVE, rgb
from steelyard.text.heatmap_text import LEVELS, colour_of
from steelyard.text.tints import colour

ROOT = Path(__file__).parents[2]


def test_the_page_has_the_same_scales():
    text = (Path(assets.__file__).parent / "page/draw/theme.js").read_text()
    scales = {word: tuple(re.findall(r"#[0-9a-f]{6}", line)) for word, line in re.findall(r"(light|dark): \[(.*)\]", text)}
    assert scales == {"light": LIGHT, "dark": DARK}


def test_the_notebook_has_the_colours_of_signs():
    assert colour(-1.0, 1.0) == f"{NEGATIVE}ff"
    assert colour(1.0, 1.0) == f"{POSITIVE}ff"


def test_the_terminal_has_the_ends_of_the_scales():
    for stops, dark in ((LIGHT, False), (DARK, True)):
        assert [colour_of(level, dark=dark) for level in (-LEVELS, 0, LEVELS)] == [rgb(stops[at]) for at in (0, 3, 6)]


def test_matplotlib_has_the_same_scales_around_the_background():
    for style, stops in (("default", LIGHT), ("dark_background", DARK)):
        with plt.style.context(style):
            ink = inks(plt.figure().subplots())
            plt.close("all")
        drawn = signed_colours(ink)(np.linspace(0, 1, 7))[:, :3] * 255
        expected = np.array([rgb(stop) for stop in stops], float)
        expected[3] = np.array(ink.ground) * 255
        np.testing.assert_allclose(drawn, expected, atol=1.5)
        assert [tuple(round(255 * part) for part in each) for each in (ink.negative, ink.positive)] == [
            rgb(stops[1]),
            rgb(stops[5]),
        ]


def test_the_package_of_r_has_the_light_colours():
    text = "".join((ROOT / "r/R" / name).read_text() for name in ("plot.R", "heat.R")).lower()
    assert {LIGHT[at] for at in (0, 1, 2, 4, 5, 6)} <= set(re.findall("#[0-9a-f]{6}", text))
