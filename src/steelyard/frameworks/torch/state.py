"""What `state_dict()` of a module returns: tensors that the module holds, copies that hooks made of them, and other state.

A hook or an override may cast, clone or rename tensors. Renamed ones are found by identity. Copies are listed as `state_dict()`
returns them; assigned numbers are written into the tensor that the module holds under the same name, if that tensor has
the same numbers, and must come back out of `state_dict()`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from steelyard.core.held import Link, LinkTree, is_held
from steelyard.core.readers import Placed, from_array
from steelyard.core.roles import layer_of
from steelyard.core.weight import Refused, Weight
from steelyard.dtypes import UNKNOWN, numpy_dtype
from steelyard.errors import ReadOnlyError, ShapeError, UnknownModelError, UnreadableError, printable
from steelyard.frameworks.torch.arrays import numpy_of, tensor_like
from steelyard.frameworks.torch.distributed import require_all_of
from steelyard.frameworks.torch.packed_for_cpu import unpacked
from steelyard.frameworks.torch.tensors import companions_of, place_of, plain, require_writable, weight_of

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader
    from steelyard.frameworks.torch.tensors import Slots

    State = Mapping[str, object]

_DEPTH = 20  # levels of containers in a state
_SETTINGS = (str, bytes, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size)


def state_of(module: nn.Module) -> State:
    """Return the state of a module, with the tensors that it holds if its `state_dict` can return these."""
    require_all_of(module)
    with unpacked(inner for _, inner in _modules_below("", module)) as changed:
        state = _returned(module)
        if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
            raise UnknownModelError(f"state_dict() of the {_kind(module)} returned no dict of names; pass its parts instead")
        packed = {name: value.data for name, value in state.items() if any(value is each for each in changed)} if changed else {}
    return {**state, **packed} if packed else state


def _returned(module: nn.Module) -> object:
    try:
        try:
            # without `keep_vars` every tensor is detached, and none would be the one that the module holds
            return module.state_dict(keep_vars=True)
        except TypeError:  # an override that does not take this argument
            return module.state_dict()
    except Exception as error:
        raise UnknownModelError(
            f"state_dict() of the {_kind(module)} raised {type(error).__name__}: {printable(error)}; pass its parts instead"
        ) from error


class Part(NamedTuple):
    """A module inside a module: its name, and the entry by which the module around it holds it."""

    name: str
    module: nn.Module
    link: Link | None


class Slot(NamedTuple):
    """The dict that holds a tensor, and the key in it; the link is that of the module whose dict it is."""

    slots: Slots
    key: Any
    link: Link | None

    def tensor(self) -> torch.Tensor:
        """Return the tensor that is held now."""
        held: torch.Tensor = self.slots[self.key]
        return held


def parts_of(module: nn.Module) -> list[Part]:
    """Return a module and those inside it, under each of their names."""
    parts: dict[str, Part] = {}
    tree = LinkTree()
    for name, inner in _modules_below("", module):
        above, _, word = name.rpartition(".")
        around = parts.get(above) if name else None
        held = around.module._modules if around else {}
        is_entry = type(held) is dict and held.get(word) is inner  # a script keeps its modules elsewhere
        parts[name] = Part(name, inner, tree.link(held, word, inner, around.link) if around and is_entry else None)
    return list(parts.values())


def _modules_below(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield what `named_modules` yields with duplicates; it needs modules that can be hashed."""
    yield name, module
    for key, inner in module._modules.items():
        if inner is not None:
            yield from _modules_below(f"{name}.{key}" if name else key, inner)


def held_slots(parts: Iterable[Part]) -> dict[str, Slot]:
    """Return the dict and key that hold each tensor, so that a rebound parameter is noticed."""
    return {
        f"{prefix}.{key}" if prefix else key: Slot(held, key, link)
        for prefix, part, link in parts
        for held in (part._parameters, part._buffers)
        for key, value in held.items()
        if value is not None
    }


class Copies:
    """The part of a module's state that the module does not hold under the same name."""

    __slots__ = ("_by_place", "_held", "_hooked", "_state", "module")

    def __init__(self, module: nn.Module, state: State, held: Mapping[str, Slot]) -> None:
        self.module = module
        self._state = state
        self._held = held
        self._by_place: dict[Hashable, str] | None = None
        self._hooked: list[str] | None = None

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
        owner, key, _ = self._held[name]
        tensor: torch.Tensor = owner[key]
        return tensor

    def is_trained(self, name: str) -> bool | None:
        """Whether the tensor that the module holds under this name is trained; None if there is none."""
        return self._tensor(name).requires_grad if name in self._held else None

    def is_current(self, name: str, copy: torch.Tensor, start: int, stop: int) -> bool:
        """Whether the tensor that the module holds under this name has the numbers of a copy, in the type of the copy.

        torch does not count every change of a tensor: a write to its `data` shows only in the numbers.
        """
        slot = self._held.get(name)
        if slot is None or copy.is_quantized or not is_held(slot.link):
            return False
        held = slot.slots.get(slot.key) if isinstance(slot.slots, dict) else None
        if held is None or held.shape != copy.shape:
            return False
        runs = [numpy_of(plain(name, each).reshape(-1)[start:stop].to(copy.dtype)) for each in (held, copy)]
        return runs[0].tobytes() == runs[1].tobytes()

    def computed(self, entry: str) -> object:
        """Compute an entry of the state again; None if there is none any more.

        This is the state of the innermost module around the entry, unless a hook or an override of an outer one may change it,
        or a hook of a module beside it: hooks are passed the entries of all modules that came before.
        """
        if self._hooked is None:
            self._hooked = [f"{name}." for name, inner in _modules_below("", self.module) if inner._state_dict_hooks]
        module, name, path = self.module, entry, ""
        while not _has_own_state(module):
            word, _, rest = name.partition(".")
            inner = module._modules.get(word)
            path += f"{word}."
            if inner is None or not all(hooked.startswith(path) for hooked in self._hooked):
                break
            module, name = inner, rest
        return state_of(module).get(name)

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


