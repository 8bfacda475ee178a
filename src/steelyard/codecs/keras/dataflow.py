"""The layers that feed each layer of a Keras config."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.keras.config import MODELS, Functional, Ref, entries_of, functional_of, is_sequential, refs_in
from steelyard.core.dataflow import UNKNOWN, CallGraph, inputs_of_net, merged, output_names
from steelyard.errors import FormatError
from steelyard.layers.keras.kinds import class_and_config
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from steelyard.codecs.keras.config import Key
    from steelyard.core.dataflow import Sources
    from steelyard.core.graph import Layer
    from steelyard.storage.source import Source

_UNKNOWN: Sources = (UNKNOWN,)
CALL_COST = 1000
"""bytes of memory that stand for the time to follow a call: a short config can call models in models without end"""


class ConfigTracer:
    """Follows a config as its model runs; the calls are charged to `source`, if it is from a file.

    `rows` are the layers of each entry, by its identity: chains that run in parallel.
    """

    __slots__ = ("_budget", "_calls", "_models", "_rows", "_whole")

    def __init__(self, rows: Mapping[int, Sequence[Sequence[Layer]]], source: Source | None = None) -> None:
        self._rows = rows
        self._calls = CallGraph()
        self._models: dict[int, Functional] = {}
        source = source or from_bytes(b"", "a config")
        self._budget = Budget(source)
        self._whole = source.whole

    def set_inputs(
        self, config: object, listed: Iterable[Layer], weightless: Iterable[int], input_names: Sequence[str]
    ) -> tuple[str, ...] | None:
        """Set the inputs of the layers, unless following them takes more than the file may.

        The layers in `weightless`, by identity, have no weights. Returns the names of those that give the outputs of the model,
        None if they are not known.
        """
        before, ends = self._whole.spent, [_UNKNOWN]
        layers: dict[Hashable, Layer] = {id(layer): layer for layer in listed}
        with suppress(FormatError):
            ends = self._through(config, inputs_of_net(len(input_names)), 0)
            self._calls.set_inputs(layers, weightless, input_names)
        self._whole.spent = before  # of memory that is free again
        return output_names(ends, layers)

    def _through(self, entry: object, given: Sequence[Sources], depth: int) -> list[Sources]:
        """Return the sources of each output of an entry; of a layer, one set for all outputs."""
        self._budget.spend(CALL_COST)
        kind, config = class_and_config(entry)
        if depth >= limits.RECURSION:
            return [_UNKNOWN]
        if entries_of(entry):
            if kind not in MODELS:
                return [_UNKNOWN]
            return self._chain(entry, given, depth) if is_sequential(entry) else self._functional(entry, given, depth)
        if kind == "InputLayer":
            return list(given)
        # a wrapper such as TimeDistributed around a whole model
        if entries_of(config.get("layer")):
            return self._through(config["layer"], given, depth + 1)
        return [self._layer(entry, merged(given))]

    def _layer(self, entry: object, given: Sources) -> Sources:
        made = []
        for row in self._rows.get(id(entry), ()):
            sources = given
            for layer in row:
                sources = self._calls.call(id(layer), sources)
            made.append(sources)
        return merged(made) or _UNKNOWN

    def _chain(self, entry: object, given: Sequence[Sources], depth: int) -> list[Sources]:
        made = list(given)
        for each in entries_of(entry):
            made = self._through(each, made, depth + 1)
        return made

    def _functional(self, entry: object, given: Sequence[Sources], depth: int) -> list[Sources]:
        """Follow a functional model; further inputs such as masks may come after the listed ones."""
        if id(entry) not in self._models:
            self._models[id(entry)] = functional_of(entry)
        model = self._models[id(entry)]
        if not model.is_sound:
            return [_UNKNOWN]
        _, config = class_and_config(entry)
        names = [ref.name for ref in refs_in(config.get("input_layers"))]
        # without all inputs it is not known which of them is missing
        inputs = dict(zip(names, given, strict=False)) if len(given) >= len(names) else {}
        made: dict[Key, list[Sources]] = {}
        masks = model.masks
        for key in model.order:
            taken = [_one(made[ref.key], ref) for ref in model.calls[key]]
            if key in masks:
                made[key] = [merged(taken)]
            else:
                own = taken or [inputs.get(key[0], _UNKNOWN)]
                made[key] = self._through(model.by_name[key[0]], own, depth + 1)
        return [_one(made[ref.key], ref) for ref in model.ends]


def _one(made: Sequence[Sources], ref: Ref) -> Sources:
    return made[max(0, min(ref.output, len(made) - 1))]
