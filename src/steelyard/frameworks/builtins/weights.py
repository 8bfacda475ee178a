"""Dicts, lists and tuples of models, tensors and arrays: keys and indices become names.

A number, or a list of only numbers, is an array. Text and None are skipped. In an optimizer's `state_dict` the state is
listed; its `param_groups` are settings. A container of only JAX arrays (and possibly NumPy's) is a tree of JAX, which that
framework lists as a whole.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from types import GeneratorType
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.members import assign_members, derive_members, dotted, member_notes, prefixed, with_ties
from steelyard.core.places import LEAVES
from steelyard.core.plugins import framework_of, load
from steelyard.core.readers import dtype_word, from_array
from steelyard.core.roles import infer_roles
from steelyard.core.weight import Weight
from steelyard.errors import NotFittedError, ShapeError, UnknownModelError, printable, quoted

if TYPE_CHECKING:
    from typing import TypeAlias, TypeGuard

    from steelyard.core.effective import Pieces
    from steelyard.core.graph import Graph
    from steelyard.core.protocols import Framework, NamesInOrder
    from steelyard.core.weight import Array

    Numbers: TypeAlias = "bool | int | float | complex | list[Numbers] | tuple[Numbers, ...]"


_VIEWS = (KeysView, ValuesView, ItemsView)
_READ_ONCE: Any = (GeneratorType, type(iter([])), type(iter(())), map, filter, zip, enumerate, reversed, *_VIEWS)


def weights(model: object) -> Iterable[Weight]:
    """List the members' weights, each under its path of keys and indices; weights that share memory are tied."""
    if _is_numbers(model):
        return [_snapshot(model)]
    tree = _tree_framework(model)
    if tree is not None:
        return tree.weights(model)
    listed: list[Weight] = []
    bare: list[Weight] = []  # tensors known by name only
    members = list(_leaves("", model, ()))
    for path, member in members:
        for weight in _listed(path, member):
            listed.append(prefixed(path, weight))
            if not weight.name:
                bare.append(listed[-1])
    if not listed and (texts := [part for _, part in _places(model) if isinstance(part, (str, bytes))]):
        raise UnknownModelError(
            f"this {printable(type(model).__name__)} has no weights, but text, such as {quoted(texts[0])}; "
            "a file is given by its path alone, several as [steelyard.weights(path) for path in paths]"
        )
    inferred = {weight.name: weight for weight in infer_roles(bare)}
    return with_ties(_joined(members, [inferred.get(weight.name, weight) for weight in listed]))


def _listed(path: str, member: object) -> list[Weight]:
    """List the weights of a member. An error names the member."""
    try:
        return [_snapshot(member)] if _is_numbers(member) else list(framework_of(member).weights(member))
    except (UnknownModelError, NotFittedError, ShapeError) as error:
        if type(error) not in (UnknownModelError, NotFittedError, ShapeError):
            raise
        raise type(error)(f"{quoted(path)}: {error}") from error


def derive(model: object, pieces: Pieces) -> Iterator[Weight]:
    """Yield the effective weights that only the models in a container know."""
    if isinstance(model, (dict, list, tuple)) and not _is_numbers(model):
        yield from derive_members(((path, member) for path, member in _leaves("", model, ()) if _is_model(member)), pieces)


def meta(model: object) -> dict[str, Any]:
    """Return the notes of the models in a container; an array has none."""
    if not isinstance(model, (dict, list, tuple)) or _is_numbers(model):
        return {}
    return member_notes((path, member) for path, member in _leaves("", model, ()) if _is_model(member))


def _is_model(member: object) -> bool:
    # the class is asked, since nested tensors of PyTorch raise where their shape is
    return not (hasattr(type(member), "shape") or isinstance(member, (list, tuple)) or _is_numbers(member))


def orders(model: object) -> dict[str, NamesInOrder]:
    """Return the order "leaves" of a list or tuple whose parts all have it, such as a module of Equinox and its state."""
    if not isinstance(model, (list, tuple)) or _is_numbers(model):
        return {}
    found = {}
    for name, member in _members(model):
        of_part = getattr(framework_of(member), "orders", None)
        order = of_part(member).get(LEAVES) if of_part else None
        if order is None:
            return {}
        found[name] = order
    if not found:
        return {}
    return {LEAVES: lambda: [leaf and dotted(name, leaf) for name, order in found.items() for leaf in order() or ()]}


def _joined(members: Sequence[tuple[str, object]], listed: list[Weight]) -> list[Weight]:
    """Return the weights with what some members say about others."""
    for framework in dict.fromkeys(framework_of(member) for _, member in members if not _is_numbers(member)):
        join = getattr(framework, "joined", None)
        listed = listed if join is None else list(join(members, listed))
    return listed


def assign(model: Any, arrays: Mapping[str, Array]) -> Any:
    """Put arrays into the members: dicts and lists are changed in place; new tuples, numbers and trees of JAX are returned."""
    if _is_numbers(model):
        return _like(model, arrays[""].tolist()) if arrays else model
    tree = _tree_framework(model)
    if tree is not None:
        return tree.assign(model, arrays)
    names = _names(model)
    changed = assign_members(_members(model), arrays)
    if isinstance(model, tuple):
        parts = [changed.get(name, part) for name, part in zip(names, model, strict=True)]
        return type(model)(*parts) if hasattr(model, "_fields") else type(model)(parts)
    for name, (key, member) in zip(names, list(_places(model)), strict=True):
        if name in changed and changed[name] is not member:
            model[key] = changed[name]
    return model


