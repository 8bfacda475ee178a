"""A weight as a heat map in half blocks: the colours of the cells are those of the numbers, in any terminal."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.core.readers import from_array
from steelyard.text.heatmap_text import FEWER, FEWER_DARK, LEVELS, LINES, can_be_drawn, colour_of, heatmap_lines
from steelyard.text.terminal import Screen, cells

CODE = re.compile(r"\x1b\[([0-9;]*)m|(.)", re.DOTALL)
STEPS = (0, 95, 135, 175, 215, 255)
# simulation of colour vision without red or green cones (Machado, Oliveira and Fernandes 2009, at full severity)
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def rgb(codes):
    """Return the colour that the rest of an ANSI code names."""
    if codes.pop(0) == 2:
        return tuple(codes.pop(0) for _ in range(3))
    number = codes.pop(0)
    if number >= 232:
        return (8 + 10 * (number - 232),) * 3
    return tuple(STEPS[(number - 16) // power % 6] for power in (36, 6, 1))


def pixels(lines):
    """Return the colours of the cells of lines of half blocks, row by row; None below an odd last row."""
    rows = []
    for line in lines:
        upper, lower, colour = [], [], {38: None, 48: None}
        for code, letter in CODE.findall(line):
            if letter:
                assert letter == "▀"
                upper.append(colour[38])
                lower.append(colour[48])
                continue
            codes = [int(each) for each in code.split(";")]
            while codes:
                layer = codes.pop(0)
                if layer in (38, 48):
                    colour[layer] = rgb(codes)
                else:
                    colour.update({38: None, 48: None} if layer == 0 else {layer - 1: None})
        assert colour == {38: None, 48: None}, "a line leaves its colours behind"
        rows += [upper, lower]
    return rows[:-1] if all(cell is None for cell in rows[-1]) else rows


def drawn(array, columns=80, *, true_colour=True, colour=True, dark=False, **facts):
    """Return the lines of the picture, and those below it."""
    screen = Screen(columns, colour=colour, true_colour=true_colour, dark=dark)
    lines = list(heatmap_lines(from_array("w", array, **facts), screen))
    first = next(nth for nth, line in enumerate(lines) if "row" in line and "\x1b" not in line)
    return lines[:first], lines[first:]


def told(lines):
    """Return text without its colours."""
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]


def kind(colour):
    """Return the meaning of a colour."""
    red, _, blue = colour
    if colour in ((0, 0, 0), (135, 0, 255)):
        return "hole"
    return "zero" if abs(red - blue) < 9 else "positive" if red > blue else "negative"


def lightness(colour):
    linear = [(c / 255 / 12.92) if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def seen(colour, eyes):
    linear = np.array([(c / 255 / 12.92) if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour])
    return (np.clip(np.array(BLIND[eyes]) @ linear, 0, 1) if eyes else linear) ** (1 / 2.2)


def meaning(number):
    return "hole" if not np.isfinite(number) else "zero" if number == 0 else "positive" if number > 0 else "negative"


matrices = st.tuples(st.integers(1, 70), st.integers(1, 130), st.integers(0, 2**32), st.booleans(), st.booleans())


def matrix_like(rows, columns, seed):
    chance = np.random.default_rng(seed)
    matrix = chance.standard_normal((rows, columns))
    matrix[chance.random(matrix.shape) < 0.1] = 0
    matrix[chance.random(matrix.shape) < 0.02] = chance.choice([np.nan, np.inf, -np.inf])
    return matrix


@settings(max_examples=60, deadline=None)
@given(matrices, st.integers(20, 130))
def test_each_half_block_has_the_colour_of_the_largest_number_of_its_cell(matrix, columns):
    rows, across, seed, true_colour, dark = matrix
    array = matrix_like(rows, across, seed)
    picture, _ = drawn(array, columns, true_colour=true_colour, dark=dark)
    found = pixels(picture)
    assert len(picture) <= LINES
    assert all(len(row) <= columns for row in found)
    down, wide = -(-rows // (2 * LINES)), -(-across // columns)
    blocks = [[array[top : top + down, left : left + wide] for left in range(0, across, wide)] for top in range(0, rows, down)]
    times = len(found[0]) // len(blocks[0])  # small matrices are drawn larger
    assert (len(found), len(found[0])) == (len(blocks) * times, len(blocks[0]) * times)
    assert times == 1 or rows * times <= 2 * LINES
    for nth, row in enumerate(found):
        for at, colour in enumerate(row):
            numbers = blocks[nth // times][at // times].reshape(-1)
            if not np.isfinite(numbers).all():
                assert kind(colour) == "hole"
            elif numbers.max() != -numbers.min():
                assert kind(colour) == meaning(numbers[np.abs(numbers).argmax()])


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("true_colour", [True, False])
def test_a_larger_magnitude_is_never_closer_to_the_background(true_colour, dark):
    numbers = np.linspace(-1, 1, 41)
    found = pixels(drawn(np.stack([numbers, numbers]), true_colour=true_colour, dark=dark)[0])[0]
    assert len(found) == 41
    light = [-lightness(colour) if dark else lightness(colour) for colour in found]
    assert light[:21] == sorted(light[:21])
    assert light[20:] == sorted(light[20:], reverse=True)
    assert len(set(found)) >= (2 * LEVELS if true_colour else len(FEWER_DARK if dark else FEWER))
    assert (light[20] < -0.9) != dark or light[20] > 0.8, "zero is dark in a dark terminal, and light in a light one"


def test_zero_alone_has_the_colour_of_zero_and_the_smallest_numbers_keep_their_sign():
    found = pixels(drawn(np.array([[0.0, -0.0, 1e-12], [1.0, -1.0, -1e-12]]))[0])
    assert [kind(colour) for colour in (found[0][0], found[0][4], found[0][8], found[4][8])] == [
        *("zero", "zero", "positive", "negative")
    ]


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("eyes", ["", *BLIND])
def test_every_reader_distinguishes_both_signs_and_numbers_that_are_not_finite(eyes, dark):
    strong = range(LEVELS // 3, LEVELS + 1)
    below, above = ([seen(colour_of(sign * level, dark=dark), eyes) for level in strong] for sign in (-1, 1))
    hole = seen(colour_of(-LEVELS - 1, dark=dark), eyes)
    assert min(float(np.abs(one - other).max()) for one in below for other in above) > 0.15
    every = [seen(colour_of(level, dark=dark), eyes) for level in range(-LEVELS, LEVELS + 1)]
    assert min(float(np.abs(one - hole).max()) for one in every) > 0.2


@pytest.mark.parametrize("dark", [True, False])
def test_the_ends_of_the_scale_contrast_with_its_zero(dark):
    zero = lightness(colour_of(0, dark=dark))
    for level in (-LEVELS, LEVELS):
        end = lightness(colour_of(level, dark=dark))
        assert (max(end, zero) + 0.05) / (min(end, zero) + 0.05) > 7


def test_a_few_outliers_do_not_make_the_others_white_and_are_mentioned():
    array = np.random.default_rng(0).standard_normal((40, 60)) * 0.1
    array[7, 9] = -50.0
    picture, below = drawn(array)
    found = pixels(picture)
    assert np.median([lightness(colour) for row in found for colour in row]) <= lightness(colour_of(3))
    assert told(below)[1].startswith("-0.3 ")
    assert told(below)[1].endswith(" 0.3, beyond it up to 50")


def test_the_scale_shows_its_ends_and_every_colour_once():
    _, below = drawn(np.array([[-0.5, 0.25], [0.1, 0.5]]))
    assert re.sub(r"\s+", " ", told(below)[1]) == "-0.5 0.5"
    assert below[1].count("48;2;") == 2 * LEVELS + 1
    assert len(below) == 2


def test_the_mark_of_numbers_that_are_not_finite_is_explained_if_there_are_any():
    assert "holds NaN or Inf" in told(drawn(np.array([[1.0, np.nan], [0.0, 1.0]]))[1])[-1]
    assert "NaN" not in "".join(told(drawn(np.array([[1.0, 2.0], [0.0, 1.0]]))[1]))
    nothing, below = drawn(np.full((2, 2), np.nan))
    assert {kind(colour) for row in pixels(nothing) for colour in row} == {"hole"}
    assert told(below)[1].startswith("-1 ")


def test_the_caption_describes_rows_columns_and_cells():
    kernel = np.ones((64, 32, 3, 3), "float32")
    assert drawn(kernel, 300, axes="out in kh kw")[1][0] == (
        "64 rows (out), 288 columns (in kh kw): each cell is the largest of 2 × 1 numbers, by magnitude"
    )
    assert drawn(np.ones((3, 4)))[1][0] == "3 rows, 4 columns: each cell is one number"
    complex_ones = drawn(np.ones((3, 4), "complex64"))[1][0]
    assert complex_ones == "3 rows, 4 columns: each cell is the magnitude of one complex number"


def test_hostile_axes_reach_no_terminal():
    _, below = drawn(np.ones((3, 4)), axes="a\x1b[2J b")
    assert not set("\x1b") & set(below[0])


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-30, 1.0, 1e30, 1.7e308])
def test_numbers_of_any_size_are_drawn_in_full_strength(scale):
    found = pixels(drawn(np.array([[scale, -scale], [0.0, scale]]))[0])
    assert [found[0][0], found[0][4], found[4][0]] == [colour_of(LEVELS), colour_of(-LEVELS), colour_of(0)]


def test_without_colours_a_cell_is_a_sign_and_a_shade_and_there_is_no_escape_code():
    array = np.array([[1.0, -1.0, 0.0, np.nan], [0.1, -0.6, 0.3, -0.2]])
    picture, below = drawn(array, colour=False)
    assert picture == ["+█-█  !!", "+░-▓+▒-░"]
    assert told(below) == below
    assert below[-1] == "!! holds NaN or Inf"
    assert not any("\x1b" in line for line in heatmap_lines(from_array("w", array), Screen()))


@pytest.mark.parametrize("columns", [20, 60, 80, 120])
@pytest.mark.parametrize("colour", [True, False])
def test_no_line_is_wider_than_the_screen(columns, colour):
    array = np.random.default_rng(0).standard_normal((500, 700))
    picture, below = drawn(array, columns, colour=colour)
    assert len(picture) <= LINES
    assert max(map(cells, told("\n".join(picture + below).splitlines()))) <= max(columns, 45)


def test_only_a_matrix_is_drawn_by_default():
    shapes = {(): False, (5,): False, (1, 5): False, (0, 3): False, (2, 3): True, (4, 1, 3, 3): True, (7, 1, 1, 1): False}
    assert {shape: can_be_drawn(from_array("w", np.zeros(shape))) for shape in shapes} == shapes


def test_a_weight_without_numbers_is_reported_as_such():
    assert list(heatmap_lines(from_array("w", np.zeros((0, 3))), Screen(80, colour=True))) == ["no numbers to draw"]
