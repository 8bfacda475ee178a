"""Whether one of two sources, a checkpoint, loads into the other, a live model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steelyard.core.loading import VERSIONS, Loading, compared, unwrapped_names
from steelyard.core.places import same_places
from steelyard.core.plugins import framework_of
from steelyard.core.weights import Weights
from steelyard.core.wrappers import shapes_of, wrapping
from steelyard.errors import UnknownModelError

if TYPE_CHECKING:
    from steelyard.core.loading import Names
    from steelyard.core.weight import Weight

    Versions = Mapping[str, int]


def loading(before: object, after: object, one: Weights, other: Weights) -> Loading | None:
    """Return whether the source that is not a live model loads into the one that is; None if both are, or neither is.

    `one` and `other` are the weights of `before` and `after`.
    """
    models = _model_of(before), _model_of(after)
    if (models[0] is None) == (models[1] is None):
        return None
    model, own, held, source = (models[0], one, other, after) if models[1] is None else (models[1], other, one, before)
    versions = _versions(source, held)
    names = _names(model, own, held, versions)
    if names.verdict != "yes" and (places := same_places(held, own)):  # as Keras's load_weights and as `assign` do
        return Loading(compared({theirs: held[mine].shape for mine, theirs in places.items()}, shapes_of(own)))
    wrapped = wrapping(shapes_of(held), shapes_of(own))
    new = unwrapped_names(held, wrapped)
    if names.verdict == "yes" or not wrapped.is_found or len({*new.values()}) < len(new):
        return Loading(names, tied=_tied(names, own, held))
    modules = {_module(old): _module(name) for old, name in new.items()}
    renamed = {new[name]: weight for name, weight in held.items()}
    moved = {modules.get(name, name): version for name, version in versions.items()}
    unwrapped = _names(model, own, renamed, moved)
    if unwrapped.loaded > names.loaded:
        return Loading(names, unwrapped, wrapped, _tied(unwrapped, own, renamed))
    return Loading(names, tied=_tied(names, own, held))


def _tied(names: Names, own: Weights, held: Mapping[str, Weight]) -> dict[str, str]:
    """Return the missing names that are tied to a weight that loads, and its name; a checkpoint often has one of them."""
    if not names.missing:
        return {}
    others = {each.name for each in names.shapes}
    owner = {name: weight.tied or name for name, weight in own.items()}
    loaded = {owner[name]: name for name in own if name in held and name not in others}
    return {name: loaded[owner[name]] for name in names.missing if owner.get(name) in loaded}


def _model_of(source: object) -> Any:
    """Return a live model, or a list of parts with one in it, as `(module, state)` of Equinox.

    It is None for a file, any other container, an array, and weights that belong to no model.
    """
    if isinstance(source, Weights):
        return _model_of(source.assign({})) if source.has_model else None  # this changes nothing and returns the model
    if isinstance(source, (list, tuple)):
        return source if any(_is_module(part) for part in source) else None
    if isinstance(source, (str, bytes, os.PathLike, Mapping)) or hasattr(source, "shape"):
        return None
    return source


def _is_module(part: object) -> bool:
    """Whether a part of a list is a model of a framework, and not a number, an array, a text or a container."""
    if type(part).__module__ == "builtins" or _model_of(part) is None:
        return False
    try:
        return bool(framework_of(part))
    except UnknownModelError:
        return False


def _names(model: Any, own: Weights, held: Mapping[str, Weight], versions: Versions) -> Names:
    """Return what the framework's own way to load finds, or what `assign` would."""
    ask = getattr(framework_of(model), "loading", None)
    found: Names | None = ask(model, held, versions) if ask else None
    return compared(shapes_of(held), shapes_of(own)) if found is None else found


def _versions(source: object, held: Weights) -> Versions:
    """Return the versions of modules that a state dict keeps, in memory or in a file."""
    kept = getattr(source, "_metadata", None)
    if isinstance(kept, Mapping):
        facts = ((name, dict(each).get("version")) for name, each in kept.items() if isinstance(each, Mapping))
        return {name: version for name, version in facts if isinstance(version, int)}
    read = {} if held.live else held.meta.get(VERSIONS, {})
    return read if isinstance(read, dict) else {}


def _module(name: str) -> str:
    return name.rpartition(".")[0]
