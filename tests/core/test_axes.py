"""Axes in words: which parts they distinguish, and how the parts of two weights map to each other."""

import numpy as np
import pytest

from steelyard import sizes
from steelyard.core.axes import LABELS, copy_turned, label_of, parts_of
from steelyard.core.readers import from_array
from steelyard.errors import ShapeError


def part(shape, axes, canonical, known=None):
    (made,) = parts_of(from_array("w", np.zeros(shape)), axes, canonical, known)
    return made


def test_a_part_is_whole_only_where_nothing_is_moved_cut_or_reversed():
    assert part((2, 3), "out in", ("out", "in")).is_whole
    assert not part((2, 3), "in out", ("out", "in")).is_whole
    assert part((1, 3), "in out", ("out", "in")).is_whole, "an axis of one may be anywhere"
    assert not part((2, 3, 4), "-k in out", ("k", "in", "out")).is_whole
    assert part((1, 3, 4), "-k in out", ("k", "in", "out")).is_whole
    assert part((6, 4), "heads*dim in", ("out", "in"), {"heads": 2}).is_whole
    assert not next(iter(parts_of(from_array("w", np.zeros((4, 3))), "[if]*out in", ("out", "in")))).is_whole


def test_two_parts_that_move_numbers_alike_have_equal_runs():
    torch, keras = part((2, 2), "out in", ("out", "in")), part((2, 2), "in out", ("out", "in"))
    assert torch.runs(torch) == keras.runs(keras)
    assert torch.runs(keras) != torch.runs(torch)
    assert keras.runs(torch) == torch.runs(keras)
    plain, flipped = part((2, 3), "k out", ("out", "k")), part((2, 3), "-k out", ("out", "k"))
    assert plain.runs(flipped) != plain.runs(plain)
    assert flipped.runs(flipped) != plain.runs(flipped)
    split = part((2, 3, 4), "heads dim in", ("out", "in"))
    joined = part((6, 4), "out in", ("out", "in"))
    assert split.runs(joined) != split.runs(split)
    assert part((1, 3), "out in", ("out", "in")).runs(part((3, 1), "in out", ("out", "in"))) == (((1, False), (0, False)),)


@pytest.mark.parametrize(
    ("word", "others", "label"),
    [
        ("heads", "in heads dim", "out"), ("heads", "heads dim out", "in"), ("dim", "heads dim", "in"), ("in", "in mult", "out"),
        ("mult", "in mult", "out"), ("in", "in out", "in"), ("channel", "channel", "out"), ("vocab", "vocab out", "vocab"),
        ("kh", "kh kw in out", "kh"), ("out2", "out1 out2", "out"), ("group", "group in", "out"), ("rank", "rank out", ""),
        ("1", "1 out", ""), ("", "out", ""),
    ],
)  # fmt: skip
def test_a_word_means_one_of_the_axes_that_all_frameworks_have(word, others, label):
    assert label_of(word, frozenset(others.split())) == label


def test_a_group_belongs_to_the_first_canonical_axis():
    made = part((2, 3, 4), "group out in", ("out", "in"))
    assert made.shape == (6, 4)
    assert part((2, 3, 4), "group out in", LABELS).shape == (1, 6, 4, 1, 1, 1, 1)
    assert part((2, 3, 4), "group in out", ("in", "out")).shape == (6, 4)


@pytest.mark.parametrize(
    ("shape", "axes"), [((2, 3), "out"), ((5,), "[if]*out"), ((6, 2), "heads*dim in"), ((7, 2), "heads*3 in"), ((2,), "1")]
)
def test_axes_that_do_not_fit_the_shape_are_refused(shape, axes):
    with pytest.raises(ShapeError, match=r"which does not fit the axes|none of"):
        part(shape, axes, ("out", "in"))


@pytest.mark.parametrize("shape", [(5, 7), (16, 16), (20, 9, 3), (3, 40)])
@pytest.mark.parametrize(("tile", "threshold"), [(2, 7), (4, 1 << 20), (512, 1 << 20)])
def test_a_transposed_copy_is_the_same_in_tiles_of_any_size(monkeypatch, shape, tile, threshold):
    monkeypatch.setattr(sizes, "TILE", tile)
    monkeypatch.setattr(sizes, "TURN_THRESHOLD", threshold)
    source = np.arange(np.prod(shape)).reshape(shape)
    for turned in (source, np.asfortranarray(source), source[::-1]):
        target = np.zeros(shape, int)
        copy_turned(target, turned)
        assert np.array_equal(target, turned)
        target = np.zeros(shape, int, order="F")
        copy_turned(target, turned)
        assert np.array_equal(target, turned)
