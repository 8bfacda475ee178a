"""Parameters in unusual places: modules that cannot be hashed, expanded buffers, exported and scripted programs, hooks."""

import copy
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.errors import ShapeError, UnknownModelError


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).eval()


class Unhashable(nn.Module):
    __hash__ = None

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def __eq__(self, other):
        return torch.zeros(2)


def test_a_module_that_cannot_be_hashed_is_listed_written_and_checked():
    model = Unhashable()
    w = steelyard.weights(model)
    assert {name: each.axes for name, each in w.items()} == {"fc.weight": "out in", "fc.bias": "out"}
    assert list(w.parameters) == list(w) == list(model.state_dict())
    w.assign(np.arange(8.0))
    assert model.fc.bias.tolist() == [6, 7]
    assert steelyard.diff(model, copy.deepcopy(model)).same
    assert w.graph is None
    assert "cannot be hashed" in w.why_no_graph
    steelyard.check(model, health=True)


def test_a_class_that_exec_made_without_a_module_name_is_listed():
    scope = {}
    exec(
        "from torch import nn\nclass Net(nn.Module):\n def __init__(self):\n  super().__init__(); self.fc = nn.Linear(3, 2)",
        scope,
    )
    assert scope["Net"].__module__ == "builtins"
    assert list(steelyard.weights(scope["Net"]())) == ["fc.weight", "fc.bias"]


def expanded():
    model = nn.Module()
    model.fc = nn.Linear(4, 4)
    model.register_buffer("grid", torch.arange(6.0).view(1, 6).expand(2, -1))
    return model


def test_an_expanded_buffer_takes_numbers_that_repeat_as_it_does():
    model = expanded()
    w = steelyard.weights(model)
    w.assign(w.to_vector() * 2)
    assert model.grid.stride() == (0, 1)
    assert model.grid.tolist() == [[0, 2, 4, 6, 8, 10]] * 2


def test_an_expanded_buffer_refuses_others_before_anything_is_written():
    model = expanded()
    before = model.fc.weight.detach().clone()
    values = {"fc.weight": np.zeros((4, 4)), "grid": np.arange(12.0).reshape(2, 6)}
    with pytest.raises(ShapeError, match="grid is expanded"):
        steelyard.weights(model).assign(values)
    assert torch.equal(model.fc.weight, before)


def test_an_exported_program_has_the_names_of_its_state_and_runs_with_new_numbers():
    program = torch.export.export(net(), (torch.ones(1, 4),))
    w = steelyard.weights(program)
    assert list(w) == list(program.state_dict) == list(w.parameters)
    assert {name: each.axes for name, each in w.items()} == {name: each.axes for name, each in steelyard.weights(net()).items()}
    assert w.assign(w.to_vector() * 0 + 1) is program
    assert program.module()(torch.ones(1, 4)).tolist() == [[16, 16]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("made", ["script", "trace", "freeze", "compile"])
def test_scripted_traced_frozen_and_compiled_nets_are_listed_and_written(made):
    plain = net()
    model = {
        "script": lambda: torch.jit.script(plain),
        "trace": lambda: torch.jit.trace(plain, torch.ones(1, 4)),
        "freeze": lambda: torch.jit.freeze(torch.jit.script(plain), preserved_attrs=[]),
        "compile": lambda: torch.compile(plain),
    }[made]()
    w = steelyard.weights(model)
    kernels = {name.removeprefix("_orig_mod."): each.axes for name, each in w.items() if each.role == "kernel"}
    assert kernels == {"0.weight": "out in", "1.weight": "out in"}
    assert sorted(w.to_vector()) == sorted(steelyard.weights(plain).to_vector())
    assert "0.weight" in str(w)
    if made in ("script", "trace"):
        assert {row.class_name for row in steelyard.architecture(model).rows} == {"Linear"}
        with pytest.raises(UnknownModelError, match="pass the module that it was made of"):
            steelyard.architecture(model, probe=np.ones((1, 4), "f4"))
    if made != "freeze":
        w.assign(w.to_vector() * 0 + 1)
        assert (model if made != "compile" else plain)(torch.ones(1, 4)).tolist() == [[16, 16]]


class Files(Mapping):
    """A mapping that reads each tensor anew, as Accelerate's loader of offloaded files does."""

    def __init__(self, tensors):
        self._tensors = tensors

    def __getitem__(self, key):
        return self._tensors[key].clone()

    def __iter__(self):
        return iter(self._tensors)

    def __len__(self):
        return len(self._tensors)


def offloaded(keep, *, around=False):
    """Return a net as Accelerate's hooks leave it, and the tensors elsewhere: each module's own, or those of one outer hook."""
    model = net()
    kept = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    hooked = [(model, "")] if around else [(model[0], "0."), (model[1], "1.")]
    for module, prefix in hooked:
        own = {name.removeprefix(prefix): tensor for name, tensor in kept.items() if name.startswith(prefix)}
        hook = SimpleNamespace(weights_map=keep(own), offload=True)
        module._hf_hook = SimpleNamespace(hooks=(hook,)) if around else hook
    return model.to("meta"), kept


@pytest.mark.parametrize("around", [False, True])
def test_parameters_that_a_hook_keeps_in_memory_are_read_and_written_there(around):
    model, kept = offloaded(dict, around=around)
    w = steelyard.weights(model)
    assert not w.unreadable
    assert steelyard.diff(w, net()).same
    assert {name: (each.axes, each.trainable) for name, each in w.items()} == {
        name: (each.axes, True) for name, each in steelyard.weights(net()).items()
    }
    assert w.assign(np.arange(23.0)) is model
    assert kept["1.bias"].tolist() == [21, 22]


def test_parameters_that_a_hook_keeps_in_files_are_read_and_refuse_numbers_by_name():
    model, kept = offloaded(Files)
    w = steelyard.weights(model)
    assert steelyard.diff(w, net()).same
    with pytest.raises(ShapeError, match=r"0\.weight is offloaded to a file"):
        w.assign(np.zeros(23))
    assert steelyard.diff(kept, net()).same
