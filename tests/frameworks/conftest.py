"""Fixtures of the graph tests: the golden cases, and nets of every sort that graphs must represent."""

import carried
import numpy as np
import pytest

KINDS = {
    "dense": {"dense"},
    "conv": {"conv"},
    "depthwise": {"conv"},
    "separable": {"conv"},
    "convt": {"conv transpose"},
    "embedding": {"embedding"},
    "bn": {"batch norm"},
    "norm": {"layer norm", "group norm", "instance norm"},
    "rms": {"rms norm"},
    "prelu": {"prelu"},
    "rnn": {"rnn"},
    "lstm": {"lstm"},
    "gru": {"gru"},
    "mha": {"attention"},
}
"""The kinds of the golden cases in the words of graphs."""


class Golden:
    """One golden case in the form of one framework."""

    def __init__(self, folder, case, framework):
        self.folder = folder
        self.id = case["id"]
        self.layers = case["layers"]
        self.framework = framework
        self.tolerance = case["tolerance"]
        self.files = case["files"][framework]
        scope = {"__name__": "golden"}
        exec(case["builders"][framework], scope)
        self.build = scope["build"]
        with np.load(folder / case["io"]) as io:
            layout = case["layout"][framework]
            self.inputs = [io[name] for name in layout["inputs"]]
            self.output = io[layout["output"]]

    def file(self, ending):
        return self.folder / next(name for name in self.files if name.endswith(ending))

    def expected(self):
        """Yield the name and the kinds of each layer; a layer that this framework splits is yielded by its parts."""
        for layer in self.layers:
            names = layer["hp"].get("names", {}).get(self.framework) or layer["names"][self.framework]
            for name in [names] if isinstance(names, str) else names:
                yield name, KINDS[layer["kind"]]


@pytest.fixture(scope="session")
def golden():
    """Return a function that returns the golden cases of a framework."""
    folder, cases = carried.folder("golden"), carried.golden_cases()
    return lambda framework: [Golden(folder, case, framework) for case in cases if framework in case["builders"]]
