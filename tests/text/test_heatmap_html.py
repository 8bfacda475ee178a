"""Heat maps in HTML: known numbers have known colours, on a scale that is symmetric about zero."""

import re

import numpy as np
import pytest
from htmlread import Page

from steelyard.core.readers import from_array
from steelyard.numerics.picture import picture
from steelyard.text.heatmap_html import HEIGHT, WIDTH, heat_map, room_for
from steelyard.text.tints import colour


def drawn(values):
    return heat_map(picture(from_array("w", np.array(values)), HEIGHT, WIDTH), "w")


def cells(text):
    """The index, number and colour of each cell."""
    return re.findall(r'<td title="([^"]*): ([^"]*)" style="padding:0;background-color:([^;]*);">', text)


def test_blue_is_negative_orange_is_positive_and_zero_is_transparent():
    found = cells(drawn([[1.0, -2.0], [0.0, 2.0]]))
    assert found == [
        ("0, 0", "1", "#c2571a80"),
        ("0, 1", "-2", "#2b6cb0ff"),
        ("1, 0", "0", "#c2571a00"),
        ("1, 1", "2", "#c2571aff"),
    ]


def test_the_scale_is_symmetric():
    assert [colour(-x, 1.0)[7:] for x in (0.1, 0.5, 1.0)] == [colour(x, 1.0)[7:] for x in (0.1, 0.5, 1.0)]


def test_an_outlier_does_not_make_the_others_pale_and_the_legend_marks_it():
    values = np.ones((20, 20))
    values[3, 4] = -1000.0
    text = drawn(values)
    assert {shade for _, number, shade in cells(text) if number == "1"} == {"#c2571aff"}
    assert ("3, 4", "-1000", "#2b6cb0ff") in cells(text)
    assert "≤ -1" in Page(text).cells
    assert "≥ 1" in Page(text).cells


def test_without_outliers_the_legend_ends_at_the_largest_number():
    assert [cell for cell in Page(drawn([[1.0, -2.0]])).cells if cell] == ["-2", "2"]


def test_without_a_finite_number_there_is_no_legend():
    page = Page(drawn([[np.nan, np.nan]]))
    assert [cell for cell in page.cells if cell not in ("", "\u00d7")] == []
    assert "NaN or Inf" in drawn([[np.nan, np.nan]])


def test_one_number_among_very_many_zeros_is_visible():
    values = np.zeros((20, 20))
    values[0, 0] = 0.25
    text = drawn(values)
    assert cells(text)[0] == ("0, 0", "0.25", "#c2571aff")
    assert "0.25" in Page(text).cells


def test_a_number_that_is_not_finite_is_a_cross_without_a_colour():
    text = drawn([[1.0, np.nan]])
    assert '<td title="0, 1: not finite"' in text
    assert len(cells(text)) == 1
    assert "× holds NaN or Inf" in text


def test_a_weight_of_only_nan_has_only_crosses():
    text = drawn([[np.nan, np.inf]])
    assert not cells(text)
    assert Page(text).rows[0] == ["×", "×"]


@pytest.mark.parametrize("shape", [(1,), (500,), (100, 3), (3, 100), (256, 256, 3, 3)])
def test_there_are_no_more_cells_than_a_notebook_should_keep(shape):
    values = np.random.default_rng(0).normal(size=shape)
    found = cells(text := drawn(values))
    assert len(found) <= HEIGHT * WIDTH
    assert max(abs(float(number)) for _, number, _ in found) == pytest.approx(np.abs(values).max(), rel=1e-3)
    assert len(text.encode()) < 130_000


def test_the_caption_describes_a_cell():
    assert Page(drawn(np.ones((48, 96)))).captions == [
        "w, drawn as 48 × 96: each cell is the largest of 2 × 2 numbers, by magnitude"
    ]


def test_a_weight_without_numbers_has_no_heat_map():
    assert drawn(np.zeros((0, 3))) == ""


@pytest.mark.parametrize(("shape", "cells_of"), [((10, 64), 640), ((64, 10), 640), ((12, 96), 1152), ((13, 96), 13 * 48)])
def test_each_number_of_a_small_matrix_is_a_cell_however_long_its_sides(shape, cells_of):
    weight = from_array("w", np.arange(float(np.prod(shape))).reshape(shape))
    assert len(cells(heat_map(picture(weight, *room_for(weight)), "w"))) == cells_of
