"""The roles and axes of the variables of Keras layers: one table for live models and for files.

A Keras file numbers the variables of a layer (`vars/0`, `vars/1`) and leaves out those that its config turns off.
`ROLES` has their order, `SUBLAYERS` the layers inside a layer. Gates have the same letters for all frameworks: Keras's c
in an LSTM is g here, and its h in a GRU is n. The first axis of a GRU's bias, "[ih]", separates the bias of the input from
that of the hidden state.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

from steelyard.core.weight import Role


class VariableRole(NamedTuple):
    """One variable of a layer.

    `axes` may have alternatives, separated by bars, with different numbers of axes. The variable exists unless the config
    of the layer has a false value under the key `when`, or a true one under the key `unless`; blank keys have no effect.
    """

    leaf: str
    role: Role
    axes: str = ""
    when: str = ""
    unless: str = ""
    trainable: bool = True

    def axes_for(self, ndim: int) -> str:
        """Return the alternative that has `ndim` axes, or blank.

        >>> variable_role("GRU", "bias").axes_for(2)
        '[ih] [zrn]*out'
        """
        return next((axes for axes in self.axes.split("|") if len(axes.split()) == ndim), "")


class Sublayer(NamedTuple):
    """A layer inside a layer: the attribute that holds it, the config's key for it, and its class."""

    attribute: str
    key: str = ""
    kind: str = ""


VariableRoles = tuple[VariableRole, ...]


def _dense(axes: str, leaf: str = "kernel") -> VariableRoles:
    return (VariableRole(leaf, Role.KERNEL, axes), VariableRole("bias", Role.BIAS, "out", when="use_bias"))


def _separable(axes: str) -> VariableRoles:
    return (VariableRole("depthwise_kernel", Role.KERNEL, f"{axes} in mult"), *_dense(f"{axes} in out", "pointwise_kernel"))


def _recurrent(gates: str, axes: str = "", bias: str = "") -> VariableRoles:
    packed = f"{axes} in [{gates}]*out" if gates else "in out"
    return (
        VariableRole("kernel", Role.KERNEL, packed.strip()),
        VariableRole("recurrent_kernel", Role.RECURRENT_KERNEL, packed.strip()),
        VariableRole("bias", Role.BIAS, (f"[{gates}]*out" if gates else "out") + bias, when="use_bias"),
    )


def _cudnn(gates: str) -> VariableRoles:
    """Return the variables in the layout of cuDNN; no words describe its kernel, see `cudnn`."""
    return (
        VariableRole("kernel", Role.KERNEL),
        VariableRole("recurrent_kernel", Role.RECURRENT_KERNEL, f"out [{gates}]*in"),
        VariableRole("bias", Role.BIAS, f"[ih]*[{gates}]*out"),
    )


_CENTERED: VariableRoles = (
    VariableRole("gamma", Role.SCALE, "channel", when="scale"),
    VariableRole("beta", Role.OFFSET, "channel", when="center"),
)
_BATCH_NORM: VariableRoles = (
    *_CENTERED,
    VariableRole("moving_mean", Role.MEAN, "channel", trainable=False),
    VariableRole("moving_variance", Role.VARIANCE, "channel", trainable=False),
)
_GRU = _recurrent("zrn", bias="|[ih] [zrn]*out")
_HEADS: VariableRoles = (
    VariableRole("kernel", Role.KERNEL, "in heads dim"),
    VariableRole("bias", Role.BIAS, "heads dim", when="bias_axes"),
)
_JOINED: VariableRoles = (
    VariableRole("kernel", Role.KERNEL, "heads dim out"),
    VariableRole("bias", Role.BIAS, "out", when="bias_axes"),
)

DUPLICATE = "="
"""The name of a variable that is also a variable of a sublayer, so that a file holds its numbers twice."""

OLD = "keras 2"
"""The key of variables that Keras 3 and its files lack."""

