"""The two ends of a transfer: live models, which can be run, or files and detached weights, which cannot."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from steelyard.core.places import has_names, same_places
from steelyard.core.plugins import framework_of
from steelyard.core.weights import Weights
from steelyard.errors import ReadOnlyError, printable
from steelyard.io import readable_weights, weights
from steelyard.storage.opening import public
from steelyard.transfers.orders import learned, notes_of_list
from steelyard.transfers.pairing.net import Net
from steelyard.transfers.unstacked import unstacked

if TYPE_CHECKING:
    from steelyard.core.graph import Run
    from steelyard.core.protocols import Runner
    from steelyard.core.weight import Array


class Endpoint:
    """One end of a transfer: its `weights`, its `net`, and the `model` to run, None if there is none.

    The model of live `Weights` is the model to which they belong; `notes` has what was assumed of them. With `effective` the
    weights are those that it computes with.
    """

    __slots__ = ("_effective", "_is_split", "_net", "_runner", "_skips", "_source", "_without", "model", "notes", "weights")

    def __init__(self, source: object, *, skip_unreadable: bool = False, effective: bool = False) -> None:
        self._source = source
        self._skips = skip_unreadable
        self._effective = effective
        self.notes: list[str] = []
        self.weights = readable_weights(source, skip_unreadable=skip_unreadable, effective=effective)
        self._net: Net | None = None
        self._is_split = False
        self._without: Collection[str] | None = None
        self.model = _model_of(source)
        self._runner = _runner(self.model)

    @property
    def net(self) -> Net:
        """The layers of the weights."""
        if self._net is None:
            self._net = Net(self.weights, self.weights.graph)
        return self._net

    def with_model(self, model: object) -> Endpoint:
        """Return the same end with another model."""
        return self if model is self.model else Endpoint(model, skip_unreadable=self._skips, effective=self._effective)

    def learn_names(self, other: Endpoint) -> None:
        """Take over the names and the facts of the other's weights, if these only have places, which the other proves.

        Raises `AmbiguityError` for a list whose shapes do not show whether its layout is the other's.
        """
        places = {} if has_names(self.weights) else same_places(self.weights, other.weights)
        if places:
            pairs = ((self.weights[mine], other.weights[theirs]) for mine, theirs in places.items())
            found = (named.replace(read=weight.read, dtype=weight.dtype, encoding=weight.encoding) for weight, named in pairs)
            self.weights = self.weights.with_weights(found, detached=True)
            self.notes += notes_of_list(self.weights)
            self._net = Net(self.weights, None)

    def learn_orders(self, other: Endpoint) -> None:
        """Take over the order of the axes of kernels that this end does not show, from the other's weights of their names."""
        found = learned(self.weights, other.weights)
        if found is not self.weights:
            self.weights, self._net = found, Net(found, self.net.graph, self.net.stored)

    def split_stacks(self, other: Endpoint) -> None:
        """Split layers that are stored as one into those of a list, with the names of the other's layers where these fit."""
        found = None if self._is_split else unstacked(self.weights, other.weights)
        if found is not None:
            self._is_split = True
            self.weights, self._net = found.weights, Net(found.weights, found.graph, found.restacked)

    @property
    def runs(self) -> bool:
        """Whether there is a model that can be run."""
        return self._runner is not None

    @property
    def name(self) -> str:
        """The name in messages."""
        if isinstance(self._source, (str, os.PathLike)):
            return printable(public(os.fspath(self._source)))
        return "weights without a model" if isinstance(self._source, Weights) else f"a {printable(type(self._source).__name__)}"

    def observe(self, inputs: Sequence[Array]) -> None:
        """Run the model, if there is one, so that the net has its layers in the order of execution."""
        if self._runner is not None and self._has_names_of_model() and not self._is_split:
            self._net = Net(self.weights, self._runner.graph(self.model, inputs))

    def observe_functions(self, inputs: Sequence[Array], names: Collection[str]) -> None:
        """Run the model again with the functions of some modules listed in their place, if its framework can do so."""
        import inspect

        graph = None if self._runner is None else self._runner.graph
        if graph is not None and "without" in inspect.signature(graph).parameters:
            self._net = Net(self.weights, cast("Any", graph)(self.model, inputs, without=names))
            self._without = names

    def _has_names_of_model(self) -> bool:
        """Whether the weights have the names that the graph of the model has: `Weights` may have been renamed."""
        is_own = not isinstance(self._source, Weights) and not self._effective
        return is_own or set(self.weights) <= set(weights(self.model))

    def run(self, inputs: Sequence[Array]) -> Run:
        """Run the model as at inference, with the functions that were observed among its layers."""
        runner = cast("Any", self._runner)
        made: Run = runner.run(self.model, inputs, **({} if self._without is None else {"without": self._without}))
        return made


def _model_of(source: object) -> Any:
    if isinstance(source, (str, os.PathLike)):
        return None
    if not isinstance(source, Weights):
        return source
    try:
        return source.assign({})  # this changes nothing and returns the model
    except ReadOnlyError:
        return None


def _runner(model: object) -> Runner | None:
    if model is None or isinstance(model, Mapping):
        return None
    framework = framework_of(model)
    return cast("Runner", framework) if hasattr(framework, "run") else None
