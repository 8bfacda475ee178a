"""Weights as text: folding, columns, histograms, and reports of NaN."""

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import steelyard
from steelyard import sizes
from steelyard.core.readers import from_array
from steelyard.numerics.summary import summarise
from steelyard.text.frames import csv_lines
from steelyard.text.rows import measured, rows_of
from steelyard.text.sparkline import ABOVE, BARS, BELOW, WIDTH, Outline, axis_of, bars, header
from steelyard.text.table import listing, table
from steelyard.text.terminal import Screen, cells, cut, padded


def folded(*names, shape=(2,), **shapes):
    """Return the name and the count of each row of weights with these names."""
    weights = steelyard.weights({name: np.zeros(shapes.get(name.replace(".", "_"), shape)) for name in names})
    return [(row.name, row.times) for row in rows_of(weights)]


# folding


def test_repeated_blocks_become_one_with_their_numbers_as_a_range():
    names = [f"h.{i}.{leaf}" for i in range(3) for leaf in ("w", "b")]
    assert folded("in.w", *names, "out.w") == [("in.w", 1), ("h.[0-2].w", 3), ("h.[0-2].b", 3), ("out.w", 1)]


def test_blocks_within_blocks_fold_twice():
    names = [f"h.{i}.experts.{j}.{leaf}" for i in range(4) for j in range(8) for leaf in ("up", "down")]
    assert folded(*names) == [("h.[0-3].experts.[0-7].up", 32), ("h.[0-3].experts.[0-7].down", 32)]


def test_numbers_within_words_and_after_slashes_fold_too():
    assert folded(*(f"params/Block_{i}/kernel" for i in range(9, 12))) == [("params/Block_[9-11]/kernel", 3)]


def test_blocks_after_a_constant_number_fold_too():
    names = [f"{model}.h.{i}.{leaf}" for model in ("gpt2", "gpt3") for i in range(3) for leaf in ("w", "b")]
    assert folded(*names[:6]) == [("gpt2.h.[0-2].w", 3), ("gpt2.h.[0-2].b", 3)]
    assert folded("layer1.0.w", "layer1.1.w", "layer2.0.w", layer2_0_w=(3,)) == [("layer1.[0-1].w", 2), ("layer2.0.w", 1)]
    assert folded(*names) == [("gpt[2-3].h.[0-2].w", 6), ("gpt[2-3].h.[0-2].b", 6)]


@pytest.mark.parametrize(
    "names",
    [
        ["h.0.w", "h.2.w"],  # not consecutive
        ["h1.w", "h0.w"],  # counting down
        ["h.0.w", "h.1.v"],  # other leaves
        ["h.0.w", "g.1.w"],  # other places
        ["h.0.w", "h.1.w", "h.1.b"],  # one has more
        ["w", "b"],  # no numbers
    ],
)
def test_names_that_do_not_repeat_are_not_folded(names):
    assert folded(*names) == [(name, 1) for name in names]


def test_blocks_of_other_shapes_dtypes_or_roles_are_not_folded():
    assert folded("h.0.w", "h.1.w", h_1_w=(3,)) == [("h.0.w", 1), ("h.1.w", 1)]
    weights = steelyard.weights({"h": [{"w": np.zeros(2)}, {"w": np.zeros(2, "float32")}]})
    assert [row.times for row in rows_of(weights)] == [1, 1]
    roles = [from_array(f"h.{i}.w", np.zeros(2), role=role) for i, role in enumerate(("kernel", "bias"))]
    assert [row.times for row in rows_of(steelyard.Weights(roles))] == [1, 1]


def test_a_first_block_that_differs_stays_out_of_the_fold():
    names = ["h.0.w", "h.0.extra", "h.1.w", "h.2.w", "h.3.w"]
    assert folded(*names) == [("h.0.w", 1), ("h.0.extra", 1), ("h.[1-3].w", 3)]


