"""A layer for each row of the role tables, made by its framework with axes of different lengths."""

from typing import Any, NamedTuple

import numpy as np

SIZES = {"in": 5, "out": 7, "channel": 7, "vocab": 11, "k": 3, "kd": 4, "kh": 2, "kw": 3, "mult": 4, "heads": 2, "dim": 3}
SIZES |= {"rank": 9, "in1": 5, "in2": 6, "out1": 7, "out2": 8}
SPACE = {"1": (9,), "2": (9, 8), "3": (9, 8, 7)}
KERNELS = {"1": 3, "2": (2, 3), "3": (4, 2, 3)}


class Case(NamedTuple):
    """A layer of a row, the lengths of its axes, and how it is run.

    `lengths` has those that differ from `SIZES`, by the end of the weight's name and the axis, the first that fits; `computes` is the reference
    that gives the same numbers, blank where only lengths are compared; `run` takes and gives images with their channels last.
    """

    model: Any
    lengths: dict[tuple[str, str], int] = {}  # noqa: RUF012 - nothing writes to it
    computes: str = ""
    run: Any = None
    epsilon: float = 0


def length_of(case, weight, word):
    """Return the length of an axis of this name: a product if several axes are packed into one."""
    total = 1
    for factor in word.lstrip("-").split("*"):
        if factor.startswith("["):
            total *= len(factor) - 2
        elif factor.isdigit():
            total *= int(factor)
        else:
            named = (length for (end, axis), length in case.lengths.items() if axis == factor and weight.name.endswith(end))
            total *= next(named, SIZES[factor])
    return total


def channels_first(call):
    """Run a layer that expects its channels right after the batch on arrays that have them last."""
    return lambda x: np.moveaxis(np.asarray(call(np.moveaxis(x, -1, 1))), 1, -1)


# PyTorch


def torch_cases(row):
    import torch
    from torch import nn

    from steelyard.frameworks.torch import run

    def case(model, computes="", *, image=False, **more):
        def plain(x):
            return run(model, [x]).outputs[0]

        def last(x):
            return plain(x)[:, -1]

        computed = last if computes in ("rnn", "lstm", "gru") else channels_first(plain) if image else plain
        return Case(model, computes=computes, run=computed, **more)

    def unrolled(cell, computes):
        def run(x):
            state = None
            for step in torch.from_numpy(x).unbind(1):
                state = cell(step, state)
            return (state[0] if isinstance(state, tuple) else state).detach().numpy()

        return Case(cell, cells(computes, ()), computes, run)

    def cells(kind, levels):
        hidden = {(f"weight_hh{end}", "in"): 7 for end in ("", *levels)}
        return {**hidden, **{(f"weight_ih{end}", "in"): 14 for end in levels if not end.startswith("_l0")}}

    ends = ("_l0", "_l0_reverse", "_l1", "_l1_reverse")
    rank = next((n for n in "123" if row.endswith(f"{n}d")), "")
    plain_conv = ((2, 3), (1, 1), (0, 0), (1, 1), False, (0, 0), 1, True, "zeros")
    makers = {
        "Linear": lambda: [case(nn.Linear(5, 7), "dense")],
        "Bilinear": lambda: [case(nn.Bilinear(5, 6, 7))],
        "_ConvNd": lambda: [case(nn.modules.conv._ConvNd(5, 7, *plain_conv))],
        "Conv": lambda: [case(getattr(nn, row)(5, 7, KERNELS[rank]), "conv", image=True)],
        "ConvTranspose": lambda: [case(getattr(nn, row)(5, 7, KERNELS[rank]), "conv transpose", image=True)],
        "Embedding": lambda: [case(nn.Embedding(11, 7))],
        "EmbeddingBag": lambda: [case(nn.EmbeddingBag(11, 7))],
        "_NormBase": lambda: [
            case(nn.BatchNorm1d(7), "batch norm", epsilon=1e-5),
            case(nn.InstanceNorm2d(7, affine=True, track_running_stats=True)),
        ],
        "LayerNorm": lambda: [case(nn.LayerNorm(7), "layer norm", epsilon=1e-5)],
        "GroupNorm": lambda: [case(nn.GroupNorm(1, 7))],
        "RMSNorm": lambda: [case(nn.RMSNorm(7))],
        "PReLU": lambda: [case(nn.PReLU(7))],
        **{
            kind.upper(): lambda kind=kind: [
                case(getattr(nn, kind.upper())(5, 7, batch_first=True), kind, lengths=cells(kind, ["_l0"])),
                case(getattr(nn, kind.upper())(5, 7, 2, bidirectional=True), lengths=cells(kind, ends)),
            ]
            for kind in ("rnn", "gru", "lstm")
        },
        **{
            f"{kind}Cell": lambda kind=kind: [unrolled(getattr(nn, f"{kind}Cell")(5, 7), kind.lower())]
            for kind in ("RNN", "GRU", "LSTM")
        },
        "MultiheadAttention": lambda: [
            case(
                nn.MultiheadAttention(10, 2, kdim=6, vdim=8, add_bias_kv=True),
                lengths={("", "out"): 10, ("q_proj_weight", "in"): 10, ("k_proj_weight", "in"): 6, ("v_proj_weight", "in"): 8}
                | {("out_proj.weight", "in"): 10},
            ),
            case(nn.MultiheadAttention(10, 2), lengths={("", "out"): 10, ("", "in"): 10}),
        ],
    }
    found = makers[row[:-2] if rank else row]()
    if row == "LSTM":
        projected = {("weight_hh_l0", "in"): 3, ("weight_hr_l0", "out"): 3, ("weight_hr_l0", "in"): 7}
        found.append(case(nn.LSTM(5, 7, proj_size=3), lengths=projected))
    assert isinstance(found[0].model, torch.nn.Module)
    return found


