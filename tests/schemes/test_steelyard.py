"""Steelyard's own layout of quantised weights: parts that do not fit are refused with the reason."""

import numpy as np
import pytest

import steelyard

CODES = np.array([[1, -2, 3, 4], [5, 6, 7, -8]], "int8")


def number(**parts):
    return steelyard.weights({f"w.{word}": np.asarray(value) for word, value in parts.items()}).effective()


def test_numbers_are_codes_less_zero_points_times_scales():
    scale, zero = np.array([[1.0, 10.0], [2.0, 0.5]], "f4"), np.array([[0, 3], [1, -8]], "i1")
    made = number(codes=CODES, scale=scale, zero_point=zero)["w"]
    assert made.numpy().tolist() == [[1, -2, 0, 10], [8, 10, 7.5, 0]]
    assert (made.derivation.scheme, made.derivation.settings["cell"]) == ("int8 by Steelyard", "1x2")


def test_two_codes_of_four_bits_are_in_a_byte_the_first_in_the_low_bits():
    packed = np.array([[0x21, 0x0F]], "u1")
    one = np.array([[2.0]], "f4")
    assert number(codes=packed, scale=one, shape=np.array([1, 3]))["w"].numpy().tolist() == [[2, 4, -2]]
    power = np.array([[128]], "u1")
    assert number(codes=packed, scale=power, shape=np.array([1, 3]))["w"].numpy().tolist() == [[1, 2, -12]]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"codes": CODES, "scale": np.ones((2, 3), "f4")}, r"its scales have the shape \[2, 3\], which does not divide \[2, 4\]"),
        ({"codes": CODES, "scale": np.ones((2, 1), "f8")}, "its scales are float64"),
        ({"codes": CODES, "scale": np.ones((2, 1), "u1")}, "its scales are uint8"),
        ({"codes": CODES, "scale": np.ones((2, 1), "f4"), "zero_point": np.ones(2, "i1")}, "its zero points are int8"),
        ({"codes": CODES.view("u1"), "scale": np.ones((2, 1), "f4")}, "its shape is missing"),
        (
            {"codes": CODES.view("u1"), "scale": np.ones((2, 1), "f4"), "shape": np.array([2, 4])},
            r"its shape is \[2, 4\], and its codes",
        ),
        ({"codes": CODES.view("u1"), "scale": np.ones((2, 1), "f4"), "shape": np.array([2, -8])}, "its shape is"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, reason):
    import re

    assert re.search(reason, number(**parts)["w"].unreadable)


def test_codes_without_a_scale_are_plain_weights():
    assert list(number(codes=CODES)) == ["w.codes"]
