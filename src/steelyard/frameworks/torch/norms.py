"""The running statistics of batch norms, computed anew by runs of a module in training mode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from steelyard.errors import ShapeError


def update_norms(module: nn.Module, data: Iterable[Any]) -> None:
    """Set the running statistics to the means of those of the batches; see `steelyard.update_norms`."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.running_mean is not None]
    if not norms:
        raise ShapeError("the module has no norms with running statistics")
    before = [{name: buffer.clone() for name, buffer in norm.named_buffers(recurse=False)} for norm in norms]
    try:
        with ExitStack() as restored, torch.no_grad():
            for part in module.modules():
                restored.callback(setattr, part, "training", part.training)
            for norm in norms:
                restored.callback(setattr, norm, "momentum", norm.momentum)
                norm.momentum = None  # a plain mean of all batches
                norm.reset_running_stats()
            module.train()
            _run(module, data)
    except BaseException:
        for norm, buffers in zip(norms, before, strict=True):
            for name, buffer in buffers.items():
                getattr(norm, name).copy_(buffer)
        raise


def _run(module: nn.Module, data: Iterable[Any]) -> None:
    like = next((each for each in (*module.parameters(), *module.buffers()) if each.is_floating_point()), torch.empty(0))
    ran = False
    for batch in data:
        if isinstance(batch, Mapping):
            module(**{name: _tensor(values, like) for name, values in batch.items()})
        else:
            module(_tensor(batch[0] if isinstance(batch, (list, tuple)) else batch, like))
        ran = True
    if not ran:
        raise ShapeError("there are no batches; pass the data that the norms should fit")


def _tensor(values: Any, like: torch.Tensor) -> torch.Tensor:
    """Return values on the device of the module; floats of other libraries also in its type."""
    if isinstance(values, torch.Tensor):
        return values.to(like.device)
    made = torch.as_tensor(values)
    return made.to(like.device, like.dtype if made.is_floating_point() else made.dtype)
