"""A class whose `__module__` names a framework that it is not of: no framework is imported for it, and none takes it."""

import json
import subprocess
import sys

import pytest

from steelyard.core import plugins

HOMES = {
    "builtins": "builtins",
    "equinox": "equinox._module",
    "flax": "flax.nnx.module",
    "jax": "jax._src.array",
    "keras": "keras.src.models",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime.capi.onnxruntime_inference_collection",
    "scikeras": "scikeras.wrappers",
    "sklearn": "sklearn.linear_model._base",
    "skorch": "skorch.net",
    "steelyard": "steelyard.core.weights",
    "tensordict": "tensordict._td",
    "tensorflow": "tensorflow.python.module.module",
    "tf_keras": "tf_keras.src.engine.base_layer",
    "torch": "torch.nn.modules.linear",
}
"""A real module of each framework, by the name of its plug-in."""
LIES = """
import importlib, json, sys
import steelyard
from steelyard.errors import UnknownModelError

homes, imported = json.loads(sys.argv[1]), sys.argv[2:]
for name in imported:
    importlib.import_module(name)
before = {name for name in homes if name in sys.modules} - {"numpy"}  # which the list of Steelyard may need itself
taken = []
for framework, module in homes.items():
    for name in ("Dense", "Linear", "Sequential"):
        lying = type(name, (), {"__module__": module, "weight": 1.0, "coef_": [1.0], "trainable_variables": []})()
        for work in (steelyard.weights, steelyard.check, steelyard.digest):
            try:
                work(lying)
            except UnknownModelError:
                continue
            taken.append(f"{work.__name__} takes {module}.{name}")
print(json.dumps([taken, sorted({name for name in homes if name in sys.modules} - {"numpy"} - before)]))
"""


def lied(*imported):
    """Return which lying objects are taken, and which frameworks they import, after these are imported."""
    command = [sys.executable, "-c", LIES, json.dumps(HOMES), *imported]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


def test_every_framework_has_a_lie():
    assert set(HOMES) == set(plugins.names("frameworks"))


def test_a_class_that_claims_to_be_of_a_framework_does_not_import_it():
    assert lied() == [[], []]


@pytest.mark.parametrize("framework", ["torch", "sklearn", "jax"])
def test_a_class_that_lies_while_the_framework_is_imported_is_of_no_framework(framework):
    taken, _ = lied(framework)
    assert not taken
