"""Layers that are stored as one, with a first axis that counts them, as scanned and vmapped ones are; a list has each by itself.

Flax `nn.scan` and `nnx.vmap`, `equinox.filter_vmap`, Haiku `layer_stack`    layers/fc/kernel (3, in, out), axes "layer in out"
a list                                                                      layers.0.fc.weight (out, in), layers.1.fc.weight, ...

For a transfer each weight of such a layer is split into its parts, which have the names of the layers of the other net that
are numbered so and have these shapes. What is assigned to the parts is put together again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.graph import Graph, Layer
from steelyard.core.roles import infer_roles, leaf_of, plain_layer
from steelyard.core.weight import Refused, Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import numpy_dtype
from steelyard.layers.haiku.modules import layers_of_modules

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Reader

_AXIS = "layer "
_NUMBER = re.compile(r"(?<![^./])\d+(?![^./])")
_VECTORS = (Role.BIAS, Role.SCALE, Role.OFFSET)
_VECTOR_LEAVES = ("bias", "b", "scale", "offset", "beta", "gamma")


class Stack(NamedTuple):
    """A stored weight of several layers, and the names of its parts."""

    weight: Weight
    parts: tuple[str, ...]


class Unstacked(NamedTuple):
    """Weights in which stacked ones are split, their graph, and the stacks."""

    weights: Weights
    graph: Graph | None
    stacks: tuple[Stack, ...]

    def restacked(self, weights: Weights) -> Weights:
        """Return weights by the names of the parts as they are stored; a part that is missing keeps its numbers."""
        by_part = {part: stack for stack in self.stacks for part in stack.parts}
        done: set[str] = set()
        listed = []
        for name, weight in weights.items():
            stack = by_part.get(name)
            if stack is None:
                listed.append(weight)
            elif stack.weight.name not in done:
                done.add(stack.weight.name)
                listed.append(_together(stack, weights))
        return weights.with_weights(listed, detached=True)


def unstacked(weights: Weights, other: Weights | None = None) -> Unstacked | None:
    """Return weights with each stacked layer split, named as those of the other net; None if no layer is stacked."""
    layers: dict[str, list[Weight]] = {}
    for weight in weights.values():
        layers.setdefault(weight.layer, []).append(weight)
    families = cache(lambda: _families(other) if other is not None else {})  # few layers are compared with them
    counts = {name: count for name, members in layers.items() if (count := _count(members, families))}
    if not counts:
        return None
    names = {layer: _names(layer, layers[layer], count, families(), counts) for layer, count in counts.items()}
    stacks = []
    listed: list[Weight] = []
    for weight in weights.values():
        if weight.layer not in counts:
            listed.append(weight)
            continue
        parts = [*_parts(weight, names[weight.layer])]
        stacks.append(Stack(weight, tuple(part.name for part in parts)))
        listed += parts
    assign = weights._net.assign
    made = Weights(
        infer_roles(listed),
        meta=weights.meta,
        assign=None if assign is None else _assigning(weights, stacks, assign),
        live=weights.live,
        remote=weights.remote,
    )
    return Unstacked(made, _expanded(weights.graph, names, stacks), tuple(stacks))


def _count(known: list[Weight], families: Callable[[], _Families]) -> int:
    """Return the number of layers that are stacked in one; 0 for a plain layer.

    Where the axes do not say so, a bias or scale of two axes does, if all weights begin with its first one, and the other net
    has as many layers of the shapes of the parts.
    """
    if any(isinstance(weight.read, Refused) or weight.tied or not weight.shape for weight in known):
        return 0
    lengths = {weight.shape[0] for weight in known}
    if len(lengths) != 1:
        return 0
    if all(weight.axes.startswith(_AXIS) for weight in known):
        return lengths.pop()
    vectors = [weight for weight in known if weight.role in _VECTORS or leaf_of(weight.name) in _VECTOR_LEAVES]
    is_proven = any(len(weight.shape) == 2 for weight in vectors) and any(len(weight.shape) > 2 for weight in known)
    if not is_proven or any(weight.axes for weight in known if len(weight.shape) > 2):
        return 0
    count = lengths.pop()
    return count if _fitting(known, count, families()) else 0


class _Family(NamedTuple):
    """Layers of the other net whose names differ in one number, which counts them from 0."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    words: tuple[str, ...]


_Families = dict[tuple[int, tuple[tuple[int, ...], ...]], list[_Family]]
"""Families by the number of their layers and the shapes of each."""


def _families(other: Weights) -> _Families:
    layers: dict[str, list[Weight]] = {}
    for weight in other.values():
        if weight.role is not Role.COUNT:
            layers.setdefault(weight.layer, []).append(weight)
    numbered: dict[tuple[str, str], dict[int, str]] = {}
    for layer in layers:
        for match in _NUMBER.finditer(layer):
            numbered.setdefault((layer[: match.start()], layer[match.end() :]), {})[int(match[0])] = layer
    found: _Families = {}
    for (before, after), members in numbered.items():
        shapes = {_shapes(weight.shape for weight in layers[layer]) for layer in members.values()}
        if sorted(members) == [*range(len(members))] and len(shapes) == 1:
            family = _Family(tuple(members[at] for at in range(len(members))), shapes.pop(), _words(before + after))
            found.setdefault((len(members), family.shapes), []).append(family)
    return found


