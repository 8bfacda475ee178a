"""What flows into which layer of the model that a Keras file's config describes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.keras.config import MODELS, Net, Ref, entries_of, is_sequential, net_of, refs_in
from steelyard.core.dataflow import INPUT, NOTHING, UNKNOWN, CallGraph, merged
from steelyard.layers.keras.kinds import class_and_config

if TYPE_CHECKING:
    from steelyard.codecs.keras.config import Key
    from steelyard.core.dataflow import Sources
    from steelyard.core.graph import Layer

_UNKNOWN: Sources = frozenset({UNKNOWN})


class ConfigTracer:
    """Walks through a config as its model runs; `rows` are the layers of each entry: rows that run side by side."""

    __slots__ = ("_calls", "_left", "_nets", "_rows")

    def __init__(self, rows: Mapping[int, Sequence[Sequence[Layer]]]) -> None:
        self._rows = rows
        self._calls = CallGraph()
        self._nets: dict[int, Net] = {}
        self._left = limits.KERAS_CALLS

    def set_inputs(self, config: Any, listed: Iterable[Layer], weightless: Iterable[int]) -> None:
        """Set the inputs of the layers; those in `weightless`, by identity, have no weights."""
        _, own = class_and_config(config)
        inputs = len(list(refs_in(own.get("input_layers"))))
        self._through(config, [frozenset({INPUT})] * max(inputs, 1), 0)
        if self._left > 0:
            self._calls.set_inputs({id(layer): layer for layer in listed}, weightless)

    def _through(self, entry: Any, given: Sequence[Sources], depth: int) -> list[Sources]:
        """Return what each output of an entry is made of; a single set for all outputs of what is no model."""
        self._left -= 1
        kind, config = class_and_config(entry)
        if depth >= limits.RECURSION or self._left <= 0:
            return [_UNKNOWN]
        if entries_of(entry):
            if kind not in MODELS:
                return [_UNKNOWN]
            return self._chain(entry, given, depth) if is_sequential(entry) else self._net(entry, given, depth)
        if kind == "InputLayer":
            return list(given)
        if entries_of(config.get("layer")):
            return self._through(config["layer"], given, depth + 1)
        return [self._layer(entry, merged(given))]

    def _layer(self, entry: Any, given: Sources) -> Sources:
        made = NOTHING
        for row in self._rows.get(id(entry), ()):
            sources = given
            for layer in row:
                sources = self._calls.call(id(layer), sources)
            made |= sources
        return made or _UNKNOWN

    def _chain(self, entry: Any, given: Sequence[Sources], depth: int) -> list[Sources]:
        made = list(given)
        for each in entries_of(entry):
            made = self._through(each, made, depth + 1)
        return made

    def _net(self, entry: Any, given: Sequence[Sources], depth: int) -> list[Sources]:
        """Walk through a functional model; masks and the like may stand behind its inputs."""
        if id(entry) not in self._nets:
            self._nets[id(entry)] = net_of(entry)
        net = self._nets[id(entry)]
        if not net.is_sound:
            return [_UNKNOWN]
        _, config = class_and_config(entry)
        names = [ref.name for ref in refs_in(config.get("input_layers"))]
        inputs = dict(zip(names, given, strict=False)) if len(given) >= len(names) else {}
        made: dict[Key, list[Sources]] = {}
        masks = net.masks
        for key in net.order:
            taken = [_one(made[ref.key], ref) for ref in net.calls[key]]
            if key in masks:
                made[key] = [merged(taken)]
            else:
                own = taken or [inputs.get(key[0], _UNKNOWN)]
                made[key] = self._through(net.by_name[key[0]], own, depth + 1)
        return [_one(made[ref.key], ref) for ref in net.ends]


def _one(made: Sequence[Sources], ref: Ref) -> Sources:
    return made[max(0, min(ref.output, len(made) - 1))]
