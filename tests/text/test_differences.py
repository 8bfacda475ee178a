"""Differences as text: folding hides nothing, histograms of after - before, and the closing lines."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import steelyard
from steelyard.core.readers import from_array
from steelyard.numerics.summary import summarise
from steelyard.text.differences import ROOM, diff_lines
from steelyard.text.rows import distinguishing_numbers, folded, folded_apart
from steelyard.text.sparkline import axis_of, bars
from steelyard.text.terminal import Screen, cells

WIDE = Screen(None)


def blocks(count, *leaves, shape=(4, 6)):
    chance = np.random.default_rng(0)
    return {f"h.{nth}.{leaf}": chance.standard_normal(shape) for nth in range(count) for leaf in leaves}


def changed(net, **by):
    """Return a copy with a number added to all entries of some weights, whose names have underscores for dots."""
    return {name: array + by.get(name.replace(".", "_"), 0.0) for name, array in net.items()}


def lines_of(a, b, shown=40, screen=WIDE, *, histograms=False, **options):
    """Return the lines below the sentence on what changed."""
    return list(diff_lines(steelyard.diff(a, b, **options), shown, screen, histograms=histograms))[1:]


def rows_in(lines):
    """Return the cells of each row by its name."""
    end = next(nth for nth, line in enumerate(lines) if re.match(r"a row of|[a-z ]+: |[0-9,]+ weight", line))
    return {line.split()[0]: line.split()[1:] for line in lines[1:end]}


# folding

names = st.lists(
    st.lists(st.sampled_from(["h", "w", "0", "1", "2", "3", "10"]), min_size=1, max_size=4).map(".".join), unique=True
)


@given(names, st.randoms())
def test_folding_keeps_every_item_once_and_groups_equal_kinds_in_any_order(listed, chance):
    shuffled = chance.sample(listed, len(listed))
    groups = folded_apart(shuffled, str, len)
    assert sorted(name for group in groups for name in group) == sorted(listed)
    for group in groups:
        assert len({re.sub("[0-9]+", "#", name) for name in group}) == 1
        assert len({len(name) for name in group}) == 1
    assert sorted(map(tuple, groups)) == sorted(map(tuple, folded_apart(listed, str, len)))


def by_numbers(name):
    return [int(part) if part.isdigit() else part for part in re.split("([0-9]+)", name)]


@given(names)
def test_folding_in_order_never_folds_more_than_folding_apart(listed):
    listed = sorted(listed, key=by_numbers)  # in the order of models; in another order other blocks may repeat
    assert len(folded(listed, str, len)) >= len(folded_apart(listed, str, len))


def test_names_with_numbers_of_thousands_of_digits_are_sorted_without_converting_them():
    long = ["9" * 6000, "1" * 6000, "1"]
    assert sorted(map(len, folded_apart(long, str, lambda _: 0))) == [1, 1, 1]


def test_a_block_is_identified_by_the_numbers_that_differ():
    assert distinguishing_numbers("h.0.a2.w", "h.3.a2.w", "h.1.a2.w") == ["1"]
    assert distinguishing_numbers("w", "w", "w") == []


def test_changed_blocks_are_one_row_with_the_statistics_of_the_block_that_changed_most():
    net = blocks(6, "w", "b")
    by = {"h_2_w": 0.01, "h_3_w": 0.5, "h_4_w": 0.02}
    found = steelyard.diff(net, changed(net, **by))
    lines = list(diff_lines(found, 40, WIDE))[1:]
    assert list(rows_in(lines)) == ["h.[2-4].w"]
    most, share, largest, *_ = rows_in(lines)["h.[2-4].w"]
    assert (most, share, largest) == ("3", "all", "0.5")
    assert lines[2] == "a row of several blocks has the statistics of the block that changed most"
    alone = rows_in(list(diff_lines(found, None, WIDE))[1:])
    assert {name: cells_of[1] for name, cells_of in alone.items()} == {"h.3.w": "0.5", "h.4.w": "0.02", "h.2.w": "0.01"}


def test_a_weight_that_is_not_finite_or_differs_in_another_way_has_its_own_row():
    net = blocks(5, "w")
    other = changed(net, **{f"h_{nth}_w": 0.1 for nth in range(5)})
    other["h.2.w"][1, 2] = np.nan
    other["h.4.w"] = other["h.4.w"].astype("float32")
    lines = lines_of(net, other)
    assert set(rows_in(lines)) == {"h.2.w", "h.[0-1].w", "h.3.w", "h.4.w"}
    assert rows_in(lines)["h.2.w"][-2:] == ["not", "finite"]
    assert "1 of 5 weights is not finite on one side only: h.2.w (1)" in lines


def test_added_or_removed_blocks_are_one_row_without_statistics():
    net = blocks(4, "w")
    other = {name: array for name, array in net.items() if name == "h.0.w"}
    lines = lines_of(net, other)
    assert rows_in(lines) == {"h.[1-3].w": ["removed,", "4×6"]}
    assert not any(line.startswith("a row of") for line in lines)


def test_equal_weights_are_never_listed_nor_folded_into_a_row():
    net = blocks(4, "w")
    assert list(rows_in(lines_of(net, changed(net, h_0_w=0.1, h_2_w=0.1)))) == ["h.0.w", "h.2.w"]


def test_a_row_counts_its_blocks_by_verdict():
    net = blocks(3, "w", shape=(40, 40))
    other = changed(net, h_0_w=0.3)
    for nth in (1, 2):
        other[f"h.{nth}.w"] = net[f"h.{nth}.w"].copy()
        other[f"h.{nth}.w"][0, 0] += 1
    row = rows_in(lines_of(net, other))["h.[0-2].w"]
    assert row[0] == "0"
    assert row[-2:] == ["2", "sparse"]


def test_the_forty_rows_are_rows_of_the_table_and_the_rest_is_counted_in_weights():
    chance = np.random.default_rng(0)
    net = {f"{chr(97 + nth % 26)}{'x' * (nth // 26)}.w": chance.standard_normal(4) for nth in range(50)}
    other = {name: array + 1 for name, array in net.items()}
    lines = lines_of(net, other)
    assert "... and 10 more weights that differ" in lines
    assert not any(line.startswith("...") for line in lines_of(net, other, None))


# histograms


def test_a_row_shows_the_histogram_of_its_difference_on_the_common_axis():
    chance = np.random.default_rng(0)
    a = {"fc": {"weight": chance.standard_normal((50, 40)), "bias": chance.standard_normal(50)}}
    b = {"fc": {"weight": a["fc"]["weight"] + chance.normal(0.1, 0.3, (50, 40)), "bias": a["fc"]["bias"] - 0.2}}
    lines = lines_of(a, b, histograms=True)
    apart = {name: summarise([from_array("d", b["fc"][name] - a["fc"][name])]) for name in ("weight", "bias")}
    end = axis_of(apart.values())
    assert f"{-end:g}" in lines[0].split()
    for name, summary in apart.items():
        line = next(line for line in lines if line.startswith(f"fc.{name} "))
        assert bars(summary, end).strip() in line


def test_histograms_are_measured_for_the_rows_that_are_shown_only():
    net = blocks(30, "w")
    other = changed(net, **{f"h_{nth}_w": 0.1 for nth in range(30)})
    found = steelyard.diff(net, other)
    read = []
    for row in found.rows:
        one, two = row._sides
        row._sides = (one.replace(read=lambda *run, reader=one.read: read.append(1) or reader(*run)), two)
    assert any("█" in line for line in diff_lines(found, 40, WIDE, histograms=True))
    assert len(read) == 1
    list(diff_lines(found, None, WIDE, histograms=True))
    assert len(read) == 31
    list(diff_lines(found, 40, WIDE))
    list(diff_lines(found, 40, Screen(ROOM - 1), histograms=True))
    assert len(read) == 31


def test_rows_without_a_partner_have_no_histogram_and_no_axis_is_needed():
    lines = lines_of({"a": np.ones(3)}, {"b": np.ones(4)}, histograms=True)
    assert [line.split() for line in lines[1:3]] == [["a", "removed,", "3"], ["b", "added,", "4"]]


# colours and width


def test_the_largest_difference_has_its_sign_and_its_colour():
    net = {"up": np.zeros(9), "down": np.zeros(9)}
    lines = lines_of(net, {"up": np.full(9, 0.5), "down": np.full(9, -0.5)}, screen=Screen(120, colour=True))
    assert re.search(r"\x1b\[38;5;166m +0\.5\x1b", "".join(lines))
    assert re.search(r"\x1b\[38;5;32m +-0\.5\x1b", "".join(lines))


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([30, 45, 60, 80, 120]), st.booleans())
def test_no_line_is_wider_than_the_screen_and_the_name_stays(width, histograms):
    net = blocks(12, "attention.projection.weight", "b")
    other = changed(net, **{f"h_{nth}_attention_projection_weight": nth / 10 for nth in range(1, 12)}) | {"new": np.ones(3)}
    lines = lines_of(net, other, screen=Screen(width), histograms=histograms)
    assert max(map(cells, "\n".join(lines).splitlines())) <= width
    assert any(line.startswith("h.") for line in lines)


def test_hostile_names_are_escaped():
    hostile = "h\x1b[2J.0.w"
    text = "\n".join(lines_of({hostile: np.zeros(3)}, {hostile: np.ones(3)}, histograms=True))
    assert r"h\u001b[2J.0.w" in text
    assert "\x1b" not in text


# the closing lines


@pytest.mark.parametrize(
    ("by", "options", "last"),
    [
        ({}, {}, "3 weights: 3 equal"),
        ({"h_1_w": 1e-4}, {}, r"no weight changed by more than 1%: at most h.1.w \(0\.0[0-9]+%\)"),
        ({"h_1_w": 0.5, "h_2_w": 0.1}, {}, r"2 of 3 weights changed by more than 1%: h.1.w \([0-9.]+%\), h.2.w \([0-9.]+%\)"),
        ({"h_1_w": 0.5, "h_2_w": 0.1}, {"atol": 0.2}, r"1 of 3 weights is beyond atol 0.2, rtol 0: h.1.w \(0.5 at \[\d, \d\]\)"),
        ({"h_1_w": 0.5}, {"atol": 1.0}, "no weight is beyond atol 1, rtol 0"),
        ({"h_1_w": -5000.0}, {}, r"1 of 3 weights changed by more than 1%: h.1.w \([0-9e+.]+ times\)"),
    ],
)
def test_the_last_line_names_the_weights_that_need_attention(by, options, last):
    net = blocks(3, "w")
    assert re.fullmatch(last, lines_of(net, changed(net, **by), **options)[-1])


def test_an_advanced_counter_is_not_a_change_to_look_at():
    a = {"bn.num_batches_tracked": np.array(3), "w": np.ones(3)}
    net = [from_array(name, array, role="count" if "bn" in name else "bias") for name, array in a.items()]
    later = [net[0].replace(read=from_array("x", np.array(9)).read), net[1]]
    found = steelyard.diff(steelyard.Weights(net), steelyard.Weights(later))
    assert list(diff_lines(found, 40, WIDE))[-1] == "2 weights: 1 changed, 1 equal"


def test_of_many_weights_five_are_named_the_greatest_change_first():
    net = blocks(9, "w")
    other = changed(net, **{f"h_{nth}_w": nth / 2 for nth in range(9)})
    last = lines_of(net, other)[-1]
    assert last.startswith("8 of 9 weights changed by more than 1%: ")
    by_change = sorted(steelyard.diff(net, other).rows, key=lambda row: -row.relative)
    assert re.findall(r"h\.\d\.w", last) == [row.name for row in by_change[:5]]
    assert last.endswith(" and 3 more")


def test_a_weight_that_was_zero_is_named_without_a_share():
    last = lines_of({"w": np.zeros(3)}, {"w": np.ones(3)})[-1]
    assert last == "1 of 1 weight changed by more than 1%: w (from zero)"
