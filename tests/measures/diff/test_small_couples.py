"""The figures of many small couples, found in columns, are those of each couple alone, to the last bit."""

import numpy as np
import pytest

import steelyard
from steelyard import sizes

COUNT = 10
WAYS = {
    "equal": lambda x: x,
    "other": lambda x: x + np.sin(x),
    "uneven": lambda x: x * 1e9,
    "to zeros": lambda x: x * 0,
    "signs of zeros": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 2, -0.0, x),
    "overflowing": lambda x: x * 1e200,
    "vanishing": lambda x: x * 1e-300,
    "infinite": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 3, np.inf, x * 2),
    "one entry": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 3, 5, x),
    "turned round": lambda x: x.reshape(-1)[::-1].reshape(x.shape),
    "low rank": lambda x: x + np.outer(*(np.arange(n) for n in x.shape)),
}


def nets(dtype):
    """Return two nets of small matrices that differ in every way; the first of each way and the last are zero before."""
    chance = np.random.default_rng(7)
    before, after = {}, {}
    with np.errstate(all="ignore"):
        for way, changed in WAYS.items():
            for nth in range(COUNT):
                x = (chance.normal(size=(12, 10)) * 50 * (nth % 9 > 0)).astype(dtype)
                before[f"{way}.{nth}"], after[f"{way}.{nth}"] = x, changed(x.astype("f8")).astype(dtype)
    return before, after


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i4"])
@pytest.mark.parametrize("rtol", [0.0, 0.1])
def test_figures_of_many_small_weights_are_those_of_each_alone(dtype, rtol, monkeypatch):
    sides = nets(dtype)
    together = steelyard.diff(*sides, rtol=rtol, verdicts=False).to_dict()
    monkeypatch.setattr(sizes, "SMALL_RUN", 1 << 30)
    assert together == steelyard.diff(*sides, rtol=rtol, verdicts=False).to_dict()


def test_equal_weights_and_those_that_cannot_be_read_together_do_not_disturb_the_others():
    before, after = nets("f4")
    found = steelyard.diff(before, after | {"equal.0": before["equal.0"].astype("f8")})
    kinds = {row.name: row.kind for row in found.rows}
    assert kinds["equal.0"] == "changed", "its type is another one"
    assert {kinds[f"equal.{nth}"] for nth in range(1, COUNT)} == {"equal"}
    assert all(row.changed for row in found.rows if row.name.startswith("other") and before[row.name].any())
