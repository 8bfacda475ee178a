"""Summaries: every statistic equals NumPy's in float64, and merged parts equal the whole, bit for bit."""

import math
import os
import pickle

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import steelyard
from steelyard import sizes
from steelyard.core.readers import from_array
from steelyard.errors import FormatError
from steelyard.numerics.moments import Moments
from steelyard.numerics.summary import Summary, summaries, summarise

FLOATS = {
    "float16": "u2", "float32": "u4", "float64": "u8", "bfloat16": "u2", "float8_e4m3fn": "u1", "float8_e5m2": "u1",
    "float8_e4m3fnuz": "u1", "float8_e3m4": "u1",
}  # fmt: skip
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool", "int4", "uint4")


def kind_of(dtype):
    return np.dtype(getattr(ml_dtypes, dtype, dtype))


@st.composite
def arrays(draw):
    """Arrays of any bits: subnormals, NaN of any payload, infinities, both zeros; empty ones too."""
    dtype = draw(st.sampled_from((*FLOATS, *INTEGERS)))
    size = draw(st.sampled_from((0, 1, 2, 7, 100)))
    bits = draw(st.binary(min_size=8 * size, max_size=8 * size))
    raw = np.frombuffer(bits, "u8")
    if dtype in FLOATS:
        return raw.astype(FLOATS[dtype]).view(kind_of(dtype))
    return (raw % 2 if dtype == "bool" else raw % 8 if "int4" in dtype else raw).astype(kind_of(dtype))


def in_float64(array):
    return (
        array.astype("f4").astype("f8")
        if array.dtype.kind == "V" or (array.itemsize == 1 and array.dtype.kind == "f")
        else array.astype("f8")
    )


def close(found, expected, scale):
    """Equal within the rounding of float64 sums of numbers of this size."""
    return found == expected or abs(found - expected) <= 1e-13 * scale or abs(found - expected) <= 1e-12 * abs(expected)


@settings(deadline=None, max_examples=400)
@given(arrays())
@np.errstate(all="ignore")
def test_every_statistic_is_numpys_in_float64(array):
    wide = in_float64(array)
    good = wide[np.isfinite(wide)]
    summary = summarise([from_array("w", array)])
    found = summary.moments
    assert (summary.nan, summary.inf) == (np.isnan(wide).sum(), np.isinf(wide).sum())
    bad = np.flatnonzero(~np.isfinite(wide))
    assert summary.first == ((0, bad[0]) if bad.size else None)
    assert (found.count, found.zeros, found.near_zeros) == (good.size, (good == 0).sum(), (np.abs(good) <= 1e-8).sum())
    if not good.size:
        assert {found.minimum, found.maximum, found.mean, found.std, found.l1, found.l2, found.rms, summary.quantile(0.5)} == {
            None
        }
        return
    assert (float(found.minimum), float(found.maximum)) == (good.min(), good.max())
    top = np.abs(good).max()
    power = math.frexp(top)[1]  # NumPy's own squares would overflow or underflow
    scaled = np.ldexp(good, -power)

    def back(value):
        return float(np.ldexp(value, power))

    if np.isfinite(np.sum(good)):
        assert close(found.mean, math.fsum(good) / good.size, top)
    assert close(found.l1, back(np.abs(scaled).sum()), top)
    assert close(found.l2, back(np.sqrt(np.square(scaled).sum())), top)
    assert close(found.rms, back(np.sqrt(np.square(scaled).mean())), top)
    assert close(found.std, back(scaled.std()), top)
    for share in (0.0, 0.001, 0.25, 0.5, 0.9, 1.0):
        expected = np.quantile(good, share, method="inverted_cdf")
        if array.itemsize <= 2:
            assert summary.quantile(share) == expected
        elif abs(expected) < 3e38:
            assert (
                abs(summary.quantile(share) - expected) <= summary.quantile_error * abs(expected) + 2.0**-133
            )  # the bin of zero


