"""Compares every row of the role tables with the layer that its framework makes, with axes of different lengths."""

import numpy as np
import pytest
from layers import cases, references

import steelyard
from steelyard.core.weight import Role
from steelyard.layers.equinox.roles import ROLES as EQUINOX
from steelyard.layers.flax.linen import SUBLAYERS as LINEN
from steelyard.layers.flax.roles import ROLES as FLAX
from steelyard.layers.flax.roles import SUBLAYER_ROLES
from steelyard.layers.keras.roles import DUPLICATE
from steelyard.layers.keras.roles import ROLES as KERAS
from steelyard.layers.sklearn.roles import ROLES as SKLEARN
from steelyard.layers.torch.roles import ROLES as TORCH

CONVOLUTIONS = tuple(f"{kind}{n}d" for kind in ("Conv", "ConvTranspose") for n in "123")
TABLES = {
    "torch": tuple(TORCH),
    "keras": tuple(KERAS),
    "equinox": (*EQUINOX, *CONVOLUTIONS),
    "flax": (*FLAX, *SUBLAYER_ROLES, *CONVOLUTIONS, "LinearGeneral"),
    "linen": (
        *("Dense", "DenseGeneral", "Conv1d", "Conv2d", "Conv3d", "Embed", "BatchNorm", "LayerNorm", "RMSNorm"),
        *(kind for _, kind in LINEN.values()),
    ),
    "sklearn": tuple(SKLEARN),
}
UNBUILT = {
    ("keras", "SyncBatchNormalization"): "of Keras 2; Keras 3 makes a BatchNormalization(synchronized=True) of it",
    ("keras", "CuDNNLSTM"): "of Keras 1 and 2; Keras 3 reads it as an LSTM",
    ("keras", "CuDNNGRU"): "of Keras 1 and 2; Keras 3 reads it as a GRU",
}
ROWS = [(framework, row) for framework, rows in TABLES.items() for row in rows]


def made(framework, row):
    if (framework, row) in UNBUILT:
        pytest.skip(UNBUILT[framework, row])
    return getattr(cases, f"{framework}_cases")(row)


@pytest.mark.parametrize(("framework", "row"), ROWS)
def test_each_axis_has_the_length_that_the_layer_was_made_with(framework, row):
    for case in made(framework, row):
        weights = steelyard.weights(case.model)
        assert weights, "the layer has no weights"
        for weight in weights.values():
            if weight.axes:
                assert weight.shape == tuple(cases.length_of(case, weight, word) for word in weight.axes.split()), weight.name
        if framework in ("torch", "keras"):
            _check_parameters(framework, row, weights)
        if case.computes:
            _check_computed(case, weights)


def _check_parameters(framework, row, weights):
    """Each parameter of the row is among the weights of the layer or of one inside it, with the role of the row."""
    if framework == "torch":
        rows = {key: role for key, (role, _) in TORCH[row].items()}
    else:
        rows = {each.leaf: each.role for each in KERAS[row] if each.leaf != DUPLICATE}
    for name, weight in weights.items():
        leaf = name.replace("/", ".").rpartition(".")[2]
        if leaf in rows and row != "MultiheadAttention":  # its output projection has names of its own
            assert weight.role is rows[leaf], name


def _check_computed(case, weights):
    """Assign random numbers to the layer, and compare its output with NumPy's computation by roles and axes."""
    rng = np.random.default_rng(1)
    arrays = {name: rng.uniform(0.1, 0.6, w.shape).astype(w.dtype) for name, w in weights.items() if w.dtype.startswith("float")}
    for name, array in arrays.items():
        if any(word in name for word in ("bias_hh", "bias_n", "dense_h/bias", "hn/bias")):
            array[...] = 0  # the second bias of a gate, which adds to the first or is scaled by another gate
        elif weights[name].axes.startswith("[ih]"):
            array[1] = 0
    after = weights.assign(arrays)
    run = case.run if after is case.model else lambda x: case.run(x, after)
    x = _inputs(case, rng, weights)
    wanted = _REFERENCES[case.computes](case, x, weights, arrays)
    np.testing.assert_allclose(run(x), wanted, rtol=1e-4, atol=1e-4)


