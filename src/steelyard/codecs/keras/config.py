"""How a Keras file's config is built: entries of layers, the calls of each, and the tensors that a call takes.

Nothing here believes what it reads: what is not of the expected sort is as good as absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.dataflow import topological_order
from steelyard.layers.keras.kinds import class_and_config

if TYPE_CHECKING:
    from steelyard.core.graph import Shape

    Key = tuple[str, int]
    """A layer's name, and which of its calls is meant."""

MODELS = ("Functional", "Model", "Sequential")
"""Classes that run as their configs say; a user's class may do otherwise."""


class Ref(NamedTuple):
    """Which output of which call of a layer is meant, and its shape where it is said."""

    name: str
    call: int
    output: int
    shape: Shape | None = None
    dtype: str = ""
    is_old: bool = True

    @property
    def key(self) -> tuple[str, int]:
        return self.name, self.call


class Net(NamedTuple):
    """A functional model: its layers by name, what each call takes, its outputs, and the calls that these need, in order."""

    by_name: dict[str, Any]
    calls: dict[Key, list[Ref]]
    ends: list[Ref]
    order: list[Key]

    @property
    def is_sound(self) -> bool:
        """Tell whether every layer stands behind all that it takes: there are no circles and nothing is missing."""
        place = {key: count for count, key in enumerate(self.order)}
        behind = all(key in self.calls and all(place[ref.key] < place[key] for ref in self.calls[key]) for key in self.order)
        return bool(self.ends) and behind

    @property
    def masks(self) -> set[Key]:
        """The calls that give masks, which are no layers."""
        refs = (ref for taken in self.calls.values() for ref in taken)
        return {ref.key for ref in refs if ref.shape is not None and ref.output == 0 and ref.dtype == "bool"}


def net_of(entry: Any) -> Net:
    """Return what a functional model's entry describes."""
    _, config = class_and_config(entry)
    by_name = {name_of(each): each for each in entries_of(entry)}
    calls = {
        (name, n): [_meant(ref, by_name, is_call=True) for ref in refs_in(call)]
        for name, each in by_name.items()
        for n, call in enumerate(calls_of(each))
    }
    ends = [_meant(ref, by_name, is_call=False) for ref in refs_in(config.get("output_layers"))]
    order = topological_order([ref.key for ref in ends] or list(calls), lambda key: [ref.key for ref in calls.get(key, [])])
    return Net(by_name, calls, ends, order)


def entries_of(entry: Any) -> list[Any]:
    """Return the layers of a model's entry; a Sequential model of Keras 1 is nothing but the list of them."""
    inner = entry.get("config") if isinstance(entry, Mapping) else None
    layers = inner.get("layers") if isinstance(inner, Mapping) else inner
    return [each for each in layers if isinstance(each, Mapping)] if isinstance(layers, list) else []


def is_sequential(entry: Any) -> bool:
    """Tell whether a model's entry is a chain of layers, not a graph."""
    _, config = class_and_config(entry)
    return "output_layers" not in config


def name_of(entry: Any) -> str:
    """Return the name of a layer's entry, blank where it has none."""
    _, config = class_and_config(entry)
    name = config.get("name") or (entry.get("name") if isinstance(entry, Mapping) else "")
    return name if isinstance(name, str) else ""


def calls_of(entry: Any) -> list[Any]:
    """Return the calls of a layer; one that takes no tensors, as an input does, is called once."""
    calls = entry.get("inbound_nodes")
    return calls if isinstance(calls, list) and calls else [[]]


def refs_in(structure: Any) -> Iterator[Ref]:
    """Yield the tensors that a call takes, in order, as any version of Keras writes them."""
    stack = [structure]
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


def _tensor(item: Mapping[str, Any]) -> Ref | None:
    config = item.get("config")
    if item.get("class_name") != "__keras_tensor__" or not isinstance(config, Mapping):
        return None
    history = config.get("keras_history")
    if not isinstance(history, list) or not _is_history(history):
        return None
    name, call, output = history[:3]
    return Ref(name, call, output, shape_of(config.get("shape")), str(config.get("dtype")), is_old=False)


def _meant(ref: Ref, by_name: Mapping[str, Any], *, is_call: bool) -> Ref:
    """Count the calls of a layer from 0: to Keras a functional model was called once when it was made.

    Keras 3 counts so only where it lists the outputs, Keras 2 wherever it names a model.
    """
    entry = by_name.get(ref.name)
    if entry is None:
        return ref
    is_model = bool(entries_of(entry)) and (is_call or not is_sequential(entry))
    call = ref.call - 1 if is_model and ref.is_old else ref.call
    return ref._replace(call=max(0, min(call, len(calls_of(entry)) - 1)))


def _is_history(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and len(item) in (3, 4) and [type(each) for each in item[:3]] == [str, int, int]


def shape_of(value: Any) -> Shape | None:
    """Return a shape without the batch, if it is one."""
    if not isinstance(value, (list, tuple)) or not value:
        return None
    sound = len(value) <= 32 and all(n is None or (type(n) is int and n >= 0) for n in value)
    return tuple(value[1:]) if sound else None
