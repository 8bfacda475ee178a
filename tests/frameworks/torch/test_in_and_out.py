"""Tensors go in, with gradients and of any type, and come out, in memory of their own unless asked otherwise."""

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

import steelyard
from steelyard.errors import NotFittedError, ReadOnlyError, ShapeError

TYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]


def net(dtype=torch.float32):
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)).to(dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_vector_as_a_tensor_is_parameters_to_vector(dtype):
    model = net(dtype)
    vector, theirs = steelyard.weights(model).to_vector(like="torch"), parameters_to_vector(model.parameters())
    assert (vector.dtype, vector.requires_grad) == (dtype, False)
    assert torch.equal(vector.float(), theirs.float())
    vector[:] = 0  # in memory of its own
    assert torch.equal(parameters_to_vector(model.parameters()).float(), theirs.float())


def test_the_vector_takes_types_of_both_libraries_and_refuses_other_words():
    w = steelyard.weights(net())
    assert w.to_vector(like="torch", dtype=torch.float64).dtype == torch.float64
    assert w.to_vector(like="torch", dtype="bfloat16").dtype == torch.bfloat16
    assert w.to_vector(like="torch", dtype=np.float16).dtype == torch.float16
    with pytest.raises(ShapeError, match="like is 'jax'"):
        w.to_vector(like="jax")
    with pytest.raises(ShapeError, match="take one of the two"):
        w.to_vector(like="torch", out=np.zeros(12, "f4"))
    with pytest.raises(ShapeError, match="no type float8_e3m4"):
        steelyard.weights({"a": np.ones(2, ml_dtypes.float8_e3m4)}).to_vector(like="torch")


@pytest.mark.parametrize("dtype", TYPES)
def test_a_weight_is_a_copy_or_on_request_the_memory_of_the_model(dtype):
    model = net(dtype)
    weight = steelyard.weights(model)["0.weight"]
    for made in (weight.to_torch(), torch.as_tensor(weight)):
        assert (made.dtype, made.shape) == (dtype, model[0].weight.shape)
        assert torch.equal(made.float(), model[0].weight.float())
        assert made.data_ptr() != model[0].weight.data_ptr()
    for copy in (None, False):
        assert weight.to_torch(copy=copy).data_ptr() == model[0].weight.data_ptr()
    weight.to_torch(copy=False)[0, 0] = 2.0
    assert model[0].weight[0, 0].float() == 2.0


def test_memory_that_must_not_be_written_to_is_never_shared(tmp_path):
    fixed = np.ones(3)
    fixed.flags.writeable = False
    steelyard.save({"a": np.ones(3)}, tmp_path / "a.safetensors")
    last = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    for weight in (
        steelyard.weights({"a": fixed})["a"],
        steelyard.weights(tmp_path / "a.safetensors")["a"],
        steelyard.weights(last)["weight"],
    ):
        with pytest.raises(ReadOnlyError, match="has no memory that a tensor may share"):
            weight.to_torch(copy=False)
        before = weight.numpy().copy()
        weight.to_torch(copy=None).fill_(7)
        assert np.array_equal(weight.numpy(), before)
    with pytest.raises(ShapeError, match=r"copy is 1\.5"):
        weight.to_torch(copy=1.5)


def test_types_of_eight_bits_and_fewer_reach_torch():
    w = steelyard.weights({"a": np.ones(3, ml_dtypes.float8_e5m2), "b": np.arange(3).astype(ml_dtypes.int4)})
    assert torch.as_tensor(w["a"]).dtype == torch.float8_e5m2
    assert w["b"].to_torch().tolist() == [0, 1, 2]


def values_of(model):
    """Yield every form in which the parameters of a model may be given."""
    vector = parameters_to_vector(model.parameters())
    assert vector.requires_grad
    yield vector
    yield vector.detach().bfloat16().requires_grad_()
    yield list(model.parameters())
    yield tuple(tensor.bfloat16() for tensor in model.parameters())
    yield model.parameters()
    yield model.named_parameters()
    yield model.state_dict()
    yield dict(model.named_parameters())


@pytest.mark.parametrize("place", range(8))
def test_vectors_lists_and_state_dicts_of_tensors_are_assigned(place):
    given, taken = net(), net()
    with torch.no_grad():
        for nth, tensor in enumerate(given.parameters()):
            tensor.fill_(nth + 1)
    w = steelyard.weights(taken)
    made = w.from_vector(list(values_of(given))[place])
    assert not torch.equal(taken[0].weight, given[0].weight)
    assert steelyard.diff(made, given).same
    w.assign(list(values_of(given))[place])
    assert steelyard.diff(taken, given).same
    with torch.no_grad():
        given[0].weight.zero_()
    assert steelyard.diff(made, taken).same  # no memory is shared


def test_tensors_without_numbers_are_refused_and_nothing_is_written():
    model = net()
    w, before = steelyard.weights(model), parameters_to_vector(model.parameters()).detach().clone()
    for values in (
        before.to("meta"),
        [tensor.to("meta") for tensor in model.parameters()],
        {"0.bias": torch.ones(2, device="meta")},
    ):
        for take in (w.assign, w.from_vector):
            with pytest.raises(NotFittedError, match="meta device"):
                take(values)
    with pytest.raises(ShapeError, match=r"no value for 0\.bias"):
        w.from_vector({"0.weight": model[0].weight})
    assert torch.equal(parameters_to_vector(model.parameters()), before)
    scalars = steelyard.weights(nn.Linear(1, 1))
    scalars.assign([torch.tensor(1.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)])
    assert scalars.to_vector().tolist() == [1, 2]


def test_arrays_of_jax_are_taken_alike():
    import jax.numpy as jnp

    model = net()
    for values in (jnp.ones(14, jnp.bfloat16), [jnp.ones(each.shape, jnp.bfloat16) for each in model.parameters()]):
        steelyard.weights(model).assign(values)
        assert steelyard.weights(model).to_vector().tolist() == [1] * 14
        steelyard.weights(model).assign(np.zeros(14, "f4"))
        assert steelyard.weights(model).from_vector(values).to_vector().tolist() == [1] * 14
