"""What `state_dict()` of a module returns: tensors that the module holds, copies that hooks made of them, and other state.

A hook or an override may cast, clone or rename tensors. Renamed ones are found by identity. Copies are listed as `state_dict()`
returns them; assigned numbers are written into the tensor that the module holds under the same name, if that tensor has
the same numbers, and must come back out of `state_dict()`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from steelyard.core.readers import Placed, from_array
from steelyard.core.roles import layer_of
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import UNKNOWN
from steelyard.errors import ReadOnlyError, ShapeError, UnknownModelError, UnreadableError, printable
from steelyard.frameworks.torch.tensors import companions_of, numpy_of, place_of, plain, require_writable, tensor_like, weight_of

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.frameworks.torch.tensors import Slots

    State = Mapping[str, object]
    Slot = tuple[Slots, Any]
    """The dict that holds a tensor, and the key in it."""

_DEPTH = 20  # levels of containers in a state
_SETTINGS = (str, bytes, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size)


def state_of(module: nn.Module) -> State:
    """Return the state of a module, with the tensors that it holds if its `state_dict` can return these."""
    try:
        try:
            # without `keep_vars` every tensor is detached, and none would be the one that the module holds
            state = module.state_dict(keep_vars=True)
        except TypeError:  # an override that does not take this argument
            state = module.state_dict()
    except Exception as error:
        raise UnknownModelError(
            f"state_dict() of the {_kind(module)} raised {type(error).__name__}: {printable(error)}; pass its parts instead"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise UnknownModelError(f"state_dict() of the {_kind(module)} returned no dict of names; pass its parts instead")
    return state


def held_slots(module: nn.Module) -> dict[str, Slot]:
    """Return the dict and key that hold each tensor, so that a rebound parameter is noticed."""
    return {
        f"{prefix}.{key}" if prefix else key: (held, key)
        for prefix, part in module.named_modules(remove_duplicate=False)
        for held in (part._parameters, part._buffers)
        for key, value in held.items()
        if value is not None
    }


class Copies:
    """The part of a module's state that the module does not hold under the same name."""

    __slots__ = ("_by_place", "_held", "_state", "_version", "module")

    def __init__(self, module: nn.Module, state: State, held: Mapping[str, Slot]) -> None:
        self.module = module
        self._state = state
        self._held = held
        self._by_place: dict[Hashable, str] | None = None
        self._version: list[tuple[int, int]] = []

    def follow(self) -> None:
        """Note the present numbers of the module, so that a later change is noticed."""
        self._version = self._version or _version(self._held)

    def held_name(self, name: str) -> str | None:
        """Return the name under which the module holds this tensor of its state; None for a copy, or for other state."""
        value = self._state[name]
        if not isinstance(value, torch.Tensor):
            return None
        if name in self._held and self._tensor(name) is value:
            return name
        # made when the first name differs from that of a held tensor, which is rare
        if self._by_place is None:
            self._by_place = {}
            for held in self._held:
                self._by_place.setdefault(_key(self._tensor(held)), held)
        key = _key(value)
        same = name in self._held and _key(self._tensor(name)) == key
        return name if same else self._by_place.get(key)

    def _tensor(self, name: str) -> torch.Tensor:
        owner, key = self._held[name]
        tensor: torch.Tensor = owner[key]
        return tensor

    def is_trained(self, name: str) -> bool | None:
        """Whether the tensor that the module holds under this name is trained; None if there is none."""
        return self._tensor(name).requires_grad if name in self._held else None

    def now(self, name: str) -> Any:
        """Return a part of the state, computed again if torch counted a change of a tensor that the module holds."""
        version = _version(self._held)
        if version != self._version:
            self._state, self._version = state_of(self.module), version
        value: Any = dict(leaves_of(self._state)).get(name)
        return value

    def assign(self, arrays: Mapping[str, Array]) -> None:
        """Write into the tensors that the module holds, so that its state has these numbers; otherwise write nothing."""
        current = dict(leaves_of(self._state))
        # equal copies need no target: they may be computed from several tensors
        changed = {name: array for name, array in arrays.items() if not _equal(current.get(name), array)}
        targets = {name: self._target(name, current.get(name)) for name in changed}
        before = [(tensor, tensor.detach().clone()) for tensor in targets.values()]
        try:
            with torch.no_grad():
                for name, tensor in targets.items():
                    tensor.copy_(tensor_like(changed[name], current[name].dtype))  # type: ignore[attr-defined]
            self._require(changed)
        except BaseException:
            with torch.no_grad():
                for tensor, old in before:
                    tensor.copy_(old)
            raise

    def _require(self, arrays: Mapping[str, Array]) -> None:
        """Raise `ReadOnlyError` unless the state of the module now has these numbers."""
        after = dict(leaves_of(state_of(self.module))) if arrays else {}
        for name, array in arrays.items():
            if not _equal(after.get(name), array):
                raise self._refusal(name, "returns other numbers than were written")

    def _target(self, name: str, value: object) -> torch.Tensor:
        """Return the tensor that the module holds under this name, if it has the numbers of the copy."""
        if name not in self._held or not isinstance(value, torch.Tensor):
            raise self._refusal(name, "computes it")
        held = self._tensor(name)
        if held.shape != value.shape or not torch.equal(plain(name, held).to(value.dtype), plain(name, value)):
            raise self._refusal(name, "returns other numbers than the module holds under this name")
        require_writable(name, held)
        return held

    def _refusal(self, name: str, does: str) -> ReadOnlyError:
        return ReadOnlyError(
            f"{printable(name)} cannot be assigned: {_author(self.module, name)} {does}; nothing was written, "
            "assign to the module's own tensors instead"
        )


