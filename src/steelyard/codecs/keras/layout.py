"""Keras 3's way of laying weights out in HDF5, put back under the names and in the order of the model.

A file has a group for each layer, called after its class and a counter (`layers/dense_1/vars/0`), whatever the
layer's own name is. The name stands in the config, or in an attribute of the `vars` group, which layers without
variables have too; the order in the config, or in that of writing. The config is data here: nothing in it is ever
made into a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.codecs import limits
from steelyard.core.roles import role_of
from steelyard.core.weight import Role, Weight
from steelyard.errors import FormatError
from steelyard.layers.keras.roles import DUPLICATE, SUBLAYERS, VariableRole, kind_of, snake, variable_roles

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.reading import Tree

VARS = "vars"
_INPUT = "input_layer"
"""A layer that functional models list and Sequential ones do not."""
_CONTAINERS = ("layers", "cells")
_ALIASES = {"_layer_checkpoint_dependencies": "layers"}  # Keras 2.12 and 2.13
_ASIDE = ("optimizer", "seed_generator", "compile_metrics", "_metrics", "metrics", "loss_tracker", "_loss_tracker")
"""What a model keeps beside its weights; `Model.weights` lists none of it."""


class _Node:
    """A group: the groups inside it, the variables in its `vars`, and the name that those are given.

    `container` tells that it is a list or a dict of layers, which has no name; `functional`, that it is the list of
    the layers of a functional model, whose names stand alone.
    """

    __slots__ = ("children", "container", "functional", "label", "path", "variables")

    def __init__(self, path: str) -> None:
        self.path = path
        self.container = self.functional = False
        self.label = ""
        self.children: dict[str, _Node] = {}
        self.variables: list[Weight] = []


class _Spec(NamedTuple):
    """What the config says of a layer; `config` is None where there is none."""

    kind: str
    config: Mapping[str, Any] | None
    name: str


class _Named(NamedTuple):
    """A variable, the path of its layer, and what is known of it."""

    holder: _Node
    layer: str
    leaf: str
    weight: Weight
    known: VariableRole | None
    trainable: bool | None


def is_layout(tree: Tree) -> bool:
    """Tell whether a file is laid out as Keras 3 does it: every dataset is a number in a group `vars`."""
    paths = [split(path)[-2:] for path in tree.tensors]
    return bool(paths) and all(len(pair) == 2 and pair[0] == VARS for pair in paths)


def model_weights(tree: Tree, config: Any = None) -> tuple[list[Weight], dict[str, Any]]:
    """Return the weights of the model, by `variable.path` as far as the file tells it, and where each one lies.

    `config` is the parsed `config.json`. The second result maps each group of the file to the layer's name
    and to the names of its variables: a file of this layout can be written again from it. Raises `FormatError` for
    groups that lie too deep in one another.
    """
    if any(path.count("/") + path.count("\\") > limits.RECURSION for path in tree.tensors):
        raise FormatError(tree.source.name, f"more than {limits.RECURSION} groups lie in one another")
    labels = _labels(tree)
    root = _nodes(tree, labels)
    spec = _spec(config)
    found = _layer(root, spec, spec.name or root.label, True if spec.config else None, 0)
    names = _names([entry for entry in found if entry.leaf != DUPLICATE])
    weights, layout = [], _Layout()
    for entry in found:
        if entry.leaf == DUPLICATE:
            continue
        layer, leaf = names[entry.weight.name]
        weights.append(_weight(entry, layer, leaf))
        layout.add(entry.holder, entry.weight.name, weights[-1].name)
    for entry in found:
        if entry.leaf == DUPLICATE:  # an extra copy: its numbers are those of the next variable that was found
            layout.add(entry.holder, entry.weight.name, "/".join(names[entry.layer]))
    layout.around(labels)
    return weights, layout.groups


class _Layout:
    """Which weight stands in which slot of which group."""

    def __init__(self) -> None:
        self.groups: dict[str, Any] = {}

    def add(self, holder: _Node, path: str, name: str) -> None:
        group = self.groups.setdefault(holder.path, {"name": holder.label, "vars": {}})
        group["vars"][split(path)[-1]] = name

    def around(self, labels: Mapping[str, str]) -> None:
        """Add the groups around those, which hold nothing but a layer's name."""
        words = [group.split("/") for group in self.groups]
        above = {"/".join(parts[:end]) for parts in words for end in range(len(parts))}
        for group, label in labels.items():
            if group in above or group.removesuffix(f"/{_INPUT}") in above:
                self.groups.setdefault(group, {"name": label, "vars": {}})


