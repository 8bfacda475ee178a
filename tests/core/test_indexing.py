"""Places of a weight: single elements, and the errors for those that it does not have."""

import numpy as np
import pytest

from steelyard import sizes
from steelyard.core.indexing import elements, place_of
from steelyard.core.readers import from_array
from steelyard.errors import OutsideError, ShapeError

ARRAY = np.arange(24).reshape(2, 3, 4)


@pytest.mark.parametrize("gap", [1, 5, 1 << 16])
@pytest.mark.parametrize("places", [[0], [23], [0, 1, 2], [0, 5, 6, 23], list(range(24))])
def test_elements_are_those_at_their_places(monkeypatch, gap, places):
    monkeypatch.setattr(sizes, "READ_GAP", gap)
    monkeypatch.setattr(sizes, "READ_BLOCK", 8)
    reads = []

    def read(start, stop):
        reads.append((start, stop))
        return ARRAY.reshape(-1)[start:stop]

    found = elements(from_array("w", ARRAY).replace(read=read), np.array(places))
    assert found.tolist() == places
    assert all(start in places and stop - 1 in places for start, stop in reads), "no read begins before an element or ends after"


@pytest.mark.parametrize(
    ("index", "error", "what"),
    [
        ((2,), OutsideError, r"w of shape \[2, 3, 4\] has no part \[2\]: 2 is out of range for axis 0 of length 2"),
        ((0, -4), OutsideError, r"\[0, -4\]: -4 is out of range for axis 1 of length 3"),
        ((0, 0, 0, 0), ShapeError, r"\[0, 0, 0, 0\]: has 4 entries, the weight 3 axes"),
        ((..., 0, ...), ShapeError, r"\[\.\.\., 0, \.\.\.\]: has 3 entries"),
        ((True,), ShapeError, r"\[True\]: True is not an index: use integers, slices or an ellipsis"),
        ((1.5,), ShapeError, r"1\.5 is not an index"),
        ((slice(1, 2), 1.5), ShapeError, r"\[1:2, 1\.5\]: "),
        ((slice(None, None, 2), None), ShapeError, r"\[::2, None\]: "),
        ((slice(3, None), "a"), ShapeError, r"\[3:, 'a'\]: "),
        ((slice(None, -1), "a"), ShapeError, r"\[:-1, 'a'\]: "),
    ],
)
def test_an_index_that_names_no_part_is_written_as_python_writes_it(index, error, what):
    with pytest.raises(error, match=what):
        from_array("w", ARRAY)[index]


def test_the_place_of_an_element_is_its_index():
    for shape in ((24,), (2, 3, 4), (4, 6), (1, 24)):
        assert [place_of(shape, nth) for nth in range(24)] == list(np.ndindex(shape))
    assert place_of((), 0) == ()
