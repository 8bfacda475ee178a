"""Names whose numbers make a grid, and the rows of a table that they share."""

from itertools import permutations, product
from random import Random

import pytest

from steelyard.text import rows
from steelyard.text.grids import in_grid
from steelyard.text.rows import folded_apart

NAMES = [f"layers.{a}.experts.{b}.w{c}" for a, b, c in product(range(8, 12), range(3), (1, 2))]


def apart(names, monkeypatch, many):
    monkeypatch.setattr(rows, "_MANY", many)
    return folded_apart(names, str, len)


@pytest.mark.parametrize("left_out", [(), (3,), (0, 1, 2, 3, 4, 5)])
def test_a_grid_is_folded_at_once_as_it_is_number_by_number(monkeypatch, left_out):
    names = [name for nth, name in enumerate(NAMES) if nth not in left_out]
    Random(0).shuffle(names)
    assert apart(names, monkeypatch, 0) == apart(names, monkeypatch, 1000)
    assert len(apart(["layers.8.w", "layers.9.w", "layers.10.w"], monkeypatch, 0)) == 2  # the kind is the length of the name


def test_numbers_that_are_padded_repeated_or_long_make_no_grid():
    assert in_grid(["h.08", "h.09", "h.10"]) is None
    assert in_grid(["h.1", "h.1", "h.3"]) is None
    assert in_grid(["h.1234567890", "h.1234567891"]) is None
    assert in_grid(["h"]) is None
    assert all(in_grid([f"h.{nth}" for nth in order]) for order in permutations(range(3)))


def test_names_with_line_breaks_and_with_many_numbers_fold_as_others_do(monkeypatch):
    names = [f"a\n{nth}.w" for nth in range(5)] + [f"{nth}.2.3.4.5.6.7.{nth}" for nth in range(4)]
    found = apart(names, monkeypatch, 0)
    assert found == apart(names, monkeypatch, 1000) == [names[:5], *([name] for name in names[5:])]
