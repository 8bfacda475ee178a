"""Quantised modules of PyTorch in pickles: their packed weights, under the names of the module's `state_dict`.

A module of `torch.ao.nn.quantized` keeps its weights packed for one kind of processor. A pickle has them unpacked: in a script
object, or in the tuple that a convolution returns from `__getstate__`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from steelyard.codecs.pickle.values import Global, Record, class_of, is_args

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.codecs.pickle.values import Pickled

NUMBER = Global("torch", "tensor")
"""The call that stands for a plain number which `state_dict` makes a tensor; a pickle cannot name this very object."""

_QUANTISED = r"(__torch__\.)?torch\.(ao\.)?nn\.(intrinsic\.)?quantized\..*"
_CONV_STATE = 14
"""The number of values that a convolution's state has at least."""


def class_name(record: Record) -> str:
    """Return the name of a quantised module's class without its module; "" for any other record."""
    kind = class_of(record)
    return kind.name.rpartition(".")[2] if kind is not None and re.fullmatch(_QUANTISED, kind.module) else ""


# The state of a quantised convolution, by place:
#   0-5    channels in, channels out, kernel size, stride, padding, dilation
#   6-9    transposed, output padding, groups, padding mode
#   10-11  weight, bias or None
#   12-14  scale and zero point of the outputs, training
def conv_members(record: Record) -> list[tuple[str, Pickled]] | None:
    """Return the weights of a quantised convolution by their names in its state_dict; None for any other record."""
    state = record.state
    if not is_args(state, _CONV_STATE) or type(state[9]) is not str or not class_name(record):
        return None
    weight, bias, scale, zero = state[10:14]
    return [("weight", weight), ("bias", bias), *_output(scale, zero)]


def output_members(record: Record) -> list[tuple[str, Pickled]]:
    """Return scale and zero point of a quantised module's outputs, which its state_dict has as tensors; mostly none."""
    held = record.attributes
    modules = held.get("_modules")
    packed = "_packed_params" in held or (isinstance(modules, dict) and "_packed_params" in modules)
    name = class_name(record)
    if not name or not (packed or name.endswith("QFunctional")):
        return []
    return list(_output(held.get("scale"), held.get("zero_point")))


def _output(scale: Pickled, zero: Pickled) -> Iterator[tuple[str, Pickled]]:
    if type(scale) in (int, float) and type(zero) is int:
        yield "scale", Record(NUMBER, (scale, "float32"))
        yield "zero_point", Record(NUMBER, (zero, "int64"))


def script_object(record: Record) -> Pickled:
    """Return the state of a script object, which C++ code packs; None for any other record, and one without a state.

    Its pickle has the state and the name of the class in a tuple; in TorchScript the class is the call itself.
    """
    if record.text.startswith("__torch__.torch.classes."):
        return record.state
    if record.text != "torch.ScriptObject":
        return None
    return record.state[0] if is_args(record.state, 2) else record.state
