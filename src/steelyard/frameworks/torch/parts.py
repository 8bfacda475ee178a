"""The parts of distributed tensors (DTensor): a run of numbers is put together of what each process has of it.

Each process fills its own elements into zeros, and the integers of these bytes are added over the processes: for each element one
of them has the number and the others have zeros, so the sum is exact, and no process has more than its part and the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed as dist

from steelyard.core.divided import Divided, Part
from steelyard.core.readers import by_boxes, by_rows
from steelyard.core.threads import only_in_order
from steelyard.core.weight import Weight
from steelyard.frameworks.torch.arrays import numpy_of
from steelyard.frameworks.torch.distributed import require_all

if TYPE_CHECKING:
    from steelyard.core.divided import Processes
    from steelyard.core.weight import Array


class World:
    """All processes of the default group."""

    __slots__ = ()

    @property
    def count(self) -> int:
        count: int = dist.get_world_size()
        return count

    @property
    def number(self) -> int:
        number: int = dist.get_rank()
        return number

    def meet(self, what: str) -> None:
        require_all(what, [*range(self.count)])

    def told(self, value: Any) -> Any:
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def collected(self, value: Any) -> list[Any]:
        found = [None] * self.count
        dist.all_gather_object(found, value)
        return found


def divided_reader(name: str, tensor: Any, held: Callable[[], torch.Tensor], rows: Callable[[int, int], Array]) -> Divided:
    """Return the reader of a distributed tensor; `held` gives it as it is now, and `rows` gathers it and gives a range of rows.

    It is gathered only where its parts are not plain boxes of it.
    """
    ranks = tensor.device_mesh.mesh.flatten().tolist()
    if len(ranks) > 1:
        only_in_order()
    shape = tuple(tensor.shape)
    if type(tensor.detach().to_local()) is not torch.Tensor or not _lies_side_by_side(tensor):
        return Divided(by_rows(shape, rows), list, None)

    def box(index: tuple[int, ...], first: int, last: int) -> Array:
        return _box(name, held(), (index, first, last))

    def own() -> list[Part]:
        return _own_part(name, held())

    has_all = dist.is_initialized() and sorted(ranks) == [*range(dist.get_world_size())]
    world: Processes | None = World() if has_all else None
    return Divided(by_boxes(shape, box), own, world)


def _lies_side_by_side(tensor: Any) -> bool:
    """Whether the part of each process is one box: nothing is to be added, and no part is in strides.

    FSDP divides what tensor parallelism has divided along the same axis: in the order of the mesh it is a `_StridedShard` that
    comes first, and its factor is the number of parts by the later axes of the mesh.
    """
    for at, placement in enumerate(tensor.placements):
        if placement.is_partial():
            return False
        if type(placement).__name__ == "_StridedShard":
            later = 1
            for axis in range(at + 1, tensor.device_mesh.ndim):
                other = tensor.placements[axis]
                later *= tensor.device_mesh.size(axis) if getattr(other, "dim", None) == placement.dim else 1
            if placement.split_factor != later:
                return False
    return True


def _axes_of_mesh(tensor: Any) -> list[int]:
    """Return the axes of the mesh along which the tensor is divided; along the others, all processes have the same."""
    return [at for at, placement in enumerate(tensor.placements) if not placement.is_replicate()]


def _place(tensor: Any) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Return the part of this process, and the index of its first element in the whole."""
    (chunk,) = tensor.__create_chunk_list__()
    return tensor.to_local(), tuple(chunk.offsets)


def _box(name: str, tensor: Any, place: tuple[tuple[int, ...], int, int]) -> Array:
    """Return the part [first, last) of the axis after those that the index fixes, of the whole tensor."""
    index, first, last = place
    lengths = tuple(tensor.shape)
    low = (*index, first, *(0,) * (len(lengths) - len(index) - 1)) if lengths else ()
    high = (*(each + 1 for each in index), last, *lengths[len(index) + 1 :]) if lengths else ()
    shape = [end - begin for begin, end in zip(low, high, strict=True)]
    tensor = tensor.detach()
    if first >= last or 0 in shape:
        return numpy_of(torch.empty(shape, dtype=tensor.dtype))
    require_all(name, tensor.device_mesh.mesh.flatten().tolist())
    local, offsets = _place(tensor)
    run = torch.zeros(shape, dtype=tensor.dtype, device=tensor.device_mesh.device_type)
    begins = [max(a, b) for a, b in zip(low, offsets, strict=True)]
    ends = [min(a, b + n) for a, b, n in zip(high, offsets, local.shape, strict=True)]
    if all(begin < end for begin, end in zip(begins, ends, strict=True)):
        to = tuple(slice(a - o, b - o) for a, b, o in zip(begins, ends, low, strict=True))
        of = tuple(slice(a - o, b - o) for a, b, o in zip(begins, ends, offsets, strict=True))
        run[to] = local[of]
    _add_up(run, tensor)
    return numpy_of(run.cpu())


def _add_up(run: torch.Tensor, tensor: Any) -> None:
    """Add the bytes of all processes in place; those that have the same part do so each for itself."""
    bits = run.reshape(-1).view(torch.uint8)
    bits = bits.view(torch.int32) if bits.numel() % 4 == 0 else bits  # fewer additions
    for axis in _axes_of_mesh(tensor):
        dist.all_reduce(bits, group=tensor.device_mesh.get_group(axis))


def _own_part(name: str, tensor: Any) -> list[Part]:
    """Return the part that this process writes: its own, unless an earlier process has the same."""
    mesh, tensor = tensor.device_mesh, tensor.detach()
    divided = _axes_of_mesh(tensor)
    if any(mesh.get_local_rank(axis) for axis in range(mesh.ndim) if axis not in divided):
        return []
    local, offsets = _place(tensor)
    if not local.numel() and (tensor.numel() or dist.get_rank()):
        return []
    shape, dtype = tuple(local.shape), str(tensor.dtype).removeprefix("torch.")

    def box(index: tuple[int, ...], first: int, last: int) -> Array:
        return numpy_of((local[index][first:last] if shape else local).cpu())

    return [Part(offsets, Weight(name=name, shape=shape, dtype=dtype, read=by_boxes(shape, box)))]
