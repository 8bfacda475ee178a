"""Selects the tensors of a pickle that are the model's weights, and names them.

A pickle may hold a state_dict, a module, a checkpoint with one of these among other things, or several models. The weights
of a single model have the names of its state_dict; those of several models also have the key of their model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.pickle.overlaps import overlaps
from steelyard.codecs.pickle.values import Record, class_of
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, printable, quoted

if TYPE_CHECKING:
    from steelyard.codecs.pickle.arrays import Memory, PickledTensor
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.codecs.pickle.walk import Path, TensorWalk
    from steelyard.core.protocols import MakeGraph, Scope
    from steelyard.storage.source import Source

_PLAIN = frozenset((int, float, str, bool))
_SETTING = (
    r"(\w+_)?optim(izer)?s?(_\w+)?|opt(_states?)?|(lr_)?sched(uler)?s?(_\w+)?|(grad_|amp_|loss_)?scaler(_\w+)?|callbacks|loops"
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


def listed(
    source: Source,
    root: Pickled,
    walk: TensorWalk,
    scope: Scope,
    meta: Mapping[str, Any],
    own: list[PickledTensor] | None = None,
    graph: MakeGraph | None = None,
) -> Weights:
    """Return the model's weights, or with scope "all" every tensor.

    `own` are the model's weights if they are known already. Raises `FormatError` for an object without weights.
    """
    tensors = walk.tensors if scope == "all" else model_tensors(walk) if own is None else own
    if not tensors and not isinstance(root, (dict, list, tuple)):
        raise FormatError(source.name, f"holds {holding(root)}, which has no weights")
    whole = {**meta, **_plain_entries(root)}
    if not tensors:
        whole["holds"] = holding(root)
    return Weights(as_weights(tensors, source), meta=whole, graph=graph)


def _plain_entries(root: Pickled) -> dict[str, Any]:
    """Return the plain entries of a checkpoint: epoch, step, versions."""
    if not isinstance(root, dict):
        return {}
    plain = [(key, value) for key, value in root.items() if type(value) in _PLAIN and type(key) is str]
    return {key: printable(value) if type(value) is str else value for key, value in plain[: limits.METADATA]}


def model_tensors(walk: TensorWalk) -> list[PickledTensor]:
    """Return the tensors that are the model's weights, with paths as its state_dict has them.

    State that only training needs is left out. A dict that contains only one model adds nothing to the names; a dict of
    several possible models adds its keys.
    """
    tensors = [tensor for tensor in walk.tensors if tensor.in_state_dict]
    depth = 0
    here: Path = ()
    while tensors and here not in walk.modules:
        tensors = _without_settings(tensors, depth)
        firsts = {tensor.path[depth] for tensor in tensors if len(tensor.path) > depth}
        if len(firsts) != 1 or any(len(tensor.path) == depth + 1 for tensor in tensors):
            break
        inner = (*here, *firsts)
        if not _is_model(tensors, depth, inner, walk):
            break
        depth, here = depth + 1, inner
    if depth == 0 and not any("_args" in tensor.path for tensor in tensors):
        return tensors
    short = [_without_args(tensor.path[depth:]) for tensor in tensors]
    if len(set(short)) < len(short):  # a call with several tensors, such as that of a nested one
        short = [tensor.path[depth:] for tensor in tensors]
    for tensor, path in zip(tensors, short, strict=True):
        tensor.path = path
    return tensors


def _without_settings(tensors: list[PickledTensor], depth: int) -> list[PickledTensor]:
    """Leave out a checkpoint's entries besides its model, unless there are no others."""
    nested = [tensor for tensor in tensors if len(tensor.path) > depth + 1 and not is_setting(tensor.path[depth])]
    if not nested:
        return tensors
    direct = [tensor for tensor in tensors if len(tensor.path) <= depth + 1]
    clear = any(tensor.path[depth] in _MODELS for tensor in nested)
    direct = [t for t in direct if not (len(t.path) > depth and is_setting(t.path[depth])) or (t.shape and not clear)]
    if clear and all(not tensor.shape for tensor in direct):
        return nested  # an epoch or a loss may be a tensor
    kept = set(map(id, (*nested, *direct)))
    return [tensor for tensor in tensors if id(tensor) in kept] or tensors


def is_setting(key: str) -> bool:
    """Whether a checkpoint keeps something other than its model under this key."""
    return re.fullmatch(_SETTING, key.lower()) is not None


def _is_model(tensors: list[PickledTensor], depth: int, path: Path, walk: TensorWalk) -> bool:
    """Whether the only member of a dict is a model: by its key, or as a module or a state_dict."""
    return path in walk.modules or path[-1] in _MODELS or any("." in tensor.path[depth + 1] for tensor in tensors)


def _without_args(path: Path) -> Path:
    """Leave out the arguments of a constructor, such as the dict in a frozen one."""
    if "_args" not in path:
        return path
    dropped = {place + step for place, key in enumerate(path) if key == "_args" for step in (0, 1)}
    return tuple(key for place, key in enumerate(path) if place not in dropped)


def as_weights(tensors: Iterable[PickledTensor], source: Source) -> list[Weight]:
    """Return tensors as weights: named by their paths, tied where they share their numbers, each with its role.

    The class of a layer decides roles and axes; those of other layers are inferred.
    """
    named = _named(tensors, source)
    owners: dict[Memory, str] = {}
    shared = overlaps(named)
    weights = []
    for name, tensor in named.items():
        owner = owners.setdefault(tensor.memory, name) if tensor.memory is not None else name
        weights.append(
            Weight(
                name=name,
                shape=tensor.shape,
                dtype=tensor.dtype,
                read=tensor.read,
                role=tensor.role or Role.OTHER,
                layer=layer_of(layer_of(name) if tensor.is_companion else name) if tensor.layer is None else tensor.layer,
                axes=tensor.axes,
                trainable=tensor.trainable,
                encoding=tensor.encoding,
                tied=owner if owner != name else None,
                overlaps=shared.get(name) if owner == name else None,
            )
        )
    given = [(weight, weight.role, weight.axes) for weight in weights if named[weight.name].role is not None]
    infer_roles(weights, in_place=True)
    for weight, role, axes in given:  # what a class or a file says counts, and is evidence for the others
        weight.role, weight.axes = role, axes
    return weights


def _named(tensors: Iterable[PickledTensor], source: Source) -> dict[str, PickledTensor]:
    """Join the paths by dots. Keys may contain dots, so two paths can give one name; the second is then joined by slashes."""
    named: dict[str, PickledTensor] = {}
    for tensor in tensors:
        path = tensor.path
        name = path[0] if len(path) == 1 else ".".join(path)
        if name in named:
            name = "/".join(path)
            if name in named:
                raise FormatError(source.name, f"duplicate tensor name {quoted(name)}; the file is ambiguous")
        named[name] = tensor
    return named


def holding(root: Pickled) -> str:
    """Describe the root of a pickle in a few words.

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