def _has_own_state(module: nn.Module) -> bool:
    """Whether a hook or an override changes what `state_dict()` of the module returns."""
    own = any(author_of(module, method) is not nn.Module for method in ("state_dict", "_save_to_state_dict"))
    return own or bool(module._state_dict_hooks or module._state_dict_pre_hooks)


def author_of(module: nn.Module, method: str) -> type:
    """Return the class that defines a method of a module."""
    return next(base for base in type(module).__mro__ if method in vars(base))


def _key(tensor: torch.Tensor) -> Hashable:
    from torch.nn.parameter import is_lazy

    return id(tensor) if is_lazy(tensor) else (place_of(tensor), tuple(tensor.shape), tensor.dtype)


def _equal(value: object, array: Array) -> bool:
    """Whether a part of the state has these bytes."""
    if not isinstance(value, (torch.Tensor, bool, int, float, complex)):
        return False
    own = _array_of("", value)
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
            author = author_of(part, method)
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
    quantised: dict[str, str] = {}
    for full, leaf in _below(name, value, 0):
        own = facts if full == name else {"layer": quantised.get(layer_of(full), layer_of(full))}
        if isinstance(leaf, torch.Tensor) and leaf.is_quantized:
            quantised[full] = own["layer"]  # that of its scale, too
        if isinstance(leaf, torch.Tensor):
            listed = weight_of(full, {"": leaf}, "", **own)
            yield listed.replace(trainable=copies.is_trained(full), read=_reader(copies, name, listed, leaf))
        elif isinstance(leaf, (bool, int, float, complex)):
            listed = from_array(full, np.asarray(leaf), layer=own["layer"])
            yield listed.replace(read=_reader(copies, name, listed, leaf))
        else:
            yield script_weight(full, leaf).replace(layer=own["layer"])


def companion_weights(tensor: torch.Tensor) -> Iterator[Weight]:
    """List the scale and zero point of a bare quantised tensor, or those of its channels."""
    for key, part in companions_of(tensor).items():
        array = part.numpy() if isinstance(part, torch.Tensor) else np.array(part)
        array.flags.writeable = False
        yield from_array(key, array)


def _reader(copies: Copies, entry: str, listed: Weight, leaf: torch.Tensor | complex) -> Reader:
    """Return a reader of a tensor or a number in an entry that `state_dict()` computes."""
    if isinstance(listed.read, Refused):
        return listed.read
    name = listed.name

    def read(start: int, stop: int) -> Array:
        if isinstance(leaf, torch.Tensor) and copies.is_current(name, leaf, start, stop):
            array = numpy_of(plain(name, leaf))
        else:
            array = _array_of(name, dict(_below(entry, copies.computed(entry), 0)).get(name))
        if array.shape != listed.shape or array.dtype != numpy_dtype(listed.dtype):
            raise ShapeError(f"{printable(name)} has changed its shape or its type since it was listed; list the weights again")
        return array.reshape(-1)[start:stop]

    return Placed(read, place_of(leaf) if isinstance(leaf, torch.Tensor) else object())


def _array_of(name: str, value: object) -> Array:
    """Return a tensor or a number of a state as an array."""
    if isinstance(value, torch.Tensor):
        return numpy_of(plain(name, value))
    if isinstance(value, (bool, int, float, complex)):
        return np.asarray(value)
    raise ShapeError(f"the model's state has no {printable(name)} any more; list the weights again")


def script_weight(name: str, value: object) -> Weight:
    """List an object that keeps its numbers to itself: packed parameters, or any other state."""
    shown = printable(name) or "it"
    if isinstance(value, torch.ScriptObject):
        error = UnreadableError(f"{shown} is an object of TorchScript that does not give its numbers; dequantise the model first")
        return Weight(name=name, shape=(), dtype=UNKNOWN, read=Refused(error), encoding="packed")
    error = UnreadableError(f"{shown} is a {printable(type(value).__name__)} of the module's state, which has no known numbers")
    return Weight(name=name, shape=(), dtype=UNKNOWN, read=Refused(error))
