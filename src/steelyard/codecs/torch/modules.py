"""The graph of a module that was pickled whole: its layers by the names of their classes, their settings by their attributes.

Nothing in the file is run. The order is that of definition; that of a `Sequential` is the order of execution, as for a live one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.pickle.values import Record, class_of
from steelyard.codecs.pickle.walk import is_module
from steelyard.core.dataflow import flow_of_chain
from steelyard.core.graph import Graph, Layer, names_of_inputs
from steelyard.layers.torch.kinds import IMAGES, kind_and_settings
from steelyard.layers.torch.shapes import set_shapes

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.codecs.pickle.values import Pickled
    from steelyard.codecs.pickle.walk import Path, TensorWalk
    from steelyard.core.graph import Setting

    Parts = Mapping[str, Record]
    """The layers of a module by name."""

_SEQUENTIAL = "torch.nn.modules.container.Sequential"
_CONTAINERS = ("torch.nn.modules.container.ModuleList", "torch.nn.modules.container.ModuleDict")
_LENGTH = 16
"""Settings are tuples of at most this many values."""


def graph_maker(root: Pickled, walk: TensorWalk) -> Callable[[], Graph] | None:
    """Return a function that makes the graph of the only module in a pickle; None for none or several."""
    outer = _outermost(walk)
    module = _member(root, outer) if outer is not None else None
    if outer is None or not isinstance(module, Record) or not is_module(module):
        return None

    def graph() -> Graph:
        named = any(tensor.path[: len(outer)] == outer for tensor in walk.tensors if tensor.in_state_dict)
        return _graph_of(module, ".".join(outer) if named else "")

    return graph


def _outermost(walk: TensorWalk) -> Path | None:
    """Return the path of the module that is not inside another one; None if there are several."""
    tops: list[Path] = []
    for path in sorted(walk.modules):
        if not tops or path[: len(tops[-1])] != tops[-1]:
            tops.append(path)
    return tops[0] if len(tops) == 1 else None


def _member(root: Pickled, path: Path) -> Pickled:
    for key in path:
        root = root.get(key) if isinstance(root, dict) else None
    return root


def _graph_of(module: Record, prefix: str) -> Graph:
    parts = dict(_parts(module, prefix))
    layers = [_layer(name, part) for name, part in parts.items()]
    links = list(_links(module, 0))
    is_chain = None not in links
    input_names = names_of_inputs(["input"], parts) if is_chain else ()
    if is_chain:
        names = {id(part): name for name, part in parts.items()}
        flow = flow_of_chain([names[id(part)] for part in links if part is not None])
        weightless = [name for name, part in parts.items() if not _weighs(part)]
        flow.set_inputs({layer.name: layer for layer in layers}, weightless, input_names)
    chain = is_chain and len(links) == len(parts) and all(_is_plain(part) for part in _every(module))
    if chain:
        _set_shapes(layers, parts)
    return Graph(
        layers,
        is_execution_order=is_chain,
        channels="first" if any(layer.kind in IMAGES for layer in layers) else "",
        input_names=input_names,
        is_sequential=chain,
    )


def _set_shapes(layers: list[Layer], parts: Parts) -> None:
    """Set the shapes of a chain; attributes that its classes do not have, or of other types, leave them unknown."""
    known = [
        (layer, _Attributes(part.attributes, layer.class_name) if _class(part).startswith("torch.nn.modules.") else None)
        for layer, part in ((layer, parts[layer.name]) for layer in layers)
    ]
    try:
        set_shapes(known)
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        for layer in layers:
            layer.input_shape = layer.output_shape = None


def _parts(module: Record, prefix: str) -> Iterator[tuple[str, Record]]:
    """Yield the layers by name, as for a live module; a module with two names has its first."""
    seen: set[int] = set()
    stack = [(prefix, module)]
    while stack:
        name, part = stack.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        inside = _inside(part)
        if _weighs(part) or not (inside or _class(part) in _CONTAINERS):
            yield name, part
        stack += [(f"{name}.{key}" if name else key, child) for key, child in reversed(inside)]


def _every(module: Record) -> Iterator[Record]:
    seen: set[int] = set()
    stack = [module]
    while stack:
        part = stack.pop()
        if id(part) not in seen:
            seen.add(id(part))
            yield part
            stack += [child for _, child in _inside(part)]


def _links(module: Record, depth: int) -> Iterator[Record | None]:
    """Yield the layers of a chain as they run, and None for a module that may run its own in any order."""
    inside = _inside(module)
    if not inside:
        yield module
    elif _class(module) != _SEQUENTIAL or _weighs(module) or depth >= limits.RECURSION:
        yield None
    else:
        for _, child in inside:
            yield from _links(child, depth + 1)


def _inside(module: Record) -> list[tuple[str, Record]]:
    own = "out_proj" if _class(module).endswith(".MultiheadAttention") else ""
    held = module.attributes.get("_modules")
    members = held.items() if isinstance(held, dict) else ()
    return [(str(key), child) for key, child in members if isinstance(child, Record) and is_module(child) and key != own]


def _weighs(module: Record) -> bool:
    """Whether a module itself holds tensors of its `state_dict`."""
    unsaved = module.attributes.get("_non_persistent_buffers_set")
    left_out = unsaved if isinstance(unsaved, (list, tuple)) else ()
    parameters, buffers = module.attributes.get("_parameters"), module.attributes.get("_buffers")
    held = list(parameters.values()) if isinstance(parameters, dict) else []
    held += [each for key, each in buffers.items() if key not in left_out] if isinstance(buffers, dict) else []
    return any(each is not None for each in held)


def _class(module: Record) -> str:
    kind = class_of(module)
    return kind.text if kind is not None else ""


def _is_plain(module: Record) -> bool:
    """Whether a module has neither hooks nor a method of its own."""
    held = module.attributes
    return not (held.get("_forward_hooks") or held.get("_forward_pre_hooks") or "forward" in held)


def _layer(name: str, module: Record) -> Layer:
    """Describe a layer; one with attributes that its class does not have, as in another version, has no settings."""
    word = _class(module).rpartition(".")[2]
    bases = [word] if _class(module).startswith("torch.nn.") else []
    try:
        kind, settings = kind_and_settings(_Attributes(module.attributes, word), bases)
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        kind, settings = "other", {}
    return Layer(name, kind, word, settings)


class _Attributes:
    """The attributes of a pickled module that are numbers, words, or tuples of these."""

    __slots__ = ("_held",)

    def __init__(self, held: Mapping[Any, Pickled], word: str) -> None:
        # the kind of a cell is in the name of its class, where a layer has it in `mode`
        self._held = {"mode": word, **held} if word.endswith("Cell") else held

    def __getattr__(self, name: str) -> Any:
        if name not in self._held:
            raise AttributeError(name)
        return _plain(self._held[name], name)


def _plain(value: Pickled, name: str) -> Setting:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)) and len(value) <= _LENGTH and not any(isinstance(each, (list, tuple)) for each in value):
        return tuple(_plain(each, name) for each in value)
    raise AttributeError(name)
