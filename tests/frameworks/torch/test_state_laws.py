"""Laws of live modules, on nets that hypothesis draws: everything is listed, assigned numbers come back, files hold the same."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import steelyard
from steelyard.errors import SteelyardError

pytestmark = pytest.mark.filterwarnings("ignore::steelyard.errors.MixedDtypeWarning")
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


def _cast(_module, state, _prefix, _meta):
    state.update({name: value.double() for name, value in state.items() if value.is_floating_point()})


def _clone(_module, state, _prefix, _meta):
    state.update({name: value.clone() for name, value in state.items()})


def _rename(_module, state, prefix, _meta):
    for name in [name for name in state if name.startswith(prefix)]:
        state[f"{prefix}inner.{name.removeprefix(prefix)}"] = state.pop(name)


def _add(_module, state, prefix, _meta):
    state[f"{prefix}added"] = torch.full((2,), 7.0)


@st.composite
def nets(draw):
    """Return a net with ties, shared modules, buffers, layouts, parametrizations, hooks and wrappers."""
    torch.manual_seed(draw(st.integers(0, 99)))
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]))
    first, last, conv = nn.Linear(3, 3), nn.Linear(3, 3), nn.Conv2d(2, 3, 2)
    net = nn.Sequential(first, nn.BatchNorm1d(3), last, conv).to(dtype)
    if draw(st.booleans()):
        last.weight = first.weight
    if draw(st.booleans()):
        net.append(first)
    if draw(st.booleans()):
        net.register_buffer("mask", torch.arange(4), persistent=draw(st.booleans()))
    if draw(st.booleans()):
        conv.to(memory_format=torch.channels_last)
    if draw(st.booleans()):
        first.bias = nn.Parameter(torch.randn(2, 3).to(dtype).t()[:, 0])
    if draw(st.booleans()):
        nn.utils.parametrizations.weight_norm(conv)
    for hook in draw(st.lists(st.sampled_from([_cast, _clone, _rename, _add]), max_size=2, unique=True)):
        draw(st.sampled_from([net, last]))._register_state_dict_hook(hook)
    return draw(st.sampled_from([lambda n: n, nn.DataParallel, nn.Sequential]))(net)


def _state(net):
    return {name: value.detach().clone() for name, value in net.state_dict().items() if isinstance(value, torch.Tensor)}


@few
@given(nets())
def test_what_the_state_holds_is_what_is_listed(net):
    listed, state = steelyard.weights(net), _state(net)
    assert {*listed} == {*state}
    for name, value in state.items():
        if name not in listed.unreadable:
            assert torch.equal(listed[name].to_torch(), value)


@few
@given(nets(), st.integers(0, 99))
def test_assigned_numbers_come_back_or_nothing_was_written(net, seed):
    listed, before = steelyard.weights(net), _state(net)
    rng = np.random.default_rng(seed)
    values = {w.name: rng.integers(0, 9, w.shape).astype(w.numpy().dtype) for w in listed.distinct().values()}
    try:
        steelyard.weights(net).assign(values)
    except SteelyardError:
        assert all(torch.equal(value, before[name]) for name, value in _state(net).items())
        return
    for again in (listed, steelyard.weights(net)):
        assert all(np.array_equal(again[name].numpy(), value) for name, value in values.items())


@few
@given(nets())
def test_a_saved_net_is_the_same(tmp_path, net):
    path = tmp_path / "net.safetensors"
    steelyard.save(net, path)
    assert steelyard.diff(net, path).same
    assert steelyard.digest(net) == steelyard.digest(path)


def test_a_copy_that_a_hook_of_another_module_made_is_computed_again_by_that_hook():
    first, last = nn.Linear(2, 2), nn.Linear(2, 2)
    last._register_state_dict_hook(_cast)
    net = nn.Sequential(first, last)
    listed = steelyard.weights(net)["0.weight"]
    first.weight.data.fill_(3.0)
    assert listed.dtype == "float64"
    assert torch.equal(listed.to_torch(), net.state_dict()["0.weight"])
