"""A weight of the target is assembled from the parts of the source that go to it, and keeps what none goes to."""

import numpy as np
import pytest

from steelyard.core.axes import parts_of
from steelyard.core.readers import from_array
from steelyard.transfers.assembly import AssembledReader, assembled, read_once
from steelyard.transfers.pairing.moves import Move

ONES = np.ones(3, "f4")


def part(name, array, axes="out"):
    """Return the only part of a weight."""
    (made,) = parts_of(from_array(name, array), axes, axes.split())
    return made


def gates(name, array):
    """Return the parts of a packed bias by their letters."""
    return {"".join(each.letters): each for each in parts_of(from_array(name, array), "[if]*out", ("out",))}


def unreadable(start, stop):
    raise AssertionError("the target was read")


def test_parts_that_cover_the_target_are_assembled_without_reading_it():
    wanted = np.arange(6.0)
    halves = gates("t", np.zeros(6))
    moves = [Move(halves["i"], (part("a", wanted[:3]),)), Move(halves["f"], (part("b", wanted[3:]),))]
    arrays = {"a": wanted[:3], "b": wanted[3:]}
    target = from_array("t", np.zeros(6)).replace(read=unreadable)
    made = assembled(target, moves, arrays.__getitem__, np.dtype("f4"), lambda values: values.astype("f4"))
    assert made.tolist() == wanted.tolist()
    assert made.dtype == "float32"


def test_entries_that_no_part_goes_to_keep_the_numbers_of_the_target():
    target = np.arange(6.0)
    move = Move(gates("t", target)["f"], (part("a", ONES),))
    made = assembled(from_array("t", target), [move], {"a": ONES}.__getitem__, np.dtype("f4"), lambda values: values)
    assert made.tolist() == [0, 1, 2, 1, 1, 1]
    assert made.dtype == "float32"


@pytest.mark.parametrize(("axes", "moved"), [("out in", []), ("in out", ["b"])], ids=["as it is", "turned"])
def test_a_whole_weight_in_the_same_axes_is_copied_without_its_parts(axes, moved, monkeypatch):
    array, seen = np.arange(4.0).reshape(2, 2), []
    values = Move.values
    monkeypatch.setattr(Move, "values", lambda move, read: seen.append(move.target.weight.name) or values(move, read))
    (source,), (target,) = (
        parts_of(from_array(name, array), words, ("out", "in")) for name, words in (("a", "out in"), ("b", axes))
    )
    made = assembled(target.weight, [Move(target, (source,))], {"a": array}.__getitem__, np.dtype("f8"), lambda part: part)
    assert made.tolist() == (array.T if moved else array).tolist()
    assert not np.shares_memory(made, array)
    assert seen == moved


def doubled(values):
    return values * 2


@pytest.mark.parametrize(
    ("moves", "dtype"),
    [
        ([Move(part("t", ONES), (part("a", ONES),))], "float32"),
        ([Move(part("t", ONES), (part("a", ONES),), then=doubled)], "float64"),
        ([Move(part("t", ONES), (part("a", ONES), part("b", ONES)))], "float64"),
        ([Move(part("t", ONES), (part("a", ONES),)), Move(part("t", ONES), (part("b", ONES.astype("f2")),))], "float64"),
        ([Move(part("t", ONES), ())], "float64"),
    ],
    ids=["copied", "changed at the end", "summed", "of two dtypes", "filled"],
)
def test_the_dtype_is_the_source_s_where_numbers_are_only_copied_and_float64_where_they_are_computed(moves, dtype):
    assert AssembledReader(from_array("t", ONES), moves, {}).dtype == dtype


def test_a_target_is_assembled_once_for_all_its_blocks_and_freed_after_the_last():
    reads = []

    def read(start, stop):
        reads.append((start, stop))
        return np.arange(4.0)[start:stop]

    source = from_array("a", np.arange(4.0)).replace(read=read)
    move = Move(part("t", np.zeros((2, 2)), "in out"), (part("a", np.arange(4.0).reshape(2, 2), "in out"),))
    reader = AssembledReader(from_array("t", np.zeros((2, 2))), [move], {"a": source.replace(shape=(2, 2))})
    blocks = [reader(0, 1).tolist(), reader(1, 3).tolist(), reader(3, 4).tolist()]
    assert blocks == [[0], [1, 2], [3]]
    assert len(reads) == 1
    assert reader(0, 4).tolist() == [0, 1, 2, 3]
    assert len(reads) == 2


def test_the_last_weight_is_kept_and_the_one_before_is_forgotten():
    reads = []

    def weight(name):
        def read(start, stop):
            reads.append(name)
            return ONES[start:stop]

        return from_array(name, ONES).replace(read=read)

    read = read_once({name: weight(name) for name in "ab"})
    for name in "aabba":
        assert read(name).tolist() == [1, 1, 1]
    assert reads == ["a", "b", "a"]
