"""One tensor of PyTorch as a weight: its facts, the reader of its numbers, and writing into it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, MutableMapping, Sequence
from operator import getitem
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from steelyard.core.held import require_held
from steelyard.core.readers import Live, Place, Placed, by_rows
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import ITEMSIZES, UNKNOWN, numpy_dtype
from steelyard.errors import NotFittedError, ShapeError, SteelyardError, UnreadableError, printable
from steelyard.frameworks.torch.arrays import numpy_of, tensor_like
from steelyard.frameworks.torch.distributed import gathered, require_scatterable, scatter
from steelyard.frameworks.torch.parts import divided_reader

if TYPE_CHECKING:
    from typing import TypeAlias

    from steelyard.core.held import Link
    from steelyard.core.weight import Array, Reader

    Slots: TypeAlias = "MutableMapping[Any, torch.Tensor] | list[torch.Tensor]"

_CARRIED = {"qint8": "int8", "quint8": "uint8", "qint32": "int32", "quint4x2": "uint8", "quint2x4": "uint8"}
_PLAIN = (torch.Tensor, nn.Parameter, nn.Buffer)
_LAZY = (nn.UninitializedParameter, nn.UninitializedBuffer)


def weight_of(name: str, slots: Slots, key: Any, link: Link | None = None, **facts: Any) -> Weight:
    """List a tensor by the dict or list and the key that hold it, so that a rebound tensor is found.

    `link` is the entry by which the model holds this dict or list, None for the model's own.
    """
    tensor = slots[key]
    if (reason := _why_shapeless(name, tensor)) is not None:
        word, error = reason
        return Weight(name=name, shape=(), dtype=UNKNOWN, read=Refused(error, id(tensor)), encoding=word, **facts)
    word = str(tensor.dtype).removeprefix("torch.")
    carried = _CARRIED.get(word, word)
    known = carried in ITEMSIZES
    slot = TensorSlot(name, slots, key, link)
    why = None if known and slot.live else _why_unreadable(name, tensor, word, known)
    return Weight(
        name=name,
        shape=tuple(tensor.shape),
        dtype=carried if known else UNKNOWN,
        read=Refused(why, place_of(tensor)) if why else slot.reader(),
        trainable=tensor.requires_grad if facts else tensor.requires_grad or None,  # a bare tensor may be a parameter or a buffer
        encoding=_encoding(tensor, word) if tensor.is_quantized else "" if known else word,
        **facts,
    )


def _why_shapeless(name: str, tensor: torch.Tensor) -> tuple[str, SteelyardError] | None:
    """Return the word for a tensor that has no one shape, and the reason; None for all others."""
    if type(tensor) not in _LAZY and not tensor.is_nested:
        return None
    shown = printable(name) or "the tensor"
    if type(tensor) in _LAZY:
        return "lazy", NotFittedError(f"{shown} is lazy and has no shape yet; run one batch through the model first")
    return "nested", UnreadableError(f"{shown} is a nested tensor, whose parts have shapes of their own; take its unbind()")


def _encoding(tensor: torch.Tensor, word: str) -> str:
    """Return the type of a quantised tensor, and the axis of its channels if each has a scale of its own, as for files."""
    return word if _is_of_one_scale(tensor) else f"{word} along axis {tensor.q_per_channel_axis()}"


def _is_of_one_scale(tensor: torch.Tensor) -> bool:
    return tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric)


def companions_of(tensor: torch.Tensor) -> dict[str, object]:
    """Return what turns the integers of a quantised tensor into real numbers, by the names that its files have for them."""
    if not tensor.is_quantized:
        return {}
    if _is_of_one_scale(tensor):
        return {"scale": tensor.q_scale(), "zero_point": tensor.q_zero_point()}
    return {"scales": tensor.q_per_channel_scales(), "zero_points": tensor.q_per_channel_zero_points()}


def _why_unreadable(name: str, tensor: torch.Tensor, word: str, known: bool) -> SteelyardError | None:
    """Return why a tensor has no numbers that can be given, as far as this shows without a copy."""
    shown = printable(name) or "the tensor"
    if tensor.is_meta:
        return NotFittedError(f"{shown} is on the meta device and has no numbers; load or initialise the model first")
    if not known:
        return UnreadableError(f"{shown} is of torch type {word}, which NumPy cannot hold; convert it first")
    if type(tensor) in _PLAIN or hasattr(tensor, "full_tensor") or not tensor.numel():
        return None
    try:
        plain(name, tensor)
    except SteelyardError as error:
        return error
    return None


def place_of(tensor: torch.Tensor) -> Hashable:
    """Return a key that tensors with the same memory share: on any device, in any layout."""
    if not tensor.numel() or (type(tensor) not in _PLAIN and not _has_memory(tensor)):
        local = getattr(tensor, "_local_tensor", None)  # of a DTensor
        return place_of(local) if isinstance(local, torch.Tensor) and local.numel() else id(tensor)
    if tensor.layout is not torch.strided:
        return _place_of_sparse(tensor)
    # a conjugate or negated view has the memory of its base, but other numbers
    flags = (tensor.is_conj(), tensor.is_neg())
    if tensor.is_meta or any(flags):
        storage = tensor.untyped_storage()._cdata if tensor.is_meta else tensor.data_ptr()
        return "meta" if tensor.is_meta else flags, storage, tensor.storage_offset(), tensor.stride()
    # strides in bytes, so that views of other types in the same memory can be compared
    size = tensor.element_size()
    return Place(str(tensor.device), tensor.data_ptr(), tuple(step * size for step in tensor.stride()))


def _place_of_sparse(tensor: torch.Tensor) -> Hashable:
    if tensor.layout is torch.sparse_coo:
        return "coo", place_of(tensor._indices()), place_of(tensor._values())
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return str(tensor.layout), place_of(tensor.crow_indices()), place_of(tensor.values())
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return str(tensor.layout), place_of(tensor.ccol_indices()), place_of(tensor.values())
    return id(tensor)  # a layout of another library, such as MKL-DNN


def _has_memory(tensor: torch.Tensor) -> bool:
    try:
        return bool(tensor.data_ptr() != 0)
    except RuntimeError:  # it has no storage
        return tensor.layout is not torch.strided


class TensorSlot:
    """The dict and key that hold a tensor, so that a rebound tensor is found.

    A tensor of another shape or type is refused, as is one in a dict that the model does not hold any more.
    """

    __slots__ = ("dtype", "key", "link", "live", "name", "shape", "slots")

    def __init__(self, name: str, slots: Slots, key: Any, link: Link | None) -> None:
        tensor = slots[key]
        self.name = name
        self.slots = slots
        self.key = key
        self.link = link
        self.shape = tensor.shape
        self.dtype = tensor.dtype
        self.live = _in_memory(tensor)

    def reader(self) -> Reader:
        """Return a reader of the memory itself for a tensor that is contiguous on the CPU, otherwise of copies of rows."""
        if self.live:
            return Live(self)
        tensor = self.slots[self.key]
        if hasattr(tensor, "full_tensor"):
            return Placed(divided_reader(self.name, tensor, self.held, self.rows), place_of(tensor))
        return Placed(by_rows(self.shape, self.rows), place_of(tensor))

    def check(self) -> None:
        """Raise `ShapeError` if the tensor was removed, or has another shape, dtype or layout now."""
        try:
            now = self.slots[self.key]
            same = now is not None and now.shape == self.shape and now.dtype is self.dtype
        except (LookupError, RuntimeError):  # it was removed, or became lazy
            same = False
        if not same or (self.live and not now.is_contiguous()):
            raise ShapeError(
                f"{printable(self.name)} has changed its shape or was removed since it was listed; list the model's weights again"
            )

    def address(self) -> int:
        """Return the address of the first element."""
        try:
            address: int = self.slots[self.key].data_ptr()
        except (LookupError, AttributeError, RuntimeError):  # it was removed, or became lazy
            self.check()
            raise
        return address

    @staticmethod
    def addresses_of(slots: Sequence[TensorSlot]) -> Callable[[], list[int]]:
        """Return a function that returns the addresses of many tensors, as `address` does, in a third of the time."""
        holders, keys = [slot.slots for slot in slots], [slot.key for slot in slots]

        def addresses() -> list[int]:
            try:
                return list(map(torch.Tensor.data_ptr, map(getitem, holders, keys)))
            except (LookupError, TypeError, RuntimeError):  # `address` raises for the tensor that changed
                return [slot.address() for slot in slots]

        return addresses

    def array(self) -> Array:
        """Return the memory itself, with one axis."""
        require_held(self.link, self.name)
        self.check()
        return numpy_of(self.slots[self.key].detach()).reshape(-1)

    def held(self) -> torch.Tensor:
        """Return the tensor itself; raises as `check` does, and if the model does not hold it."""
        require_held(self.link, self.name)
        self.check()
        return self.slots[self.key]

    def rows(self, first: int, last: int) -> Array:
        """Return a range of rows on the CPU; a scalar is returned whole."""
        tensor = plain(self.name, self.held())
        return numpy_of(tensor[first:last] if self.shape else tensor)


def _in_memory(tensor: torch.Tensor) -> bool:
    return (
        type(tensor) in _PLAIN
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and tensor.is_contiguous()
        and not (tensor.is_conj() or tensor.is_neg() or tensor.is_quantized)
        and tensor.data_ptr() != 0  # also for tensors without elements
    )


def plain(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return the numbers as an ordinary strided tensor on the CPU. Raises `UnreadableError` for a tensor without any."""
    try:
        held = _on_cpu(name, tensor.detach())
    except (RuntimeError, TypeError, NotImplementedError, AttributeError) as error:
        raise _without_numbers(name, tensor, f": {printable(error)}") from None
    if held.numel() and (held.is_meta or not _has_memory(held)):
        raise _without_numbers(name, tensor, "")
    return held


