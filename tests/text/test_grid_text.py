"""A grid in a terminal: every number below the words of its column, in any width, with and without colours."""

import re

import numpy as np
import pytest

import steelyard
from steelyard.text.grid_cells import cell_text, percent, short
from steelyard.text.grid_text import OUTSIDE, ROWS, grid_lines
from steelyard.text.heatmap_text import LEVELS, swatch
from steelyard.text.terminal import Screen, cells

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
HOSTILE = "h.1.\x1b[31m\u202e\u82b1<b>.weight"
PARTS = ("ln_1.weight", "ln_1.bias", "attn.c_attn.weight", "attn.c_attn.bias", "mlp.c_fc.weight", "mlp.c_fc.bias")


def blocks(count=3, **more):
    rng = np.random.default_rng(0)
    net = {f"model.h.{nth}.{part}": rng.standard_normal((4, 4)) / 50 for nth in range(count) for part in PARTS}
    return {"model.wte.weight": rng.standard_normal((9, 4)), **net, **more}


def text(found, width=None, most=None, **colours):
    return list(grid_lines(found, Screen(width, **colours), most))


def test_numbers_stand_below_the_words_of_their_columns():
    net = {f"h.{nth}.{part}.{leaf}": np.full(2, nth + size) for nth in (0, 1) for part, leaf, size in (("attn", "w", 1.0), ("attn", "b", 2.0), ("mlp", "w", 3.0))}  # fmt: skip
    assert text(steelyard.grid({"emb.w": np.full(3, 7.0), **net}, value="mean"))[:6] == [
        "mean: 2 blocks (h.*) × 3 parts",
        "",
        "   attn      mlp",
        "     w    b    w",
        "0  1.0  2.0  3.0",
        "1  2.0  3.0  4.0",
    ]


def test_a_last_word_that_all_columns_have_is_in_the_title_only():
    net = {f"h.{nth}.{part}.weight": np.ones((2, 2)) for nth in (0, 1) for part in ("attn", "mlp")}
    assert text(steelyard.grid(net, value="mean"))[:3] == ["mean: 2 blocks (h.*) × 2 parts (*.weight)", "", "   attn  mlp"]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_screen_and_every_number_is_shown(width):
    net = blocks(12, **{HOSTILE: np.ones(3), "h.0.\u82b1\u82b1\u82b1\u82b1.weight": np.ones(3)})
    found = steelyard.grid(net)
    lines = "\n".join(text(found, width)).split("\n")
    assert max(map(cells, lines)) <= width
    assert not re.search("[\x1b\u202e]", "".join(lines))
    shown = " ".join(lines).split()
    for cell in (cell for row in found.cells for cell in row if cell is not None):
        assert cell_text(cell, "std") in shown


def test_a_cell_has_the_colour_of_its_number_and_nothing_has_none():
    net = {f"h.{nth}.{part}.weight": np.full(4, float(nth)) for nth in (0, 1, 10) for part in "ab"}
    for deep in (True, False):
        screen = Screen(80, colour=True, true_colour=deep)
        lines = text(steelyard.grid(net, value="norm"), 80, colour=True, true_colour=deep)
        strongest = swatch(LEVELS, screen).partition("m")[0]
        zero, weak, strong = (next(line for line in lines if ESCAPE.sub("", line).startswith(f"{nth} ")) for nth in (0, 1, 10))
        assert strong.count(strongest) == 2
        assert weak.count("\x1b[48") == 2
        assert strongest not in weak
        assert "\x1b" not in zero
        assert ESCAPE.sub("", strong).split() == ["10", "20", "20"]
        assert [ESCAPE.sub("", line).rstrip() for line in lines[:6]] == text(steelyard.grid(net, value="norm"), 80)[:6]
        assert "2.0" in lines[-1]
        assert "logarithmic" in lines[-1]


def test_negative_and_positive_means_have_the_colours_of_their_signs():
    net = {f"h.{nth}.{part}.weight": np.full(4, sign) for nth in (0, 1) for part, sign in (("a", -1.0), ("b", 1.0))}
    screen = Screen(80, colour=True, true_colour=True)
    line = text(steelyard.grid(net, value="mean"), 80, colour=True, true_colour=True)[3]
    assert line.index(swatch(-LEVELS, screen).partition("m")[0]) < line.index(swatch(LEVELS, screen).partition("m")[0])