def _version(held: Mapping[str, Slot]) -> list[tuple[int, int]]:
    """Return what changes when torch writes into a tensor of a module, or a tensor is rebound."""
    tensors = [owner[key] for owner, key in held.values()]
    return [(id(tensor), -1 if tensor.is_inference() else tensor._version) for tensor in tensors]


def _key(tensor: torch.Tensor) -> Hashable:
    from torch.nn.parameter import is_lazy

    return id(tensor) if is_lazy(tensor) else (place_of(tensor), tuple(tensor.shape), tensor.dtype)


def _equal(value: object, array: Array) -> bool:
    """Whether a part of the state has these bytes."""
    if not isinstance(value, (torch.Tensor, bool, int, float, complex)):
        return False
    own = numpy_of(plain("", value)) if isinstance(value, torch.Tensor) else np.asarray(value)
    return own.shape == array.shape and own.dtype == array.dtype and own.tobytes() == array.tobytes()


def _author(module: nn.Module, name: str) -> str:
    """Name the hook or the override that returns a part of the state which the module does not hold."""
    if "_extra_state" in name.split("."):
        owner = name.partition("_extra_state")[0].removesuffix(".")
        return f"get_extra_state of {printable(owner) or 'the ' + _kind(module)}"
    for part in module.modules():
        for hook in part._state_dict_hooks.values():
            return f"the state_dict hook {printable(getattr(hook, '__qualname__', type(hook).__name__))} of the {_kind(part)}"
        for method in ("state_dict", "_save_to_state_dict"):
            author = next(base for base in type(part).__mro__ if method in vars(base))
            if author is not nn.Module and not author.__module__.startswith("torch.jit"):
                return f"{printable(author.__name__)}.{method}"
    return f"state_dict() of the {_kind(module)}"


def _kind(module: nn.Module) -> str:
    return printable(type(module).__name__)


def leaves_of(state: State) -> Iterator[tuple[str, object]]:
    """Yield name and value of everything in a state that is not a setting, also of what packed parameters hold."""
    for name, value in state.items():
        yield from _below(name, value, 0)