ROLES: dict[str, VariableRoles] = {
    "Dense": _dense("in out"),
    "EinsumDense": (VariableRole("kernel", Role.KERNEL), VariableRole("bias", Role.BIAS, when="bias_axes")),
    "HeadsDense": _HEADS,
    "JoinedDense": _JOINED,
    "Conv1D": _dense("k in out"),
    "Conv2D": _dense("kh kw in out"),
    "Conv3D": _dense("kd kh kw in out"),
    "Conv1DTranspose": _dense("k out in"),
    "Conv2DTranspose": _dense("kh kw out in"),
    "Conv3DTranspose": _dense("kd kh kw out in"),
    "DepthwiseConv1D": (*_dense("k in mult"), VariableRole("depthwise_kernel", Role.KERNEL, "k in mult", when=OLD)),
    "DepthwiseConv2D": (*_dense("kh kw in mult"), VariableRole("depthwise_kernel", Role.KERNEL, "kh kw in mult", when=OLD)),
    "SeparableConv1D": _separable("k"),
    "SeparableConv2D": _separable("kh kw"),
    "Embedding": (VariableRole("embeddings", Role.EMBEDDING, "vocab out"),),
    "ReversibleEmbedding": (
        VariableRole("embeddings", Role.EMBEDDING, "vocab out"),
        VariableRole("reverse_embeddings", Role.EMBEDDING, "out vocab", unless="tie_weights"),
    ),
    "BatchNormalization": _BATCH_NORM,
    "SyncBatchNormalization": _BATCH_NORM,
    "LayerNormalization": _CENTERED,
    "GroupNormalization": _CENTERED,
    "RMSNormalization": (VariableRole("scale", Role.SCALE, "channel"),),
    "SpectralNormalization": (VariableRole(DUPLICATE, Role.KERNEL), VariableRole("vector_u", Role.OTHER, trainable=False)),
    "Normalization": (
        VariableRole("mean", Role.MEAN, "channel", unless="mean", trainable=False),
        VariableRole("variance", Role.VARIANCE, "channel", unless="mean", trainable=False),
        VariableRole("count", Role.COUNT, unless="mean", trainable=False),
    ),
    "PReLU": (VariableRole("alpha", Role.OTHER, "channel"),),
    "SimpleRNN": _recurrent(""),
    "SimpleRNNCell": _recurrent(""),
    "LSTM": _recurrent("ifgo"),
    "LSTMCell": _recurrent("ifgo"),
    "CuDNNLSTM": _cudnn("ifgo"),
    "GRU": _GRU,
    "GRUCell": _GRU,
    "CuDNNGRU": _cudnn("zrn"),
    "ConvLSTM1D": _recurrent("ifgo", "k"),
    "ConvLSTM2D": _recurrent("ifgo", "kh kw"),
    "ConvLSTM3D": _recurrent("ifgo", "kd kh kw"),
    "Attention": (VariableRole("scale", Role.SCALE, when="use_scale"),),
    "AdditiveAttention": (VariableRole("scale", Role.SCALE, when="use_scale"),),
}
"""The variables of each class of layer, in the order of `Layer.weights` and of the slots of a file."""

SUBLAYERS: dict[str, tuple[Sublayer, ...]] = {
    "Bidirectional": (Sublayer("forward_layer", "layer"), Sublayer("backward_layer", "backward_layer")),
    "TimeDistributed": (Sublayer("layer", "layer"),),
    "SpectralNormalization": (Sublayer("layer", "layer"),),
    "RNN": (Sublayer("cell", "cell"),),
    "SimpleRNN": (Sublayer("cell", kind="SimpleRNNCell"),),
    "LSTM": (Sublayer("cell", kind="LSTMCell"),),
    "GRU": (Sublayer("cell", kind="GRUCell"),),
    "ConvLSTM1D": (Sublayer("cell", kind="ConvLSTM1D"),),
    "ConvLSTM2D": (Sublayer("cell", kind="ConvLSTM2D"),),
    "ConvLSTM3D": (Sublayer("cell", kind="ConvLSTM3D"),),
    "MultiHeadAttention": (
        Sublayer("query_dense", kind="HeadsDense"),
        Sublayer("key_dense", kind="HeadsDense"),
        Sublayer("value_dense", kind="HeadsDense"),
        Sublayer("output_dense", kind="JoinedDense"),
    ),
    "GroupedQueryAttention": (
        Sublayer("_query_dense", kind="HeadsDense"),
        Sublayer("_key_dense", kind="HeadsDense"),
        Sublayer("_gate_dense", kind="HeadsDense"),
        Sublayer("_value_dense", kind="HeadsDense"),
        Sublayer("_output_dense", kind="JoinedDense"),
    ),
}
"""The layers inside each class of layer, in the order of `Layer.weights`."""

_EXPORTED = {"GroupQueryAttention": "GroupedQueryAttention"}
"""Classes whose names in a config and in the groups of a file differ."""
SUBLAYERS["GroupQueryAttention"] = SUBLAYERS["GroupedQueryAttention"]


def snake(name: str) -> str:
    """Return a class's name as Keras spells it in a file.

    >>> snake("Conv2DTranspose"), snake("PReLU"), snake("LSTM")
    ('conv2d_transpose', 'p_re_lu', 'lstm')
    """
    name = re.sub(r"\W+", "", _EXPORTED.get(name, name))
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


