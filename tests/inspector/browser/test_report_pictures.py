"""The pictures of a weight in a report, in a real browser."""

from functools import partial

import numpy as np
import pytest
from inspector.browser.looking import GRID, MAP, eventually, go_to, hover_cell, net, open_weight, pixels, tab
from playwright.sync_api import expect

import steelyard
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.numerics.summary import summarise
from steelyard.text.sparkline import axis_of


def test_the_cells_of_a_heat_map_have_the_colours_of_their_numbers(open_report):
    page = open_report({"w": GRID})
    open_weight(page, "w")
    centres = [((x + 0.5) / 3, (y + 0.5) / 2) for y in range(2) for x in range(3)]
    colours = dict(zip(GRID.ravel().tolist(), pixels(page, MAP, centres), strict=True))
    for number, (red, _, blue) in colours.items():
        assert (number < 0) == (blue > red + 20)
        assert (number > 0) == (red > blue + 20)
    light = {number: sum(colour) for number, colour in colours.items()}
    assert light[0.0] > light[0.25] > light[0.75] > light[1.0]
    assert light[0.0] > light[-0.5] > light[-1.0]
    assert min(colours[0.0]) > 230


def test_nan_and_inf_have_a_colour_that_the_legend_explains(open_report):
    page = open_report({"w": np.array([[1.0, np.nan], [-1.0, 0.5]])})
    open_weight(page, "w")
    red, green, blue = pixels(page, MAP, [(0.75, 0.25)])[0]
    assert green > red + 40
    assert green > blue
    expect(page.locator(".legend")).to_contain_text("not finite")
    expect(page.locator(".legend canvas")).to_be_visible()


def test_without_a_finite_number_the_legend_has_no_scale(open_report):
    page = open_report({"w": np.full((2, 2), np.nan)})
    open_weight(page, "w")
    expect(page.locator(".legend .lost")).to_be_visible()
    expect(page.locator(".legend canvas")).to_be_hidden()
    expect(page.locator(".legend > span").first).to_be_hidden()


def test_the_mouse_and_the_keys_show_the_place_and_the_number_of_a_cell(open_report):
    page = open_report({"w": GRID})
    open_weight(page, "w")
    told = page.locator(".heatmap .readout")
    hover_cell(page, MAP, (1, 0), GRID.shape)
    index, number = told.inner_text().replace("about", "").split("]")
    assert index == "[1, 0"
    assert float(number) == pytest.approx(0.25, abs=1 / 254)
    page.locator(MAP).focus()
    page.keyboard.press("ArrowRight")
    index, number = told.inner_text().replace("about", "").split("]")
    assert index == "[1, 1"
    assert float(number) == pytest.approx(0.75, abs=1 / 254)


def test_a_cell_of_many_numbers_shows_the_largest_and_their_count(open_report):
    array = np.zeros((900, 900), "f4")
    array[450, 450] = -3.0
    page = open_report({"w": array}, spectra="none")
    open_weight(page, "w")
    expect(page.locator(".heatmap .caption")).to_contain_text("each cell is the largest of")
    go_to(page, "w[450, 450]")
    expect(page.locator(".heatmap .readout")).to_contain_text("about -3, the largest of")
    assert "450" not in page.locator(".heatmap .readout").inner_text().split("about")[1]


def distributions():
    made = np.random.default_rng(0)
    return {
        "uniform.weight": made.uniform(-0.4, 0.4, (200, 100)),
        "normal.weight": made.normal(0, 0.1, (200, 100)),
        "heavy.weight": made.standard_t(1.5, (200, 100)) * 0.05,
        "far.weight": made.uniform(30, 40, (2, 2)),
        "second.weight": made.uniform(-0.4, 0.4, (200, 100)),
        "third.weight": made.normal(0, 0.1, (200, 100)),
    }


INKED = """(canvas, rows) => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const image = copy.getImageData(0, 0, canvas.width, canvas.height);
    const [density, dark] = [canvas.width / canvas.clientWidth, (at) => image.data[at + 3] > 100 && image.data[at] < 120];
    const found = [];
    for (let y = 0; y < canvas.height; y += 1) {
        const counts = new Array(rows).fill(0);
        for (let x = Math.ceil(60 * density); x < canvas.width - 10 * density; x += 1)
            counts[Math.floor(((x / density - 60) / (canvas.clientWidth - 70)) * rows)] += dark((y * canvas.width + x) * 4);
        found.push(counts);
    }
    return { density, found };
}"""
"""The number of dark dots in each row of dots of the overview, for each weight."""


