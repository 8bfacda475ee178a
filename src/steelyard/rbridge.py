"""The interface of the R package `steelyard`: weights as raw bytes, facts as plain lists.

R's reticulate cannot convert the arrays of every NumPy version, and fails silently. So numbers are passed only as bytes:
float64, little-endian and column-major, as in R's memory; a `bytearray` becomes R's raw vector in every version.
All functions return a str, an int, a float, a list, a dict or a bytearray, but for `recorder` and `callback`: R only hands on
the objects that these return.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.core.net_facts import noted
from steelyard.core.plugins import framework_of
from steelyard.core.stacked import split
from steelyard.core.weights import Weights
from steelyard.dtypes import is_floating, numpy_dtype
from steelyard.errors import ReadOnlyError, UnknownModelError, printable
from steelyard.text.units import in_units

if TYPE_CHECKING:
    from steelyard.core.vector import Order
    from steelyard.core.weight import Array, DType, Weight
    from steelyard.runs.callbacks import Each
    from steelyard.runs.recording import Recorder

_NUMBERS = "<f8"
_TRAINABLE = {True: "yes", False: "no", None: ""}


def listing(source: object, pattern: str = "*") -> dict[str, list[str] | list[float] | list[list[float]]]:
    """Return the facts of the weights that match a shell pattern: for each fact a list with one value per weight.

    A layer that is a single matrix, as in R's nnet and neuralnet, is listed as its kernel, bias and skip kernel.
    `source` is a live model, the path of a file, or a bytearray with an R object as `serialize` writes it.
    Sizes and shapes are floats, since R's whole numbers end at 2**31.
    """
    parts = _parts(source, pattern)
    return {
        "name": [w.name for w in parts],
        "layer": [w.layer for w in parts],
        "role": [str(w.role) for w in parts],
        "axes": [w.axes for w in parts],
        "dtype": [w.dtype for w in parts],
        "trainable": [_TRAINABLE[w.trainable] for w in parts],
        "tied": [w.tied or "" for w in parts],
        "size": [float(w.size) for w in parts],
        "shape": [[float(length) for length in w.shape] for w in parts],
    }


def numbers(source: object, pattern: str = "*") -> list[bytearray]:
    """Return the numbers of each weight that `listing` lists, in its order, column-major."""
    return [_raw(weight.name, weight.numpy()) for weight in _parts(source, pattern)]


def vector(source: object, order: Order = "F") -> bytearray:
    """Return all weights as one vector; tied ones once. `order` "F" flattens each by columns, "C" by rows."""
    return bytearray(_weights(source).to_vector(order, dtype=_NUMBERS).tobytes())


def positions(source: object) -> list[bytearray]:
    """Return the positions of the numbers of each listed weight in the vector of order "F", counted from 1.

    They are in the column-major order of the weight's numbers. The position of a missing connection between two units is 0.
    """
    import numpy as np

    weights = _weights(source)
    weights = weights.with_weights(weight.replace(dtype="float64") for weight in weights.values())
    counted = weights.from_vector(np.arange(1.0, weights.size + 1), "F")
    return [_raw(weight.name, weight.numpy()) for weight in _parts(counted, "*")]


def total(source: object) -> list[float]:
    """Return the number of parameters, of elements of buffers and of other weights, and of bytes; tied ones count once."""
    weights = _weights(source)
    return [*map(float, weights.counts), float(weights.nbytes)]


def amount(source: object) -> str:
    """Return the number of parameters, those of elements of buffers and of other weights, and the bytes, in words."""
    weights = _weights(source)
    return f"{weights.counts}, {in_units(weights.nbytes)}"


def notes(source: object) -> list[str]:
    """Return notes for the user of these weights, such as that the file also holds training data, or that digits are lost."""
    return noted(_weights(source).meta)


def network(source: object) -> dict[str, Any]:
    """Return the facts of the only network in a file or an R object, in the words of `Weights.meta`.

    `package`, `hidden` and `output` (activations; a list if layers differ), `inputs` and `outputs` (names), `cut` (the cutoff
    of the sigmoid), and as lists of numbers `center`, `scale` (of the inputs) and `target_center`, `target_scale`.
    Empty without a network; for several networks only their number, as `several`.
    """
    nets = _weights(source).meta.get("networks", {})
    members = sum(facts.get("members", facts.get("repetitions", 1)) for facts in nets.values())
    if members > 1:
        return {"several": float(members)}
    merged = {key: value for facts in nets.values() for key, value in facts.items()}
    scales = {
        f"{prefix}{key}": list(merged.get(group, {}).get(key, {}).values())
        for group, prefix in (("preprocess", ""), ("targets", "target_"))
        for key in ("center", "scale")
    }
    known = {key: merged[key] for key in ("package", "hidden", "output", "inputs", "outputs", "cut") if merged.get(key)}
    return known | {key: numbers for key, numbers in scales.items() if numbers} | _unusual(merged)


def assign(model: object, values: bytearray, order: Order = "F") -> int:
    """Put a vector into a live model, in place, and return its length.

    Raises `ShapeError` or `LossyError` if it does not fit, and `ReadOnlyError` for a file and for a model that cannot
    be changed in place, such as a tree of JAX: in Python, `Weights.assign` returns a new one.
    """
    if isinstance(model, Weights):
        raise ReadOnlyError("these are weights, not the model that they belong to; pass the model itself")
    given = _array(values, [len(values) // 8])
    if _weights(model).assign(given, order) is not model:
        raise ReadOnlyError(f"a {_kind(model)} cannot be changed in place; use Weights.assign in Python, which returns a new one")
    return len(given)


def predict(model: Any, values: bytearray, shape: list[float]) -> dict[str, bytearray | list[float] | list[str]]:
    """Return the output of a live model for an array of this shape: its `values` (raw, column-major), `shape` and `classes`.

    For a classifier of scikit-learn's kind these are the probabilities of its `classes`, if it has any; `classes` is empty
    for any other model. A model without such a method, such as a PyTorch module, is run in inference mode, in float64 if
    possible, and is unchanged afterwards. Raises `UnknownModelError` for a model that cannot predict.
    """
    import numpy as np

    x = _array(values, shape)
    classes: list[str] = []
    if hasattr(model, "predict_proba"):
        answer = model.predict_proba(_for_estimator(model, x))
        classes = [str(label) for label in getattr(model, "classes_", [])]
    elif _made_by(model, "keras") or _made_by(model, "tf_keras"):
        answer = model.predict(x, verbose=0)
    elif hasattr(model, "predict"):
        answer = model.predict(_for_estimator(model, x))
    else:
        answer = _run(model, x)
    if isinstance(answer, (list, tuple, dict)):
        raise UnknownModelError(f"this {_kind(model)} has {len(answer)} outputs; pass a model with one of them")
    answer = np.asarray(answer)
    return {"values": _raw("the prediction", answer), "shape": [float(length) for length in answer.shape], "classes": classes}


def average(sources: list[Any], shares: list[float], decay: list[float], out: str) -> dict[str, Any]:
    """Average models and files by `steelyard.average`, or with a decay by `ema`, and return facts, numbers and notes.

    Each of `name`, `shape` and `numbers` has one value per weight, as `listing` and `numbers` have; with `out`, a path, they
    are empty, and the average is written to it.
    """
    from steelyard.editing.averaging import average, ema
    from steelyard.errors import ShapeError

    if shares and decay:
        raise ShapeError("weights and a decay exclude each other; pass one of them")
    models = [_weights(source) for source in sources]
    made = ema(models, decay[0]) if decay else average(models, shares or None)
    return _edited(made, models[0], out)


def prune(source: Any, share: float, by: str, pattern: str, select: list[str], out: str) -> dict[str, Any]:
    """Prune a model or a file by `steelyard.prune`, and return facts, numbers and notes as `average` does.

    `pattern` is blank for none; `select` has the patterns of the names that are pruned, none for all kernels.
    """
    from steelyard.editing.pruning import KERNELS
    from steelyard.editing.pruning import prune as pruned

    weights = _weights(source)
    amount = None if pattern else share
    made = pruned(weights, amount, by=by, pattern=pattern or None, select=select or KERNELS)  # type: ignore[arg-type]
    return _edited(made, weights, out)


def export(
    source: Any, path: str, forward: bool, examples: list[tuple[bytearray, list[float]]], options: dict[str, Any]
) -> dict[str, list[str]]:
    """Write a model or a file for a device by `steelyard.export`, and return the `files` and the `notes` for the user.

    `examples` has the values and the shape of the probe, and of the outputs for it, as far as they are known. Raises `ShapeError`
    for an option that `export` does not have.
    """
    from inspect import signature

    from steelyard.device.export import export as exported
    from steelyard.errors import ShapeError

    known = signature(exported).parameters
    if unknown := sorted(set(options) - set(known)):
        raise ShapeError(f"an export does not have the option {unknown[0]!r}, but {', '.join(list(known)[2:])}")
    options = {key: _whole(each) for key, each in options.items()}
    given: dict[str, Any] = dict(zip(("probe", "outputs"), (_array(values, shape) for values, shape in examples), strict=False))
    net = _weights(source) if isinstance(source, (bytes, bytearray)) else source
    made = exported(net, path, forward=forward, **given, **options)
    notes = [*made.notes, *(made.forward.lines() if made.forward else ())]
    return {"files": list(made.files), "notes": notes}


def recorder(path: str, options: dict[str, Any]) -> Any:
    """Return a recorder of weights along training, by `steelyard.record`; `options` are its own."""
    from steelyard.runs.recording import record

    return record(path, **{key: _whole(each) for key, each in options.items()})


def recorded(
    rec: Recorder, source: object, step: list[float], epoch: list[float], metrics: dict[str, float], snapshot: bool
) -> int:
    """Record a live model, a file or an R object, and return the step, by default the next one, when it is written.

    `step` and `epoch` have one number or none. The weights of an R object have the names that `listing` gives them. It waits,
    since threads of Python do not run while R computes.
    """
    at = int(step[0]) if step else rec.next_step
    model = _weights(source).with_weights(_parts(source, "*")) if isinstance(source, (bytes, bytearray)) else source
    rec(at, model, epoch=epoch[0] if epoch else None, metrics=metrics, snapshot=snapshot)
    rec.flush()
    return at


def callback(rec: Recorder, each: Each) -> Any:
    """Return a callback for `fit` of Keras, by `Recorder.keras`."""
    return rec.keras(each=each)


def past(source: str) -> dict[str, bytearray | list[str]]:
    """Return the columns of a table of a run, or of checkpoints, with a row for each step and weight.

    `weight` has names; all others numbers, NaN where there is none.
    """
    from array import array

    from steelyard.runs.history import history

    rows = history(source).to_records()
    names = [name for name in (rows[0] if rows else ("step", "weight")) if name != "first_nonfinite"]
    columns: dict[str, bytearray | list[str]] = {"weight": [row["weight"] for row in rows]}
    for name in names:
        if name != "weight":
            columns[name] = bytearray(array("d", (float("nan") if row[name] is None else row[name] for row in rows)).tobytes())
    return {name: columns[name] for name in names}


def _whole(value: Any) -> Any:
    """Return a whole number as an int, since R's numbers arrive as floats; of a dict, each."""
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _edited(made: Weights, first: Weights, out: str) -> dict[str, Any]:
    """Return facts, numbers and new notes of weights that were made of others, or write them to a path."""
    from steelyard.core.net_facts import noted
    from steelyard.io import save

    if out:
        save(made, out)
    parts = [] if out else _parts(made, "*")
    return {
        "name": [part.name for part in parts],
        "shape": [[float(length) for length in part.shape] for part in parts],
        "numbers": [_raw(part.name, part.numpy()) for part in parts],
        "notes": [note for note in noted(made.meta) if note not in noted(first.meta)],
    }