def split(path: str) -> list[str]:
    """Split a path; Keras on Windows joined its first words with backslashes."""
    return [_ALIASES.get(word, word) for word in path.replace("\\", "/").split("/")]


def _labels(tree: Tree) -> dict[str, str]:
    """Return the names that layers have in the file, by the paths of their groups: of all that have variables below."""
    above = {path[:at] for path in tree.tensors for at, letter in enumerate(path) if letter == "/"}
    inputs = {f"{group}/{_INPUT}" for group in above if split(group)[-1] == "layers"}
    found = {group: tree.attribute(f"{group}/{VARS}".strip("/"), "name") for group in sorted({"", *above, *inputs})}
    return {"/".join(split(group)): label for group, label in found.items() if isinstance(label, str)}


def _nodes(tree: Tree, labels: Mapping[str, str]) -> _Node:
    """Return the groups as a tree. The inputs of a functional model are groups too, though nothing is in them."""
    root = _Node("")
    root.label = labels.get("", "")
    for path, weight in tree.tensors.items():
        words = split(path)
        node = root
        for word in words[:-2]:
            path_of = f"{node.path}/{word}".strip("/")
            node = node.children.setdefault(word, _Node(path_of))
            node.label = labels.get(path_of, "")
            node.container = bool(root.label) and path_of not in labels
            node.functional = f"{path_of}/{_INPUT}" in labels
        node.variables.append(weight)
    stack = [root]
    while stack:
        node = stack.pop()
        node.variables.sort(key=lambda weight: _number(split(weight.name)[-1]))
        node.children = _in_order(node.children)
        stack.extend(node.children.values())
    return root


def _number(word: str) -> tuple[int, str]:
    return (int(word), "") if word.isascii() and word.isdigit() and len(word) < 10 else (1 << 40, word)


def _in_order(children: dict[str, _Node]) -> dict[str, _Node]:
    """Keep the order of writing, unless the counters contradict it: then a tool has sorted the file by name."""
    seen: dict[str, int] = {}
    for name in children:
        stem, count = _counter(name)
        if count < seen.get(stem, -1):
            return dict(sorted(children.items(), key=lambda item: _counter(item[0])))
        seen[stem] = count
    return children


def _counter(name: str) -> tuple[str, int]:
    stem, _, count = name.rpartition("_")
    return (stem, int(count)) if stem and count.isascii() and count.isdigit() and len(count) < 10 else (name, 0)


def _spec(found: Any) -> _Spec:
    """Read one entry of a config; what is no such entry says nothing."""
    if not isinstance(found, dict):
        return _Spec("", None, "")
    kind, config = found.get("class_name"), found.get("config")
    if not isinstance(kind, str) or not isinstance(config, dict):
        return _Spec("", None, "")
    name = config.get("name") or found.get("name")
    return _Spec(kind, config, name if isinstance(name, str) else "")


def _layer(node: _Node, spec: _Spec, path: str, trainable: bool | None, depth: int) -> list[_Named]:
    """List the variables of a layer in the order of `Layer.weights`: its own, then those of the layers inside."""
    if spec.config is not None and spec.config.get("trainable") is False:
        trainable = False
    own = _own(node, spec, path, trainable)
    inner: list[_Named] = []
    met: set[str] = set(_ASIDE) if depth == 0 or "layers" in (spec.config or {}) else {"seed_generator"}
    if depth < limits.RECURSION:
        for name, child, below, scope in _inside(node, spec, path):
            met.add(name)
            inner += _layer(child, below, _joined(scope, below.name), trainable, depth + 1)
    rest = [entry for name, child in node.children.items() if name not in met for entry in _unknown(child, name, path, depth)]
    return _merged(own, inner) + rest


def _own(node: _Node, spec: _Spec, path: str, trainable: bool | None) -> list[_Named]:
    roles = variable_roles(spec.kind, spec.config, len(node.variables)) if node.variables else []
    if any(not _fits(known, weight) for known, weight in zip(roles, node.variables, strict=True)):
        roles = [None] * len(roles)
    own = [
        _Named(node, path, known.leaf if known else split(weight.name)[-1], weight, known, _trainable(known, trainable))
        for known, weight in zip(roles, node.variables, strict=True)
    ]
    return sorted(own, key=lambda entry: entry.known is not None and not entry.known.trainable)  # as `Layer.weights` is