def parameters(model: object, listed: Sequence[Weight]) -> Iterable[str] | None:
    """Return the names of the parameters of a tree of JAX; None for any other container."""
    named = None if _is_numbers(model) else getattr(_tree_framework(model), "parameters", None)
    names: Iterable[str] | None = named and named(model, listed)
    return names


def tree_graph(model: object) -> Graph | None:
    """Return the layers that the names in a tree reveal; None for any other container, whose order is not known."""
    named = None if _is_numbers(model) else getattr(_tree_framework(model), "tree_graph", None)
    found: Graph | None = named and named(model)
    return found


def _places(model: object) -> Iterator[tuple[object, object]]:
    if isinstance(model, Mapping):
        yield from model.items()
    elif isinstance(model, (list, tuple)):
        yield from enumerate(model)
    else:
        raise UnknownModelError(_no_weights(model))


def _no_weights(model: object) -> str:
    """Return a sentence on an object of Python itself, with what to pass instead."""
    if isinstance(model, type):
        return f"{printable(model.__qualname__)} is a class; pass a model that it has made"
    if isinstance(model, (bytes, bytearray, memoryview)):
        return "bytes are no model; write them to a file, and pass its path"
    return f"a {printable(type(model).__name__)} has no weights; pass a model, an array, or a dict or list of them"


def _members(model: Any) -> list[tuple[str, object]]:
    return [
        (name, member)
        for name, (key, member) in zip(_names(model), _places(model), strict=True)
        if not isinstance(member, (str, bytes, type(None))) and not (key == "param_groups" and "state" in model)
    ]


def _names(model: Any) -> list[str]:
    """Return the names of the parts: keys and indices, or the paths that the variables of Keras in a list have, if all differ."""
    places = [str(key) for key, _ in _places(model)]
    if not isinstance(model, (list, tuple)) or not model or isinstance(model[0], (list, tuple, dict, float)):
        return places
    name_of = getattr(framework_of(model[0]), "own_name", None)
    if name_of is None or any(type(part) is not type(model[0]) for part in model):
        return places
    own = [name_of(part) for part in model]
    return own if all(own) and len({*own}) == len(own) else places


def gathered(model: object) -> object:
    """Return a generator as a list, and pairs of names and parts, as `named_parameters()` yields them, as a dict.

    A generator can be read only once, and is consumed. Raises `ShapeError` if a name comes twice.
    """
    if isinstance(model, _READ_ONCE):
        model = list(model)
    if not isinstance(model, (list, tuple)) or not model or not all(map(_is_named, model)):
        return model
    named = dict(model)
    if len(named) < len(model):
        raise ShapeError("a name comes twice among the named parts; pass a dict")
    return named


def _is_named(part: object) -> bool:
    if type(part) is not tuple or len(part) != 2:
        return False
    name, member = part
    return isinstance(name, str) and not isinstance(member, (str, bytes, type(None)))


def _leaves(path: str, model: object, above: tuple[int, ...]) -> Iterator[tuple[str, object]]:
    """Descend through dicts, lists and tuples to their leaves."""
    if id(model) in above:
        raise ShapeError(f"the {type(model).__name__} at {quoted(path)} contains itself; pass its members instead")
    for name, member in _members(model):
        below = f"{path}.{name}" if path else name
        if isinstance(member, (dict, list, tuple)) and not _is_numbers(member) and _tree_framework(member) is None:
            yield from _leaves(below, member, (*above, id(model)))
        else:
            yield below, member


def _tree_framework(model: object) -> Framework | None:
    """Return the framework that lists a container as one tree, if all of its arrays agree on one."""
    trees = set()
    for leaf in _below(model, ()):
        if isinstance(leaf, (np.ndarray, np.generic, bool, int, float, complex)):
            continue
        try:
            framework = framework_of(leaf)
        except UnknownModelError:
            return None
        ask = getattr(framework, "tree_framework", None)
        trees.add(ask(leaf) if ask else None)
        if None in trees or len(trees) > 1:
            return None
    tree: Framework | None = load("frameworks", trees.pop()) if trees else None
    return tree


def _below(model: object, above: tuple[int, ...]) -> Iterator[object]:
    """Yield the leaves of dicts, lists and tuples; for a container that contains itself, the container."""
    known = type(model) in (dict, OrderedDict, defaultdict, list, tuple) or (
        isinstance(model, tuple) and hasattr(model, "_fields")
    )
    if not known or id(model) in above:
        yield model
        return
    for _, member in _members(model):
        yield from _below(member, (*above, id(model)))


def _is_numbers(model: object, above: tuple[int, ...] = ()) -> TypeGuard[Numbers]:
    """Whether this is a number, or a list of only numbers, rather than a container."""
    if id(model) in above:
        return False
    if isinstance(model, (list, tuple)):
        return bool(model) and all(_is_numbers(part, (*above, id(model))) for part in model)
    return isinstance(model, (bool, int, float, complex))


def _snapshot(numbers: Numbers) -> Weight:
    try:
        array = np.asarray(numbers)
        dtype_word("", array.dtype)
    except (ValueError, UnknownModelError):
        raise ShapeError(
            f"a list of numbers is ragged, or holds a number too large for 64 bits: {printable(numbers, 60)}"
        ) from None
    array.flags.writeable = False  # a copy of Python numbers: writing to it would have no effect
    return from_array("", array)


def _like(model: Any, numbers: Any) -> Any:
    """Return numbers in the form of the old ones: a list, a tuple or a number."""
    if isinstance(model, (list, tuple)):
        parts = [_like(old, new) for old, new in zip(model, numbers, strict=True)]
        return type(model)(parts)
    return numbers
