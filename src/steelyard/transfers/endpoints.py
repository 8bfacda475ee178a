"""The two sides of a transfer: a live model, which can be run, or a file, which cannot."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from steelyard.core.plugins import framework_of
from steelyard.core.weights import Weights
from steelyard.errors import printable
from steelyard.io import weights
from steelyard.transfers.pairing.net import Net

if TYPE_CHECKING:
    from steelyard.core.graph import Graph, Run
    from steelyard.core.protocols import Runner
    from steelyard.core.weight import Array


class Endpoint:
    """A model or a file, its weights, and how it is run."""

    __slots__ = ("_runner", "model", "weights")

    def __init__(self, model: Any) -> None:
        self.model = model
        self.weights = weights(model)
        self._runner = _runner(model)

    @property
    def runs(self) -> bool:
        """Whether there is a model that can be run."""
        return self._runner is not None

    @property
    def name(self) -> str:
        """What to call it in a message."""
        if isinstance(self.model, (str, os.PathLike)):
            return printable(os.fspath(self.model))
        return "weights without a model" if isinstance(self.model, Weights) else f"a {printable(type(self.model).__name__)}"

    def graph(self, inputs: Sequence[Array] | None = None) -> Graph | None:
        """Return the graph of the model or of the file, None where there is none."""
        return self._runner.graph(self.model, inputs) if self._runner else self.weights.graph

    def net(self, inputs: Sequence[Array] | None = None) -> Net:
        """Return the net as units."""
        return Net(self.weights, self.graph(inputs))

    def run(self, inputs: Sequence[Array]) -> Run:
        """Run the model."""
        return cast("Runner", self._runner).run(self.model, inputs)


def _runner(model: Any) -> Runner | None:
    if isinstance(model, (str, os.PathLike, Weights, Mapping)):
        return None
    framework = framework_of(model)
    return cast("Runner", framework) if hasattr(framework, "run") else None
