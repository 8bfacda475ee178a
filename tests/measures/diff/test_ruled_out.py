"""Tests on many small weights at once rule out verdicts, and never one that the test of a weight alone would give."""

import numpy as np
import pytest

import steelyard
from steelyard import sizes
from steelyard.measures.diff import ruled_out, verdicts

COUNT = 20


def nets(dtype):
    """Return two nets of many small weights that differ in every way, among them zeros, numbers not finite and tiny ones."""
    chance = np.random.default_rng(5)
    before, after = {}, {}
    ways = {
        "other": lambda x: x + chance.normal(size=x.shape) * 0.1,
        "scaled": lambda x: x * np.float64(1.7),
        "turned": lambda x: -x,
        "cast": lambda x: x.astype(np.float16),
        "tiny": lambda x: x * 1e-39,
        "zeros": lambda x: x * 0,
        "infinite": lambda x: np.where(np.arange(x.size) == 3, np.inf, x * 2),
        "sparse": lambda x: np.where(np.arange(x.size) == 3, 5, x),
    }
    for way, changed in ways.items():
        for nth in range(COUNT):
            x = chance.normal(size=24).astype(dtype)
            before[f"{way}.{nth}"], after[f"{way}.{nth}"] = x, changed(x).astype(dtype)
    return before, after


def found(sides):
    return [(row.name, row.verdict and row.verdict.kind, repr(row.verdict)) for row in steelyard.diff(*sides).rows]


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("turned", [False, True])
def test_verdicts_of_many_weights_are_those_of_each_alone(dtype, turned, monkeypatch):
    sides = nets(dtype)[:: -1 if turned else 1]
    together = found(sides)
    monkeypatch.setattr(sizes, "SMALL_RUN", 1 << 30)
    assert together == found(sides)
    assert {kind for _, kind, _ in together} >= {"scaled", "sparse"} | ({"cast"} if dtype != "f2" else set())


def test_verdicts_that_are_ruled_out_are_not_tested(monkeypatch):
    before, after = nets("f4")
    tested = []
    for name in ("_cast", "_scaled"):
        exact = getattr(verdicts, name)
        monkeypatch.setattr(verdicts, name, lambda one, *rest, exact=exact: tested.append(one.name) or exact(one, *rest))
    steelyard.diff(before, after)
    assert not [name for name in tested if name.startswith("other")]


def test_types_of_which_nothing_is_known_rule_nothing_out():
    rows = np.ones((2, 3), "f2")
    assert ruled_out.may_be_cast(rows, rows).all()
    assert ruled_out.may_be_scaled(rows, rows).all()
