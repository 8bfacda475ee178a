"""A layer of linen is known by its class in its name, or by the layers inside it."""

import numpy as np
import pytest

from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.layers.flax.linen import layers_of_names, with_linen_facts

CELLS = {
    "LSTMCell": ("lstm", ("ii", "if", "ig", "io", "hi", "hf", "hg", "ho")),
    "GRUCell": ("gru", ("ir", "iz", "in", "hr", "hz", "hn")),
    "MGUCell": ("other", ("if", "in", "hf", "hn")),
    "SimpleCell": ("rnn", ("i", "h")),
    "MultiHeadDotProductAttention": ("attention", ("query", "key", "value", "out")),
}


def weights(layer, parts):
    shape = (5, 2, 3) if "query" in parts else (5, 7)
    return with_linen_facts(
        from_array(f"params/{layer}/{part}/kernel", np.zeros(shape), layer=f"params/{layer}/{part}", role=Role.KERNEL)
        for part in parts
    )


@pytest.mark.parametrize("made_by", CELLS)
@pytest.mark.parametrize("name", ["reader", "deep/reader"])
def test_a_layer_of_any_name_is_known_by_the_layers_inside(made_by, name):
    kind, parts = CELLS[made_by]
    (layer,) = layers_of_names(weights(name, parts))
    assert (layer.name, layer.kind, layer.class_name) == (name, kind, made_by)
    assert layers_of_names(weights(name, parts[1:])) == []
    assert layers_of_names(weights(name, (*parts, "more"))) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("LSTMCell_0", "lstm"),
        ("OptimizedLSTMCell_12", "lstm"),
        ("GRUCell_0", "gru"),
        ("SimpleCell_3", "rnn"),
        ("MGUCell_0", "other"),
    ],
)
def test_a_cell_is_known_by_its_class_too(name, kind):
    (layer,) = layers_of_names(weights(name, ("a", "b")))
    assert (layer.name, layer.kind, layer.class_name) == (name, kind, name.partition("_")[0])


@pytest.mark.parametrize("made_by", [name for name in CELLS if name.endswith("Cell")])
def test_each_part_of_a_cell_is_one_gate_of_the_input_or_of_the_state(made_by):
    _, parts = CELLS[made_by]
    for part, weight in zip(parts, weights("reader", parts), strict=True):
        gate = f"[{part[1:]}]*out" if part[1:] else "out"
        assert weight.axes == f"in {gate}"
        assert weight.role is (Role.RECURRENT_KERNEL if part[0] == "h" else Role.KERNEL)


@pytest.mark.parametrize("made_by", [name for name in CELLS if name.endswith("Cell")])
def test_the_cells_that_flax_makes_have_these_parts(made_by):
    import flax.linen as linen
    import jax

    cell = getattr(linen, made_by)(3)
    carry = cell.initialize_carry(jax.random.key(0), (2, 5))
    assert set(cell.init(jax.random.key(0), carry, np.zeros((2, 5)))["params"]) == set(CELLS[made_by][1])
