"""Finding the weights in what a pickle holds: every tensor with its path, and which of them are the model's.

A state_dict, a module, a checkpoint that holds one of these among other things, or several: the model's
weights are found by themselves where that is clear. A checkpoint that holds several models lists them all,
each under its own key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.pickle.arrays import Found, objects_of
from steelyard.codecs.pickle.audit import written
from steelyard.codecs.pickle.values import Boxed, Persistent, Record, class_of
from steelyard.core.roles import layer_of, role_of
from steelyard.core.weight import Role, Weight
from steelyard.errors import FormatError, printable
from steelyard.layers.torch.roles import role_and_axes, roles_of_class

if TYPE_CHECKING:
    from steelyard.layers.roles import ParameterRoles
    from steelyard.storage.source import Source

    Path = tuple[str, ...]
    Look = Callable[[Any], Found | None]


_LATER = frozenset({"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"})


class Entry:
    """A tensor with its path. `own` says that it is in the state_dict, `role` and `axes` what its layer makes of it.

    `layer` is None where it is what stands before the last dot of the name.
    """

    __slots__ = ("axes", "found", "layer", "own", "path", "role", "trainable")

    def __init__(self, path: Path, found: Found, fact: tuple[Role, str] | None, own: bool, trainable: bool | None) -> None:
        self.path = path
        self.found = found
        role: tuple[Role | None, str] = fact or (None, "")
        self.role, self.axes = role
        self.own = own
        self.trainable = trainable
        self.layer: str | None = None


class Walk:
    """Goes through all that a pickle holds, in its order. `modules` are the paths of the modules on the way."""

    __slots__ = ("_above", "_frames", "_left", "_look", "_source", "entries", "modules", "scripted")

    def __init__(self, source: Source, look: Look, scripted: dict[str, tuple[list[str], list[str]]] | None = None) -> None:
        self.entries: list[Entry] = []
        self.modules: set[Path] = set()
        self.scripted = scripted or {}
        self._source = source
        self._look = look
        self._left = min(limits.VISITS_PER_BYTE * source.size + 1000, limits.OBJECTS)
        self._above: set[int] = set()
        self._frames: list[tuple[Path, Iterator[Any], int]] = []

    def through(self, root: Any) -> Walk:
        """List every tensor below `root`; what holds itself is not followed round."""
        self._visit((), root, None, True, None)
        while self._frames:
            path, members, identity = self._frames[-1]
            for key, value, fact, own, trainable in members:
                if self._visit(path + key, value, fact, own, trainable):
                    break
            else:
                self._frames.pop()
                self._above.discard(identity)
        return self

    def _visit(self, path: Path, value: Any, fact: ParameterRoles | None, own: bool, trainable: bool | None) -> bool:
        """Take a tensor, or tell that what was met has members to go through first."""
        self._left -= 1
        if self._left < 0:
            raise FormatError(self._source.name, "what the pickle holds unfolds into many times its size; refused")
        kind = type(value)
        found = self._look(value) if kind is Record or kind is Persistent else None
        if found is not None:
            if len(path) > 4 and sum(map(len, path)) > limits.TEXT:
                raise FormatError(self._source.name, f"the path of a tensor takes more than {limits.TEXT:,} characters")
            meaning = role_and_axes(fact, path[-1], len(found.shape)) if fact else None
            self.entries.append(Entry(path, found, meaning, own, found.trainable if trainable is None else trainable))
            return False
        members = self._members(path, value, own)
        if members is None or id(value) in self._above:
            return False
        if len(self._frames) >= limits.DEPTH:
            raise FormatError(self._source.name, f"more than {limits.DEPTH:,} things lie in one another")
        self._above.add(id(value))
        self._frames.append((path, members, id(value)))
        return True

    def _members(self, path: Path, value: Any, own: bool) -> Iterator[Any] | None:
        """Yield the key, the value and the facts of each member; None for what has no members."""
        if type(value) is dict:
            return _dict_members(value, own)
        if type(value) in (list, tuple):
            return (((str(place),), member, None, own, None) for place, member in enumerate(value) if _may_hold(member))
        if not isinstance(value, Record):
            return None
        if is_module(value):
            self.modules.add(path)
            return _module_members(value, own)
        if value.text in self.scripted or value.text.startswith("__torch__."):
            self.modules.add(path)
            return _script_members(value, self.scripted.get(value.text), own)
        return _object_members(value, own)


def _dict_members(value: dict[Any, Any], own: bool) -> Iterator[Any]:
    for place, (key, member) in enumerate(value.items()):
        if type(member) is Record or _may_hold(member):
            yield (key if type(key) is str else _key(key, place),), member, None, own, None


def _may_hold(member: Any) -> bool:
    """Tell whether something may be a tensor or hold one."""
    kind = type(member)
    return kind is Record or kind is Persistent or ((kind is dict or kind is list or kind is tuple) and bool(member))


def is_module(value: Any) -> bool:
    """Tell whether a record is a pickled `nn.Module`, by what its state holds."""
    return isinstance(value, Record) and type(value.attributes.get("_modules")) is dict and "_parameters" in value.attributes


def _module_members(module: Record, own: bool) -> Iterator[Any]:
    """In the order of `state_dict`: parameters, saved buffers, then the modules inside; other attributes at the end."""
    held = module.attributes
    kind = class_of(module)
    facts = roles_of_class(kind.module, kind.name.rpartition(".")[2]) if kind else {}
    unsaved = held.get("_non_persistent_buffers_set")
    left_out = {key for key in unsaved if type(key) is str} if isinstance(unsaved, (list, tuple)) else set()
    for group in ("_parameters", "_buffers", "_modules"):
        members = held.get(group)
        for place, (key, member) in enumerate(members.items() if type(members) is dict else ()):
            kept = own and not (group == "_buffers" and key in left_out)
            yield (
                (_key(key, place),),
                member,
                facts if group != "_modules" else None,
                kept,
                False if group == "_buffers" else None,
            )
    for place, (key, member) in enumerate(held.items()):
        if key not in _LATER:
            yield (_key(key, place),), member, None, False, None


def _script_members(module: Record, names: tuple[list[str], list[str]] | None, own: bool) -> Iterator[Any]:
    """The members of a compiled module: what its code calls parameters, then buffers, then the modules inside."""
    held = module.attributes
    first = [key for group in names or ([], []) for key in group if key in held]
    for key in first:
        yield (key,), held[key], None, own, False if key in (names or ([], []))[1] else None
    for place, (key, member) in enumerate(held.items()):
        if key not in first:
            yield (
                (_key(key, place),),
                member,
                None,
                own and (names is None or (isinstance(member, Record) and bool(member.attributes))),
                None,
            )


def _object_members(value: Record, own: bool) -> Iterator[Any]:
    """The members of an object of another class: its attributes and items; what it was called with."""
    objects = objects_of(value)
    if objects is not None:
        shape, members = objects
        for place, member in enumerate(members):
            if _may_hold(member):
                yield (str(place),) if shape else (), member, None, own, None
        return
    yield from _dict_members(value.attributes, own)
    if value.state is not None and not value.attributes and type(value.state) in (tuple, list, Record):
        yield (), value.state, None, own, None
    if value.added:
        yield from (((str(place),), member, None, own, None) for place, member in enumerate(value.items) if _may_hold(member))
        yield from _dict_members(value.entries, own)
    args = value.args if type(value.args) is tuple else (value.args,)
    for place, member in enumerate(args):
        yield ("_args", str(place)), member, None, own, None


def _key(key: Any, place: int) -> str:
    """Write a key of a dict as a part of a name; an object that is a key goes by its place."""
    if type(key) is str:
        return key
    if isinstance(key, bytes):
        return key.decode("latin-1")
    if isinstance(key, Boxed):
        return str(key.value) if isinstance(key.value, int) else written(key.value)
    return str(place) if isinstance(key, (Record, Persistent)) else str(key)


_SETTING = (
    r"(\w+_)?optim(izer)?s?(_\w+)?|opt_states?|(lr_)?sched(uler)?s?(_\w+)?|(grad_|amp_|loss_)?scaler(_\w+)?|callbacks|loops"
    r"|hyper_?param(eter)?s|hparams(_\w+)?|config|args|epochs?|(global_)?(step|iter|iteration)s?|(\w+_)?rng(_\w+)?|random_state"
    r"|amp|best_\w+|(\w+_)?loss(es)?|(\w+_)?history|metrics?|param_groups|(\w+[_-])?version"
)
_MODELS = frozenset(
    f"{before}{after}"
    for before in ("", "model_", "module_", "net_", "network_", "ema_")
    for after in ("state_dict", "state", "model", "module", "net", "network", "weights", "params", "parameters", "ema")
    if before or after != "state"  # an optimizer's file has a "state" too
) | {"_args"}
"""Keys under which checkpoints keep a model."""


def of_model(walk: Walk) -> list[Entry]:
    """Return the entries that are the model's weights, their paths as its state_dict has them.

    What only training needs is left out. A dict that holds nothing but one model is passed through; one that
    holds several things that may be models keeps its keys.
    """
    entries = [entry for entry in walk.entries if entry.own]
    depth = 0
    here: Path = ()
    while entries and here not in walk.modules:
        inner = _without_settings(entries, depth)
        firsts = {entry.path[depth] for entry in inner if len(entry.path) > depth}
        key = next(iter(firsts)) if len(firsts) == 1 else None
        entries = inner
        if (
            key is None
            or any(len(entry.path) == depth + 1 for entry in inner)
            or not _holds_model(inner, depth, (*here, key), walk)
        ):
            break
        depth, here = depth + 1, (*here, key)
    if depth == 0 and not any("_args" in entry.path for entry in entries):
        return entries
    short = [_without_args(entry.path[depth:]) for entry in entries]
    if len(set(short)) < len(short):  # a call with several tensors, such as that of a nested one
        short = [entry.path[depth:] for entry in entries]
    for entry, path in zip(entries, short, strict=True):
        entry.path = path
    return entries


def _without_settings(entries: list[Entry], depth: int) -> list[Entry]:
    """Leave out what a checkpoint keeps beside its model, if anything is left then."""
    nested = [entry for entry in entries if len(entry.path) > depth + 1 and not _is_setting(entry.path[depth])]
    if not nested:
        return entries
    direct = [entry for entry in entries if len(entry.path) <= depth + 1]
    clear = any(entry.path[depth] in _MODELS for entry in nested)
    direct = [e for e in direct if not (len(e.path) > depth and _is_setting(e.path[depth])) or (e.found.shape and not clear)]
    if clear and all(not entry.found.shape for entry in direct):
        return nested  # an epoch or a loss may be a tensor
    kept = set(map(id, (*nested, *direct)))
    return [entry for entry in entries if id(entry) in kept] or entries


def _is_setting(key: str) -> bool:
    return re.fullmatch(_SETTING, key.lower()) is not None


def _holds_model(entries: list[Entry], depth: int, path: Path, walk: Walk) -> bool:
    """Tell whether the only member of a dict is a model by itself: its key says so, or it is a module or a state_dict."""
    return path in walk.modules or path[-1] in _MODELS or any("." in entry.path[depth + 1] for entry in entries)


def _without_args(path: Path) -> Path:
    """Leave out what a class was called with, such as the dict in a frozen one."""
    if "_args" not in path:
        return path
    dropped = {place + step for place, part in enumerate(path) if part == "_args" for step in (0, 1)}
    return tuple(part for place, part in enumerate(path) if place not in dropped)


def as_weights(entries: Iterable[Entry], source: Source) -> list[Weight]:
    """Return entries as weights: named by their paths, tied where they share memory, each with its role."""
    named = _named(entries, source)
    layers = [layer_of(name) if e.layer is None else e.layer for name, e in named.items()]
    roles = _roles(named, layers)
    owners: dict[Any, str] = {}
    weights = []
    for (name, entry), layer, role in zip(named.items(), layers, roles, strict=True):
        found = entry.found
        owner = owners.setdefault(found.place, name) if found.place is not None else name
        weights.append(
            Weight(
                name=name,
                shape=found.shape,
                dtype=found.dtype,
                read=found.read,
                role=role,
                layer=layer,
                axes=entry.axes,
                trainable=entry.trainable,
                encoding=found.encoding,
                tied=owner if owner != name else None,
            )
        )
    return weights


def _roles(named: dict[str, Entry], layers: list[str]) -> list[Role]:
    """Return each entry's role: what its layer makes of it, or its name; a bias beside a scale or a mean is an offset."""
    roles = [e.role or role_of(name, len(e.found.shape)) for name, e in named.items()]
    if {Role.SCALE, Role.MEAN}.isdisjoint(roles):
        return roles
    scaled = {layer for layer, role in zip(layers, roles, strict=True) if role in (Role.SCALE, Role.MEAN)}
    scaled -= {layer for layer, role in zip(layers, roles, strict=True) if role is Role.KERNEL}
    return [
        Role.OFFSET if role is Role.BIAS and layer in scaled and entry.role is None else role
        for entry, layer, role in zip(named.values(), layers, roles, strict=True)
    ]


def _named(entries: Iterable[Entry], source: Source) -> dict[str, Entry]:
    """Join the paths; where two give one name, which is possible with keys that hold dots, the second is told apart."""
    named: dict[str, Entry] = {}
    for entry in entries:
        path = entry.path
        name = path[0] if len(path) == 1 else ".".join(path)
        if name in named:
            name = "/".join(path)
            if name in named:
                raise FormatError(source.name, f"two tensors are called {printable(name)!r}; which one is meant cannot be told")
        named[name] = entry
    return named


def holding(root: Any) -> str:
    """Say in a few words what a pickle holds.

    >>> from steelyard.codecs.pickle.values import Global
    >>> holding({"a": 1}), holding(Record(Global("sklearn.tree", "DecisionTreeClassifier"), ()))
    ('a dict of 1 members', 'a DecisionTreeClassifier')
    """
    if isinstance(root, Record):
        kind = class_of(root)
        return f"a {printable(kind.name)}" if kind else "an object that is computed by a call"
    if isinstance(root, (dict, list, tuple)):
        return f"a {type(root).__name__} of {len(root)} members"
    return f"a {type(root).__name__}"