# Keras


def keras_cases(row):
    import keras
    from keras import layers as L

    from steelyard.frameworks.keras import run

    def case(layer, *shapes, computes="", **more):
        layer.build(*[(None, *shape) for shape in shapes])
        return Case(layer, computes=computes, run=lambda x: run(layer, [x]).outputs[0], **more)

    rank = next((n for n in "123" if f"{n}D" in row), "")
    image = (*SPACE.get(rank, ()), 5)
    hidden = {("recurrent_kernel", "in"): 7}
    heads = {("value/kernel", "dim"): 4, ("value/bias", "dim"): 4, ("attention_output/kernel", "dim"): 4}
    grouped = {(f"{part}/{leaf}", "heads"): 2 for part in ("key", "value") for leaf in ("kernel", "bias")}
    grouped |= {("", "heads"): 4, ("", "out"): 5}

    def attention():
        made = L.MultiHeadAttention(2, 3, value_dim=4, output_shape=7)
        made.build((None, 4, 5), (None, 6, 5), (None, 6, 5))
        group = L.GroupQueryAttention(3, 4, 2)
        group.build((None, 4, 5), (None, 6, 5), (None, 6, 5))
        return [Case(made, heads), Case(group, grouped)]

    def recurrent(kind, word):
        return [case(getattr(L, kind)(7), (4, 5), computes=word, lengths=hidden)]

    def cell(kind):
        made = getattr(L, kind)(7)
        made.build((None, 5))

        def unrolled(x):
            states = made.get_initial_state(len(x))
            for step in np.moveaxis(x, 1, 0):
                output, states = made(step, states)
            return keras.ops.convert_to_numpy(output)

        return [Case(made, hidden, kind.removeprefix("Simple").removesuffix("Cell").lower(), unrolled)]

    def gate_convolution():
        made = getattr(L, row)(7, KERNELS[rank])
        return [case(made, (4, *image), lengths=hidden)]

    def separable():
        inner = {("depthwise_kernel", "mult"): 4, ("pointwise_kernel", "in"): 20}
        ones = {("pointwise_kernel", axis): 1 for axis in ("k", "kh", "kw")}
        return [case(getattr(L, row)(7, KERNELS[rank], depth_multiplier=4), image, lengths=inner | ones)]

    norm = {"computes": "batch norm", "epsilon": 1e-3}
    makers = {
        "Dense": lambda: [case(L.Dense(7), (5,), computes="dense")],
        "EinsumDense": lambda: [case(L.EinsumDense("abc,cde->abde", (None, 7, 8), bias_axes="de"), (4, 5))],
        "HeadsDense": attention,
        "JoinedDense": attention,
        "Conv#": lambda: [case(getattr(L, row)(7, KERNELS[rank]), image, computes="conv")],
        "Conv#Transpose": lambda: [case(getattr(L, row)(7, KERNELS[rank]), image, computes="conv transpose")],
        "DepthwiseConv#": lambda: [
            case(getattr(L, row)(KERNELS[rank], depth_multiplier=4), image, computes="depthwise", lengths={("bias", "out"): 20})
        ],
        "SeparableConv#": separable,
        "Embedding": lambda: [case(L.Embedding(11, 7), (4,))],
        "ReversibleEmbedding": lambda: [case(L.ReversibleEmbedding(11, 7, tie_weights=False), (4,))],
        "BatchNormalization": lambda: [case(L.BatchNormalization(), (7,), **norm)],
        "LayerNormalization": lambda: [case(L.LayerNormalization(), (7,), computes="layer norm", epsilon=1e-3)],
        "GroupNormalization": lambda: [case(L.GroupNormalization(1), (4, 7))],
        "RMSNormalization": lambda: [case(L.RMSNormalization(), (7,))],
        "SpectralNormalization": lambda: [case(L.SpectralNormalization(L.Dense(7)), (5,))],
        "Normalization": lambda: [case(L.Normalization(), (7,))],
        "PReLU": lambda: [case(L.PReLU(), (7,))],
        "SimpleRNN": lambda: recurrent(row, "rnn"),
        "LSTM": lambda: recurrent(row, "lstm"),
        "GRU": lambda: [*recurrent(row, "gru"), case(L.GRU(7, reset_after=False), (4, 5), lengths=hidden)],
        **{f"{kind}Cell": lambda: cell(row) for kind in ("SimpleRNN", "LSTM", "GRU")},
        "ConvLSTM#": gate_convolution,
        "Attention": lambda: [_built(L.Attention(use_scale=True))],
        "AdditiveAttention": lambda: [_built(L.AdditiveAttention(use_scale=True))],
    }
    keras.utils.set_random_seed(0)
    return makers[row.replace(f"{rank}D", "#") if rank else row]()