def _below(name: str, value: object, depth: int) -> Iterator[tuple[str, object]]:
    if isinstance(value, _SETTINGS):
        return
    inner = _parts_of(value)
    if inner is None or depth == _DEPTH:
        yield name, value
        return
    if isinstance(value, torch.Tensor):
        yield name, value
    for key, part in inner.items():
        yield from _below(f"{name}.{key}", part, depth + 1)


def _parts_of(value: object) -> Mapping[Any, object] | None:
    """Return the parts of a container, of packed parameters, or of a quantised tensor; None for anything else."""
    if isinstance(value, torch.ScriptObject):
        return _pickled(value)
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (list, tuple)):
        return dict(enumerate(value))
    return companions_of(value) or None if isinstance(value, torch.Tensor) else None


def _pickled(value: torch.ScriptObject) -> Mapping[Any, object] | None:
    """Return the parts that `torch.save` writes of an object of TorchScript, without settings; None if it refuses."""
    try:
        state, _ = value.__getstate__()
    except (RuntimeError, AttributeError, TypeError, ValueError):
        return None
    return {place: part for place, part in enumerate(state) if not _is_numbers(part)} if isinstance(state, tuple) else None


def _is_numbers(value: object) -> bool:
    """Whether this is a number of Python, or a list of them: a setting of a packed layer."""
    return all(map(_is_numbers, value)) if isinstance(value, (list, tuple)) else isinstance(value, (bool, int, float))


def copied_weights(copies: Copies, name: str, value: object, **facts: Any) -> Iterator[Weight]:
    """List a part of the state that the module does not hold: tensors and numbers are read as copies."""
    copies.follow()
    quantised: dict[str, str] = {}
    for full, leaf in _below(name, value, 0):
        own = facts if full == name else {"layer": quantised.get(layer_of(full), layer_of(full))}
        if isinstance(leaf, torch.Tensor) and leaf.is_quantized:
            quantised[full] = own["layer"]  # that of its scale, too
        if isinstance(leaf, torch.Tensor):
            listed = weight_of(full, {"": leaf}, "", **own)
            yield listed.replace(trainable=copies.is_trained(full), read=_reader(copies, full, listed, leaf))
        elif isinstance(leaf, (bool, int, float, complex)):
            array = np.asarray(leaf)
            array.flags.writeable = False
            yield from_array(full, array, layer=own["layer"])
        else:
            yield script_weight(full, leaf).replace(layer=own["layer"])


def companion_weights(tensor: torch.Tensor) -> Iterator[Weight]:
    """List the scale and zero point of a bare quantised tensor, or those of its channels."""
    for key, part in companions_of(tensor).items():
        array = part.numpy() if isinstance(part, torch.Tensor) else np.array(part)
        array.flags.writeable = False
        yield from_array(key, array)


def _reader(copies: Copies, name: str, listed: Weight, tensor: torch.Tensor) -> Any:
    """Return a reader of a tensor that `state_dict()` computes."""
    if isinstance(listed.read, Refused):
        return listed.read

    def read(start: int, stop: int) -> Array:
        value = copies.now(name)
        if not isinstance(value, torch.Tensor) or tuple(value.shape) != listed.shape:
            raise ShapeError(f"{printable(name)} has changed its shape or was removed since it was listed; list it again")
        return numpy_of(plain(name, value)).reshape(-1)[start:stop]

    return Placed(read, place_of(tensor))


def script_weight(name: str, value: object) -> Weight:
    """List an object that keeps its numbers to itself: packed parameters, or any other state."""
    shown = printable(name) or "it"
    if isinstance(value, torch.ScriptObject):
        error = UnreadableError(f"{shown} is an object of TorchScript that does not give its numbers; dequantise the model first")
        return Weight(name=name, shape=(), dtype=UNKNOWN, read=Refused(error), encoding="packed")
    error = UnreadableError(f"{shown} is a {printable(type(value).__name__)} of the module's state, which has no known numbers")
    return Weight(name=name, shape=(), dtype=UNKNOWN, read=Refused(error))
