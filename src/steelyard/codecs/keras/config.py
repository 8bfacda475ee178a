"""The structure of a Keras config: entries of layers, the calls of each layer, and the tensors that a call takes.

A config is untrusted: a value of an unexpected type counts as absent. The entry of a layer, and of a model among them:

    class_name     "Dense", "Functional", ...
    config         settings; of a model its layers (entries), input_layers and output_layers
    inbound_nodes  the calls of the layer in a functional model, each with the tensors that it takes
    build_config   in Keras 3, the input shape

A tensor is [layer, call, output] in Keras 1 and 2, often with a dict of further arguments, and in Keras 3 a
`__keras_tensor__` with these three in `keras_history`, and its shape and dtype.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.dataflow import topological_order
from steelyard.layers.keras.kinds import class_and_config

if TYPE_CHECKING:
    from steelyard.core.graph import Shape

    Key = tuple[str, int]
    """The name of a layer, and the number of the call."""

MODELS = ("Functional", "Model", "Sequential")
"""Classes that run as their configs describe; a user's class may not."""


class Ref(NamedTuple):
    """A reference to an output of a call of a layer, with its shape where that is known. `is_old`: before Keras 3."""

    name: str
    call: int
    output: int
    shape: Shape | None = None
    dtype: str = ""
    is_old: bool = True

    @property
    def key(self) -> tuple[str, int]:
        """The layer and the number of its call, which identify the call in the model."""
        return self.name, self.call


class Functional(NamedTuple):
    """A functional model: its layers by name, the inputs of each call, the outputs, and the calls in execution order."""

    by_name: dict[str, object]
    calls: dict[Key, list[Ref]]
    ends: list[Ref]
    order: list[Key]

    @property
    def is_sound(self) -> bool:
        """Whether every call comes after those that it depends on: there are no cycles, and no call is missing."""
        place = {key: count for count, key in enumerate(self.order)}
        in_order = all(key in self.calls and all(place[ref.key] < place[key] for ref in self.calls[key]) for key in self.order)
        return bool(self.ends) and in_order

    @property
    def masks(self) -> set[Key]:
        """The calls that compute masks, which are not layers."""
        refs = (ref for taken in self.calls.values() for ref in taken)
        return {ref.key for ref in refs if ref.shape is not None and ref.output == 0 and ref.dtype == "bool"}


def functional_of(entry: object) -> Functional:
    """Return the functional model of an entry."""
    _, config = class_and_config(entry)
    by_name = {name_of(each): each for each in entries_of(entry)}
    calls = {
        (name, n): [_counted(ref, by_name, is_call=True) for ref in refs_in(call)]
        for name, each in by_name.items()
        for n, call in enumerate(calls_of(each))
    }
    ends = [_counted(ref, by_name, is_call=False) for ref in refs_in(config.get("output_layers"))]
    order = topological_order([ref.key for ref in ends] or list(calls), lambda key: [ref.key for ref in calls.get(key, [])])
    return Functional(by_name, calls, ends, order)


def entries_of(entry: object) -> list[object]:
    """Return the layers of a model's entry. The config of a Sequential model of Keras 1 is the list of layers itself."""
    inner = entry.get("config") if isinstance(entry, Mapping) else None
    layers = inner.get("layers") if isinstance(inner, Mapping) else inner
    return [each for each in layers if isinstance(each, Mapping)] if isinstance(layers, list) else []


def is_sequential(entry: object) -> bool:
    """Whether the entry of a model is a chain of layers, not a graph."""
    _, config = class_and_config(entry)
    return "output_layers" not in config


def name_of(entry: object) -> str:
    """Return the name of a layer's entry, blank where it has none."""
    _, config = class_and_config(entry)
    name = config.get("name") or (entry.get("name") if isinstance(entry, Mapping) else "")
    return name if isinstance(name, str) else ""


def calls_of(entry: object) -> list[object]:
    """Return the calls of a layer. A layer without inputs, such as an input layer, is called once."""
    calls = entry.get("inbound_nodes") if isinstance(entry, Mapping) else None
    return calls if isinstance(calls, list) and calls else [[]]


def refs_in(structure: object) -> Iterator[Ref]:
    """Yield the tensors of a call, in order, in the spelling of any version of Keras."""
    stack: list[object] = [structure]  # not recursion: a hostile config may be nested deeper than Python allows
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            ref = _tensor(item)
            if ref is not None:
                yield ref
            else:
                stack += [item[key] for key in sorted(item, key=str, reverse=True)]  # as Keras flattens them
        elif isinstance(item, (list, tuple)):
            if _is_history(item):
                yield Ref(*item[:3])
                stack += item[3:]
            else:
                stack += reversed(item)


def _tensor(item: Mapping[str, object]) -> Ref | None:
    config = item.get("config")
    if item.get("class_name") != "__keras_tensor__" or not isinstance(config, Mapping):
        return None
    history = config.get("keras_history")
    if not isinstance(history, list) or not _is_history(history):
        return None
    name, call, output = history[:3]
    return Ref(name, call, output, shape_of(config.get("shape")), str(config.get("dtype")), is_old=False)


def _counted(ref: Ref, by_name: Mapping[str, object], *, is_call: bool) -> Ref:
    """Count the calls of a layer from 0. Keras counts the construction of a functional model as its first call.

    Keras 3 does so only in the list of outputs, Keras 2 in all references to a model.
    """
    entry = by_name.get(ref.name)
    if entry is None:
        return ref
    is_model = bool(entries_of(entry)) and (is_call or not is_sequential(entry))
    call = ref.call - 1 if is_model and ref.is_old else ref.call
    return ref._replace(call=max(0, min(call, len(calls_of(entry)) - 1)))


def _is_history(item: list[Any] | tuple[Any, ...]) -> bool:
    return len(item) in (3, 4) and [type(each) for each in item[:3]] == [str, int, int]


def shape_of(value: object) -> Shape | None:
    """Return a shape without the batch, if it is one."""
    if not isinstance(value, (list, tuple)) or not value:
        return None
    sound = len(value) <= 32 and all(n is None or (type(n) is int and n >= 0) for n in value)
    return tuple(value[1:]) if sound else None


def joined_path(prefix: str, name: str) -> str:
    """Join a name and the prefix of its outer layers; either may be blank."""
    return f"{prefix}/{name}" if prefix and name else prefix or name
