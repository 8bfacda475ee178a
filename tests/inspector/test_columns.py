"""The columns of an index are packed in less room, and every value comes back."""

import numpy as np
import pytest
from inspector.packs import unpacked

from steelyard.inspector.columns import compact
from steelyard.inspector.packing import pack


def back(**columns):
    """Columns after they were packed and read."""
    columns.setdefault("name", [f"a.{nth}" for nth in range(len(next(iter(columns.values()))))])
    return unpacked(pack(compact({"columns": columns})))["columns"]


@pytest.mark.parametrize(
    "column",
    [
        ["float32"] * 40 + ["int8"],
        [f"layer.{nth}" for nth in range(9)],
        [None] * 9,
        [True, None, False, True],
        [[192, 64], [192], [192, 64], [192]],
        [[nth, 3] for nth in range(300)] * 2,
        [0, 2**40, 7],
        [0, 2**60 + 1, 7],
        [0.1 + 0.2, None, -1e300, 5e-324],
        [0.1, "NaN", None, "Infinity"],
        [0.1, float("inf"), None],
        [],
    ],
)
@pytest.mark.parametrize("word", ["kind", "relative"])
def test_every_value_of_a_column_comes_back(column, word):
    assert back(**{word: column})[word] == column


@pytest.mark.parametrize("far", [1e300, 1e-40, 2.0**-149, 2**53 + 1])
def test_statistics_keep_the_digits_of_a_float32_or_all_if_a_float32_cannot_hold_one(far):
    column = [0.123456789, None, 0.0, -7.5]
    assert back(mean=column)["mean"] == [float(np.float32(0.123456789)), None, 0.0, -7.5]
    assert back(mean=[*column, far])["mean"] == [*column, far]


@pytest.mark.parametrize("names", [["a.b.w", "a.b.v", "w"], ["\U0001f600.w", "\U0001f600.v", "w"]])
def test_the_layers_of_names_come_back_also_where_a_letter_has_two_units(names):
    layers = [name.rpartition(".")[0] for name in names]
    assert back(name=names, layer=layers) == {"name": names, "layer": layers}
    assert back(name=names, layer=[None, "a", ""])["layer"] == [None, "a", ""]


def test_common_words_and_shapes_take_a_byte_a_row():
    columns = {"name": [str(nth) for nth in range(10_000)], "dtype": ["float32"] * 10_000, "shape": [[192, 64]] * 10_000}
    made = compact({"columns": columns})["columns"]
    assert (made["dtype"]["of"], made["shape"]["of"]) == (["float32"], [[192, 64]])
    assert made["dtype"]["at"].nbytes == made["shape"]["at"].nbytes == 10_000
