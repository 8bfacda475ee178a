"""DTensors: tensors of which each process has a part, in files that one process wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.pickle.arrays import refused
from steelyard.codecs.pickle.values import Global, Record, class_of, is_args, shape_of

if TYPE_CHECKING:
    from steelyard.codecs.pickle.arrays import PickledTensor
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.codecs.pickle.walk import Decode
    from steelyard.storage.source import Source

ENCODING = "DTensor"


def is_dtensor(kind: Pickled) -> bool:
    """Whether a class is that of DTensors, whose module moved between versions of torch."""
    return isinstance(kind, Global) and kind.name == "DTensor" and kind.module.startswith("torch.distributed.")


# The call of a DTensor, torch._tensor._rebuild_from_type_v2:
#   2  the arguments of its wrapper: the class, the type, the shape of the whole, strides, ...
#   3  None, or the dict of attributes, and a dict of slots: _local_tensor, the part of the process that wrote the file, and
#      _spec, whose state has the placements: Shard, Replicate or Partial for each axis of the mesh of processes
def whole(source: Source, decode: Decode, made: Pickled, state: Pickled) -> PickledTensor | None:
    """Return a DTensor whose part in the file is the whole; another is listed, and refused when it is read."""
    held = state[1] if is_args(state, 2) else state
    local = decode(held.get("_local_tensor")) if isinstance(held, dict) else None
    if local is None or not isinstance(held, dict) or not is_args(made, 3):
        return refused(source, "is a DTensor, whose numbers are not where they are known to be", encoding=ENCODING)
    shape = shape_of(made[2])
    if local.shape == shape and not _is_partial(held.get("_spec")):
        return local
    kind = "a term of a sum over processes" if local.shape == shape else f"the part {local.shape} of one process"
    what = (
        f"is a DTensor of which this file has only {kind}; save its full_tensor(), or all of it by torch.distributed.checkpoint"
    )
    return refused(source, what, shape, local.dtype, encoding=ENCODING)


def _is_partial(spec: Pickled) -> bool:
    """Whether the numbers of the processes are still to be added, or that is not known."""
    state = spec.state if isinstance(spec, Record) else None
    placements = state.get("placements") if isinstance(state, dict) else None
    if type(placements) not in (tuple, list):
        return True
    kinds = [class_of(each) if isinstance(each, Record) else None for each in placements]  # type: ignore[union-attr]
    return any(kind is None or kind.name not in ("Shard", "Replicate", "_StridedShard") for kind in kinds)
