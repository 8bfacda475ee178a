"""Packs, read back by a reader that knows only the layout."""

import json
import struct

import numpy as np
import pytest
from inspector.packs import unpacked

from steelyard.inspector.packing import KINDS, pack


def test_packed_values_are_unpacked_with_arrays_in_their_places():
    value = {
        "name": "a\u2028</script>\ud800",
        "list": [1, 2.5, None, True, {"x": np.arange(3, dtype="i4")}],
        **{kind: np.array([0, 1, 100], kind) for kind in KINDS},
    }
    found = unpacked(pack(value))
    for kind in KINDS:
        assert found[kind].dtype == kind
        assert found[kind].tolist() == [0, 1, 100]
    assert found["list"][:4] == [1, 2.5, None, True]
    assert found["list"][4]["x"].tolist() == [0, 1, 2]
    assert found["name"] == value["name"]


def test_every_array_is_aligned_to_eight_bytes_and_the_json_is_ascii():
    data = pack({"é": [np.ones(n, "u1") for n in range(1, 20)]})
    (length,) = struct.unpack("<I", data[:4])
    told = json.loads(data[4 : 4 + length].decode("ascii"))
    assert [place["$"][0] % 8 for place in told["é"]] == [0] * 19
    assert len(data) % 8 == 0


def test_an_array_in_two_places_is_stored_once():
    large = np.ones(10_000, "f8")
    data = pack([large, {"again": large}])
    assert len(data) < 90_000
    first, second = unpacked(data)
    np.testing.assert_array_equal(first, second["again"])


def test_big_endian_and_strided_arrays_are_packed_by_their_numbers():
    found = unpacked(pack([np.array([1, 2], ">i4"), np.arange(6, dtype="f4")[::2], np.array(5, "u1")]))
    assert [each.tolist() for each in found] == [[1, 2], [0, 2, 4], [5]]


def test_nan_and_inf_are_words_in_json_and_numbers_in_arrays():
    found = unpacked(pack({"n": float("nan"), "i": -float("inf"), "a": np.array([np.nan, np.inf], "f4")}))
    assert (found["n"], found["i"]) == ("NaN", "-Infinity")
    np.testing.assert_array_equal(found["a"], [np.nan, np.inf])


@pytest.mark.parametrize("value", [np.ones(2, "i8"), np.ones(2, "f2"), np.array(["a"]), object(), np.int64(1)])
def test_types_without_a_typed_array_in_browsers_are_refused(value):
    with pytest.raises(TypeError, match="cannot be packed"):
        pack({"a": value})
