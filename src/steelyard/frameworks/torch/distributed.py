"""Distributed tensors (DTensor, as FSDP2 and tensor parallelism use them), and modules of FSDP1.

All processes of a mesh read and write them together.

Reading gathers the parts of all processes, so a call on one process alone would wait for the others until the time-out of the
process group. The processes therefore first count one another in the store of the group, which needs no collective call, and
refuse together or alone after `limits.PATIENCE` seconds. What a process asks for right after a refusal is refused at once, since
the same processes are missing: a loop over the weights of a net would wait for each of them.

A first request must wait. A process that is late and one that will never ask look the same from here: neither has run any of
this code, and the backends do not show which collective call another process is in. Where one of them imports or computes for
longer than the limit, all refuse; `steelyard.limits.allow(PATIENCE=60)` on each of them lets them wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import torch

from steelyard.codecs import limits
from steelyard.errors import ShapeError, UnreadableError, printable

if TYPE_CHECKING:
    from torch import nn

SOON = 1.0  # seconds; a request this soon after a refusal is the same call's
_PAUSE = 0.002  # seconds
_REFUSED: dict[tuple[int, ...], float] = {}
"""When processes were missing last, by the processes that are needed."""
_WRAPPED = "_fsdp_wrapped_module."


def gathered(name: str, tensor: Any) -> torch.Tensor:
    """Return the whole of a distributed tensor. Raises `UnreadableError` unless all processes of its mesh ask for it."""
    require_all(name, tensor.device_mesh.mesh.flatten().tolist())
    whole: torch.Tensor = tensor.full_tensor()
    return whole


def scatter(tensor: Any, whole: torch.Tensor) -> None:
    """Write this process's part of a whole tensor, which all processes of the mesh have, without communication."""
    from torch.distributed.tensor import distribute_tensor

    placed = distribute_tensor(whole.to(tensor.to_local().device), tensor.device_mesh, tensor.placements, src_data_rank=None)
    tensor.to_local().copy_(placed.to_local())


def require_scatterable(name: str, tensor: Any) -> None:
    """Raise `ShapeError` for a tensor that is the sum of what the processes have, which no one's part determines."""
    if any(placement.is_partial() for placement in tensor.placements):
        raise ShapeError(f"{printable(name)} is a pending sum over several processes; redistribute it first")


def flat_parts_of(module: nn.Module) -> list[Any]:
    """Return the modules of FSDP1 in a module: each has the parameters inside it in one flat tensor, divided over processes."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return []
    from torch.distributed.fsdp import FullyShardedDataParallel

    return list(FullyShardedDataParallel.fsdp_modules(module))


def require_all_of(module: nn.Module) -> None:
    """Raise `UnreadableError` unless all processes over which FSDP1 divides a module ask for its state."""
    for part in flat_parts_of(module)[:1]:
        require_all("the module", torch.distributed.get_process_group_ranks(part.process_group))


@contextmanager
def summoned(module: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Give the whole parameters and the buffers of a module of FSDP1 by their names in its state; what is written is kept."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    require_all_of(module)
    with FullyShardedDataParallel.summon_full_params(module):
        held = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
        yield {name.replace(_WRAPPED, ""): tensor for name, tensor in held}


def require_all(name: str, ranks: list[int]) -> None:
    """Raise `UnreadableError` unless all processes of these ranks ask for `name`."""
    size = len(ranks)
    if size < 2:
        return
    from torch.distributed.distributed_c10d import _get_default_store

    store = _get_default_store()
    key = f"steelyard/{name}/{ranks}"
    arrived = store.add(key, 1)
    needed = -(-arrived // size) * size
    begun, last = monotonic(), _REFUSED.pop(tuple(ranks), None)
    patience = 0.0 if last is not None and begun - last < SOON else limits.PATIENCE
    while store.add(key, 0) < needed:
        if monotonic() >= begun + patience:
            if store.add(key, -1) >= needed - 1:  # the last one came just now, and goes on
                store.add(key, 1)
                return
            _REFUSED[tuple(ranks)] = monotonic()
            raise UnreadableError(
                f"{printable(name) or 'the tensor'} is distributed over {size} processes, and {needed - arrived} of them did not "
                f"ask for it within {limits.PATIENCE:g} s; call steelyard on all of them (not under `if rank == 0`), or gather "
                "first; steelyard.limits.allow(PATIENCE=60) waits longer for late ones"
            )
        sleep(_PAUSE)
