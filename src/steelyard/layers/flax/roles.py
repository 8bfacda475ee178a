"""The roles and axes of the variables of Flax NNX's layers, by the class of the layer; linen's are known by name."""

from __future__ import annotations

from typing import Any

from steelyard.core.weight import Role
from steelyard.layers.roles import REVERSED, SPATIAL, ParameterRoles, general_axes

_NORM: ParameterRoles = {
    "scale": (Role.SCALE, "channel"),
    "bias": (Role.OFFSET, "channel"),
    "mean": (Role.MEAN, "channel"),
    "var": (Role.VARIANCE, "channel"),
}


def _dense(axes: str, bias: str = "out", role: Role = Role.KERNEL) -> ParameterRoles:
    return {"kernel": (role, axes), "bias": (Role.BIAS, bias)}


def _recurrent(gates: str) -> dict[str, ParameterRoles]:
    packed = f"[{gates}]*out" if gates else "out"
    return {
        "dense_i": _dense(f"in {packed}", packed),
        "dense_h": _dense(f"in {packed}", packed, Role.RECURRENT_KERNEL),
    }


ROLES: dict[str, ParameterRoles] = {
    "Linear": _dense("in out"),
    "Einsum": _dense(""),
    "Embed": {"embedding": (Role.EMBEDDING, "vocab out")},
    **dict.fromkeys(("BatchNorm", "LayerNorm", "GroupNorm", "RMSNorm", "InstanceNorm"), _NORM),
    "LoRA": {"lora_a": (Role.OTHER, "in rank"), "lora_b": (Role.OTHER, "rank out")},
}
SUBLAYER_ROLES: dict[str, dict[str, ParameterRoles]] = {  # class -> attribute of a layer inside -> its variables
    "OptimizedLSTMCell": _recurrent("ifgo"),
    "GRUCell": _recurrent("rzn"),
    "SimpleCell": _recurrent(""),
    "LSTMCell": {
        **{part: _dense(f"in [{part[1]}]*out") for part in ("ii", "if_", "ig", "io")},
        **{f"h{gate}": _dense(f"in [{gate}]*out", f"[{gate}]*out", Role.RECURRENT_KERNEL) for gate in "ifgo"},
    },
    "MultiHeadAttention": {
        **dict.fromkeys(("query", "key", "value"), _dense("in heads dim", "heads dim")),
        "out": _dense("heads dim out"),
    },
}


def general_roles(inputs: int, outputs: int) -> ParameterRoles:
    """Return the variables of a `LinearGeneral` that contracts `inputs` axes and outputs `outputs`."""
    return _dense(general_axes(inputs, outputs), general_axes(0, outputs))


def conv_roles(rank: int) -> ParameterRoles:
    """Return the variables of a convolution with this number of spatial axes; their axes are blank unless it is 1 to 3."""
    return _dense(f"{SPATIAL[rank]} in out" if rank in SPATIAL else "")


def conv_transpose_roles(rank: int, *, transpose_kernel: bool) -> ParameterRoles:
    """Return the variables of a transposed convolution, whose kernel is flipped unless the layer has `transpose_kernel`."""
    if rank not in SPATIAL:
        return _dense("")
    return _dense(f"{SPATIAL[rank]} out in" if transpose_kernel else f"{REVERSED[rank]} in out")


def own_shape(kind: str, owner: Any, leaf: str) -> tuple[int, ...] | None:
    """Return the shape that one layer of this class of NNX has for a variable, by its settings; None where that is not known.

    Layers that `nnx.vmap` made have further axes in front.
    """
    if kind == "Linear":
        return (owner.in_features, owner.out_features) if leaf == "kernel" else (owner.out_features,)
    if kind in ("Conv", "ConvTranspose"):
        kernel = tuple(owner.kernel_shape)
        return kernel if leaf == "kernel" else (owner.out_features,)
    if kind == "Embed":
        return (owner.num_embeddings, owner.features)
    width = getattr(owner, "num_features", None) if kind.endswith("Norm") else None
    return None if width is None else (width,)