def test_a_name_of_thousands_of_numbers_or_digits_is_handled():
    long, deep = "a" + "9" * 6000 + ".w", ".".join(map(str, range(3000)))
    assert [times for _, times in folded(long, long + ".1", deep, deep + "x")] == [1, 1, 1, 1]


@given(st.lists(st.lists(st.sampled_from(["h", "w", "0", "1", "2", "10"]), min_size=1, max_size=4).map(".".join), unique=True))
def test_every_weight_is_in_exactly_one_row_and_a_row_holds_like_weights(names):
    weights = steelyard.Weights(from_array(name, np.zeros(len(name) % 3)) for name in names)
    rows = rows_of(weights)
    assert sorted(w.name for row in rows for w in row.weights) == sorted(names)
    assert all({w.shape for w in row.weights} == {row.weight.shape} for row in rows)
    assert sum(row.size for row in rows) == weights.size
    assert sorted(row.name for row in rows_of(weights, unfolded=True)) == sorted(names)


# printing

TABLE = """
MLP 4-3-2: 29 parameters + 7 in buffers, float32, 148 bytes

layer  name                   shape   dtype    role      size
0      0.weight               3×4     float32  kernel      12
       0.bias                 3       float32  bias         3
1      1.weight               3       float32  scale        3
       1.bias                 3       float32  offset       3
       1.running_mean         3       float32  mean         3
       1.running_var          3       float32  variance     3
       1.num_batches_tracked  scalar  int64    count        1
2      2.weight               2×3     float32  kernel       6
       2.bias                 2       float32  bias         2

9 weights, 29 parameters, 7 in buffers, 148 bytes
"""


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def test_printing_weights_in_python_gives_the_table_with_totals(net):
    assert repr(steelyard.weights(net)) == TABLE.strip()


def test_printing_a_net_that_was_trained_into_nan_reports_it():
    """The learning rate is far too large: the shapes look right, but every number is NaN."""
    torch.manual_seed(0)
    net = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e6)
    for _ in range(20):
        optimizer.zero_grad()
        net(torch.randn(64, 4)).square().mean().backward()
        optimizer.step()
    lines = repr(steelyard.weights(net)).splitlines()
    assert lines[-1] == "2 of 2 weights are not finite: weight[0, 0] (4 NaN), bias[0] (1 NaN)"


def test_of_many_weights_that_are_not_finite_five_are_named():
    lines = repr(steelyard.weights({f"w{i}": np.array([1.0, np.inf]) for i in range(8)})).splitlines()
    named = ", ".join(f"w{i}[1] (1 Inf)" for i in range(5))
    assert lines[-1] == f"8 of 8 weights are not finite: {named} and 3 more"


def test_a_tied_weight_is_not_searched_twice(net):
    net[2].weight = net[0].weight = nn.Parameter(torch.full((3, 3), torch.nan))
    assert repr(steelyard.weights(net)).count("not finite") == 1


def test_printing_never_fails_because_numbers_cannot_be_read():
    lines = repr(steelyard.weights(nn.Linear(2, 2, device="meta"))).splitlines()
    assert lines[-1].startswith("the numbers cannot be read: weight is on the meta device")


def test_printing_works_without_any_stream(monkeypatch):
    weights = steelyard.weights({"w": np.zeros(2)})
    for stream in (None, object()):
        monkeypatch.setattr("sys.stdout", stream)
        assert "1 weight, 2 parameters" in repr(weights)


def test_printing_weights_of_a_file_reads_no_numbers(tmp_path, monkeypatch):
    steelyard.save({"w": np.array([1.0, 2.0])}, tmp_path / "w.safetensors")
    weights = steelyard.weights(tmp_path / "w.safetensors")
    weights["w"].read = lambda start, stop: pytest.fail("numbers were read")
    assert "1 weight, 2 parameters" in repr(weights)


def test_an_empty_model_and_a_bare_tensor_print_too():
    assert repr(steelyard.weights({})) == "no weights"
    assert "(unnamed)  2×2" in repr(steelyard.weights(np.zeros((2, 2))))