_BY_SNAKE = {snake(kind): kind for kind in (*SUBLAYERS, *ROLES)}


def kind_of(name: str) -> str:
    """Return the class in an automatic name of Keras, or blank.

    >>> kind_of("conv2d_transpose_3"), kind_of("stem")
    ('Conv2DTranspose', '')
    """
    return _BY_SNAKE.get(name) or _BY_SNAKE.get(re.sub(r"_\d+$", "", name), "")


def variable_role(kind: str, leaf: str) -> VariableRole | None:
    """Return the role of the variable `leaf` of a class of layer; None if the table does not have it."""
    return next((fact for fact in ROLES.get(kind, ()) if fact.leaf == leaf), None)


def einsum_roles(equation: str, bias_axes: str | None) -> VariableRoles:
    """Return the variables of an `EinsumDense`: a letter missing from the output is summed over, so it is an input.

    >>> [s.axes for s in einsum_roles("abc,cde->abde", "de")]
    ['in out1 out2', 'out1 out2']
    """
    operands, _, output = equation.replace("...", "").partition("->")
    data, _, kernel = operands.partition(",")
    summed = [letter for letter in kernel if letter not in output]
    made = [letter for letter in kernel if letter not in data]
    words = _numbered("in", summed) | _numbered("out", made)
    shown = [letter for letter in output if letter in (bias_axes or "")]
    axes = " ".join(words[letter] for letter in kernel) if len(words) == len(kernel) else ""
    bias = " ".join(words[letter] for letter in shown) if axes and all(letter in words for letter in shown) else ""
    return VariableRole("kernel", Role.KERNEL, axes), VariableRole("bias", Role.BIAS, bias, when="bias_axes")


def _numbered(word: str, letters: list[str]) -> dict[str, str]:
    if len(letters) == 1:
        return {letters[0]: word}
    return {letter: f"{word}{n}" for n, letter in enumerate(letters, start=1)}


def variable_roles(kind: str, config: Mapping[str, Any] | None, count: int) -> list[VariableRole | None]:
    """Return the role of each of `count` variables of a layer; None if it is ambiguous.

    The config determines which variables exist. Without it, or if it contradicts the count, a role is returned only if
    all possible choices agree.

    >>> [s and s.leaf for s in variable_roles("BatchNormalization", {"scale": False}, 3)]
    ['beta', 'moving_mean', 'moving_variance']
    >>> [s and s.leaf for s in variable_roles("BatchNormalization", None, 3)]
    [None, 'moving_mean', 'moving_variance']
    """
    known = tuple(fact for fact in ROLES.get(kind, ()) if fact.when != OLD)
    if kind == "EinsumDense" and config is not None:
        known = einsum_roles(str(config.get("equation", "")), str(config.get("bias_axes") or ""))
    if config is not None:
        present = [s for s in known if _present(s, config)]
        if len(present) == count:
            return list(present)
        if _bits(config):
            return _quantised(present, count, _bits(config))
    choices = [pick for pick in combinations(known, count) if all(s in pick or s.when or s.unless for s in known)]
    agreed = [places[0] if len(set(places)) == 1 else None for places in zip(*choices, strict=True)]
    return agreed or [None] * count


def _bits(config: Mapping[str, Any]) -> str:
    """Return the integer type of a quantised layer, "int8" or "int4", by its dtype policy; blank for any other layer."""
    policy = config.get("dtype")
    inner = policy.get("config") if isinstance(policy, dict) else None
    mode = inner.get("mode") if isinstance(inner, dict) else None
    return mode[:4] if isinstance(mode, str) and mode.startswith(("int8", "int4")) else ""


def _quantised(present: list[VariableRole], count: int, bits: str) -> list[VariableRole | None]:
    """Return the roles of a quantised layer: its kernel is not trained, and its scale and zero points follow the bias."""
    more = count - len(present)
    if not present or more not in (1, 3):
        return [None] * count
    packed = "" if bits == "int4" else present[0].axes
    kernel = present[0]._replace(axes=packed, trainable=False)
    names = (f"{kernel.leaf}_scale", f"{kernel.leaf}_zero", "g_idx")[:more]
    return [kernel, *present[1:], *(VariableRole(name, Role.OTHER, trainable=False) for name in names)]


def _present(fact: VariableRole, config: Mapping[str, Any]) -> bool:
    if fact.when and config.get(fact.when, True) in (False, None):
        return False
    return not fact.unless or config.get(fact.unless) in (False, None)
