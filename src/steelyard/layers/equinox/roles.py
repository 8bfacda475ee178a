"""The roles and axes of the parameters of Equinox's layers, by the class of the layer."""

from __future__ import annotations

from steelyard.core.weight import Role
from steelyard.layers.roles import REVERSED, SPATIAL, ParameterRoles

_NORM: ParameterRoles = {"weight": (Role.SCALE, "channel"), "bias": (Role.OFFSET, "channel")}


def _dense(axes: str, bias: str = "out") -> ParameterRoles:
    return {"weight": (Role.KERNEL, axes), "bias": (Role.BIAS, bias)}


def _recurrent(gates: str) -> ParameterRoles:
    return {
        "weight_ih": (Role.KERNEL, f"[{gates}]*out in"),
        "weight_hh": (Role.RECURRENT_KERNEL, f"[{gates}]*out in"),
        "bias": (Role.BIAS, f"[{gates}]*out"),
        "bias_n": (Role.BIAS, "[n]*out"),  # only in a GRU
    }


ROLES: dict[str, ParameterRoles] = {
    "Linear": _dense("out in"),
    "Embedding": {"weight": (Role.EMBEDDING, "vocab out")},
    "BatchNorm": _NORM,
    "LayerNorm": _NORM,
    "GroupNorm": _NORM,
    "RMSNorm": _NORM,
    "LSTMCell": _recurrent("ifgo"),
    "GRUCell": _recurrent("rzn"),
    "PReLU": {"negative_slope": (Role.OTHER, "channel")},
    "WeightNorm": {"g": (Role.SCALE, "out")},
}


def conv_roles(rank: int) -> ParameterRoles:
    """Return the parameters of a convolution with this number of spatial axes; its bias has an axis of length one for each.

    >>> conv_roles(1)["weight"][1], conv_roles(1)["bias"][1]
    ('out in k', 'out 1')
    """
    return _dense(f"out in {SPATIAL.get(rank, '')}", "out" + " 1" * rank)


def conv_transpose_roles(rank: int, groups: int) -> ParameterRoles:
    """Return the parameters of a transposed convolution, whose kernel is flipped.

    The first axis has the outputs of all groups; in other frameworks it has the inputs.
    """
    outputs = "out" if groups == 1 else "group*out"
    return _dense(f"{outputs} in {REVERSED.get(rank, '')}", "out" + " 1" * rank)