def test_the_encoding_is_shown_if_it_differs_from_the_dtype():
    stored = from_array("w", np.zeros(2, "float32"), encoding="Q4_K")
    assert "float32 (Q4_K)" in table(steelyard.Weights([stored]))


def test_weights_of_a_selection_without_their_owner_count_as_their_own():
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    assert "tied" in table(steelyard.weights(model))
    assert "tied" not in table(steelyard.weights(model).select("b.*"))


@pytest.mark.parametrize("width", [8, 15, 30, 47, 80])
def test_wide_characters_never_exceed_the_width_of_the_screen(width):
    weights = steelyard.weights({"層.0.重み" * 4: np.zeros(3), "e\u0301" * 30: np.zeros((2, 2))})
    lines = list(listing(weights, Screen(width), stats=list(measured(rows_of(weights)))))
    assert max(map(cells, "\n".join(lines).splitlines())) <= width
    assert "bytes" in lines[-1]


# histograms and summaries


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "int8", "int64", "uint8", "bool"]
)
@pytest.mark.parametrize("size", [7, 1000, sizes.SUMMARY_BLOCK + 50_001])
def test_a_summary_agrees_with_numpy_for_every_type(dtype, size):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    array = (np.random.default_rng(0).standard_normal(size) * 20).astype(kind)
    wide = array.astype("float64")
    summary = summarise([from_array("w", array)])
    found, (middles, counts) = summary.moments, summary.histogram.points()
    assert (found.minimum, found.maximum, found.count) == (wide.min(), wide.max(), size)
    assert found.mean == pytest.approx(wide.mean(), rel=1e-12, abs=1e-12)
    assert counts.sum() == size
    edges = np.linspace(-1000, 1000, 6)
    coarse = np.histogram(middles, edges, weights=counts)[0]
    assert np.array_equal(coarse, np.histogram(wide, edges)[0])


def test_a_summary_counts_and_excludes_numbers_that_are_not_finite():
    array = np.array([np.nan, 1.0, np.inf, -np.inf, np.nan, 3.0])
    summary = summarise([from_array("w", array)])
    assert (summary.nan, summary.inf, summary.moments.count, summary.moments.mean, summary.finite) == (2, 2, 2, 2.0, False)
    nothing = summarise([from_array("w", np.full(3, np.nan))])
    assert (nothing.moments.minimum, nothing.moments.mean, bars(nothing, 1.0)) == (None, None, "")


def test_a_summary_takes_float64_beyond_float32_and_complex_by_magnitude():
    huge = summarise([from_array("w", np.array([1e300, -1e300]))])
    middles, counts = huge.histogram.points()
    assert (huge.moments.maximum, counts.tolist(), huge.finite) == (1e300, [1, 1], True)
    assert np.isfinite(middles).all()
    assert summarise([from_array("w", np.array([3 + 4j]))]).moments.maximum == 5.0


SHAPES = {
    "uniform": np.random.default_rng(0).uniform(-0.4, 0.4, 100_000),
    "normal": np.random.default_rng(1).normal(0, 0.15, 100_000),
    "heavy-tailed": np.random.default_rng(2).standard_t(1.5, 100_000) * 0.05,
}


def test_bars_follow_numpys_histogram_and_an_empty_bin_alone_is_lowest():
    array = np.random.default_rng(0).standard_normal(200_000) * 0.2
    drawn = bars(summarise([from_array("w", array)]), 1.0)[1:-1]
    counts = np.histogram(array, np.linspace(-1, 1, WIDTH + 1))[0]
    expected = np.ceil(counts / counts.max() * 7).astype(int)
    assert np.abs([BARS.index(c) for c in drawn] - expected).max() <= 1
    assert [c == BARS[0] for c in drawn] == (counts == 0).tolist()