def _fits(known: VariableRole | None, weight: Weight) -> bool:
    """Tell whether a kernel has as many axes as its class says: the class may be no more than a name's guess."""
    if known is None or not known.axes or known.role not in (Role.KERNEL, Role.RECURRENT_KERNEL, Role.EMBEDDING):
        return True
    return bool(known.axes_for(len(weight.shape)))


def _trainable(known: VariableRole | None, layer: bool | None) -> bool | None:
    if layer is False or (known is not None and not known.trainable):
        return False
    return layer if known is not None else None


def _inside(node: _Node, spec: _Spec, path: str) -> Iterator[tuple[str, _Node, _Spec, str]]:
    """Yield the layers inside one, as its config or its class tells: folder, group, config and scope of each.

    A Sequential model builds its layers under its own name; those of a functional model stand alone.
    """
    config = spec.config or {}
    for folder in _CONTAINERS:
        if folder in node.children and isinstance(config.get(folder), list):
            scope = "" if "input_layers" in config else path
            yield from _listed(node.children[folder], config[folder], folder, scope)
    for part in SUBLAYERS.get(spec.kind, ()):
        child = node.children.get(part.attribute)
        if child is not None:
            below = _spec(config.get(part.key))
            kind = part.kind or below.kind or kind_of(child.label)
            yield part.attribute, child, _Spec(kind, below.config, below.name or child.label or part.attribute), path


def _listed(group: _Node, entries: list[Any], folder: str, scope: str) -> Iterator[tuple[str, _Node, _Spec, str]]:
    counts: dict[str, int] = {}
    met = set()
    for entry in entries:
        spec = _spec(entry)
        if not spec.kind or str(entry.get("module")).startswith("keras.src.ops"):
            continue
        name = snake(spec.kind)
        counts[name] = counts.get(name, -1) + 1
        key = f"{name}_{counts[name]}" if counts[name] else name
        child = group.children.get(key)
        if child is not None and key not in met:
            met.add(key)
            yield folder, child, spec._replace(name=spec.name or child.label or key), scope
    for key, child in group.children.items():  # layers that a subclass tracks beside those of the config
        if key not in met:
            yield folder, child, _Spec(kind_of(key), None, child.label or key), scope


def _unknown(node: _Node, name: str, path: str, depth: int, *, listed: bool = False) -> list[_Named]:
    """List what no config speaks of: named by attributes and folders, meant by the class that a name tells.

    What is `listed` has its class for a name of its group; elsewhere that is an attribute of the user's own.
    """
    if depth >= limits.RECURSION:
        return []
    if not node.variables and (node.container or name == "layers"):
        scope = "" if node.functional else path
        return [entry for key, child in node.children.items() for entry in _unknown(child, key, scope, depth + 1, listed=True)]
    kinds = kind_of(node.label), kind_of(name)
    kind = kinds[1] or kinds[0] if listed else kinds[0] or kinds[1]
    return _layer(node, _Spec(kind, None, ""), _joined(path, node.label or name), None, depth + 1)


def _joined(scope: str, name: str) -> str:
    return f"{scope}/{name}" if scope and name else scope or name


def _merged(own: list[_Named], inner: list[_Named]) -> list[_Named]:
    """Put the first variable of the wrapped layer where its wrapper lists it, as spectral normalisation does."""
    if own and own[0].leaf == DUPLICATE and inner:
        copy = own[0]._replace(layer=inner[0].weight.name)
        return [inner[0], copy, *own[1:], *inner[1:]]
    return [entry._replace(leaf="0") if entry.leaf == DUPLICATE else entry for entry in own] + inner


def _names(found: list[_Named]) -> dict[str, tuple[str, str]]:
    """Return layer and leaf of each variable by its place; the second layer of one path becomes `path#2`."""
    holders: dict[str, list[_Node]] = {}
    taken: dict[tuple[str, str], int] = {}
    names = {}
    for entry in found:
        known = holders.setdefault(entry.layer, [])
        if entry.holder not in known:
            known.append(entry.holder)
        place = known.index(entry.holder)
        layer = f"{entry.layer}#{place + 1}" if place else entry.layer
        count = taken[layer, entry.leaf] = taken.get((layer, entry.leaf), 0) + 1
        names[entry.weight.name] = layer, entry.leaf if count == 1 else f"{entry.leaf}#{count}"
    return names


def _weight(entry: _Named, layer: str, leaf: str) -> Weight:
    weight, known = entry.weight, entry.known
    return weight.replace(
        name=_joined(layer, leaf),
        layer=layer,
        role=known.role if known else role_of(leaf, len(weight.shape)),
        axes=known.axes_for(len(weight.shape)) if known else "",
        trainable=entry.trainable,
    )