def labels(model: Any, values: bytearray, shape: list[float]) -> list[str]:
    """Return the class that a classifier of scikit-learn's kind predicts for each row, as text; empty for other models."""
    if not hasattr(model, "classes_"):
        return []
    return [str(label) for label in model.predict(_for_estimator(model, _array(values, shape)))]


def _weights(source: object) -> Weights:
    if isinstance(source, (bytes, bytearray)):
        from steelyard.formats import weights_in
        from steelyard.storage.source import from_bytes

        return weights_in(from_bytes(bytes(source), "the R object"))
    from steelyard.io import weights

    return weights(source)


def _unusual(merged: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of further steps of the computation, which must not be left out."""
    methods = set(merged.get("preprocess", {}).get("method", ())) - {"center", "scale", "ignore"}
    unusual = sorted(methods) + (["monotone weights"] if merged.get("monotone") else [])
    return {"unusual": ", ".join(unusual)} if unusual else {}


def _parts(source: object, pattern: str) -> list[Weight]:
    weights = _weights(source)
    return list(weights.with_weights(part for weight in weights.values() for part in split(weight)).select(pattern).values())


def _raw(name: str, array: Array) -> bytearray:
    """Return the numbers column-major as float64; raises `LossyError` for a number that float64 cannot represent."""
    import numpy as np

    from steelyard.core.casting import converted

    return bytearray(converted(name, array, np.dtype(_NUMBERS)).tobytes(order="F"))


def _array(values: bytearray, shape: list[float]) -> Array:
    import numpy as np

    lengths = [int(length) for length in shape]
    return np.frombuffer(values, _NUMBERS).astype(np.float64).reshape(lengths, order="F")


def _run(model: object, x: Array) -> Array | list[Array]:
    """Run a model in its framework, and return its output array, or all arrays if it has several outputs."""
    run = getattr(framework_of(model), "run", None)
    if run is None:
        raise UnknownModelError(f"a {_kind(model)} cannot predict; pass the model itself")
    outputs: list[Array] = run(model, [x]).outputs
    return outputs[0] if len(outputs) == 1 else outputs


def _kind(model: object) -> str:
    return printable(type(model).__name__)


def _made_by(model: object, framework: str) -> bool:
    return any(base.__module__.partition(".")[0] == framework for base in type(model).__mro__)


def _for_estimator(model: object, x: Array) -> Array:
    """Return inputs of the type in which the estimator's net computes: PyTorch refuses float64 inputs to a float32 net."""
    if not any(_made_by(part, "skorch") for part in _inside(model)):
        return x
    return x.astype(_floating(model))


def _inside(model: object) -> Iterator[object]:
    """Yield an estimator, and the final estimators of its searches and pipelines."""
    while model is not None:
        yield model
        steps = getattr(model, "steps", None)
        model = steps[-1][1] if steps else getattr(model, "best_estimator_", None)


def _floating(model: object) -> DType:
    """Return the type of the first weight of real numbers."""
    return next(numpy_dtype(w.dtype) for w in _weights(model).values() if is_floating(w.dtype))
