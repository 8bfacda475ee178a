"""`build`: make a model from the weights of a file or of another model, if there is one obvious architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from steelyard.core.plugins import builders, load
from steelyard.core.weight import Role
from steelyard.errors import MissingExtraError, ShapeError, meant, printable, quoted
from steelyard.io import weights
from steelyard.transfers.stacks import stack_of

if TYPE_CHECKING:
    from steelyard.core.dense_stack import DenseLayer
    from steelyard.core.protocols import Builder
    from steelyard.core.weight import Array, Weight


def build(source: object, framework: str, activations: Sequence[str] | Mapping[str, str] | None = None) -> Any:
    """Return a model of another framework with the predictions of `source`, ready for use.

    `source` is a model, a file or `Weights`: a sequence of dense layers, such as a multilayer perceptron, a linear model or
    an nnet of R. `framework` is "torch", "keras" or "sklearn", and is imported. The model has the dtype of the weights.
    Activations are taken from the source if it has them, as Keras, ONNX and TFLite files, R and scikit-learn objects, and
    `Sequential` models do. For other sources `activations` has one word for each dense layer, including the last
    ("linear" for none): a list in the order of the layers if their shapes allow only one order, or a dict by the names
    of the layers in their order.

    Raises `AmbiguityError` if activations or order are not known, `ShapeError` for anything but dense layers, and
    `MissingExtraError` if the framework is not installed.

    Examples:
        >>> import numpy as np
        >>> kernels = {"fc1.weight": np.array([[1.0, -1.0]]), "fc2.weight": np.array([[3.0]])}
        >>> net = build(kernels, "sklearn", activations=["relu", "linear"])
        >>> net.predict([[5.0, 1.0], [1.0, 5.0]]).tolist()
        [12.0, 0.0]
    """
    builder = _builder(framework)
    stack = stack_of(source, activations)
    model, layers = builder.build(stack)
    listed = weights(model)
    kernels = [weight for weight in listed.values() if weight.role is Role.KERNEL]
    biases = [weight for weight in listed.values() if weight.role is Role.BIAS]
    arrays = {weight.name: _kernel(layer, weight) for layer, weight in zip(layers, kernels, strict=True)}
    biased = [layer for layer in layers if layer.bias is not None] if len(biases) < len(layers) else layers
    arrays |= {weight.name: _bias(layer, weight) for layer, weight in zip(biased, biases, strict=True)}
    return listed.assign(arrays)


def _builder(framework: str) -> Builder:
    try:
        candidate = load("frameworks", framework)
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing == "steelyard":
            raise
        package = {"sklearn": "scikit-learn"}.get(missing, missing)
        raise MissingExtraError(f"a model of {printable(framework)}", package=package) from None
    if not hasattr(candidate, "build"):
        raise ShapeError(
            f"framework is {quoted(framework)}; it must be one of {', '.join(builders())}{meant(framework, builders())}"
        )
    return cast("Builder", candidate)


def _kernel(layer: DenseLayer, weight: Weight) -> Array:
    kernel = layer.kernel.T if weight.axes == "in out" else layer.kernel
    return kernel.reshape(weight.shape).astype(weight.dtype)


def _bias(layer: DenseLayer, weight: Weight) -> Array:
    """Return a bias; zeros for a layer without one in a framework whose layers always have one."""
    import numpy as np

    if layer.bias is None:
        return np.zeros(weight.shape, weight.dtype)
    return layer.bias.reshape(weight.shape).astype(weight.dtype)