def _built(layer):
    layer.build([(None, 4, 5), (None, 6, 5)])
    return Case(layer)


# Equinox


def equinox_cases(row):
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    key, nn = jax.random.key(0), eqx.nn
    rank = next((n for n in "123" if row.endswith(f"{n}d")), "")

    def case(model, computes="", *, image=False, call=None, **more):
        def plain(x, model=model):
            one = call or (lambda model, example: model(example))
            return np.stack([np.asarray(one(model, jnp.asarray(example))) for example in x])

        def run(x, model=model):
            return channels_first(lambda x: plain(x, model))(x) if image else plain(x, model)

        return Case(model, computes=computes, run=run, **more)

    def unrolled(cell, steps):
        state = (jnp.zeros(7), jnp.zeros(7)) if isinstance(cell, nn.LSTMCell) else jnp.zeros(7)
        for step in steps:
            state = cell(step, state)
        return state[0] if isinstance(state, tuple) else state

    hidden = {("weight_hh", "in"): 7}
    makers = {
        "Linear": lambda: [case(nn.Linear(5, 7, key=key), "dense")],
        "Embedding": lambda: [case(nn.Embedding(11, 7, key=key))],
        "BatchNorm": lambda: [case(nn.BatchNorm(7, "batch", mode="ema"))],
        "LayerNorm": lambda: [case(nn.LayerNorm(7), "layer norm", epsilon=1e-5)],
        "GroupNorm": lambda: [case(nn.GroupNorm(1, 7))],
        "RMSNorm": lambda: [case(nn.RMSNorm(7))],
        "LSTMCell": lambda: [case(nn.LSTMCell(5, 7, key=key), "lstm", call=unrolled, lengths=hidden)],
        "GRUCell": lambda: [case(nn.GRUCell(5, 7, key=key), "gru", call=unrolled, lengths=hidden)],
        "PReLU": lambda: [case(nn.PReLU(jnp.full((7, 1, 1), 0.2)))],
        "WeightNorm": lambda: [case(nn.WeightNorm(nn.Linear(5, 7, key=key), "weight", axis=0))],
        "Conv": lambda: [case(getattr(nn, row)(5, 7, KERNELS[rank], key=key), "conv", image=True)],
        "ConvTranspose": lambda: [case(getattr(nn, row)(5, 7, KERNELS[rank], key=key), "conv transpose", image=True)],
    }
    return makers[row[:-2] if rank else row]()