@pytest.mark.parametrize("page_of", ["report", "served"])
def test_areas_of_the_overview_are_counts_and_nothing_beyond_the_axis_is_on_it(open_report, open_served, tmp_path, page_of):
    arrays = distributions()
    steelyard.save(arrays, tmp_path / "net.npz")
    page = (open_report if page_of == "report" else open_served)(tmp_path / "net.npz")
    canvas = page.locator(".strip canvas")
    end = axis_of([summarise([from_array("w", each)]) for each in arrays.values()])
    shown = page.locator(".head .spark-cell span").nth(2)
    eventually(page, lambda: shown.inner_text() == f"{end:g}" and all(map(partial(is_drawn, canvas), (0, 1, 2, 4, 5))))
    for nth, array in enumerate(arrays.values()):
        dots = column_of_dots(canvas, nth)
        if nth == 3:
            assert not dots.any(), "all its numbers are beyond the axis"
            continue
        edges = np.linspace(-end, end, 33)
        counts = np.histogram(array, edges)[0]
        centres = (edges[:-1] + edges[1:]) / 2
        on_axis = np.abs(centres) < end
        rows = np.floor((1 - centres[on_axis] / end) / 2 * len(dots)).astype(int)
        np.testing.assert_allclose(dots[rows] / dots.max(), counts[on_axis] / counts.max(), atol=0.12)


def is_drawn(canvas, nth):
    return column_of_dots(canvas, nth).any()


def column_of_dots(canvas, nth):
    """Return the width of one weight's outline at each row of dots of the plot, from the top."""
    read = canvas.evaluate(INKED, 6)
    top, bottom = round(8 * read["density"]), round(112 * read["density"])
    return np.array(read["found"])[top:bottom, nth]


def test_arrows_of_the_overview_and_the_rows_mark_numbers_beyond_the_axis(open_report):
    page = open_report(Weights.from_arrays(distributions()))
    page.keyboard.press("Escape")
    wide = page.locator(".strip canvas").evaluate("(canvas) => canvas.clientWidth")
    high = page.locator(".strip canvas").evaluate("(canvas) => canvas.clientHeight")
    middles = [(60 + (nth + 0.5) / 6 * (wide - 70)) / wide for nth in range(6)]
    for y, marked in ((5 / high, {2, 3}), (115 / high, {2})):
        ground, *dots = pixels(page, ".strip canvas", [(0.5 / wide, y), *((x, y) for x in middles)])
        assert {nth for nth, dot in enumerate(dots) if dot != ground} == marked


def test_filters_of_a_convolution_are_drawn_in_colour(open_report):
    kernel = np.zeros((4, 3, 5, 5), "f4")
    kernel[2, 0] = 1.0
    weight = from_array("conv.weight", kernel, role=Role.KERNEL, axes="out in kh kw")
    page = open_report(Weights([weight]))
    open_weight(page, "conv.weight")
    tab(page, "Filters")
    wide = page.locator(".filters canvas").evaluate("(canvas) => canvas.clientWidth")
    centres = [(((nth + 0.5) * 40 + nth * 4) / wide, 0.4) for nth in (1, 2)]
    assert pixels(page, ".filters canvas", centres) == [[128, 128, 128], [255, 128, 128]]


def test_a_spectrum_shows_its_largest_value_and_the_edge_of_random_weights(open_report):
    array = net()["body.0.fc.weight"]
    page = open_report({"w": array})
    open_weight(page, "w")
    tab(page, "Spectrum")
    values = np.linalg.svd(array.astype("f8"), compute_uv=False)
    edge = np.sqrt((array.astype("f8") ** 2).sum()) * (1 / np.sqrt(24) + 1 / np.sqrt(40))
    told = page.locator(".spectrum .caption").inner_text()
    assert f"{(values > edge).sum()} of 24 beyond the Marchenko–Pastur edge {edge:.4g}" in told
    assert f"spectral norm {values[0]:.4g}" in told


def test_two_nets_have_two_heat_maps_and_one_of_the_difference(open_report):
    old = {"w": np.zeros((2, 3), "f4")}
    page = open_report({"w": GRID}, old)
    open_weight(page, "w")
    expect(page.locator(".heatmap")).to_have_count(3)
    difference = page.locator(".heatmap").first
    expect(difference.locator("figcaption")).to_contain_text(" minus ")
    expect(difference.locator(".legend")).to_contain_text("-1")
    centres = [((x + 0.5) / 3, (y + 0.5) / 2) for y in range(2) for x in range(3)]
    assert pixels(page, ".heatmap:nth-of-type(2) .drawing canvas", centres) == pixels(page, MAP, centres)
    tab(page, "Statistics")
    cells = page.locator("table.statistics tbody tr").filter(has_text="max").locator("td").all_inner_texts()
    assert cells == ["1", "0"]


def test_dark_pages_are_dark_and_so_is_the_middle_of_their_heat_maps(open_report):
    page = open_report({"w": GRID}, color_scheme="dark")
    open_weight(page, "w")
    zero, one = pixels(page, MAP, [(5 / 6, 0.25), (5 / 6, 0.75)])
    assert max(zero) < 60
    assert sum(one) > sum(zero) + 150
    page.emulate_media(color_scheme="light")
    eventually(page, lambda: min(pixels(page, MAP, [(5 / 6, 0.25)])[0]) > 230)
