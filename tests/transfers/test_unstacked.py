"""Layers that scan and vmap stack go into a list of layers and back, with the numbers of each in its place."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import steelyard

COUNT, WIDTH, INNER = 3, 4, 6


class Listed(nn.Module):
    """A list of blocks of two layers, whose shapes differ in the order of their axes alone."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.inp = nn.Linear(5, WIDTH)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"up": nn.Linear(WIDTH, INNER), "down": nn.Linear(INNER, WIDTH)}) for _ in range(COUNT)
        )


def of_linen():
    """Return the parameters of a net whose blocks `nn.scan` stacks along axis 0."""
    sizes = {"up": (WIDTH, INNER), "down": (INNER, WIDTH)}
    layers = {name: {"kernel": jnp.zeros((COUNT, *size)), "bias": jnp.zeros((COUNT, size[1]))} for name, size in sizes.items()}
    return {"inp": {"kernel": jnp.zeros((5, WIDTH)), "bias": jnp.zeros(WIDTH)}, "layers": layers}


def filled(shapes, *count):
    """Return a module of these shapes with ones; a `count` of modules is stacked as vmap does. Nothing is drawn or compiled."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.ones((*count, *leaf.shape), leaf.dtype)), shapes)


class Pair(eqx.Module):
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, key):
        self.up, self.down = eqx.nn.Linear(WIDTH, INNER, key=key), eqx.nn.Linear(INNER, WIDTH, key=key)


class Vmapped(eqx.Module):
    inp: eqx.nn.Linear
    layers: Pair

    def __init__(self):
        self.inp = filled(eqx.filter_eval_shape(lambda: eqx.nn.Linear(5, WIDTH, key=jax.random.key(0))))
        self.layers = filled(eqx.filter_eval_shape(lambda: Pair(jax.random.key(0))), COUNT)


class PairOfNnx(nnx.Module):
    def __init__(self, rngs):
        self.up, self.down = nnx.Linear(WIDTH, INNER, rngs=rngs), nnx.Linear(INNER, WIDTH, rngs=rngs)


class VmappedOfNnx(nnx.Module):
    def __init__(self):
        self.inp = filled(nnx.eval_shape(lambda: nnx.Linear(5, WIDTH, rngs=nnx.Rngs(0))))
        self.layers = filled(nnx.eval_shape(lambda: PairOfNnx(nnx.Rngs(1))), COUNT)


def of_haiku(first="linear", inside="/linear"):
    stack = "net/__layer_stack_no_per_layer"
    shapes = {f"net/~/{first}": (5, WIDTH), f"{stack}/up{inside}": (COUNT, WIDTH, INNER)}
    shapes[f"{stack}/down{inside}"] = (COUNT, INNER, WIDTH)
    return {name: {"w": jnp.zeros(shape), "b": jnp.zeros((*shape[:-2], shape[-1]))} for name, shape in shapes.items()}


STACKED = {
    "linen": of_linen,
    "equinox": Vmapped,
    "nnx": VmappedOfNnx,
    "haiku": of_haiku,
    "haiku under the user's names": lambda: of_haiku("inp", ""),
}


def equal(one, other):
    return all(
        torch.equal(mine, theirs) for mine, theirs in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("library", STACKED)
def test_a_list_becomes_a_stack_and_the_stack_the_list_again(library):
    listed, back = Listed(1), Listed(2)
    stacked = steelyard.transfer(listed, into=STACKED[library]()).model
    held = [weight.numpy() for weight in steelyard.weights(stacked).values()]
    ups = np.stack([layer["up"].weight.detach().numpy() for layer in listed.layers])
    assert any(np.array_equal(array, ups) or np.array_equal(array, ups.swapaxes(1, 2)) for array in held)
    steelyard.transfer(stacked, into=back)
    assert equal(listed, back)


def test_a_stack_goes_into_the_stack_of_another_library():
    source = steelyard.transfer(Listed(1), into=Vmapped()).model
    made = steelyard.transfer(source, into=of_linen()).model
    assert np.array_equal(made["layers"]["down"]["kernel"], np.swapaxes(source.layers.down.weight, 1, 2))


def test_a_file_and_a_plan_have_the_stack_as_the_net_stores_it(tmp_path):
    listed = Listed(1)
    steelyard.save(of_linen(), tmp_path / "net.msgpack")
    plan = steelyard.plan_transfer(listed, into=tmp_path / "net.msgpack")
    ups = np.stack([layer["up"].weight.detach().numpy().T for layer in listed.layers])
    assert "layers.1.up/kernel" in {row.target for row in plan.rows}
    for made in (plan.weights(), plan.apply()):
        assert np.array_equal(made["layers/up/kernel"].numpy(), ups)
        assert sorted(made) == sorted(steelyard.weights(tmp_path / "net.msgpack"))
        assert np.array_equal(made["layers/up/kernel"].read(20, 50), ups.reshape(-1)[20:50])


def test_a_part_that_is_skipped_keeps_its_numbers():
    listed, stacked = Listed(1), VmappedOfNnx()
    before = np.asarray(stacked.layers.up.kernel[...]).copy()
    steelyard.transfer(listed, into=stacked, skip="layers.1.*")
    after = np.asarray(stacked.layers.up.kernel[...])
    assert np.array_equal(after[1], before[1])
    assert np.array_equal(after[2], listed.layers[2]["up"].weight.detach().numpy().T)


def test_heads_whose_biases_have_two_axes_are_no_stack():
    heads = {"query": {"kernel": np.ones((4, 4, 2), "f4"), "bias": np.zeros((4, 2), "f4")}}
    other = {f"{at}.weight": np.ones((3, 2), "f4") for at in range(4)}
    from steelyard.transfers.unstacked import unstacked

    assert unstacked(steelyard.weights(heads), steelyard.weights(other)) is None