def _fitting(members: list[Weight], count: int, families: _Families) -> list[_Family]:
    """Return the families with as many layers, of the shapes of the parts of a stacked one."""
    own = _shapes(weight.shape[1:] for weight in members if weight.role is not Role.COUNT)
    return families.get((count, own), [])


def _shapes(shapes: Iterable[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Return shapes in any order of weights and of axes."""
    return tuple(sorted(tuple(sorted(shape)) for shape in shapes))


def _words(name: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[./]", name) if word)


def _names(layer: str, members: list[Weight], count: int, families: _Families, counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return the names of the parts of a layer: those of the only family that fits it best, else its own with a number."""
    words = _words(plain_layer(layer))
    fitting = _fitting(members, count, families)
    best = max((_common(words, each.words) for each in fitting), default=0)
    likeliest = [each for each in fitting if _common(words, each.words) == best]
    if len(likeliest) == 1 and (best or len(fitting) == len(counts) == 1):  # the only one of both nets needs no word in common
        return likeliest[0].names
    return tuple(f"{layer}{'/' if '/' in layer else '.'}{at}" if layer else str(at) for at in range(count))


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Return how many words two names have in common."""
    return len({*one} & {*other})


def _parts(weight: Weight, layers: tuple[str, ...]) -> Iterator[Weight]:
    """Yield the part of a stacked weight of each layer."""
    shape = weight.shape[1:]
    leaf = weight.name.removeprefix(weight.layer) if weight.layer else f".{weight.name}"
    is_known = weight.axes.startswith(_AXIS)
    for at, layer in enumerate(layers):
        yield weight.replace(
            name=f"{layer}{leaf if leaf.startswith(('.', '/')) else f'.{leaf}'}",
            layer=layer,
            shape=shape,
            axes=weight.axes.removeprefix(_AXIS) if is_known else "",
            role=weight.role if is_known else Role.OTHER,
            read=_shifted(weight.read, at * prod(shape)),
        )


def _shifted(read: Reader, offset: int) -> Reader:
    return lambda start, stop: read(offset + start, offset + stop)


def _assigning(weights: Weights, stacks: list[Stack], assign: Callable[..., Any]) -> Callable[..., Any]:
    """Return what assigns parts to a model: each stacked weight as a whole, in which other parts keep their numbers."""
    by_part = {part: (stack, at) for stack in stacks for at, part in enumerate(stack.parts)}

    def put(arrays: Mapping[str, Array], /, *, verify: bool = True) -> Any:
        whole: dict[str, Array] = {}
        for name, array in arrays.items():
            if name not in by_part:
                whole[name] = array
                continue
            stack, at = by_part[name]
            own = stack.weight.name
            if own not in whole:
                whole[own] = weights[own].numpy().copy()
            whole[own][at] = array
        return assign(whole, verify=verify)

    return put


def _together(stack: Stack, parts: Mapping[str, Weight]) -> Weight:
    """Return a stacked weight of its parts, which are read when they are needed, in their own type if they have one."""
    stored = stack.weight
    dtypes = {parts[name].dtype if name in parts else stored.dtype for name in stack.parts}
    dtype = dtypes.pop() if len(dtypes) == 1 else stored.dtype
    size = prod(stored.shape[1:])
    readers = [parts[name].read if name in parts else _shifted(stored.read, at * size) for at, name in enumerate(stack.parts)]

    def read(start: int, stop: int) -> Array:
        import numpy as np

        made = np.empty(max(stop - start, 0), numpy_dtype(dtype))
        for at in range(start // size, -(-stop // size)) if stop > start else ():
            low, high = max(start, at * size), min(stop, (at + 1) * size)
            made[low - start : high - start] = readers[at](low - at * size, high - at * size)
        return made

    return stored.replace(dtype=dtype, read=read, tied=None)


def _expanded(graph: Graph | None, names: Mapping[str, tuple[str, ...]], stacks: list[Stack]) -> Graph | None:
    """Return a graph in which each stacked layer is several; how these feed each other is not known."""
    if graph is None:
        return None
    layers = []
    listed = {layer.name for layer in graph.layers}
    parts: dict[str, tuple[str, ...]] = {}
    for name, made in names.items():
        parts.setdefault(plain_layer(name), made)
    # Haiku's graph leaves out stacked layers, whose modules and weights "w" and "b" show their kind
    held = [stack.weight for stack in stacks if leaf_of(stack.weight.name) in ("w", "b")]
    plain = (weight.replace(axes=weight.axes.replace("layer ", "")) for weight in held)
    missing = [layer for layer in layers_of_modules(plain) if layer.name not in listed]
    for layer in (*graph.layers, *missing):
        own = parts.get(layer.name)
        feeds_known = own is None and parts.keys().isdisjoint(layer.inputs or ())
        for name in own or (layer.name,):
            settings = {word: value for word, value in layer.settings.items() if own is None or word != "weights"}
            inputs = layer.inputs if feeds_known else None
            layers.append(Layer(name, layer.kind, layer.class_name, settings, None, None, inputs, layer.calls))
    return Graph(layers, channels=graph.channels, input_names=graph.input_names, input_shapes=graph.input_shapes)
