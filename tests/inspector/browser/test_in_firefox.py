"""A report in Firefox: its views have the numbers and the colours that they have in Chromium, and keys work."""

import numpy as np
import pytest
from inspector.browser.firefox import has_only_a_snap, program, started
from inspector.browser.looking import GRID
from inspector.browser.test_screens import FAR, SCREENS, squares, transformer
from PIL import Image

import steelyard

CLICK = "[...document.querySelectorAll(arguments[0])].find((one) => one.textContent === arguments[1]).click()"
PIXELS = """
const drawn = document.querySelector(arguments[0]);
const copy = new OffscreenCanvas(drawn.width, drawn.height).getContext("2d");
copy.drawImage(drawn, 0, 0);
return arguments[1].map(([x, y]) => [...copy.getImageData(Math.floor(x * drawn.width), Math.floor(y * drawn.height), 1, 1).data].slice(0, 3));
"""
TEXTS = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    if program() is None:
        (pytest.skip if has_only_a_snap() else pytest.fail)(
            "Firefox is missing: install firefox-esr, or set FIREFOX to where it is"
        )
    with started(tmp_path_factory.mktemp("firefox")) as window:
        yield window


@pytest.fixture
def opened(window, tmp_path):
    """Open a report of a pair of transformers, with other weights that both have."""

    def opened(**others):
        after, before = ({**transformer(before=old), **others} for old in (False, True))
        steelyard.report(after, tmp_path / "report.html", before=before, spectra="none")
        window.resize(1440, 900)
        window.open((tmp_path / "report.html").as_uri())
        return window

    return opened


def test_the_views_of_a_net_have_their_numbers(opened):
    page, net = opened(few=GRID), {**transformer(), "few": GRID}
    page.run(CLICK, ".switcher button", "Blocks")
    found = steelyard.grid(transformer(), before=transformer(before=True))
    place = found.columns.index("mlp.weight")
    cell = page.wait("return document.getElementById(arguments[0])?.textContent", f"block-4-{place}")
    assert float(cell) == pytest.approx(found.cells[4][place].value, rel=0.006)
    page.run(CLICK, ".switcher button", "Size")
    page.wait("return document.querySelectorAll('.tile').length > 3")
    shown = [row.label + (f"  \u00d7{row.times}" if row.times > 1 and not row.leaf else "") for row in steelyard.size(net).rows]
    assert page.run(TEXTS, ".bar-name") == shown
    page.run(CLICK, ".switcher button", "Architecture")
    page.wait("return document.querySelectorAll('.layer-line').length > 3")
    assert (
        page.run(
            "return performance.getEntriesByType('resource').map(({ name }) => name).filter((name) => !name.startsWith('data:'))"
        )
        == []
    )


def test_keys_open_a_weight_whose_heat_map_has_blue_and_orange(opened):
    page = opened(few=GRID)
    page.press("g", *"few", "\ue007")
    page.wait("return document.querySelector('.detail h2')?.textContent === 'few'")
    page.wait("return document.querySelectorAll('.heatmap canvas').length > 1")
    places = [((column + 0.5) / 3, (row + 0.5) / 2) for row in range(2) for column in range(3)]
    titles = page.run(TEXTS, ".heatmap figcaption")
    nth = next(nth for nth, title in enumerate(titles) if "minus" not in title)
    page.run("document.querySelectorAll('.heatmap .drawing canvas')[arguments[0]].id = 'looked-at'", nth)
    colours = np.array(page.run(PIXELS, "#looked-at", places), float)
    warmth = (colours[:, 0] - colours[:, 2]).reshape(GRID.shape)
    assert (np.sign(warmth) == np.sign(GRID))[GRID != 0].all()
    assert (np.diff(colours.sum(axis=1)[3:]) < 0).all()  # the greater a number, the darker


def test_it_looks_as_in_chromium(opened):
    page = opened()
    page.run(CLICK, ".switcher button", "Blocks")
    page.wait("return document.getElementById('block-0-0')")
    page.wait(
        "return new Promise((drawn) => setTimeout(() => drawn(true), 600))"
    )  # tiny pictures are drawn after the page is ready
    wanted = np.asarray(Image.open(SCREENS / "blocks-1440-light.png").convert("RGB")).astype(float)
    found = squares(page.screenshot())
    assert found.shape == wanted.shape
    assert float((np.abs(found - wanted).max(axis=2) > FAR).mean()) <= 0.05
