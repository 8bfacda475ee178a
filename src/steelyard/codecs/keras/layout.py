"""The layout of Keras 3 in HDF5: find the names of the model's weights, and their order.

    layers/dense_1         the group of a layer: its class and a counter, whatever the layer's name is
    layers/dense_1/vars    the group of its variables, with the layer's name in the attribute `name`
    layers/dense_1/vars/0  the first variable
    layers/rnn/cell/vars   a layer inside another, by the name of the Python attribute that holds it

Names come from the config or the attributes, the order from the config or the order of writing. The config is data: no
layer is ever created from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.keras.config import joined_path
from steelyard.core.roles import role_of
from steelyard.core.weight import Role, Weight
from steelyard.errors import FormatError
from steelyard.layers.keras.roles import DUPLICATE, SUBLAYERS, VariableRole, kind_of, snake, variable_roles

if TYPE_CHECKING:
    from typing import Protocol, TypedDict

    from steelyard.storage.source import Source

    class KerasFile(Protocol):
        """An HDF5 file, or the shards of a model as one: its datasets by path, and the attributes of its groups."""

        source: Source
        tensors: dict[str, Weight]

        def attribute(self, path: str, name: str, /) -> str | list[str] | None:
            """Return the text or the list of texts in an attribute of a group; None where there is none."""

    class LayoutGroup(TypedDict):
        """A group of a layout: the name of the layer, and the weight of each variable."""

        name: str
        vars: dict[str, str]

    Layout = dict[str, LayoutGroup]
    """The groups of a file by their paths."""

VARS = "vars"
_INPUT = "input_layer"
"""The group of an input layer, which functional models have and Sequential ones do not."""
_CONTAINERS = ("layers", "cells")
_ALIASES = {"_layer_checkpoint_dependencies": "layers"}  # Keras 2.12 and 2.13
_ASIDE = ("optimizer", "seed_generator", "compile_metrics", "_metrics", "metrics", "loss_tracker", "_loss_tracker")
"""Groups of a model that are not in `Model.weights`."""


class _LayerGroup:
    """A group: the groups inside it, the variables in its `vars`, and their layer's name, the label.

    A `container` is a list or a dict of layers, without a name; `functional` is the list of the layers of a functional
    model, whose names have no prefix.
    """

    __slots__ = ("children", "container", "functional", "label", "path", "variables")

    def __init__(self, path: str) -> None:
        self.path = path
        self.container = self.functional = False
        self.label = ""
        self.children: dict[str, _LayerGroup] = {}
        self.variables: list[Weight] = []


class _Spec(NamedTuple):
    """The class, the config and the name of a layer; `config` is None where the file has none."""

    kind: str
    config: Mapping[str, object] | None
    name: str
    is_operation: bool = False


class _Variable(NamedTuple):
    """A variable, the path of its layer, its own name in it, and its role where that is known."""

    holder: _LayerGroup
    layer: str
    leaf: str
    weight: Weight
    known: VariableRole | None
    trainable: bool | None


def is_layout(hdf5: KerasFile) -> bool:
    """Whether a file has the layout of Keras 3: every dataset is in a group `vars`."""
    paths = [split(path)[-2:] for path in hdf5.tensors]
    return bool(paths) and all(len(pair) == 2 and pair[0] == VARS for pair in paths)


def model_weights(hdf5: KerasFile, config: object = None) -> tuple[list[Weight], Layout]:
    """Return the weights of the model under the names of `variable.path`, as far as the file has them, and the layout.

    `config` is the decoded `config.json`. With the layout, a file with the same groups can be written. Raises
    `FormatError` for groups that are nested too deep.
    """
    if any(path.count("/") + path.count("\\") > limits.RECURSION for path in hdf5.tensors):
        raise FormatError(hdf5.source.name, f"groups are nested more than {limits.RECURSION} levels deep")
    labels = _labels(hdf5)
    root = _nodes(hdf5, labels)
    spec = _spec(config)
    variables = _layer(root, spec, spec.name or root.label, True if spec.config else None, 0)
    names = _names([entry for entry in variables if entry.leaf != DUPLICATE])
    weights: list[Weight] = []
    layout: Layout = {}
    for entry in variables:
        if entry.leaf == DUPLICATE:
            continue
        layer, leaf = names[entry.weight.name]
        weights.append(_weight(entry, layer, leaf))
        _place(layout, entry.holder, entry.weight.name, weights[-1].name)
    for entry in variables:
        if entry.leaf == DUPLICATE:  # a copy of the numbers of the next variable
            _place(layout, entry.holder, entry.weight.name, "/".join(names[entry.layer]))
    _add_outer(layout, labels)
    return weights, layout


def _place(layout: Layout, holder: _LayerGroup, path: str, name: str) -> None:
    group = layout.setdefault(holder.path, {"name": holder.label, "vars": {}})
    group["vars"][split(path)[-1]] = name


def _add_outer(layout: Layout, labels: Mapping[str, str]) -> None:
    """Add the outer groups, which have only the name of a layer."""
    words = [group.split("/") for group in layout]
    outer = {"/".join(path[:end]) for path in words for end in range(len(path))}
    for group, label in labels.items():
        if group in outer or group.removesuffix(f"/{_INPUT}") in outer:
            layout.setdefault(group, {"name": label, "vars": {}})


def split(path: str) -> list[str]:
    """Split a path into words. Keras on Windows writes backslashes between the first ones."""
    return [_ALIASES.get(word, word) for word in path.replace("\\", "/").split("/")]


def _labels(hdf5: KerasFile) -> dict[str, str]:
    """Return the names of layers by the paths of their groups, for all groups with variables at any level."""
    above = {path[:at] for path in hdf5.tensors for at, letter in enumerate(path) if letter == "/"}
    inputs = {f"{group}/{_INPUT}" for group in above if split(group)[-1] == "layers"}
    names = {group: hdf5.attribute(f"{group}/{VARS}".strip("/"), "name") for group in sorted({"", *above, *inputs})}
    return {"/".join(split(group)): label for group, label in names.items() if isinstance(label, str)}


def _nodes(hdf5: KerasFile, labels: Mapping[str, str]) -> _LayerGroup:
    """Return the groups as a tree. Input layers of functional models are groups too, without variables."""
    root = _LayerGroup("")
    root.label = labels.get("", "")
    for path, weight in hdf5.tensors.items():
        words = split(path)
        node = root
        for word in words[:-2]:
            path_of = f"{node.path}/{word}".strip("/")
            node = node.children.setdefault(word, _LayerGroup(path_of))
            node.label = labels.get(path_of, "")
            node.container = bool(root.label) and path_of not in labels
            node.functional = f"{path_of}/{_INPUT}" in labels
        node.variables.append(weight)
    stack = [root]
    while stack:
        node = stack.pop()
        # HDF5 lists the variables by name, with "10" before "2"
        node.variables.sort(key=lambda weight: _number(split(weight.name)[-1]))
        node.children = _in_order(node.children)
        stack.extend(node.children.values())
    return root


def _number(word: str) -> tuple[int, str]:
    return (int(word), "") if word.isascii() and word.isdigit() and len(word) < 10 else (1 << 40, word)


def _in_order(children: dict[str, _LayerGroup]) -> dict[str, _LayerGroup]:
    """Keep the order of writing, unless counters contradict it, as in a file that a tool has sorted by name."""
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


def _spec(entry: object) -> _Spec:
    """Read an entry of a config; an invalid entry is blank."""
    if not isinstance(entry, dict):
        return _Spec("", None, "")
    kind, config = entry.get("class_name"), entry.get("config")
    if not isinstance(kind, str) or not isinstance(config, dict):
        return _Spec("", None, "")
    name = config.get("name") or entry.get("name")
    is_operation = str(entry.get("module")).startswith("keras.src.ops")
    return _Spec(kind, config, name if isinstance(name, str) else "", is_operation)


def _layer(node: _LayerGroup, spec: _Spec, path: str, trainable: bool | None, depth: int) -> list[_Variable]:
    """List the variables of a layer in the order of `Layer.weights`: its own, then those of inner layers."""
    if spec.config is not None and spec.config.get("trainable") is False:
        trainable = False
    own = _own(node, spec, path, trainable)
    inner: list[_Variable] = []
    # only a model has an optimizer and metrics; a layer of a user may use these words for anything
    met: set[str] = set(_ASIDE) if depth == 0 or "layers" in (spec.config or {}) else {"seed_generator"}
    if depth < limits.RECURSION:
        for name, child, below, prefix in _inside(node, spec, path):
            met.add(name)
            inner += _layer(child, below, joined_path(prefix, below.name), trainable, depth + 1)
    rest = [entry for name, child in node.children.items() if name not in met for entry in _unknown(child, name, path, depth)]
    return _merged(own, inner) + rest


def _own(node: _LayerGroup, spec: _Spec, path: str, trainable: bool | None) -> list[_Variable]:
    roles = variable_roles(spec.kind, spec.config, len(node.variables)) if node.variables else []
    if any(not _fits(known, weight) for known, weight in zip(roles, node.variables, strict=True)):
        roles = [None] * len(roles)  # the class was a wrong guess: no role is better than a wrong one
    if spec.config is None and any(weight.dtype in _CODES for weight in node.variables):
        roles = [None] * len(roles)  # a quantised layer has a scale where the plain one has a bias
    # the variables are numbered in the order of creation, the roles of a class in the same order
    own = [
        _Variable(node, path, known.leaf if known else split(weight.name)[-1], weight, known, _trainable(known, trainable))
        for known, weight in zip(roles, node.variables, strict=True)
    ]
    return sorted(own, key=lambda entry: entry.known is not None and not entry.known.trainable)  # the order of `Layer.weights`


_CODES = ("int8", "uint8")


def _fits(known: VariableRole | None, weight: Weight) -> bool:
    """Whether a kernel has the number of axes of its class, which may be only a guess from a name."""
    if known is None or not known.axes or known.role not in (Role.KERNEL, Role.RECURRENT_KERNEL, Role.EMBEDDING):
        return True
    return bool(known.axes_for(len(weight.shape)))


def _trainable(known: VariableRole | None, layer: bool | None) -> bool | None:
    if layer is False or (known is not None and not known.trainable):
        return False
    return layer if known is not None else None


def _inside(node: _LayerGroup, spec: _Spec, path: str) -> Iterator[tuple[str, _LayerGroup, _Spec, str]]:
    """Yield the inner layers of a layer, by its config or its class: folder, group, config and prefix of each.

    The layers of a Sequential model have its name as a prefix, those of a functional model do not.
    """
    config = spec.config or {}
    for folder in _CONTAINERS:
        entries = config.get(folder)
        if folder in node.children and isinstance(entries, list):
            prefix = "" if "input_layers" in config else path
            yield from _listed(node.children[folder], entries, folder, prefix)
    for sublayer in SUBLAYERS.get(spec.kind, ()):
        child = node.children.get(sublayer.attribute)
        if child is not None:
            below = _spec(config.get(sublayer.key))
            kind = sublayer.kind or below.kind or kind_of(child.label)
            yield sublayer.attribute, child, _Spec(kind, below.config, below.name or child.label or sublayer.attribute), path


def _listed(group: _LayerGroup, entries: list[object], folder: str, prefix: str) -> Iterator[tuple[str, _LayerGroup, _Spec, str]]:
    counts: dict[str, int] = {}
    met = set()
    for entry in entries:
        spec = _spec(entry)
        if not spec.kind or spec.is_operation:
            continue
        name = snake(spec.kind)
        counts[name] = counts.get(name, -1) + 1
        key = f"{name}_{counts[name]}" if counts[name] else name
        child = group.children.get(key)
        if child is not None and key not in met:
            met.add(key)
            yield folder, child, spec._replace(name=spec.name or child.label or key), prefix
    for key, child in group.children.items():  # layers that a subclass tracks in addition to those in its config
        if key not in met:
            yield folder, child, _Spec(kind_of(key), None, child.label or key), prefix


def _unknown(node: _LayerGroup, name: str, path: str, depth: int, *, listed: bool = False) -> list[_Variable]:
    """List the variables of a layer without a config, with names by labels and groups, and the class by those names.

    In a list of layers (`listed`), a group has the name of the class; elsewhere, that of a Python attribute.
    """
    if depth >= limits.RECURSION:
        return []
    if not node.variables and (node.container or name == "layers"):
        prefix = "" if node.functional else path
        return [entry for key, child in node.children.items() for entry in _unknown(child, key, prefix, depth + 1, listed=True)]
    kinds = kind_of(node.label), kind_of(name)
    kind = kinds[1] or kinds[0] if listed else kinds[0] or kinds[1]
    return _layer(node, _Spec(kind, None, ""), joined_path(path, node.label or name), None, depth + 1)


def _merged(own: list[_Variable], inner: list[_Variable]) -> list[_Variable]:
    """Put the first variable of the wrapped layer first, where a wrapper such as SpectralNormalization lists it."""
    if own and own[0].leaf == DUPLICATE and inner:
        copy = own[0]._replace(layer=inner[0].weight.name)
        return [inner[0], copy, *own[1:], *inner[1:]]
    return [entry._replace(leaf="0") if entry.leaf == DUPLICATE else entry for entry in own] + inner


def _names(variables: list[_Variable]) -> dict[str, tuple[str, str]]:
    """Return layer and leaf of each variable by its dataset; a second layer with the same path becomes `path#2`."""
    holders: dict[str, list[_LayerGroup]] = {}
    taken: dict[tuple[str, str], int] = {}
    names = {}
    for entry in variables:
        known = holders.setdefault(entry.layer, [])
        if entry.holder not in known:
            known.append(entry.holder)
        place = known.index(entry.holder)
        layer = f"{entry.layer}#{place + 1}" if place else entry.layer
        count = taken[layer, entry.leaf] = taken.get((layer, entry.leaf), 0) + 1
        names[entry.weight.name] = layer, entry.leaf if count == 1 else f"{entry.leaf}#{count}"
    return names


def _weight(entry: _Variable, layer: str, leaf: str) -> Weight:
    weight, known = entry.weight, entry.known
    return weight.replace(
        name=joined_path(layer, leaf),
        layer=layer,
        role=known.role if known else role_of(leaf, len(weight.shape)),
        axes=known.axes_for(len(weight.shape)) if known else "",
        trainable=entry.trainable,
    )