def _without_numbers(name: str, tensor: torch.Tensor, why: str) -> UnreadableError:
    shown = printable(name) or "the tensor"
    if type(tensor).dequantize is not torch.Tensor.dequantize:
        why += "; its effective weights have those it computes with"
    return UnreadableError(f"{shown} is a {printable(type(tensor).__name__)}, which does not give its numbers{why}")


def _on_cpu(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if hasattr(tensor, "full_tensor"):  # a DTensor is sharded over several processes
        tensor = gathered(name, tensor)
    if tensor.is_quantized:
        tensor = _codes(tensor)
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    return tensor.cpu().resolve_conj().resolve_neg()


def _codes(tensor: torch.Tensor) -> torch.Tensor:
    """Return the integers of a quantised tensor; of packed ones, the first of a byte is in its lowest bits."""
    stored, bits = tensor.int_repr(), _BITS.get(tensor.dtype)
    if bits is None:
        return stored
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
    fields = (stored.cpu().reshape(-1, 1) >> shifts) & ((1 << bits) - 1)
    return fields.reshape(-1)[: tensor.numel()].reshape(tensor.shape)


_BITS = {torch.quint4x2: 4, torch.quint2x4: 2}


def require_writable(name: str, tensor: torch.Tensor, array: Array | None = None) -> None:
    """Raise `ShapeError` for a tensor that cannot be written to; an expanded one takes an array that repeats as it does."""
    if hasattr(tensor, "full_tensor"):
        require_scatterable(name, tensor)
        return
    if tensor.is_quantized or tensor.layout is not torch.strided or tensor.is_meta:
        kind = "quantised, sparse or without memory"
        raise ShapeError(f"{printable(name)} is {kind}, and cannot be written to in place; convert the model first")
    once = _once(tensor)
    if once is not None and (array is None or not _repeats(array, once)):
        raise ShapeError(
            f"{printable(name)} is expanded, so several of its elements are one number, and it cannot be written to; "
            "make it contiguous in the model first"
        )


def _once(tensor: torch.Tensor) -> tuple[slice, ...] | None:
    """Return the index of an expanded tensor that has each of its numbers once; None for any other tensor."""
    expanded = [length > 1 and not step for length, step in zip(tensor.shape, tensor.stride(), strict=True)]
    return tuple(slice(0, 1) if each else slice(None) for each in expanded) if any(expanded) else None


def _repeats(array: Array, once: tuple[slice, ...]) -> bool:
    """Whether an array has the same bytes at every place where an expanded tensor has one number."""
    import numpy as np

    return np.broadcast_to(array[once], array.shape).tobytes() == array.tobytes()


def fill(tensor: torch.Tensor, array: Array, dtype: torch.dtype | None = None) -> None:
    """Write into a tensor of any writable layout or device an array, whose dtype is that of the tensor unless given."""
    whole = tensor_like(array, dtype or tensor.dtype)
    if hasattr(tensor, "full_tensor"):
        scatter(tensor, whole)
        return
    once = _once(tensor) or ...
    tensor[once].copy_(whole[once])


_WIDER = {"int2": "int8", "int4": "int8", "uint2": "uint8", "uint4": "uint8"}
"""Types in which PyTorch cannot compute, and those that have all of their numbers."""


def tensor_of(array: Array, dtype: str, *, copy: bool = True) -> torch.Tensor:
    """Make a tensor of an array whose dtype is this word: in memory of its own, or with `copy` False in that of the array.

    Read-only memory is copied, since PyTorch would write to it. Raises `ShapeError` for a dtype that PyTorch does not have.
    """
    word = _WIDER.get(dtype, dtype)
    known = getattr(torch, word, None)
    if not isinstance(known, torch.dtype):
        raise ShapeError(f"PyTorch has no type {printable(dtype)}; cast the numbers first")
    return tensor_like(array.astype(numpy_dtype(word), copy=copy), known)