@pytest.mark.parametrize("spread", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("middle", [0.0, 1.0, 1e6, -1e9])
def test_the_deviation_survives_a_mean_that_is_much_larger(spread, middle):
    array = np.random.default_rng(0).standard_normal(3 * sizes.SUMMARY_BLOCK + 7) * spread + middle
    found = summarise([from_array("w", array)]).moments
    assert found.std == pytest.approx(array.std(), rel=1e-9 if spread < abs(middle) * 1e-12 else 1e-12, abs=1e-16 * abs(middle))
    assert found.mean == pytest.approx(math.fsum(array) / array.size, rel=1e-14)


@settings(deadline=None, max_examples=60)
@given(
    st.permutations(range(5)),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.sampled_from(["f4", "f8", "f2", "i8", "bfloat16"]),
)
def test_any_split_of_the_blocks_merges_into_the_whole_bit_for_bit(order, cuts, dtype):
    array = (np.nan_to_num(WHOLE) if dtype == "i8" else WHOLE).astype(kind_of(dtype))
    parts = [Summary()]
    for nth in order:
        parts[-1].add(array[nth * 1000 : (nth + 1) * 1000], nth * 1000)
        if nth < 4 and cuts[nth]:
            parts.append(Summary())
    merged = Summary()
    for part in reversed(parts):
        merged.merge(pickle.loads(pickle.dumps(part)))
    whole = Summary()
    for nth in range(5):
        whole.add(array[nth * 1000 : (nth + 1) * 1000], nth * 1000)
    assert told(merged) == told(whole)


WHOLE = np.random.default_rng(1).standard_normal(5000) * 10.0 ** np.random.default_rng(2).integers(-20, 4, 5000)
WHOLE[3210] = np.nan


def told(summary):
    found = summary.moments
    names = ("count", "zeros", "near_zeros", "minimum", "maximum", "mean", "std", "l1", "l2", "rms")
    points = [part.tolist() for part in summary.histogram.points()]
    return [getattr(found, name) for name in names], summary.nan, summary.inf, summary.first, points, summary.quantile(0.3)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_and_the_place_of_the_numbers_change_no_bit(tmp_path, monkeypatch, threads):
    chance = np.random.default_rng(0)
    net = {
        name: chance.standard_normal(size).astype(kind)
        for name, size, kind in (
            ("a", sizes.SUMMARY_RUN * 2 + 5, "f4"),
            ("b", 10, "f8"),
            ("c", sizes.SUMMARY_THRESHOLD + 5, "f2"),
            ("d", (3, 0), "f4"),
        )
    }
    net["a"][-1] = np.inf
    expected = [told(_alone(array)) for array in net.values()]
    steelyard.save(net | {"a": np.where(np.isinf(net["a"]), 0, net["a"])}, tmp_path / "x.safetensors")
    monkeypatch.setattr(sizes, "THREADS", threads)
    live = steelyard.weights(net).values()
    for rank, (found, known) in enumerate(zip(summaries(live), expected, strict=True)):
        assert told(found)[:3] == known[:3]
        assert told(found)[4:] == known[4:]
        assert found.first == (None if known[3] is None else (rank, known[3][1]))
    stored = list(summaries(steelyard.weights(tmp_path / "x.safetensors").values()))
    assert [told(each) for each in stored[1:]] == expected[1:]


def _alone(array):
    summary = Summary()
    flat = array.reshape(-1)
    for start in range(0, flat.size, sizes.SUMMARY_BLOCK):
        summary.add(flat[start : start + sizes.SUMMARY_BLOCK], start)
    return summary


def test_without_a_histogram_all_but_the_quantiles_are_the_same(monkeypatch):
    monkeypatch.setattr("steelyard.numerics.fast._installed", lambda: ("numpy", None))
    array = np.random.default_rng(0).standard_normal(1000).astype("f4")
    narrow, wide = (summarise([from_array("w", array)], wide=each) for each in (False, True))
    assert told(narrow)[0] == told(wide)[0]
    assert (narrow.quantile(0.5), wide.quantile(0.5)) == (None, pytest.approx(np.median(array), abs=0.01))
    half = summarise([from_array("w", array.astype("f2"))], wide=False)
    assert half.quantile(0.5) == np.quantile(array.astype("f2"), 0.5, method="inverted_cdf")


def test_numbers_whose_squares_leave_float64_have_right_norms():
    found = summarise([from_array("w", np.array([3e300, -4e300]))]).moments
    assert (found.l2, found.rms) == (pytest.approx(5e300, rel=1e-15), pytest.approx(5e300 / math.sqrt(2), rel=1e-15))
    tiny = summarise([from_array("w", np.array([3e-310, 4e-310]))]).moments
    assert tiny.l2 == pytest.approx(5e-310, rel=1e-12)
    over = summarise([from_array("w", np.full(4, 1.7e308))]).moments
    assert (over.l1, over.mean) == (math.inf, 1.7e308)


def test_a_weight_that_cannot_be_read_raises_when_its_turn_comes(tmp_path, monkeypatch):
    monkeypatch.setattr("steelyard.storage.source._File._require_unchanged", lambda *_: None)  # as if the file were cut unnoticed
    steelyard.save({"a": np.zeros(3), "b": np.zeros(sizes.SUMMARY_THRESHOLD + 5)}, tmp_path / "x.safetensors")
    weights = list(steelyard.weights(tmp_path / "x.safetensors").values())
    with (tmp_path / "x.safetensors").open("r+b") as file:
        file.truncate(os.path.getsize(tmp_path / "x.safetensors") - 16)
    found = summaries(weights)
    assert next(found).moments.count == 3
    with pytest.raises(FormatError, match="shorter"):
        next(found)


def test_a_share_of_a_whole_number_of_elements_is_not_rounded_up():
    array = np.arange(1, 101, dtype="u1")
    found = summarise([from_array("w", array)])
    assert 0.07 * 100 > 7, "the product is a little more than 7"
    assert [found.quantile(share) for share in (0.07, 0.14, 0.28, 0.55, 0.56)] == [7, 14, 28, 55, 56]


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float32"])
@pytest.mark.parametrize(("strange", "nan", "inf"), [([np.inf], 0, 1), ([-np.inf], 0, 1), ([np.nan], 1, 0), ([], 0, 0)])
def test_an_infinity_alone_is_not_taken_for_a_number(dtype, strange, nan, inf):
    found = summarise([from_array("w", np.array([2.0, *strange, 1.0], dtype))])
    assert (found.nan, found.inf, found.finite) == (nan, inf, not strange)
    assert found.first == ((0, 1) if strange else None)
    assert (found.moments.count, found.moments.minimum, found.moments.maximum) == (2, 1, 2)


def test_a_number_in_the_bin_of_zero_is_taken_for_zero():
    found = summarise([from_array("w", np.array([0.0, 1.99 * 2.0**-134]))])
    assert found.quantile(0.9) == 0


def small_arrays():
    """Return weights of few numbers, of every kind that is summed up in a way of its own."""
    chance = np.random.default_rng(0)
    arrays = {}
    for nth in range(240):
        array = chance.normal(size=(1, 2, 3, 7, 8, 33, 100, 1024)[nth // 12 % 8]) * 10.0 ** chance.integers(-6, 6)
        edits = (0.0, abs(array) + 5 * abs(array).max(), array * 1e-200, array * 1e200, array * 1e-9, -abs(array), array[0], -0.0)
        kind = nth % 12
        if kind < len(edits):
            array[:] = edits[kind]
        elif kind < 10:
            array[-1] = (np.nan, np.inf)[kind - 8]
        arrays[f"w{nth}"] = array if kind in (2, 3) or nth % 24 < 12 else array.astype("f4")
    return arrays


@pytest.mark.parametrize("histogram", [True, False])
def test_many_small_weights_have_the_statistics_of_each_alone_to_the_last_bit(histogram, monkeypatch):
    arrays = small_arrays()

    def text(by):
        return repr([row.to_dict() for row in steelyard.stats(arrays, by, histogram=histogram).rows])

    together = text("weight"), text("all")
    monkeypatch.setattr(sizes, "SMALL_RUN", len(arrays) + 1)
    assert together == (text("weight"), text("all"))


def test_many_small_weights_take_no_call_of_numpy_each(monkeypatch):
    calls = []
    add = Summary.add
    monkeypatch.setattr(Summary, "add", lambda *args: (calls.append(1), add(*args))[1])
    assert len(list(summaries([from_array("w", np.arange(3.0)) for _ in range(500)]))) == 500
    assert not calls


def test_a_small_weight_that_cannot_be_read_raises_when_its_turn_comes():
    def broken(start, stop):
        raise FormatError("x", "is broken")

    listed = [from_array("w", np.arange(3.0)) for _ in range(100)]
    listed[50] = listed[50].replace(read=broken)
    found = summaries(listed)
    assert [next(found).moments.count for _ in range(50)] == [3] * 50
    with pytest.raises(FormatError, match="is broken"):
        next(found)


def test_the_figures_of_a_block_are_those_of_the_exact_sums():
    chance = np.random.default_rng(3)
    for size in (1, 2, 3, 10, 1000):
        for shift in (0.0, 1e3, 1e-8):
            numbers = chance.normal(size=size) * 10.0 ** chance.integers(-5, 5) + shift
            one, merged = Moments(), Moments()
            one.add(numbers)
            merged.merge(one)
            assert [getattr(one, word) for word in ("mean", "std", "l1", "l2", "rms")] == [
                getattr(merged, word) for word in ("mean", "std", "l1", "l2", "rms")
            ]


def test_the_bins_of_many_parts_are_added_to_the_same_counts_by_sorting_and_in_one_pass(monkeypatch):
    parts = list(summaries([from_array(name, array) for name, array in small_arrays().items()]))
    found = []
    for threshold in (1, 1 << 30):
        monkeypatch.setattr(sizes, "SORT_THRESHOLD", threshold)
        whole = Summary()
        for part in parts:
            whole.merge(part)
        found.append({kind: [(each.dtype, each.tolist()) for each in bins] for kind, bins in whole.histogram.bins().items()})
    assert found[0] == found[1]
    assert sum(found[0]["float32"][1][1]) == whole.moments.count