# Flax


def flax_cases(row):
    import jax.numpy as jnp
    from flax import nnx

    rngs = nnx.Rngs(0)
    rank = next((n for n in "123" if row.endswith(f"{n}d")), "")

    def case(model, computes="", *, call=None, **more):
        return Case(model, computes=computes, run=lambda x: np.asarray((call or model)(jnp.asarray(x))), **more)

    def unrolled(cell):
        def call(x):
            state = cell.initialize_carry(x[:, 0].shape, nnx.Rngs(1))
            for step in jnp.moveaxis(x, 1, 0):
                state, output = cell(state, step)
            return output

        return call

    def cell(kind, word):
        made = getattr(nnx, kind)(5, 7, rngs=rngs)
        hidden = {(f"{part}/kernel", "in"): 7 for part in ("dense_h", *(f"h{gate}" for gate in "ifgo"))}
        return [case(made, word, call=unrolled(made), lengths=hidden)]

    def transposed():
        return [
            case(nnx.ConvTranspose(5, 7, KERNELS[rank], padding="VALID", transpose_kernel=turned, rngs=rngs), "conv transpose")
            for turned in (False, True)
        ]

    makers = {
        "Linear": lambda: [case(nnx.Linear(5, 7, rngs=rngs), "dense")],
        "LinearGeneral": lambda: [case(nnx.LinearGeneral((5, 6), (7, 8), axis=(-2, -1), rngs=rngs))],
        "Einsum": lambda: [case(nnx.Einsum("nta,hab->nthb", (8, 2, 4), (8, 4), rngs=rngs))],
        "Embed": lambda: [case(nnx.Embed(11, 7, rngs=rngs))],
        "BatchNorm": lambda: [case(nnx.BatchNorm(7, use_running_average=True, rngs=rngs), "batch norm", epsilon=1e-5)],
        "LayerNorm": lambda: [case(nnx.LayerNorm(7, rngs=rngs), "layer norm", epsilon=1e-6)],
        "GroupNorm": lambda: [case(nnx.GroupNorm(7, num_groups=1, rngs=rngs))],
        "RMSNorm": lambda: [case(nnx.RMSNorm(7, rngs=rngs))],
        "InstanceNorm": lambda: [case(nnx.InstanceNorm(7, rngs=rngs))],
        "LoRA": lambda: [case(nnx.LoRA(5, 9, 7, rngs=rngs))],
        "OptimizedLSTMCell": lambda: cell(row, "lstm"),
        "LSTMCell": lambda: cell(row, "lstm"),
        "GRUCell": lambda: cell(row, "gru"),
        "SimpleCell": lambda: cell(row, "rnn"),
        "MultiHeadAttention": lambda: [
            case(nnx.MultiHeadAttention(num_heads=2, in_features=5, qkv_features=6, out_features=7, decode=False, rngs=rngs))
        ],
        "Conv": lambda: [case(nnx.Conv(5, 7, KERNELS[rank], padding="VALID", rngs=rngs), "conv")],
        "ConvTranspose": transposed,
    }
    return makers[row[:-2] if rank else row]()


