"""Finds every tensor in a pickle, with its path: dicts, lists, modules and other objects are walked in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.pickle.arrays import objects_of, refused
from steelyard.codecs.pickle.notes import hook_notes, note, subclass_note
from steelyard.codecs.pickle.quantised import class_name, conv_members, output_members, script_object
from steelyard.codecs.pickle.values import Blob, Boxed, Persistent, Record, class_of, is_args
from steelyard.codecs.pickle.writing import written
from steelyard.errors import FormatError
from steelyard.layers.torch.roles import ROLES, role_and_axes, roles_of_class

if TYPE_CHECKING:
    from steelyard.codecs.pickle.arrays import PickledTensor
    from steelyard.codecs.pickle.notes import Notes
    from steelyard.codecs.pickle.values import Key, Pickled
    from steelyard.layers.roles import ParameterRoles
    from steelyard.storage.source import Source

    Path = tuple[str, ...]
    Decode = Callable[[Pickled], PickledTensor | None]
    """Decodes the call that rebuilds a tensor; None for any other value."""
    Member = tuple[Path, Pickled, ParameterRoles | None, bool, bool | None]
    """Keys, value, roles of the parameters of its layer, whether it is in the state_dict, whether trainable."""
    Scripted = dict[str, tuple[list[str], list[str]]]
    """The names of the parameters and of the buffers of each class of a compiled module."""


VISITS = 1000
"""The values that are visited between two charges to the budget."""
VISIT_COST = 400
"""bytes of memory that stand for the time of a visit"""
ITEM_COST = 16
"""bytes of memory that stand for the time to look at an item"""
AGAIN_COST = 1000
"""bytes of memory that stand for the time to enter a value again: a short pickle can refer to lists in lists without end"""
TENSOR_COST = 1000
"""bytes of memory that a listed tensor takes"""
OPAQUE_THRESHOLD = 64  # bytes
_FROZEN = frozenset(
    (
        "flax.core.frozen_dict.FrozenDict",
        "haiku._src.data_structures.FlatMap",
        "haiku._src.data_structures.FlatMapping",
        "immutabledict.immutabledict",
        "frozendict.frozendict",
    )
)
"""Dicts that do not change, which are pickled as calls with a dict: its keys are the names."""
_LATER = frozenset({"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"})


class TensorWalk:
    """Visits all values of a pickle, in its order. `tensors` are those found so far, `modules` the paths of modules.

    A dict that does not change is entered like a plain one; a `literal` walk has the paths of the pickle, also through its call.
    """

    __slots__ = (
        "_ancestors",
        "_budget",
        "_decode",
        "_entered",
        "_frames",
        "_left",
        "_notes",
        "_source",
        "literal",
        "modules",
        "scripted",
        "tensors",
    )

    def __init__(self, source: Source, decode: Decode, scripted: Scripted | None = None, *, literal: bool = False) -> None:
        self.tensors: list[PickledTensor] = []
        self.modules: set[Path] = set()
        self.scripted = scripted or {}
        self.literal = literal
        self._source = source
        self._decode = decode
        self._budget = Budget(source)
        self._left = 0
        self._notes: Notes = {}
        self._ancestors: set[int] = set()
        self._entered: set[int] = set()
        self._frames: list[tuple[Path, Iterator[Member], int]] = []

    def through(self, root: Pickled) -> TensorWalk:
        """List every tensor below `root`; a value that contains itself is entered once."""
        self._visit((), root, None, True, None)
        while self._frames:
            path, members, identity = self._frames[-1]
            for key, value, roles, in_state_dict, trainable in members:
                if self._visit(path + key, value, roles, in_state_dict, trainable):
                    break
            else:
                self._frames.pop()
                self._ancestors.discard(identity)
        if self._notes:
            note(self.tensors, self._notes)
        return self

    def _visit(
        self, path: Path, value: Pickled, roles: ParameterRoles | None, in_state_dict: bool, trainable: bool | None
    ) -> bool:
        """List a tensor; return whether a frame was opened, whose members come first."""
        self._left -= 1
        if self._left < 0:
            self._left = VISITS
            self._budget.spend(VISITS * VISIT_COST)
        kind = type(value)
        tensor = self._decode(value) if kind is Record or kind is Persistent else None
        if kind is bytes or kind is Blob:
            tensor = _opaque(self._source, value)  # type: ignore[arg-type]
        if tensor is not None:
            self._budget.spend(TENSOR_COST + 2 * sum(map(len, path)) + 16 * len(path))
            tensor.path, tensor.in_state_dict = path, in_state_dict
            if roles:
                tensor.role, tensor.axes = role_and_axes(roles, path[-1], len(tensor.shape))
            if trainable is not None:
                tensor.trainable = trainable
            self.tensors += tensor.with_companions() if tensor.companions else (tensor,)
            return False
        members = self._members(path, value, in_state_dict)
        if members is None or id(value) in self._ancestors:
            return False
        if len(self._frames) >= limits.DEPTH:
            raise FormatError(self._source.name, f"nesting exceeds {limits.DEPTH:,} levels")
        self._budget.spend(ITEM_COST * _length(value) + (AGAIN_COST if id(value) in self._entered else 0))
        self._entered.add(id(value))
        self._ancestors.add(id(value))
        self._frames.append((path, members, id(value)))
        return True

    def _members(  # noqa: PLR0911 - one for each kind of value
        self, path: Path, value: Pickled, in_state_dict: bool
    ) -> Iterator[Member] | None:
        """Yield the members of a value; None for a value that has none."""
        if type(value) is dict:
            return _dict_members(value, in_state_dict)
        if isinstance(value, (list, tuple)):
            return _list_members(value, in_state_dict)
        if not isinstance(value, Record):
            return None
        if is_module(value):
            self.modules.add(path)
            if value.attributes.get("_forward_pre_hooks"):
                self._notes |= {(*path, name): word for name, word in hook_notes(value)}
            return _module_members(value, in_state_dict)
        convolution = conv_members(value)
        if convolution is not None:
            self.modules.add(path)
            return _named_members(convolution, in_state_dict, ROLES.get(class_name(value)))
        packed = None if self.literal else _frozen(value)
        packed = script_object(value) if packed is None else packed
        if packed is not None:
            return iter([((), packed, None, in_state_dict, None)])
        if value.text in self.scripted or value.text.startswith("__torch__."):
            self.modules.add(path)
            return _script_members(value, self.scripted.get(value.text), in_state_dict)
        if word := subclass_note(value):
            self._notes[path] = word
        return _object_members(value, in_state_dict)


def _frozen(value: Record) -> Pickled:
    """Return the dict in one that does not change; None for any other object."""
    return value.args[0] if value.text in _FROZEN and is_args(value.args) else None


def _length(value: Pickled) -> int:
    """Return how many values are looked at to find the members of a value."""
    if isinstance(value, (dict, list, tuple)):
        return len(value)
    if not isinstance(value, Record):
        return 0
    added = len(value.items) + len(value.entries) if value.added else 0
    return added + sum(len(part) for part in (value.attributes, value.args) if isinstance(part, (dict, tuple)))


def _dict_members(value: dict[Key, Pickled], in_state_dict: bool) -> Iterator[Member]:
    for place, (key, member) in enumerate(value.items()):
        if type(member) is Record or _may_hold(member):
            yield (key if type(key) is str else _key(key, place),), member, None, in_state_dict, None


def _list_members(values: Iterable[Pickled], in_state_dict: bool) -> Iterator[Member]:
    return (((str(place),), member, None, in_state_dict, None) for place, member in enumerate(values) if _may_hold(member))


def _may_hold(member: Pickled) -> bool:
    """Whether a value may be a tensor, contain one, or be bytes that nothing decodes."""
    kind = type(member)
    if kind is dict or kind is list or kind is tuple:
        return bool(member)
    return kind is Record or kind is Persistent or kind is Blob or (kind is bytes and len(member) >= OPAQUE_THRESHOLD)  # type: ignore[arg-type]


def _opaque(source: Source, value: bytes | Blob) -> PickledTensor | None:
    """List a run of bytes that no known call decodes, since it may hold numbers; None for a short one."""
    if len(value) < OPAQUE_THRESHOLD:
        return None
    what = f"is a run of {len(value):,} bytes, which may hold numbers; nothing in the pickle describes them"
    return refused(source, what, encoding="bytes")


def is_module(value: Pickled) -> bool:
    """Whether a record is a pickled `nn.Module`, by the attributes of its state."""
    return isinstance(value, Record) and type(value.attributes.get("_modules")) is dict and "_parameters" in value.attributes


def _module_members(module: Record, in_state_dict: bool) -> Iterator[Member]:
    """Yield members in the order of `state_dict`: parameters, persistent buffers, child modules, then other attributes."""
    held = module.attributes
    kind = class_of(module)
    roles = roles_of_class(kind.module, kind.name.rpartition(".")[2]) if kind else {}
    unsaved = held.get("_non_persistent_buffers_set")
    left_out = {key for key in unsaved if type(key) is str} if isinstance(unsaved, (list, tuple)) else set()
    for group in ("_parameters", "_buffers", "_modules"):
        members = held.get(group)
        for place, (key, member) in enumerate(members.items() if isinstance(members, dict) else ()):
            yield (
                (_key(key, place),),
                member,
                roles if group != "_modules" else None,
                in_state_dict and not (group == "_buffers" and key in left_out),
                False if group == "_buffers" else None,
            )
        if group == "_buffers":
            yield from _named_members(output_members(module), in_state_dict)
    for place, (key, member) in enumerate(held.items()):
        if key not in _LATER:
            packed = isinstance(member, Record) and script_object(member) is not None  # the state_dict has it
            yield (_key(key, place),), member, None, in_state_dict and packed, None


def _named_members(
    members: list[tuple[str, Pickled]], in_state_dict: bool, roles: ParameterRoles | None = None
) -> Iterator[Member]:
    """Yield the weights of a quantised module by name; of these only the bias has a gradient, if any."""
    for name, member in members:
        yield (name,), member, roles, in_state_dict, None if name == "bias" else False


def _script_members(module: Record, names: tuple[list[str], list[str]] | None, in_state_dict: bool) -> Iterator[Member]:
    """Yield the members of a compiled module: its parameters and buffers by the code of its class, then its child modules."""
    held = module.attributes
    parameters, buffers = names or ([], [])
    first = [name for name in (*parameters, *buffers) if name in held]
    for name in first:
        yield (name,), held[name], None, in_state_dict, name not in buffers and _requires_grad(held[name])
    yield from _named_members(output_members(module), in_state_dict)
    for place, (key, member) in enumerate(held.items()):
        if key not in first:
            is_child = isinstance(member, Record) and member.text.startswith("__torch__.")
            yield (_key(key, place),), member, None, in_state_dict and (names is None or is_child), None
    if not held and type(module.state) in (tuple, list, Record):
        yield (), module.state, None, in_state_dict, None


def _requires_grad(value: Pickled) -> bool | None:
    """Whether a parameter of a compiled module is trained: its own tensor is saved, not a detached one."""
    flag = value.args[4] if isinstance(value, Record) and is_args(value.args, 5) else None
    return flag if type(flag) is bool else None


def _object_members(value: Record, in_state_dict: bool) -> Iterator[Member]:
    """Yield the members of any other object: its attributes, its items, and the arguments of its constructor."""
    objects = objects_of(value)
    if objects is not None:
        shape, members = objects
        for place, member in enumerate(members):
            if _may_hold(member):
                yield (str(place),) if shape else (), member, None, in_state_dict, None
        return
    yield from _dict_members(value.attributes, in_state_dict)
    if value.state is not None and not value.attributes and type(value.state) in (tuple, list, Record):
        yield (), value.state, None, in_state_dict, None
    if value.added:
        yield from _list_members(value.items, in_state_dict)
        yield from _dict_members(value.entries, in_state_dict)
    args = value.args if isinstance(value.args, tuple) else (value.args,)
    for place, member in enumerate(args):
        yield ("_args", str(place)), member, None, in_state_dict, None


def _key(key: Key, place: int) -> str:
    """Return a dict key as a part of a name; for an object used as a key, its place."""
    if type(key) is str:
        return key
    if isinstance(key, bytes):
        return key.decode("latin-1")
    if isinstance(key, Boxed):
        return str(key.value) if isinstance(key.value, int) else written(key.value)
    return str(place) if isinstance(key, (Record, Persistent)) else str(key)
