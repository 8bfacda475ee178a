"""PyTorch: modules and tensors, in the order and by the names of `state_dict`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from steelyard.core.members import with_ties
from steelyard.core.readers import Live, by_rows
from steelyard.core.weight import Role, Weight
from steelyard.dtypes import ITEMSIZES, numpy_dtype
from steelyard.errors import NotFittedError, ShapeError, UnknownModelError, printable
from steelyard.layers.roles import axes_or_blank
from steelyard.layers.torch.roles import ROLES, plain_name, role_and_axes

if TYPE_CHECKING:
    from typing import TypeAlias

    from steelyard.core.weight import Array, Reader
    from steelyard.layers.roles import ParameterRoles

    Slots: TypeAlias = "MutableMapping[str, torch.Tensor]"
    Model: TypeAlias = "nn.Module | torch.Tensor | torch.optim.Optimizer"


def weights(model: object) -> Iterator[Weight]:
    """List parameters and saved buffers; a parameter that two layers share is tied to its first name.

    Raises `NotFittedError` for lazy modules that have not seen data yet.
    """
    if isinstance(model, torch.Tensor):
        return iter([_weight("", {"": model}, "")])
    if isinstance(model, torch.optim.Optimizer):
        return _optimizer_weights(model)
    if not isinstance(model, nn.Module):
        raise UnknownModelError(f"a torch {type(model).__name__} has no weights; pass a module, a tensor or a state_dict")
    return with_ties(_module_weights(model))


def assign(model: Model, arrays: Mapping[str, Array]) -> Model:
    """Copy in place, so that an optimizer keeps its parameters."""
    if not arrays:
        return model
    if isinstance(model, torch.optim.Optimizer):
        tensors = {name: slots[key] for name, slots, key in _optimizer_slots(model)}
    else:
        tensors = {"": model} if isinstance(model, torch.Tensor) else model.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, array in arrays.items():
            _fill(name, tensors[name], array)
    return model


def orders(model: object) -> dict[str, Callable[[], list[str]]]:
    """Return the orders of a module's parameters: those of `parameters()` and of R torch's `model$parameters`."""
    if not isinstance(model, nn.Module):
        return {}
    return {"parameters": lambda: [name for name, _ in model.named_parameters()], "r-torch": lambda: _r_order(model)}


def _r_order(module: nn.Module) -> list[str]:
    """Return the names of the parameters, those of a module's children before its own, each once."""
    names: dict[int, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        names.setdefault(id(tensor), name)
    return list(dict.fromkeys(names[id(p)] for p in _children_first(module) if id(p) in names))


def _children_first(module: nn.Module) -> Iterator[nn.Parameter]:
    for child in module._modules.values():
        if child is not None:
            yield from _children_first(child)
    yield from (parameter for parameter in module._parameters.values() if parameter is not None)


def _module_weights(module: nn.Module) -> Iterator[Weight]:
    slots = _slots(module)
    facts = _facts_of(module)
    for name, tensor in module.state_dict(keep_vars=True).items():
        if not isinstance(tensor, torch.Tensor):
            continue  # the result of get_extra_state is not a weight
        owner, key = slots.get(name, ({"": tensor}, ""))
        if owner[key] is not tensor:  # a state_dict hook returned a tensor that the module does not hold
            owner, key = {"": tensor}, ""
        role, axes, layer = facts.get(name, (Role.OTHER, "", name.rpartition(".")[0]))
        yield _weight(name, owner, key, role=role, axes=axes, layer=layer)


def _slots(module: nn.Module) -> dict[str, tuple[Slots, str]]:
    """Return the dict and key that hold each tensor, so that a rebound parameter is noticed."""
    return {
        f"{prefix}.{key}" if prefix else key: (held, key)
        for prefix, part in module.named_modules(remove_duplicate=False)
        for held in (part._parameters, part._buffers)
        for key in held
    }


def _optimizer_weights(optimizer: torch.optim.Optimizer) -> Iterator[Weight]:
    for name, slots, key in _optimizer_slots(optimizer):
        yield _weight(name, slots, key, layer=name.rpartition(".")[0], role=Role.COUNT if key == "step" else Role.OTHER)


def _optimizer_slots(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Slots, str]]:
    """Yield the tensors of the state in the order of `state_dict`, which numbers the parameters."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for place, parameter in enumerate(parameters):
        held = optimizer.state.get(parameter, {})
        for key, value in held.items():
            if isinstance(value, torch.Tensor):
                yield f"state.{place}.{key}", held, key


def _weight(name: str, slots: Slots, key: str, **facts: Any) -> Weight:
    tensor = slots[key]
    if type(tensor) in (nn.UninitializedParameter, nn.UninitializedBuffer):
        raise NotFittedError(f"{printable(name)} is lazy and has no shape yet; run one batch through the model first")
    stored = str(tensor.dtype).removeprefix("torch.") if tensor.is_quantized else ""
    return Weight(
        name=name,
        shape=tuple(tensor.shape),
        dtype=_dtype(name, tensor),
        read=_TensorSlot(name, slots, key).reader(),
        trainable=tensor.requires_grad if facts else tensor.requires_grad or None,  # a bare tensor may be a parameter or a buffer
        encoding=stored,
        **facts,
    )


def _dtype(name: str, tensor: torch.Tensor) -> str:
    word = str(tensor.int_repr().dtype if tensor.is_quantized else tensor.dtype).removeprefix("torch.")
    if word not in ITEMSIZES:
        raise UnknownModelError(f"{printable(name)} is of torch type {word}, which NumPy cannot hold; convert it first")
    return word


class _TensorSlot:
    """The dict and key that hold a tensor, so that a rebound tensor is found; one of another shape or type is refused."""

    __slots__ = ("dtype", "key", "live", "name", "shape", "slots")

    def __init__(self, name: str, slots: Slots, key: str) -> None:
        tensor = slots[key]
        self.name = name
        self.slots = slots
        self.key = key
        self.shape = tensor.shape
        self.dtype = tensor.dtype
        self.live = _in_memory(tensor)

    def reader(self) -> Reader:
        """Return a reader of the memory itself for a tensor that is contiguous on the CPU, otherwise of copies of rows."""
        return Live(self) if self.live else by_rows(self.shape, self.rows)

    def check(self) -> None:
        now = self.slots.get(self.key)
        same = now is not None and now.shape == self.shape and now.dtype is self.dtype
        if not same or (self.live and not now.is_contiguous()):  # type: ignore[union-attr]
            raise ShapeError(
                f"{printable(self.name)} has changed its shape or was removed since it was listed; list the model's weights again"
            )

    def address(self) -> int:
        return self.slots[self.key].data_ptr()  # type: ignore[no-any-return]

    def array(self) -> Array:
        self.check()
        return _numpy(self.slots[self.key].detach()).reshape(-1)

    def rows(self, first: int, last: int) -> Array:
        self.check()
        tensor = _plain(self.name, self.slots[self.key])
        return _numpy(tensor[first:last] if self.shape else tensor)


def _in_memory(tensor: torch.Tensor) -> bool:
    return (
        type(tensor) in (torch.Tensor, nn.Parameter, nn.Buffer)
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and tensor.is_contiguous()
        and not (tensor.is_conj() or tensor.is_neg() or tensor.is_quantized)
    )


def _plain(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return the numbers as an ordinary strided tensor on the CPU."""
    tensor = tensor.detach()
    if tensor.is_meta:
        raise NotFittedError(f"{printable(name)} is on the meta device and has no numbers; load or initialise the model first")
    if hasattr(tensor, "full_tensor"):  # a DTensor is sharded over several processes
        tensor = tensor.full_tensor()
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    return tensor.cpu().resolve_conj().resolve_neg()