def linen_cases(row):
    import jax
    import jax.numpy as jnp
    from flax import linen

    class Net(linen.Module):
        layer: Any

        @linen.compact
        def __call__(self, *given):
            return self.layer()(*given)

    def case(layer, *shapes, cell=False, **more):
        module = Net(layer)
        given = [jnp.zeros(shape) for shape in shapes]
        if cell:
            carry = layer().initialize_carry(jax.random.key(0), given[0].shape)
            given = [carry, *given]
        elif row == "Embed":
            given = [given[0].astype(int)]
        return Case(dict(module.init(jax.random.key(0), *given)), **more)

    def recurrent(kind):
        made = getattr(linen, kind)(7)

        def run(x, variables):
            state = made.initialize_carry(jax.random.key(0), x[:, 0].shape)
            for step in jnp.moveaxis(jnp.asarray(x), 1, 0):
                state, output = made.apply({"params": variables["params"]["layer"]}, state, step)
            return np.asarray(output)

        return [
            case(
                lambda: getattr(linen, kind)(7, name="layer"), (2, 5), cell=True, lengths=hidden, computes=of_cell[kind], run=run
            )
        ]

    rank = next((n for n in "123" if row.endswith(f"{n}d")), "")
    hidden = {(f"h{gate}/kernel", "in"): 7 for gate in ("", *"ifgorzn")}
    of_cell = {"LSTMCell": "lstm", "GRUCell": "gru", "SimpleCell": "rnn", "MGUCell": ""}
    makers = {
        "Dense": lambda: [case(lambda: linen.Dense(7), (2, 5))],
        "DenseGeneral": lambda: [case(lambda: linen.DenseGeneral((7, 8), axis=(-2, -1)), (2, 5, 6))],
        "Conv": lambda: [case(lambda: linen.Conv(7, KERNELS[rank]), (2, *SPACE[rank], 5))],
        "Embed": lambda: [case(lambda: linen.Embed(11, 7), (2, 4))],
        **{
            kind: lambda kind=kind: [
                case(lambda: getattr(linen, kind)(**({"use_running_average": True} if kind == "BatchNorm" else {})), (2, 7))
            ]
            for kind in ("BatchNorm", "LayerNorm", "RMSNorm")
        },
        **{kind: lambda kind=kind: recurrent(kind) for kind in of_cell},
        "MultiHeadDotProductAttention": lambda: [
            case(lambda: linen.MultiHeadDotProductAttention(num_heads=2, qkv_features=6, out_features=7), (2, 4, 5))
        ],
    }
    return makers[row[:-2] if rank else row]()


# scikit-learn


def sklearn_cases(row):
    from sklearn.linear_model import LinearRegression, LogisticRegression, SGDOneClassSVM
    from sklearn.neural_network import BernoulliRBM, MLPRegressor

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(70, 5)), rng.normal(size=(70, 7))
    if row in ("coefs_", "intercepts_"):
        net = MLPRegressor(hidden_layer_sizes=(6,), max_iter=3, solver="lbfgs")
        lengths = {("coefs_.0", "out"): 6, ("intercepts_.0", "out"): 6, ("coefs_.1", "in"): 6}
        return [Case(_fitted(net, x, y), lengths)]
    if row in ("coef_", "intercept_"):
        several = LogisticRegression().fit(x, np.arange(70) % 7)
        linear = LinearRegression().fit(x, y)
        return [Case(linear, computes="dense", run=linear.predict), Case(several), Case(LinearRegression().fit(x, y[:, 0]))]
    if row == "offset_":
        return [Case(SGDOneClassSVM().fit(x), {("offset_", "out"): 1})]
    return [Case(BernoulliRBM(7, n_iter=1).fit(np.abs(x) % 1))]


def _fitted(net, x, y):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three iterations do not converge, and need not
        return net.fit(x, y)
