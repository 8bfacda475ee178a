"""A grid in a notebook: the cells of the terminal's text, in HTML that JupyterLab keeps."""

import re

import numpy as np
import pytest
from htmlread import Page

import steelyard
from steelyard.text.grid_cells import cell_text
from steelyard.text.grid_html import COLUMNS
from steelyard.text.markup import LARGEST

HOSTILE = "h.1.<img src=x onerror=alert(1)>\u202e</td>.weight"


def blocks(count=3, parts=("attn.q.weight", "attn.q.bias", "mlp.weight"), **more):
    rng = np.random.default_rng(0)
    net = {f"h.{nth}.{part}": rng.standard_normal((4, 4)) / 50 for nth in range(count) for part in parts}
    return {"wte.weight": rng.standard_normal((9, 4)), **net, **more}


def test_the_cells_are_those_of_the_terminal_below_their_words():
    found = steelyard.grid(blocks())
    page = Page(found._repr_html_())
    assert page.rows[:3] == [["", "attn", "mlp"], ["", "q", ""], ["", "weight", "bias", "weight"]]
    assert page.rows[3:6] == [
        [label, *(cell_text(cell, "std") for cell in row)] for label, row in zip("012", found.cells, strict=True)
    ]
    assert page.rows[6] == ["wte.weight", cell_text(found.outside[0], "std")]
    assert page.captions == ["outside of the blocks"]
    assert page.text.startswith("standard deviation: 3 blocks (h.*) × 3 parts")


def test_the_opacity_of_a_cell_is_its_place_on_the_scale():
    net = {f"h.{nth}.{part}.weight": np.full(4, float(nth)) for nth in (0, 1, 10) for part in "ab"}
    grounds = re.findall(r"<td title=\"(h[^:]*): ([0-9.]+)\" style=\"[^\"]*?(?:background-color:#c2571a([0-9a-f]{2});)?\"", steelyard.grid(net, value="mean")._repr_html_())  # fmt: skip
    assert {number: ground for _, number, ground in grounds} == {"0": "", "1": "0a", "10": "66"}


def test_columns_that_do_not_fit_have_tables_of_their_own_with_the_rows_that_have_them():
    parts = [f"part_{chr(97 + nth)}.w" for nth in range(26)]
    last = {f"h.3.{part}": np.ones(2) for part in parts[:5]}
    found = steelyard.grid(blocks(3, parts, **last))
    page = Page(found._repr_html_())
    assert page.tags.count("table") > 2
    assert [row[0] for row in page.rows].count("2") == page.tags.count("table") - 1
    assert [row[0] for row in page.rows].count("3") == 1
    assert sum(len(row) - 1 for row in page.rows if row[0] == "2") == 26


def test_hostile_names_stay_text_and_nan_is_an_alarm():
    found = steelyard.grid(blocks(**{HOSTILE: np.array([np.nan, 1.0])}))
    page = Page(found._repr_html_())
    assert "img" not in page.tags
    assert "background-color:#d62728" in page.source
    assert "NaN or Inf in h.1." in page.text


@pytest.mark.parametrize(("count", "parts"), [(900, 4), (3, 300), (60, 130)])
def test_a_large_grid_stays_small_and_says_what_is_left_out(count, parts):
    found = steelyard.grid(blocks(count, [f"part_{chr(97 + nth % 26)}{chr(97 + nth // 26)}.w" for nth in range(parts)]))
    page = Page(found._repr_html_())
    assert len(page.source.encode()) <= LARGEST
    assert ("more rows" in page.text) == (count > 3)
    assert (f"... and {parts - COLUMNS:,} more columns" in page.text) == (parts > COLUMNS)


def test_a_grid_without_weights_or_colours_says_so():
    assert Page(steelyard.grid({})._repr_html_()).text == "no weights"
    net = blocks()
    assert (
        "no cell has a colour, since every value is zero or not known" in Page(steelyard.grid(net, before=net)._repr_html_()).text
    )
