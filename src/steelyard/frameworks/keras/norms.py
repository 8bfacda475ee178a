"""The running statistics of batch norms, computed anew by runs of a model in training mode."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import keras

from steelyard.errors import ShapeError


def update_norms(model: keras.Layer, data: Iterable[Any]) -> None:
    """Set the moving statistics to the means of those of the batches; see `steelyard.update_norms`."""
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]
    if not norms:
        raise ShapeError("the model has no norms with moving statistics that are not frozen")
    own = {id(variable) for norm in norms for variable in (norm.moving_mean, norm.moving_variance)}
    before = [(variable, keras.ops.copy(variable.value)) for variable in model.variables if not variable.trainable]
    try:
        with ExitStack() as restored:
            for norm in norms:
                restored.callback(setattr, norm, "momentum", norm.momentum)
            _run(model, norms, data)
    except BaseException:
        own = set()
        raise
    finally:
        for variable, value in before:
            if id(variable) not in own:  # such as the seeds of dropout
                variable.assign(value)


def _run(model: keras.Layer, norms: list[keras.layers.BatchNormalization], data: Iterable[Any]) -> None:
    count = 0
    for batch in data:
        for norm in norms:
            norm.momentum = count / (count + 1)  # which makes the moving mean that of all batches so far
        model(batch[0] if isinstance(batch, (list, tuple)) else batch, training=True)
        count += 1
    if not count:
        raise ShapeError("there are no batches; pass the data that the norms should fit")
