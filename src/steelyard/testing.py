"""The contracts of frameworks and formats, as checks for plug-ins.

The tests of a plug-in call them, as Steelyard's own tests do::

    from steelyard.testing import check_model

    def test_my_framework():
        check_model(trained_model())
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.casting import common_dtype
from steelyard.dtypes import ITEMSIZES
from steelyard.errors import ShapeError
from steelyard.formats import format_of, weights_in, writer_of
from steelyard.io import weights

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source


def check_model(model: Any) -> Any:
    """Check the contract of every framework on a model that has weights; return the model that `assign` returned.

    The model's numbers are overwritten and restored. Raises `AssertionError` with the weight and the broken promise.
    """
    listed = weights(model)
    check_weights(listed)
    vector = _vector(listed)
    changed = listed.from_vector(np.zeros_like(vector))
    after = weights(listed.assign(changed, verify=False))
    assert not _vector(after).any(), "assign of a mapping did not reach the model"
    restored = after.assign(vector, verify=False)
    assert np.array_equal(_vector(weights(restored)), vector, equal_nan=True), "assign of the vector did not bring it back"
    assert list(weights(restored)) == list(listed), "assign changed the names or their order"
    _check_refusals(weights(restored))
    return restored


def _vector(listed: Weights) -> Array:
    """Return all weights as a vector of the type that holds them, counters too."""
    vector: Array = listed.to_vector(dtype=common_dtype(weight.dtype for weight in listed.values()))
    return vector


def check_weights(listed: Weights) -> None:
    """Check the weights of any source: their facts fit, and their readers are consistent."""
    for name, weight in listed.items():
        assert name == weight.name, f"{name} is listed under another name, {weight.name}"
        _check_facts(weight, listed)
        _check_reader(weight)


def check_format(source: Source) -> Weights:
    """Check the contract of every format on a source in it; return its weights.

    Scope "all" lists at least the weights of the model, and a file that the format writes is read back unchanged.
    """
    listed = weights_in(source)
    check_weights(listed)
    again = weights_in(source, "all")
    assert len(again) >= len(listed), "scope 'all' lists fewer weights than the model has"
    form = format_of(source)
    if hasattr(form, "write"):
        _check_written(listed, form.SUFFIXES[0])
    return listed


def _check_facts(weight: Weight, listed: Weights) -> None:
    name = weight.name
    assert weight.dtype in ITEMSIZES, f"{name}: {weight.dtype} is not a dtype that Steelyard knows"
    assert all(type(length) is int and length >= 0 for length in weight.shape), f"{name}: the shape {weight.shape} is not of ints"
    assert len(weight.axes.split()) in (0, len(weight.shape)), f"{name}: {weight.axes!r} does not name the axes of {weight.shape}"
    assert weight.tied is None or weight.tied != name, f"{name} is tied to itself"
    owner = listed.get(weight.tied or name)
    assert owner is None or owner.shape == weight.shape, f"{name} is tied to another shape"


def _check_reader(weight: Weight) -> None:
    """Check that any run is that part of the whole, and that the whole is read-only."""
    whole = weight.numpy()
    assert whole.shape == weight.shape, f"{weight.name}: numpy() has shape {whole.shape}, listed is {weight.shape}"
    assert whole.dtype.name == weight.dtype, f"{weight.name}: numpy() is {whole.dtype}, listed is {weight.dtype}"
    assert not whole.flags.writeable, f"{weight.name}: numpy() can be written to"
    flat = whole.reshape(-1)
    for start, stop in ((0, 0), (0, 1), (weight.size // 3, weight.size // 2 + 1), (weight.size - 1, weight.size)):
        start, stop = max(start, 0), min(stop, weight.size)  # noqa: PLW2901 - a weight may be shorter than the run
        run = weight.read(start, stop)
        assert run.ndim == 1, f"{weight.name}: a run has {run.ndim} axes"
        assert run.tobytes() == flat[start:stop].tobytes(), f"{weight.name}: the run [{start}, {stop}) differs from numpy()"


def _check_refusals(listed: Weights) -> None:
    """Check that a vector that is too long or too short is refused, and nothing is written."""
    before = _vector(listed)
    for length in (listed.size + 1, max(listed.size - 1, 0)):
        if length == listed.size:
            continue
        try:
            listed.assign(np.zeros(length))
        except ShapeError:
            continue
        raise AssertionError(f"a vector of {length} entries was accepted for {listed.size}")
    assert np.array_equal(_vector(listed), before, equal_nan=True), "a refused vector changed the model"


def _check_written(listed: Weights, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"weights{suffix}"
        writer_of(path).write(listed, path)
        back = weights(path)
        assert list(back) == list(listed), "written and read again, the names or their order differ"
        for name, weight in listed.items():
            assert back[name].numpy().tobytes() == weight.numpy().tobytes(), f"{name} differs after writing and reading"
