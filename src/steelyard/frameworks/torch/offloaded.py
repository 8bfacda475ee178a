"""Parameters that Accelerate keeps elsewhere: the module has them on the meta device, and a hook has their numbers.

`cpu_offload` keeps them in memory and `disk_offload` in files. The hook of a module maps the names of its tensors to them, and
loads them before each call. Accelerate is not needed to read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.core.readers import Placed
from steelyard.core.weight import Weight
from steelyard.errors import ShapeError, printable
from steelyard.frameworks.torch.arrays import numpy_of
from steelyard.frameworks.torch.tensors import place_of, plain

if TYPE_CHECKING:
    import torch

    from steelyard.core.weight import Array, Role
    from steelyard.frameworks.torch.state import Part


class Offloaded:
    """Where the numbers of one parameter are: a mapping of a hook, and the key in it."""

    __slots__ = ("_dtype", "_kept", "_key", "_shape", "name")

    def __init__(self, name: str, kept: Mapping[str, torch.Tensor], key: str, meta: torch.Tensor) -> None:
        self.name = name
        self._kept = kept
        self._key = key
        self._shape = meta.shape
        self._dtype = meta.dtype

    def tensor(self) -> torch.Tensor:
        """Return the tensor that the hook would load now; one from a file is read when its numbers are."""
        found = self._kept[self._key]
        if found.shape != self._shape:
            raise ShapeError(
                f"{printable(self.name)} has shape {tuple(found.shape)} where it is offloaded, {tuple(self._shape)} in the model"
            )
        return found

    def in_memory(self) -> torch.Tensor | None:
        """Return the tensor if the hook keeps it, in the type in which the module computes with it, and not in a file."""
        found = self.tensor()
        return found if found is self.tensor() and found.dtype == self._dtype else None

    def read(self, start: int, stop: int) -> Array:
        """Read elements in the type of the module's parameter, to which the hook converts them."""
        return numpy_of(plain(self.name, self.tensor()).reshape(-1)[start:stop].to(self._dtype))

    def weight(self, meta: torch.Tensor, role: Role, axes: str, layer: str) -> Weight:
        """List the parameter, of which the module has only shape and type."""
        kept = self.in_memory()
        place = self if kept is None else place_of(kept)
        return Weight(
            name=self.name,
            shape=tuple(meta.shape),
            dtype=str(meta.dtype).removeprefix("torch."),
            read=Placed(self.read, place),
            trainable=meta.requires_grad,
            role=role,
            axes=axes,
            layer=layer,
        )

    def writable(self) -> torch.Tensor:
        """Return the tensor that the hook loads. Raises `ShapeError` where it is in a file, or of another type."""
        kept = self.in_memory()
        if kept is None:
            raise ShapeError(
                f"{printable(self.name)} is offloaded to a file or in another type, and cannot be written to in place; "
                "load the model without offloading"
            )
        return kept


def offloaded_in(parts: Iterable[Part]) -> dict[str, Offloaded]:
    """Return where the numbers of parameters on the meta device are, by their names in the module."""
    listed = list(parts)
    maps = {part.name: kept for part in listed for kept in _maps_of(part.module)}
    found: dict[str, Offloaded] = {}
    for part in listed if maps else ():
        for key, tensor in (*part.module._parameters.items(), *part.module._buffers.items()):
            if tensor is not None and tensor.is_meta:
                name = f"{part.name}.{key}" if part.name else key
                kept = _kept_for(name, part.name, maps, tensor)
                if kept is not None:
                    found[name] = kept
    return found


def _maps_of(module: Any) -> Iterator[Mapping[str, torch.Tensor]]:
    """Yield what the hooks of a module load its tensors from."""
    hook = vars(module).get("_hf_hook")
    for each in (hook, *getattr(hook, "hooks", ())):
        kept = getattr(each, "weights_map", None)
        if isinstance(kept, Mapping):
            yield kept


def _kept_for(name: str, around: str, maps: Mapping[str, Mapping[str, torch.Tensor]], meta: torch.Tensor) -> Offloaded | None:
    """Return where a tensor is: in the map of its module, or in that of the nearest module around it that has one."""
    while True:
        key = name.removeprefix(f"{around}.") if around else name
        if around in maps and key in maps[around]:
            return Offloaded(name, maps[around], key, meta)
        if not around:
            return None
        around = around.rpartition(".")[0]
