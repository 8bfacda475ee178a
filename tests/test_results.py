"""The types of results have one public home, which costs nothing until one is asked for."""

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import steelyard
from steelyard import results

REFERENCE = (Path(__file__).parent.parent / "docs" / "reference.md").read_text()
NET = {"fc": {"weight": np.eye(3, 2), "bias": np.ones(3)}}


@pytest.mark.parametrize("name", results.__all__)
def test_each_type_is_imported_when_it_is_asked_for_and_is_in_the_reference(name):
    found = getattr(results, name)
    assert found.__name__ == name
    assert name in dir(results)
    assert found.__doc__
    documented = re.findall(rf"^::: ([\w.]+)\.{name}$", REFERENCE, re.MULTILINE)
    assert [getattr(import_module(module), name) for module in documented] == [found]


def test_what_the_functions_return_is_of_these_types():
    diff, stats = steelyard.diff(NET, NET), steelyard.stats(NET)
    assert isinstance(diff, results.Diff)
    assert all(isinstance(row, results.Difference) for row in diff.rows)
    assert isinstance(stats, results.Stats)
    assert all(isinstance(row, results.WeightStats) for row in stats.rows)
    assert isinstance(steelyard.check(NET), results.Check)
    assert isinstance(steelyard.digest(NET), results.Digest)
    assert isinstance(steelyard.spectra(NET), results.Spectra)
    assert isinstance(steelyard.plan_transfer(NET, into=NET), results.TransferPlan)


def test_a_name_that_is_none_of_them_is_refused():
    with pytest.raises(AttributeError, match=r"module 'steelyard.results' has no attribute 'Plan'"):
        results.Plan  # noqa: B018 - asking is what fails


def test_the_module_itself_imports_no_numpy_and_no_measure():
    script = (
        "import steelyard, sys; steelyard.results; from steelyard.results import Graph; "
        "import json; print(json.dumps([m for m in sys.modules if m == 'numpy' or m.startswith('steelyard.transfers')]))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == []
