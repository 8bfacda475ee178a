"""Programs with random weights, of every operation and activation: what a forward pass in any language is tried on."""

import numpy as np

from steelyard.device.program.activations import CURVES, SETTINGS, Activation
from steelyard.device.program.arithmetic import Arithmetic
from steelyard.device.program.attention import Attention, MatMul
from steelyard.device.program.linear import Affine, Conv, ConvTranspose, Dense, Embedding, Prelu
from steelyard.device.program.norms import GroupNorm, LayerNorm, Softmax
from steelyard.device.program.program import Program, Step
from steelyard.device.program.recurrent import GATES, Recurrent
from steelyard.device.program.resampling import Resample, coordinates, linear
from steelyard.device.program.shaping import Combine, Concatenate, Constant, Permute, Reshape, Scale, Select
from steelyard.device.program.windows import GlobalPool, Pad, Pool, Upsample

rng = np.random.default_rng(7)
AROUND = {"clipped_relu": {"highest": 1.5}, "softplus": {"beta": 2.0, "threshold": 3.0}, "leaky_relu": {"negative_slope": 0.3}}
"""Settings of activations whose usual ones hide what they do."""


def draw(*shape, scale=1.0):
    return (scale * rng.standard_normal(shape)).astype("float32")


def graph(shapes, *steps, outputs=None, integers=()):
    """Return a program of steps (operation, *inputs), and three examples; `integers` has the rows of tables that inputs count."""
    values = [np.zeros((0, *shape)) for shape in shapes]
    made = []
    for nth, (operation, *inputs) in enumerate(steps):
        values.append(operation.run([values[place] for place in inputs], Arithmetic()))
        made.append(Step(f"step {nth}", operation, tuple(inputs), values[-1].shape[1:]))
    names = [f"x{place}" for place in range(len(shapes))]
    examples = [rng.integers(0, integers[at], (3, *s)) if at < len(integers) else draw(3, *s) for at, s in enumerate(shapes)]
    return Program(names, shapes, made, outputs or [len(values) - 1]), examples


def chain(shape, *operations):
    """Return a program of operations that follow each other, and three examples."""
    return graph([shape], *[(operation, place) for place, operation in enumerate(operations)])


def sampled(length, made):
    """Return the places and shares of an axis in another length."""
    return linear(coordinates(length, made, made / length, "half_pixel"), length)


def conv(shape, channels="first", strides=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1, bias=True):
    return Conv(draw(*shape, scale=0.4), draw(shape[0]) if bias else None, strides, padding, dilation, groups, channels)


def recurrent(kind, size, units, *, inner=False, backward=False, returns="all", words=("tanh", "sigmoid")):
    gates = len(GATES[kind])
    kernels = draw(gates, units, size, scale=0.5), draw(gates, units, units, scale=0.5), draw(gates, units)
    return Recurrent(kind, *kernels, draw(units) if inner else None, *words, backward, returns)


def curves(words):
    """Return a program whose outputs are activations of one dense layer; a root is that of its absolute values."""
    steps = [(Dense(draw(40, 40, scale=0.4), draw(40)), 0), (Activation("absolute", {}), 1)]
    for word in words:
        steps.append((Activation(word, AROUND.get(word, SETTINGS.get(word, {}))), 2 if word == "square_root" else 1))
    return graph([(40,)], *steps, outputs=[*range(3, len(steps) + 1)])


LINEAR = {
    "dense": chain((9,), Dense(draw(5, 9), draw(5)), Activation("tanh", {}), Dense(draw(3, 5), None)),
    "dense on a sequence": chain((4, 3), Dense(draw(2, 3), draw(2))),
    "conv": chain((2, 7, 6), conv((4, 2, 3, 2), strides=(2, 1), padding=((1, 1), (0, 2)))),
    "conv, grouped": chain((4, 8, 9), conv((6, 2, 3, 3), dilation=(2, 1), groups=2, bias=False)),
    "conv, channels last": chain((7, 6, 2), conv((4, 2, 3, 2), "last", strides=(1, 2), padding=((0, 1), (1, 0)))),
    "conv, depthwise, last": chain((5, 5, 3), conv((6, 1, 2, 2), "last", groups=3)),
    "conv 1d": chain((2, 9), Conv(draw(3, 2, 3), draw(3), (1,), ((2, 2),), (2,), 1, "first")),
    "conv 3d": chain((2, 4, 5, 3), Conv(draw(3, 2, 2, 2, 2), None, (1, 2, 1), ((0, 0), (1, 1), (0, 1)), (1, 1, 1), 1, "first")),
    "transposed conv": chain((4, 4, 5), ConvTranspose(draw(4, 3, 3, 3), draw(6), (2, 2), (1, 0), (9, 13), (2, 1), 2, "first")),
    "transposed conv, last": chain((4, 5, 2), ConvTranspose(draw(2, 3, 2, 3), None, (1, 3), (0, 1), (5, 14), (1, 1), 1, "last")),
    "transposed conv 1d": chain((2, 4), ConvTranspose(draw(2, 3, 2), draw(3), (3,), (0,), (12,), (1,), 1, "first")),
    "affine": chain((4, 3, 2), Affine(draw(4), draw(4), 1), Affine(draw(2), draw(2), 3)),
    "prelu": chain((3, 4), Prelu(draw(3), 1), Prelu(draw(4), 2)),
}
WINDOWS = {
    "max pool": chain((2, 6, 7), Pool("max", (3, 2), (2, 2), ((1, 1), (0, 1)), (1, 1), True, "first")),
    "max pool with dilation": chain((7, 2), Pool("max", (2,), (1,), ((0, 0),), (2,), True, "last")),
    "average pool": chain((2, 6, 7), Pool("average", (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), True, "first")),
    "average pool without padding": chain((6, 7, 2), Pool("average", (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), False, "last")),
    "pool in place": chain((8, 3), Scale("multiply", 1.5), Pool("average", (2,), (2,), ((0, 0),), (1,), True, "last")),
    "global pools": graph(
        [(3, 4, 2)], (GlobalPool("max", True, "first"), 0), (GlobalPool("average", True, "first"), 0), (Combine("add"), 1, 2)
    ),
    "global pools, last": graph(
        [(4, 2, 3)], (GlobalPool("max", False, "last"), 0), (GlobalPool("average", False, "last"), 0), (Combine("add"), 1, 2)
    ),
    "padding by edges": chain(
        (3, 4), Pad(((1, 2), (2, 0)), 0.0, "edge"), Pad(((0, 0), (3, 1)), 0.0, "reflect"), Pad(((0, 1), (1, 2)), 0.0, "wrap")
    ),
    "resampling": chain((3, 4, 2), Resample(*sampled(4, 7), 2), Resample(*sampled(3, 5), 1)),
    "padding": chain((2, 3, 4), Pad(((0, 0), (0, 3), (1, 2)), 0.1)),
    "upsampling": chain((2, 3, 4), Upsample((2, 3), "first")),
    "upsampling, last": chain((3, 2), Upsample((2,), "last")),
}
NORMS = {
    "layer norm": chain((2, 3, 4), LayerNorm(draw(12), draw(12), 12, 1e-5, True)),
    "layer norm in place": chain((3, 4), Scale("add", 0.3), LayerNorm(None, None, 4, 1e-3, True), Scale("multiply", 2.0)),
    "rms norm": chain((2, 6), LayerNorm(draw(6), None, 6, 1e-3, False)),
    "group norm": chain((4, 3, 2), GroupNorm(draw(4), draw(4), 2, 1e-5, 1)),
    "group norm, last": chain((3, 2, 4), GroupNorm(draw(4), None, 4, 1e-5, 3)),
    "softmax": chain((3, 4), Softmax("softmax", 1)),
    "softmax in place": chain((3, 4), Scale("multiply", 3.0), Softmax("softmax", 2), Scale("add", 1.0)),
    "log softmax": chain((3, 4), Softmax("log_softmax", 2)),
}
SEQUENCES = {
    "embedding": graph([(5,)], (Embedding(draw(9, 4)), 0), (Reshape((20,)), 1), (Dense(draw(2, 20), draw(2)), 2), integers=(9,)),
    "rnn": chain((5, 3), recurrent("rnn", 3, 4), recurrent("rnn", 4, 2, returns="last", words=("silu", "sigmoid"))),
    "lstm": chain((5, 3), recurrent("lstm", 3, 4, backward=True), recurrent("lstm", 4, 3, returns="last")),
    "lstm, hard": chain(
        (5, 3), recurrent("lstm", 3, 4, returns="all reversed", backward=True, words=("softsign", "hard_sigmoid"))
    ),
    "gru": chain((5, 3), recurrent("gru", 3, 4, inner=True), recurrent("gru", 4, 3, inner=True, returns="last", backward=True)),
    "gru, gated before": chain((5, 3), recurrent("gru", 3, 4), recurrent("gru", 4, 3, returns="last")),
    "attention": graph([(4, 6), (5, 6)], (Attention(3, 3, False), 0, 1, 1)),
    "causal attention": graph([(4, 8), (4, 4)], (Attention(4, 2, True), 0, 1, 1)),
    "matrices": graph([(2, 3, 4), (4, 5), (1, 5, 2)], (Reshape((1, 4, 5)), 1), (MatMul(), 0, 3), (MatMul(), 4, 2)),
    "attention by heads": graph([(2, 4, 3), (2, 5, 3), (2, 5, 2)], (Attention(0, 0, False), 0, 1, 2)),
}
SHAPES = {
    "reshape and permute": chain((2, 3, 4), Permute((3, 1, 2)), Reshape((4, 6)), Dense(draw(2, 6), None)),
    "select": chain((5, 3, 4), Select((slice(1, 5, 2), 2, slice(0, 3, 1)))),
    "select a run": chain((5, 3), Scale("add", 1.0), Select((slice(1, 4, 1), slice(0, 3, 1))), Reshape((9,)), Scale("add", 2.0)),
    "concatenate": graph([(2, 3), (2, 1)], (Concatenate(2), 0, 1, 0), (Concatenate(1), 2, 2)),
    "combine": graph(
        [(2, 3), (2, 3)],
        *((Combine("add"), 0, 1, 0), (Combine("subtract"), 0, 1), (Combine("multiply"), 2, 3, 1), (Combine("maximum"), 4, 0)),
        *((Combine("minimum"), 5, 1, 2), (Combine("average"), 6, 0, 1)),
    ),
    "combine with repeated axes": graph([(2, 3), (1, 3), (2, 1)], (Combine("add"), 0, 1), (Combine("multiply"), 2, 3)),
    "constant": graph([(3,)], (Constant(draw(3)),), (Combine("add"), 0, 1), (Combine("multiply"), 1, 2)),
    "scale": chain((4,), Scale("add", 0.1), Scale("divide", 3.0), Scale("subtract", 0.7), Scale("multiply", -1.1)),
    "divide": graph([(4,)], (Activation("exponential", {}), 0), (Combine("divide"), 0, 1)),
    "outputs": graph([(4,)], (Dense(draw(3, 4), None), 0), (Activation("relu", {}), 1), (Dense(draw(2, 3), None), 2), outputs=[2, 3]),
}  # fmt: skip
CURVED = {f"activations, {at + 1} of 4": curves([*CURVES][at::4]) for at in range(4)}
PROGRAMS = {**LINEAR, **WINDOWS, **NORMS, **SEQUENCES, **SHAPES, **CURVED}
"""Programs with the inputs of three examples."""
