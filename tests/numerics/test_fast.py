"""With the extra `fast`, every figure is NumPy's within the stated rounding, and its bits depend on nothing else than the numbers."""

import math

import ml_dtypes
import numpy as np
import pytest

import steelyard
from steelyard import sizes
from steelyard.core.readers import from_array
from steelyard.errors import MissingExtraError
from steelyard.numerics import fast
from steelyard.numerics.histogram import Histogram
from steelyard.numerics.summary import Summary, summarise

DTYPES = ("f4", "f8", "f2", "bfloat16", "float8_e4m3fn", "float8_e5m2", "i1", "u2", "i4", "i8", "?", "c8")
EXACT = ("count", "minimum", "maximum", "zeros", "near_zeros")


def kind_of(dtype):
    return np.dtype(getattr(ml_dtypes, dtype, dtype))


def cases(dtype):
    """Arrays of two and a bit blocks: ordinary ones, one-sided, constant, with zeros, subnormal, huge, and not finite."""
    size = 2 * sizes.FAST_LEAST + 7
    chance = np.random.default_rng(0)
    plain = chance.standard_normal(size)
    kind = kind_of(dtype)
    some = {"plain": plain, "positive": np.abs(plain) + 0.5, "negative": -np.abs(plain) - 0.5, "constant": np.full(size, 0.1)}
    some["zeros"] = np.where(chance.random(size) < 0.3, 0.0, plain)
    if kind.kind not in "iub":
        some["wide"] = plain * 10.0 ** chance.integers(-4, 2, size)
        some["negative zeros"] = np.where(chance.random(size) < 0.3, -0.0, np.abs(plain))
    if dtype in ("f4", "f8", "bfloat16"):
        some["subnormal"] = plain * (1e-310 if dtype == "f8" else 1e-40)
        some["huge"] = plain * (1e299 if dtype == "f8" else 1e37)
    if dtype in ("f2", "f4", "f8", "bfloat16", "c8", "float8_e5m2"):
        some["not finite"] = np.where(chance.random(size) < 0.01, np.nan, np.where(chance.random(size) < 0.01, -np.inf, plain))
    with np.errstate(all="ignore"):
        return {name: array.astype(kind) for name, array in some.items()}


def by_numpy(monkeypatch, work):
    with monkeypatch.context() as patch:
        patch.setattr(fast, "_installed", lambda: (fast.NUMPY, None))
        return work()


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_figure_is_that_of_numpy_within_the_stated_rounding(monkeypatch, dtype, wide):
    for name, array in cases(dtype).items():
        weight = from_array("w", array)
        mine, theirs = summarise([weight], wide=wide), by_numpy(monkeypatch, lambda w=weight: summarise([w], wide=wide))
        one, other = mine.moments, by_numpy(monkeypatch, lambda s=theirs: s.moments)
        assert [getattr(one, each) for each in EXACT] == [getattr(other, each) for each in EXACT], name
        assert (mine.nan, mine.inf, mine.first) == (theirs.nan, theirs.inf, theirs.first), name
        top = other.rms if other.count else 0.0
        for figure in ("mean", "std", "l1", "l2", "rms"):
            found, expected = getattr(one, figure), getattr(other, figure)
            assert found == expected or abs(found - expected) <= 1e-13 * max(abs(expected), top), (name, figure)
        if wide:
            assert mine.quantile(0.3) == theirs.quantile(0.3)


def test_the_kernels_are_those_of_numkong_and_sums_are_near_the_exact_ones():
    assert fast.kernels_name().startswith("numkong 7.")
    values = np.random.default_rng(0).standard_normal(sizes.FAST_LEAST).astype("f4")
    low, high, plain, magnitudes, squares, least, power = fast.sums(values)
    exact = values.astype("f8")
    assert abs(plain - math.fsum(exact)) <= 1e-13 * magnitudes
    assert magnitudes == pytest.approx(math.fsum(np.abs(exact)), rel=1e-14)
    assert squares == pytest.approx(math.fsum(exact * exact), rel=1e-14)
    assert (low, high, least, power) == (values.min(), values.max(), np.abs(values).min(), 0)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_address_and_the_strides_of_the_numbers_change_no_bit(dtype):
    values = np.random.default_rng(0).standard_normal(sizes.FAST_LEAST + 5).astype(dtype)
    held = bytearray(values.nbytes + 64)
    found = set()
    for offset in range(33):
        moved = np.frombuffer(held, dtype, values.size, offset)
        moved[:] = values
        found.add(fast.sums(moved))
    spread = np.repeat(values, 3)[::3]
    found.add(fast.sums(spread))
    found.add(fast.sums(values[::-1].copy()[::-1]))
    assert len(found) == 1
    assert fast.sums(values.astype(values.dtype.newbyteorder(">"))) is None  # NumPy sums up other byte orders
    assert fast.sums(values[:5]) is None


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_left_to_numpy_which_counts_them(number):
    values = np.random.default_rng(0).standard_normal(sizes.FAST_LEAST).astype("f4")
    values[3] = number
    assert fast.sums(values) is None
    assert fast.sums(np.abs(values)) is None


