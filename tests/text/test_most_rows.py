"""Printing a long table in Python shows its first rows and counts the rest; a command prints all."""

import re

import numpy as np
import pytest

import steelyard
from steelyard.text.table import MOST_ROWS

A = {f"layer{chr(97 + nth // 26)}{chr(97 + nth % 26)}.weight": np.full((2, nth + 1), 2.0) for nth in range(MOST_ROWS + 7)}
B = {name: array + 1 for name, array in A.items()}
PRINTED = {
    "weights": lambda: steelyard.weights(A),
    "stats": lambda: steelyard.stats(A),
    "stats by output": lambda: steelyard.stats(
        {"fc": {"weight": np.ones((MOST_ROWS + 7, 2)), "bias": np.ones(MOST_ROWS + 7)}}, "out"
    ),
    "spectra": lambda: steelyard.spectra({name: array.repeat(2, 1) for name, array in A.items()}),
    "norms of a history": lambda: steelyard.history({1: A, 2: B}).norms("weight"),
    "what moved": lambda: steelyard.history({1: A, 2: B}).blame(),
}


@pytest.mark.parametrize("what", PRINTED)
def test_printing_shows_the_first_rows_and_counts_the_rest(what):
    result = PRINTED[what]()
    text = repr(result)
    assert re.search(r"\n\.\.\. and (7|214) more rows", text)
    assert MOST_ROWS < len(text.splitlines()) < MOST_ROWS + 60


def test_a_command_prints_all(tmp_path, capsys):
    from steelyard.cli import main

    steelyard.save(A, tmp_path / "a.npz")
    for command in ("ls", "stats"):
        assert main([command, str(tmp_path / "a.npz")]) == 0
        out = capsys.readouterr().out
        assert "more rows" not in out
        assert all(name in out for name in A)
