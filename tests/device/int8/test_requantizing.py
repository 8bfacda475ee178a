"""Sums become codes as CMSIS-NN and TFLite have it, in both roundings, bit for bit."""

import numpy as np
import pytest

from steelyard.device.int8.requantizing import Multipliers, Quantization, multipliers, nearest, scaled
from steelyard.errors import ShapeError


def cmsis(values, multiplier, shift, rounding):
    """Return what the public definition of arm_nn_requantize computes, step by step in C's integers."""
    values, multiplier, shift = (each.astype(np.int64) for each in (values, multiplier, shift))
    if rounding == "single":
        total = 31 - shift
        result = ((values * multiplier) >> (total - 1)).astype(np.int32).astype(np.int64)
        return (result + 1) >> 1
    left, right = np.where(shift > 0, shift, 0), np.where(shift > 0, 0, -shift)
    product = (values * (1 << left)).astype(np.int32).astype(np.int64) * multiplier + (1 << 30)
    dividend = (product >> 31).astype(np.int32).astype(np.int64)
    mask = (np.int64(1) << right) - 1
    result = dividend >> right
    threshold = (mask >> 1) + (result < 0)
    return result + ((dividend & mask) > threshold)


def tflite(values, multiplier, shift):
    """Return what gemmlowp's SaturatingRoundingDoublingHighMul and RoundingDivideByPOT compute; C divides towards zero."""
    values, multiplier, shift = (each.astype(np.int64) for each in (values, multiplier, shift))
    product = (values << np.maximum(shift, 0)) * multiplier
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = np.sign(nudged) * (np.abs(nudged) >> 31)
    exponent = np.maximum(-shift, 0)
    mask = (np.int64(1) << exponent) - 1
    return (high >> exponent) + ((high & mask) > (mask >> 1) + (high < 0))


def triples():
    """Return a million sums, multipliers and shifts of which none leaves 32 bits, and the ends of all ranges."""
    random = np.random.default_rng(0)
    count = 1_000_000
    shifts = random.integers(-31, 9, count)
    room = 30 - np.maximum(shifts, 0)  # CMSIS-NN keeps twice the result in 32 bits
    values = np.floor(random.uniform(-1, 1, count) * np.exp2(np.minimum(room, random.integers(1, 31, count)))).astype(np.int64)
    factors = random.integers(1 << 30, 1 << 31, count)
    ends = [(v, m, s) for v in (-(2**30), -1, 0, 1, 2**30 - 1) for m in (0, 1 << 30, (1 << 31) - 1) for s in (-31, -1, 0)]
    ends += [(v, 1 << 30, s) for s in range(-29, 0) for v in ((1 << -s), -(1 << -s), (3 << -s) & 0x3FFFFFFF)]  # halves
    extra = np.array(ends).T
    return [np.concatenate(pair) for pair in zip((values, factors, shifts), extra, strict=True)]


@pytest.mark.parametrize("rounding", ["single", "double"])
def test_a_million_sums_are_requantised_as_cmsis_nn_does(rounding):
    values, factors, shifts = triples()
    made = scaled(values, Multipliers(factors, shifts), rounding)
    assert np.array_equal(made, cmsis(values, factors, shifts, rounding))


def test_double_rounding_is_that_of_tflites_reference_kernels_and_differs_from_single():
    values, factors, shifts = triples()
    by = Multipliers(factors, shifts)
    double = scaled(values, by, "double")
    assert np.array_equal(double, tflite(values, factors, shifts))
    apart = np.abs(double - scaled(values, by, "single"))
    assert apart.max() == 1
    assert 0.005 < (apart != 0).mean() < 0.1


def test_factors_are_within_half_a_unit_of_31_bits():
    factors = np.exp(np.random.default_rng(1).uniform(-15, 15, 1000))
    made = multipliers(factors)
    assert made.values.dtype == made.shifts.dtype == np.int32
    assert (np.abs(made.factors / factors - 1) <= 2.0**-31).all()
    assert made.values.min() >= 1 << 30


def test_a_fraction_that_rounds_to_one_is_carried_into_the_shift_and_tiny_factors_are_zero():
    made = multipliers(np.array([1 - 2.0**-40, 2.0**-40]))
    assert made.values.tolist() == [1 << 30, 0]
    assert made.shifts.tolist() == [1, 0]
    with pytest.raises(ShapeError, match="2\\^30 times smaller"):
        multipliers(np.array([2.0**31]))


def test_halves_are_rounded_away_from_zero_also_just_below_them():
    assert nearest(np.array([0.5, 1.5, -2.5, np.nextafter(0.5, 0), -0.2])).tolist() == [1, 2, -3, 0, 0]


def test_numbers_become_the_nearest_codes_inside_their_range():
    known = Quantization(0.5, -3)
    assert known.codes(np.array([0.0, 0.25, -0.25, 1e9, -np.inf])).tolist() == [-3, -2, -4, 127, -128]
    assert known.numbers(np.array([-128, -3, 127], np.int8)).tolist() == [-62.5, 0.0, 65.0]
