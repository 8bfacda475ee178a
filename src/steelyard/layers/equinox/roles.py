"""The roles and axes of the parameters of Equinox's layers, by the class of the layer."""

from __future__ import annotations

from typing import Any

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


def own_shape(kind: str, owner: Any, leaf: str) -> tuple[int, ...] | None:
    """Return the shape that one layer of this class has for a parameter, by the layer's settings; None where that is not known.

    Layers that `filter_vmap` made have further axes in front.
    """
    if kind in ("Linear", "Embedding"):
        names = ("out_features", "in_features") if kind == "Linear" else ("num_embeddings", "embedding_size")
        sides: tuple[int, ...] = tuple(1 if side == "scalar" else side for side in (getattr(owner, name) for name in names))
        return sides if leaf == "weight" else sides[:1]
    if kind in ("Conv", "ConvTranspose"):
        kernel = (owner.out_channels, owner.in_channels // owner.groups, *owner.kernel_size)
        return kernel if leaf == "weight" else (owner.out_channels, *(1 for _ in owner.kernel_size))
    if kind in ("LSTMCell", "GRUCell"):
        units = owner.hidden_size
        rows = (4 if kind == "LSTMCell" else 3) * units
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, owner.input_size),
            "weight_hh": (rows, units),
            "bias": (rows,),
            "bias_n": (units,),
        }
        return shapes.get(leaf)
    width = {"BatchNorm": "input_size", "GroupNorm": "channels", "LayerNorm": "shape", "RMSNorm": "shape"}.get(kind)
    own: Any = getattr(owner, width) if width else None
    if isinstance(own, int):
        return (own,)
    return tuple(own) if own else None
