"""Flax: bound modules and train states of linen, and modules of NNX, as graphs that run.

A linen module knows its layers only while it is called; without inputs only its automatic names show some. With inputs,
functions between layers (`nn.relu`, `+`, `reshape`) are layers too, named after the function.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flax import nnx
from flax.linen import Module
from flax.training.train_state import TrainState

from steelyard.core.plugins import load
from steelyard.frameworks.flax import linen
from steelyard.frameworks.flax import nnx as of_nnx

if TYPE_CHECKING:
    from steelyard.core.graph import Graph, Run
    from steelyard.core.weight import Array


def graph(model: object, inputs: Sequence[Array] | None) -> Graph:
    """Return the layers; with inputs, in the order in which they run. The run is traced, so nothing is computed."""
    made: Graph = _runner(model).graph(model, inputs)
    return made


def run(model: object, inputs: Sequence[Array]) -> Run:
    """Run the model in inference mode, in float64 unless its layers specify a `dtype`.

    Raises `UnknownModelError` for variables without their module, and `ShapeError` if the model needs more
    arguments than its inputs.
    """
    made: Run = _runner(model).run(model, inputs)
    return made


def _runner(model: object) -> Any:
    """Return the module that runs this kind of object; variables, and states without a module, are plain trees."""
    if isinstance(model, nnx.Module):
        return of_nnx
    bound = isinstance(model, Module) and model.scope is not None
    of_module = isinstance(model, TrainState) and isinstance(getattr(model.apply_fn, "__self__", None), Module)
    return linen if bound or of_module else load("frameworks", "jax")