@pytest.mark.parametrize("name", SHAPES)
def test_areas_of_bars_and_outlines_are_counts_and_what_is_beyond_the_axis_is_not_on_it(name):
    array = SHAPES[name]
    summary, end = summarise([from_array("w", array)]), 0.5
    levels = np.array([BARS.index(bar) for bar in bars(summary, end)[1:-1]])
    counts = np.histogram(array, np.linspace(-end, end, WIDTH + 1))[0]
    assert np.abs(levels / 7 - counts / counts.max()).max() <= 1 / 7
    assert bars(summary, end)[0] == (BELOW if array.min() < -end else " ")
    assert bars(summary, end)[-1] == (ABOVE if array.max() > end else " ")
    heights = Outline(summary).heights(end, 32).astype(float)
    counts = np.histogram(array, np.linspace(-end, end, 33))[0]
    assert np.abs(heights / heights.sum() - counts / counts.sum()).sum() < 0.15
    assert heights[[0, -1]].max() / 255 < counts[[0, -1]].max() / counts.max() + 0.1, "nothing is clamped onto the last bins"


@pytest.mark.parametrize("number", [0.1, 0.3, -0.7])
def test_a_number_at_the_end_of_the_axis_is_on_it(number):
    for dtype in ("f2", "f4", "f8"):
        summary = summarise([from_array("w", np.full(3, number, dtype))])
        end = abs(float(np.array(number, dtype)))
        place = 0 if number < 0 else -1
        assert bars(summary, end)[1:-1][place] == BARS[-1]
        assert bars(summary, end)[0] == bars(summary, end)[-1] == " "
        assert Outline(summary).heights(end, 32)[place] == 255


def test_arrows_mark_numbers_beyond_the_axis():
    ones = summarise([from_array("w", np.ones(10))])
    assert bars(ones, 0.1) == " " + BARS[0] * WIDTH + ABOVE
    both = summarise([from_array("w", np.array([-5.0, 0.0, 5.0]))])
    assert bars(both, 1.0) == BELOW + BARS[0] * 8 + BARS[-1] + BARS[0] * 8 + ABOVE
    assert bars(ones, 1.0)[-2:] == BARS[-1] + " "
    one_of_many = summarise([from_array("w", np.array([*np.zeros(9999), 5.0]))])
    assert bars(one_of_many, 1.0) == " " + BARS[0] * 8 + BARS[-1] + BARS[0] * 8 + ABOVE


def test_the_axis_is_round_and_not_set_by_a_few_large_numbers():
    array = np.random.default_rng(0).standard_normal(100_000) * 0.1
    array[7] = 1e6
    assert axis_of([summarise([from_array("w", array)])]) == 0.5
    assert axis_of([]) == axis_of([summarise([from_array("w", np.zeros(3))])]) == 1.0


@pytest.mark.parametrize("end", [1e-30, 0.002, 0.5, 1.0, 3.0, 20.0, 5e12])
def test_the_axis_has_the_width_of_the_bars(end):
    assert len(header(end)) <= WIDTH + 2


# cutting


@given(st.text(st.sampled_from("ab.é層0"), max_size=60), st.integers(1, 40))
def test_cut_text_fits_and_short_text_stays(text, width):
    assert cells(cut(text, width)) <= max(width, 1)
    assert cells(padded(cut(text, width), width)) == width
    if cells(text) <= width:
        assert cut(text, width) == text


def test_names_are_cut_in_the_middle_and_keep_their_end():
    assert cut("encoder.layers.0.self_attn.weight", 20).endswith("attn.weight")


def test_a_cell_of_csv_that_a_spreadsheet_would_take_as_a_formula_gets_an_apostrophe():
    columns = {"name": ["=1+1", "+a", "-b", "@c", 'x"=y', "fc.weight"], "mean": [-1.5, None, 2, 0, 1e-9, 3]}
    assert list(csv_lines(columns))[1:] == ["'=1+1,-1.5", "'+a,", "'-b,2", "'@c,0", '"x""=y",1e-09', "fc.weight,3"]