_NATIVE = {
    getattr(torch, word)
    for word in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex64", "complex128")
}
_CARRIERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _numpy(tensor: torch.Tensor) -> Array:
    """View a strided CPU tensor as an array; types that NumPy lacks become integers of the same size."""
    if tensor.dtype in _NATIVE:
        array: Array = tensor.numpy()
        return array
    word = str(tensor.dtype).removeprefix("torch.")
    carried: Array = tensor.contiguous().view(_CARRIERS[tensor.element_size()]).numpy()
    return carried.view(numpy_dtype(word))


def _fill(name: str, tensor: torch.Tensor, array: Array) -> None:
    """Write into a tensor of any writable layout or device."""
    if tensor.is_quantized or tensor.layout is not torch.strided or hasattr(tensor, "full_tensor") or tensor.is_meta:
        kind = "quantised, sparse, distributed or without memory"
        raise ShapeError(f"{printable(name)} is {kind}, and cannot be written to in place; convert the model first")
    tensor.copy_(_tensor(array, tensor.dtype))


def _tensor(array: Array, dtype: torch.dtype) -> torch.Tensor:
    """Make a tensor of an array, bit for bit."""
    import numpy as np

    array = np.require(array, requirements=["C", "W"])
    if dtype in _NATIVE:
        return torch.from_numpy(array)
    carrier = array.reshape(-1).view(f"i{array.itemsize}" if array.itemsize > 1 else "u1")
    return torch.from_numpy(carrier).view(dtype).reshape(array.shape)


def tensor_of(array: Array, dtype: str) -> torch.Tensor:
    """Make a tensor, in memory of its own, of an array whose dtype is this word."""
    return _tensor(array.copy(), getattr(torch, dtype))


def _facts_of(module: nn.Module) -> dict[str, tuple[Role, str, str]]:
    """Return role, axes and layer of each parameter and buffer below `module`, by its state_dict name."""
    facts: dict[str, tuple[Role, str, str]] = {}
    for layer, part in module.named_modules(remove_duplicate=False):
        for key, fact in _layer_facts(part):
            facts.setdefault(f"{layer}.{key}" if layer else key, (*fact, layer))  # a layer takes precedence over its parts
    return facts


def _layer_facts(part: nn.Module) -> Iterator[tuple[str, tuple[Role, str]]]:
    known = next((ROLES[base.__name__] for base in type(part).__mro__ if base.__name__ in ROLES), {})
    for held in (part._parameters, part._buffers):
        for key, tensor in held.items():
            if tensor is not None:
                yield key, role_and_axes(known, key, tensor.ndim)
    for key, held in getattr(part, "parametrizations", {}).items():
        yield from _parametrized(key, held, known)


def _parametrized(key: str, held: nn.Module, known: ParameterRoles) -> Iterator[tuple[str, tuple[Role, str]]]:
    """Return the facts of `parametrizations.weight.original`; in weight norm, original0 holds norms, original1 directions."""
    role, axes = known.get(key) or known.get(plain_name(key)) or (Role.OTHER, "")
    split = type(held[0]).__name__ == "_WeightNorm"
    for name, tensor in (*held.named_parameters(), *held.named_buffers()):
        if split and name == "original0":
            found = (Role.SCALE, "")
        else:
            found = (role, axes_or_blank(axes, tensor.ndim)) if name.startswith("original") else (Role.OTHER, "")
        yield f"parametrizations.{key}.{name}", found