def _inputs(case, rng, weights):
    rank = max(len([word for word in w.axes.split() if word.lstrip("-") in references.SPATIAL]) for w in weights.values())
    if case.computes in ("conv", "conv transpose", "depthwise"):
        return rng.normal(size=(2, *cases.SPACE[str(rank)], 5)).astype("float32")
    shape = {"rnn": (2, 4, 5), "lstm": (2, 4, 5), "gru": (2, 4, 5), "dense": (3, 5)}.get(case.computes, (3, 7))
    return rng.normal(size=shape).astype("float32")


def _by_role(weights, arrays, role):
    """Return axes and numbers of the one weight of a role that has gates, a kernel or a statistic; axes of one are dropped."""
    name = next(name for name, weight in weights.items() if weight.role is role and arrays.get(name) is not None)
    return weights[name].axes, arrays[name]


def _flat_bias(weights, arrays):
    return _by_role(weights, arrays, Role.BIAS)[1].reshape(-1)


def _spatial(axes):
    return [word.lstrip("-") for word in axes.split() if word.lstrip("-") in references.SPATIAL]


def _dense(case, x, weights, arrays):
    axes, kernel = _by_role(weights, arrays, Role.KERNEL)
    return references.dense(x, references.oriented(kernel, axes, "in", "out"), _flat_bias(weights, arrays))


def _conv(case, x, weights, arrays):
    axes, kernel = _by_role(weights, arrays, Role.KERNEL)
    turned = references.oriented(kernel, axes, *_spatial(axes), "in", "out")
    compute = references.convolution if case.computes == "conv" else references.transposed_convolution
    return compute(x, turned, _flat_bias(weights, arrays))


def _depthwise(case, x, weights, arrays):
    axes, kernel = _by_role(weights, arrays, Role.KERNEL)
    turned = references.oriented(kernel, axes, *_spatial(axes), "in", "mult")
    *space, inputs, each = turned.shape
    wide = np.zeros((*space, inputs, inputs * each))
    for channel in range(inputs):
        wide[..., channel, channel * each : (channel + 1) * each] = turned[..., channel, :]
    return references.convolution(x, wide, _flat_bias(weights, arrays))


def _recurrent(case, x, weights, arrays):
    roles = (Role.KERNEL, Role.RECURRENT_KERNEL, Role.BIAS)
    return references.recurrent(case.computes, x, *(_gates(weights, arrays, role) for role in roles))


def _gates(weights, arrays, role):
    """Return the numbers of a role by gate, whether one weight packs all gates or each has its own; two biases are summed."""
    gates = {}
    for name, weight in weights.items():
        if weight.role is role and name in arrays:
            axes, array = weight.axes, arrays[name]
            if axes.startswith("[ih]"):
                axes, array = axes.partition(" ")[2], array[0]
            for gate, part in references.by_gate(array, axes).items():
                gates[gate] = gates.get(gate, 0) + part
    return gates


def _batch_norm(case, x, weights, arrays):
    roles = (Role.MEAN, Role.VARIANCE, Role.SCALE, Role.OFFSET)
    return references.normalised(x, *(_by_role(weights, arrays, role)[1] for role in roles), case.epsilon)


def _layer_norm(case, x, weights, arrays):
    statistics = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    own = (_by_role(weights, arrays, role)[1] for role in (Role.SCALE, Role.OFFSET))
    return references.normalised(x, *statistics, *own, case.epsilon)


_REFERENCES = {
    "dense": _dense,
    "conv": _conv,
    "conv transpose": _conv,
    "depthwise": _depthwise,
    **dict.fromkeys(("rnn", "lstm", "gru"), _recurrent),
    "batch norm": _batch_norm,
    "layer norm": _layer_norm,
}


def test_every_row_that_is_not_built_is_one_of_a_table():
    assert set(UNBUILT) <= set(ROWS)
