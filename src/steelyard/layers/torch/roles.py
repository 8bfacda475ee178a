"""The roles and axes of the parameters of PyTorch's layers, live or pickled, by the class of the layer."""

from __future__ import annotations

import re

from steelyard.core.weight import Role
from steelyard.layers.roles import ParameterRoles, axes_or_blank

_NORM: ParameterRoles = {
    "weight": (Role.SCALE, "channel"),
    "bias": (Role.OFFSET, "channel"),
    "running_mean": (Role.MEAN, "channel"),
    "running_var": (Role.VARIANCE, "channel"),
    "num_batches_tracked": (Role.COUNT, ""),
}


def _dense(axes: str) -> ParameterRoles:
    return {"weight": (Role.KERNEL, axes), "bias": (Role.BIAS, "out")}


def _recurrent(gates: str) -> ParameterRoles:
    """Return the parameters by their names without endings such as `_l0` and `_l1_reverse`, which a cell lacks."""
    packed = f"[{gates}]*out" if gates else "out"
    return {
        "weight_ih": (Role.KERNEL, f"{packed} in"),
        "weight_hh": (Role.RECURRENT_KERNEL, f"{packed} in"),
        "weight_hr": (Role.KERNEL, "out in"),
        "bias_ih": (Role.BIAS, packed),
        "bias_hh": (Role.BIAS, packed),
    }


ROLES: dict[str, ParameterRoles] = {
    "Linear": _dense("out in"),
    "Bilinear": _dense("out in1 in2"),
    "_ConvNd": {"bias": (Role.BIAS, "out")},
    "Conv1d": _dense("out in k"),
    "Conv2d": _dense("out in kh kw"),
    "Conv3d": _dense("out in kd kh kw"),
    "ConvTranspose1d": _dense("in out k"),
    "ConvTranspose2d": _dense("in out kh kw"),
    "ConvTranspose3d": _dense("in out kd kh kw"),
    "Embedding": {"weight": (Role.EMBEDDING, "vocab out")},
    "EmbeddingBag": {"weight": (Role.EMBEDDING, "vocab out")},
    "_NormBase": _NORM,
    "LayerNorm": _NORM,
    "GroupNorm": _NORM,
    "RMSNorm": _NORM,
    "PReLU": {"weight": (Role.OTHER, "channel")},
    "LSTM": _recurrent("ifgo"),
    "LSTMCell": _recurrent("ifgo"),
    "GRU": _recurrent("rzn"),
    "GRUCell": _recurrent("rzn"),
    "RNN": _recurrent(""),
    "RNNCell": _recurrent(""),
    "MultiheadAttention": {
        "in_proj_weight": (Role.KERNEL, "[qkv]*out in"),
        "q_proj_weight": (Role.KERNEL, "out in"),
        "k_proj_weight": (Role.KERNEL, "out in"),
        "v_proj_weight": (Role.KERNEL, "out in"),
        "in_proj_bias": (Role.BIAS, "[qkv]*out"),
        "bias_k": (Role.BIAS, ""),
        "bias_v": (Role.BIAS, ""),
    },
}

_BASES = {  # class without a row of its own -> class whose row it has
    **{f"{word}{n}d": "_NormBase" for word in ("BatchNorm", "InstanceNorm") for n in (1, 2, 3)},
    "SyncBatchNorm": "_NormBase",
    "NonDynamicallyQuantizableLinear": "Linear",
}

_OWN = ("torch.nn.modules.", "torch.nn.qat.", "torch.ao.nn.")
_OF_TRANSFORMERS: dict[str, ParameterRoles] = {"Conv1D": _dense("in out")}
"""A dense layer of GPT-2 and its relatives, which stores its kernel transposed."""

_ENDING = r"_l\d+(_reverse)?$"
_MAGNITUDE, _DIRECTION = r"(.+)_g", r"(.+)_(?:v|orig)"


def roles_of_class(module: str, name: str) -> ParameterRoles:
    """Return the parameters of a layer of PyTorch, or of transformers' `Conv1D`, by its class; empty for any other class.

    >>> roles_of_class("torch.nn.modules.linear", "Linear")["bias"]
    (<Role.BIAS: 'bias'>, 'out')
    """
    if module.startswith("transformers."):
        return _OF_TRANSFORMERS.get(name, {})
    return ROLES.get(_BASES.get(name, name), {}) if module.startswith(_OWN) else {}


def plain_name(key: str) -> str:
    """Return the name of a recurrent layer's parameter without the number and direction of its layer.

    >>> plain_name("weight_ih_l1_reverse")
    'weight_ih'
    """
    return re.sub(_ENDING, "", key)


def role_and_axes(known: ParameterRoles, key: str, ndim: int) -> tuple[Role, str]:
    """Return the role and axes of a name: as it is, without a recurrent ending, or as changed by weight norm or pruning."""
    if direct := _row(known, key):
        return direct[0], axes_or_blank(direct[1], ndim)
    if match := re.fullmatch(_DIRECTION, key):  # weight_v, weight_orig: the kernel before its norm or mask
        role, axes = _row(known, match[1]) or (Role.OTHER, "")
        if key.endswith("_v") and len(axes.split()) != ndim:
            return Role.OTHER, ""  # a vector of a spectral norm
        return role, axes_or_blank(axes, ndim)
    if (match := re.fullmatch(_MAGNITUDE, key)) and _row(known, match[1]):
        return Role.SCALE, ""
    return Role.OTHER, ""


def _row(known: ParameterRoles, key: str) -> tuple[Role, str] | None:
    return known.get(key) or known.get(plain_name(key))