def test_halves_are_counted_by_their_bits_also_without_a_histogram_so_that_results_have_the_same_parts():
    halves = np.random.default_rng(0).standard_normal(3 * sizes.FAST_LEAST + 100).astype("f2")
    plain, wide = (summarise([from_array("w", halves)], wide=each) for each in (False, True))
    assert plain.quantile(0.5) == wide.quantile(0.5) == np.quantile(halves, 0.5, method="inverted_cdf")
    assert plain.moments.l2 == wide.moments.l2


@pytest.mark.parametrize("size", [0, 1, 2, 16383, 16384, 16385, 40001])
def test_bytes_are_counted_in_pairs_with_the_counts_of_single_ones(size):
    values = np.random.default_rng(0).integers(-128, 128, size).astype("i1")
    counted = Histogram()
    counted.add(values)
    numbers, counts = np.unique(values, return_counts=True)
    assert [part.tolist() for part in counted.points()] == [numbers.tolist(), counts.tolist()]


def figures(summary):
    found = summary.moments
    return [getattr(found, each) for each in (*EXACT, "mean", "std", "l1", "l2", "rms")]


def test_a_worker_uses_the_kernels_of_the_process_that_sent_its_task(monkeypatch):
    values = np.random.default_rng(0).standard_normal(100_003).astype("f4")

    def work(_):
        summary = Summary(wide=False)
        summary.add(values)
        return figures(summary)

    quick, plain = work(None), by_numpy(monkeypatch, lambda: work(None))
    assert quick != plain  # the last bits
    assert fast.as_asked(fast.NUMPY, work, None) == plain
    assert fast.as_asked(fast.kernels_name(), work, None) == quick
    name = fast.kernels_name()
    with pytest.raises(MissingExtraError, match=r"a worker that has numpy, .* numkong 7.*steelyard\[fast\]"):
        by_numpy(monkeypatch, lambda: fast.as_asked(name, work, None))
    assert work(None) == quick


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "bfloat16", "float8_e4m3fn", "i4"])
def test_a_comparison_is_that_of_numpy_within_the_rounding_of_float32(monkeypatch, dtype):
    for name, before in cases(dtype).items():
        after = before.copy()
        after[::3] = before[::-1][::3]
        with np.errstate(all="ignore"):
            (mine,) = steelyard.diff({"w": before}, {"w": after}).rows
            (theirs,) = by_numpy(monkeypatch, lambda a=before, b=after: steelyard.diff({"w": a}, {"w": b}).rows)
        assert (mine.changed, mine.max_abs, mine.place, mine.nonfinite) == (
            theirs.changed,
            theirs.max_abs,
            theirs.place,
            theirs.nonfinite,
        )
        for figure in ("mean_abs", "relative", "cosine"):
            assert getattr(mine, figure) == pytest.approx(getattr(theirs, figure), rel=1e-6, abs=1e-7), (name, figure)


def test_a_comparison_uses_the_kernels(monkeypatch):
    before, after = (np.random.default_rng(seed).standard_normal(100_003).astype("f4") for seed in (0, 1))
    (mine,) = steelyard.diff({"w": before}, {"w": after}).rows
    (theirs,) = by_numpy(monkeypatch, lambda: steelyard.diff({"w": before}, {"w": after}).rows)
    exact = np.linalg.norm(after.astype("f8") - before) / np.linalg.norm(before.astype("f8"))
    assert mine.relative != theirs.relative
    assert mine.relative == pytest.approx(exact, rel=1e-7)


def test_digests_do_not_depend_on_the_extra(monkeypatch, tmp_path):
    steelyard.save({"w": np.random.default_rng(0).standard_normal((300, 300)).astype("f4")}, tmp_path / "x.safetensors")
    mine = steelyard.digest(tmp_path / "x.safetensors")
    assert mine.to_dict() == by_numpy(monkeypatch, lambda: steelyard.digest(tmp_path / "x.safetensors")).to_dict()
    with pytest.raises(MissingExtraError):
        by_numpy(monkeypatch, lambda: fast.as_asked("numkong 1", lambda _: fast.kernels(), None))
    named = fast.as_asked("numkong 1", steelyard.digest, tmp_path / "x.safetensors")  # even where a worker lacks the kernels
    assert named.to_dict() == mine.to_dict()