def test_what_changed_is_counted_and_its_blocks_are_named():
    before = blocks(12)
    after = before | {f"model.h.{nth}.attn.c_attn.weight": before[f"model.h.{nth}.attn.c_attn.weight"] * 2 for nth in (8, 9, 10)}
    lines = text(steelyard.grid(after, before=before), 80)
    assert "3 of 73 weights changed, in 3 of 12 rows: model.h.[8-10]" in lines
    assert next(line for line in lines if line.startswith("9 ")).split() == ["9", "=", "=", "1.0", "=", "=", "="]
    assert "nothing changed" in text(steelyard.grid(before, before=before), 80)
    scaled = text(steelyard.grid(after, before=before, value="rank"), 80)
    assert next(line for line in scaled if line.startswith("9 ")).split()[3] == "scaled"


def test_nan_is_marked_in_its_cell_and_named_below_in_red():
    bad = blocks()
    bad["model.h.1.mlp.c_fc.bias"][2, 1] = np.nan
    lines = text(steelyard.grid(bad), 80, colour=True)
    assert lines[-1] == "\x1b[38;5;160mNaN or Inf in model.h.1.mlp.c_fc.bias (1 NaN)\x1b[0m"
    assert "!" in next(line for line in lines if ESCAPE.sub("", line).startswith("1 "))
    counted = text(steelyard.grid(bad, value="nonfinite"), 80)
    assert next(line for line in counted if line.startswith("1 ")).split() == ["1", "0", "0", "0", "0", "0", "1"]


def test_weights_outside_of_the_blocks_are_listed_and_the_rest_is_counted():
    many = {f"emb_{chr(97 + nth % 26)}{chr(97 + nth // 26)}": np.full(2, 5.0) for nth in range(OUTSIDE + 3)}
    lines = text(steelyard.grid(blocks(20, **many), value="mean"), 80)
    assert "outside of the blocks" in lines
    assert sum(line.count("emb_") for line in lines) == OUTSIDE - 1
    assert "... and 4 more weights outside of the blocks" in lines


def test_python_shortens_a_long_grid_and_says_so():
    found = steelyard.grid(blocks(ROWS + 5))
    lines = repr(found).splitlines()
    assert "... and 5 more rows; to_records() has all" in lines
    assert not any(line.startswith(f"{ROWS} ") for line in lines)
    assert any(line.startswith(f"{ROWS} ") for line in text(found, 80))


def test_other_nets_say_what_their_rows_are():
    layers = steelyard.grid({"fc.weight": np.ones((2, 2)), "fc.bias": np.ones(2), "out.weight": np.ones((2, 2))})
    assert text(layers)[0] == "standard deviation: no blocks repeat, so rows are the 2 layers"
    flat = steelyard.grid({f"a{nth}x.b{nth}y": np.ones(2) for nth in range(99)})
    assert text(flat)[0] == "standard deviation: the names show neither blocks nor layers, so each of the 99 weights has a row"
    assert text(steelyard.grid({})) == ["no weights"]


def test_counters_are_named_as_left_out():
    net = {f"bn{nth}.{leaf}": np.ones(2) for nth in range(3) for leaf in ("weight", "num_batches_tracked")}
    assert text(steelyard.grid(net))[-1] == "left out, since counters are no parts of a net: bn0.num_batches_tracked and 2 more"


@pytest.mark.parametrize("exponent", range(-320, 309, 7))
def test_a_number_is_short_and_within_its_last_digit(exponent):
    for digits in ("1.0", "1.96", "9.949", "9.96", "-3.33"):
        number = float(f"{digits}e{exponent}")
        shown = short(number)
        assert len(shown) <= 7
        if number:
            assert float(shown) == pytest.approx(number, rel=0.06 if 0.001 < abs(number) < 9999 else 0.5)


def test_only_all_is_100_per_cent_and_only_none_is_0():
    for share in np.linspace(0, 1, 997):
        assert (percent(share) == "100%") == (share == 1)
        assert (percent(share) == "0%") == (share == 0)
