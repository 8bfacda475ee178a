"""Tensors that functions of a live module compute, without a trace in the module or in the random generators."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from steelyard.dtypes import numpy_dtype
from steelyard.errors import ShapeError, SteelyardError, UnreadableError, printable
from steelyard.frameworks.torch.arrays import numpy_of
from steelyard.frameworks.torch.tensors import plain

if TYPE_CHECKING:
    from steelyard.core.weight import Array

    Make = Callable[[], torch.Tensor]


class Computed:
    """A reader of a tensor that is computed for each pass; a run that begins where the last one ended is of the same pass."""

    __slots__ = ("_dtype", "_kept", "_make", "_name", "_shape")

    def __init__(self, name: str, make: Make, shape: tuple[int, ...], dtype: str) -> None:
        self._name = name
        self._make = make
        self._shape = shape
        self._dtype = dtype
        self._kept: tuple[int, Array] | None = None

    def __call__(self, start: int, stop: int) -> Array:
        kept = self._kept
        whole = kept[1] if kept is not None and kept[0] == start > 0 else self._whole()
        self._kept = (stop, whole) if stop < whole.size else None
        return whole[start:stop]

    def _whole(self) -> Array:
        array = numpy_of(plain(self._name, computed(self._name, self._make)).contiguous())
        if array.shape != self._shape or array.dtype != numpy_dtype(self._dtype):
            shown = printable(self._name)
            raise ShapeError(f"{shown} has changed its shape or its type since it was listed; list the weights again")
        return array.reshape(-1)


def computed(name: str, make: Make) -> torch.Tensor:
    """Compute a tensor without gradients. Raises `UnreadableError` if that fails."""
    devices = [*range(torch.cuda.device_count())] if torch.cuda.is_initialized() else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            return make()
    except SteelyardError:
        raise
    except Exception as error:  # noqa: BLE001 - a function of the user's own may raise anything
        raise UnreadableError(f"{printable(name)} cannot be computed: {type(error).__name__}: {printable(error)}") from None


def in_evaluation(module: nn.Module) -> nn.Module:
    """Return a copy of a module that is in evaluation mode, with parameters and buffers of its own; its code is shared."""
    return _copied(module, {})


def _copied(module: nn.Module, made: dict[int, nn.Module]) -> nn.Module:
    if id(module) in made:
        return made[id(module)]
    if isinstance(module, torch.jit.ScriptModule):  # its state is not in its attributes
        made[id(module)] = copy.deepcopy(module).eval()
        return made[id(module)]
    twin: nn.Module = object.__new__(type(module))
    made[id(module)] = twin
    held = dict(vars(module)) | {"training": False}
    for group in ("_parameters", "_buffers"):
        held[group] = {key: tensor if tensor is None else tensor.detach().clone() for key, tensor in held[group].items()}
    held["_modules"] = {key: child if child is None else _copied(child, made) for key, child in held["_modules"].items()}
    vars(twin).update(held)
    return twin
