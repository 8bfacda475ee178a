"""A framework outside of Steelyard joins by an entry point: two functions are enough, five do everything."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import steelyard
from steelyard.core import plugins
from steelyard.errors import ShapeError, UnknownModelError
from steelyard.testing import check_model

LIBRARY = """
import numpy as np

class Net:
    '''Dense layers with a ReLU after each but the last.'''

    def __init__(self, *widths):
        self.kernels = [np.full((a, b), 0.5) for a, b in zip(widths, widths[1:])]
        self.biases = [np.zeros(b) for b in widths[1:]]

    def __call__(self, x):
        for place, (kernel, bias) in enumerate(zip(self.kernels, self.biases)):
            x = x @ kernel + bias
            x = np.maximum(x, 0) if place < len(self.kernels) - 1 else x
        return x
"""
SMALL = """
from steelyard.core.readers import from_array
from steelyard.core.weight import Role

def weights(net):
    for place, (kernel, bias) in enumerate(zip(net.kernels, net.biases)):
        yield from_array(f"{place}.kernel", kernel, role=Role.KERNEL, axes="in out", layer=str(place))
        yield from_array(f"{place}.bias", bias, role=Role.BIAS, axes="out", layer=str(place))

def assign(net, arrays):
    for name, array in arrays.items():
        place, _, leaf = name.partition(".")
        {"kernel": net.kernels, "bias": net.biases}[leaf][int(place)][...] = array
    return net
"""
WHOLE = """
import abacus
import numpy as np
from abacus_small import assign, weights
from steelyard.core.graph import Graph, Layer, Run

def graph(net, inputs):
    last = len(net.kernels) - 1
    before, layers = (), []
    for place, kernel in enumerate(net.kernels):
        activation = "linear" if place == last else "relu"
        shapes = [(length,) for length in kernel.shape]
        layers.append(Layer(str(place), "dense", "Net", {"activation": activation}, *shapes, before))
        before = (str(place),)
    return Graph(layers, is_execution_order=True, input_shapes=((len(net.kernels[0]),),), is_sequential=True)

def run(net, inputs):
    return Run([net(inputs[0])], {})

def build(stack):
    widths = [layer.kernel.shape for layer in stack.layers]
    return abacus.Net(widths[0][1], *(units for units, _ in widths)), stack.layers
"""


@pytest.fixture(params=["abacus_small", "abacus_whole"])
def installed(request, tmp_path, monkeypatch):
    """Install a library and its plug-in as pip does, with the metadata that names the entry point."""
    for name, text in {"abacus": LIBRARY, "abacus_small": SMALL, "abacus_whole": WHOLE}.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    metadata = tmp_path / "abacus-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: abacus\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[steelyard.frameworks]\nabacus = {request.param}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for cached in (plugins._entry_points, plugins.load, plugins._framework_of_type):
        cached.cache_clear()
    yield request.param
    for cached in (plugins._entry_points, plugins.load, plugins._framework_of_type):
        cached.cache_clear()


def net_of(*widths, seed=0):
    import abacus

    made, rng = abacus.Net(*widths), np.random.default_rng(seed)
    for array in (*made.kernels, *made.biases):
        array[...] = rng.normal(size=array.shape)
    return made


def test_a_framework_of_two_functions_keeps_the_contract_and_is_digested_and_compared(installed):
    net = net_of(4, 3, 2)
    assert check_model(net) is net
    assert list(steelyard.weights({"a": net})) == ["a.0.kernel", "a.0.bias", "a.1.kernel", "a.1.bias"]
    assert steelyard.digest(net) == steelyard.digest(net_of(4, 3, 2))
    assert "abacus" in plugins.names("frameworks")


def test_a_framework_that_runs_and_builds_takes_part_in_transfers_both_ways(installed):
    source, x = net_of(4, 3, 2), np.random.default_rng(1).normal(size=(5, 4))
    if installed == "abacus_small":
        with pytest.raises(ShapeError, match="framework is 'abacus'; it must be one of keras, sklearn, torch"):
            steelyard.build(source, "abacus", activations=["relu", "linear"])
        return
    made = steelyard.build(source, "sklearn")
    np.testing.assert_allclose(made.predict(x), source(x), rtol=1e-6)
    back = steelyard.build(made, "abacus")
    np.testing.assert_allclose(back(x), source(x), rtol=1e-6)
    target = net_of(4, 3, 2, seed=7)
    proved = steelyard.transfer(made, into=target)
    assert proved.model is target
    np.testing.assert_allclose(target(x), source(x), rtol=1e-6)


def test_a_plug_in_that_builds_is_listed_with_those_that_build(installed):
    names = "abacus, keras, sklearn, torch" if installed == "abacus_whole" else "keras, sklearn, torch"
    with pytest.raises(ShapeError, match=rf"^framework is 'unknown'; it must be one of {names}$"):
        steelyard.build({"w": np.ones((1, 1))}, "unknown")


def test_a_plug_in_that_cannot_be_imported_is_not_listed_and_hides_no_other(installed, tmp_path):
    (tmp_path / f"{installed}.py").write_text("import a_library_that_is_not_installed")
    sys.modules.pop(installed, None)
    assert plugins.builders() == ["keras", "sklearn", "torch"]


def test_an_unknown_framework_is_refused_in_one_line():
    with pytest.raises(ShapeError, match=r"^framework is 'unknown'; it must be one of keras, sklearn, torch$"):
        steelyard.build({"w": np.ones((1, 1))}, "unknown")


@pytest.mark.parametrize(("framework", "package"), [("torch", "torch"), ("keras", "keras"), ("sklearn", "scikit-learn")])
def test_a_framework_that_is_not_installed_is_named_with_the_command_that_installs_it(framework, package):
    script = f"""
        import sys, numpy, steelyard
        sys.modules[{framework!r}] = None
        try:
            steelyard.build({{"w": numpy.ones((1, 1))}}, {framework!r})
        except ImportError as error:
            print(type(error).__name__, error)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert run.stdout == f"MissingExtraError a model of {framework} needs a package: pip install {package}\n"


def test_an_object_of_an_unknown_framework_is_refused_in_one_line():
    class Thing:
        pass

    with pytest.raises(UnknownModelError, match=r"^a .*Thing is of a framework that Steelyard does not know; known are [^\n]*$"):
        steelyard.weights(Thing())


def test_a_class_that_claims_a_framework_causes_no_import_of_it():
    script = """
        import sys, steelyard
        for module in ("torch.nn", "sklearn.base", "keras.src", "a_framework_of_tomorrow", None, 7):
            claimed = type("Model", (), {"__module__": module})
            try:
                steelyard.weights(claimed())
            except TypeError as error:
                print("does not know" in str(error))
        print({"torch", "sklearn", "keras"} & {*sys.modules})
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["True"] * 6 + ["set()"]


def test_a_subclass_that_exec_made_belongs_to_the_framework_of_its_base():
    made = {}
    exec("class Net(Base): pass", {"Base": list, "__name__": "builtins"}, made)
    assert made["Net"].__module__ == "builtins"
    assert plugins.framework_of(made["Net"]()).__name__ == "steelyard.frameworks.builtins"
    import torch

    exec("class Net(Base): pass", {"Base": torch.nn.Linear, "__name__": "builtins"}, made)
    assert list(steelyard.weights(made["Net"](2, 1))) == ["weight", "bias"]
