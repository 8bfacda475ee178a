"""Weights in, quantised weights out, lazily; and back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from steelyard.codecs.model_folder import CONFIG
from steelyard.core.computed import held
from steelyard.core.effective import derive, replaced
from steelyard.core.packing import packed
from steelyard.core.weight import Role
from steelyard.editing.quantizing import choosing
from steelyard.editing.quantizing.request import Request, parsed
from steelyard.errors import ShapeError, printable
from steelyard.io import weights as weights_of
from steelyard.paths import is_spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from steelyard.core.effective import Pieces
    from steelyard.core.protocols import NamesInOrder
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights

QUANTIZED = "quantized"
"""The key in `meta` with what was asked for."""
_MODULES = {"": "own", "compressed-tensors": "compressed_tensors"}


def quantize(  # noqa: PLR0913 - each is an option, by name
    source: Any,
    kind: str,
    *,
    axis: str | int | None = "out",
    group: int | None = None,
    scheme: Literal["symmetric", "affine"] | None = None,
    like: Literal["compressed-tensors", "bitsandbytes", "torchao", "gguf", "onnx"] | None = None,
    calibrate: Literal["max", "mse", "percentile"] = "max",
    skip: str | Iterable[str] = (),
    double_quant: bool = False,
    engine: object = None,
    workers: int | None = None,
) -> Weights:
    """Return weights with their kernels quantised, block by block when they are read; `effective` gives the numbers back.

    `kind` is "int8", "int4", "float8_e4m3fn", "nf4", "fp4", "mxfp4", or a type of GGUF: "q8_0", "q4_0", "q4_1", "q5_0", "q5_1",
    "tq1_0", "tq2_0" (there with embeddings). `axis` has a scale for each of its places: "out", a number, or None for one scale a
    weight; with `group` each so many inputs share one. `scheme` "affine" has zero points. `like` names the library whose names,
    packing and range of codes the result has, so that it loads it; GGUF's types, nf4 and fp4 have but one, other kinds get
    Steelyard's own, which fits weights of any framework. Ranges reach the largest magnitude of each cell; with `calibrate` "mse"
    they are those of least squared error, with "percentile" the largest 0.1 % are cut off. Names that match `skip` stay as they
    are.

    `meta["quantized"]` records all of this with the range, and under "left" why each other kernel stays as it is. A library
    that loads a folder needs `meta["quantization_config"]` in its config.json: `save` writes it where its path is a folder. Types
    of GGUF are saved into a .gguf, ONNX into an .onnx. Weights that are quantised so already are returned as they are.
    Raises `ShapeError` for what a kind or a library does not have, for axes that are not known and where nothing is left to
    quantise; `LossyError`, when it is read, for a weight with NaN or Inf.
    With an `engine` or `workers`, `source` is a path, and while `save` writes the result its numbers are computed by workers,
    to the same last bit, as in `average`.

    Examples:
        >>> import numpy as np, steelyard
        >>> w = steelyard.weights({"fc": {"weight": np.array([[1.0, -0.5], [0.0, 0.0]], "float32")}})
        >>> q = steelyard.quantize(w, "int8", axis=0)
        >>> q["fc.weight.codes"].numpy().tolist(), q.meta["quantized"]["range"]
        ([[127, -64], [0, 0]], 'scale absmax / 127, codes -127 to 127')
        >>> q.effective()["fc.weight"].numpy().astype(float).round(3).tolist()
        [[1.0, -0.504], [0.0, 0.0]]
    """
    options: dict[str, object] = {"axis": axis, "group": group, "scheme": scheme, "like": like, "calibrate": calibrate}
    request = parsed(kind, **options, skip=skip, double_quant=double_quant)
    if is_spread(None, engine, workers):
        from steelyard.engines.numbers import by_workers

        return by_workers(partial(quantized_as, request), source, engine, workers)
    return quantized(weights_of(source), request)


def quantized_as(request: Request, source: Any) -> Weights:
    """Return the weights of a source quantised as a request says."""
    return quantized(weights_of(source), request)


def quantized(weights: Weights, request: Request) -> Weights:
    """Return weights quantised as a request says."""
    if (done := _already(weights, request)) is not None:
        return done
    layout = _layout(request)
    weights = weights.with_weights(held(weights).values())
    left = choosing.unsuitable(weights, request)
    if request.like == "onnx":
        left |= {name: reason for name, reason in layout.unsuitable(weights, request).items() if name not in left}
    for name, weight in weights.items():
        reason = None if name in left or weight.tied else layout.left(weight, request)
        if reason is not None:
            left[name] = reason
    left = choosing.with_ties(weights, left)
    chosen = {name: weight for name, weight in weights.items() if name not in left}
    if not chosen:
        raise ShapeError(f"no weight can become {request.shown}: {_reasons(left)}")
    listed, names = _listed(weights, chosen, layout, request)
    _check_names(listed)
    kernels = {name: reason for name, reason in left.items() if weights[name].role in (Role.KERNEL, Role.RECURRENT_KERNEL)}
    record = {**request.facts(), "weights": len(chosen), "left": kernels}
    made = weights.with_weights(listed, detached=True, meta=_meta(weights, request, chosen, layout, record))
    return _with_net(made, request, layout, weights, names)


def _layout(request: Request) -> Any:
    name = _MODULES.get(request.like, request.like)
    return import_module(f"steelyard.editing.quantizing.{name}")


def _already(weights: Weights, request: Request) -> Weights | None:
    """Return weights that are quantised so already. Raises `ShapeError` for those that are packed otherwise."""
    said = weights.meta.get(QUANTIZED)
    said = _parsed(said) if isinstance(said, str) else said
    if isinstance(said, dict) and {**said, "weights": 0, "left": 0} == {**request.facts(), "weights": 0, "left": 0}:
        return weights
    if found := packed(weights):
        scheme = found[0].derivation.scheme if found[0].derivation else "a quantiser"
        what = f"{len(found):,} weights are" if len(found) > 1 else f"{printable(found[0].name)} is"
        raise ShapeError(f"{what} packed by {printable(scheme)} already; pass steelyard.dequantize(w)")
    return None


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _reasons(left: Mapping[str, str]) -> str:
    kernels = {name: reason for name, reason in left.items() if reason != "not a kernel"}
    shown = [
        f"{printable(name)} is {reason}" if reason.startswith("not ") else f"{printable(name)}: {reason}"
        for name, reason in (kernels or left).items()
    ]
    return "; ".join(shown[:3]) + ("; ..." if len(shown) > 3 else "") if shown else "there are none"


def _listed(
    weights: Weights, chosen: Mapping[str, Weight], layout: Any, request: Request
) -> tuple[list[Weight], dict[str, list[str]]]:
    """Return the stored weights in order, and the names of those of each quantised one; tied ones share them."""
    listed: list[Weight] = []
    parts: dict[str, list[Weight]] = {}
    for name, weight in weights.items():
        if name not in chosen:
            listed.append(weight)
            continue
        owner = parts.get(weight.tied or "")
        made: list[Weight] = layout.pieces(weight, request)
        if owner is not None:
            made = [part.replace(read=first.read, tied=first.tied or first.name) for part, first in zip(made, owner, strict=True)]
        parts[name] = made
        listed += made
    return listed, {name: [part.name for part in made] for name, made in parts.items()}


def _check_names(listed: list[Weight]) -> None:
    seen: set[str] = set()
    for weight in listed:
        if weight.name in seen:
            raise ShapeError(
                f"a part of a quantised weight would be called {printable(weight.name)}, as another weight is; rename that"
            )
        seen.add(weight.name)


def _meta(
    weights: Weights, request: Request, chosen: Mapping[str, Weight], layout: Any, record: dict[str, object]
) -> dict[str, object]:
    made: dict[str, object] = {**weights.meta, QUANTIZED: record}
    if hasattr(layout, "config"):
        kept = [weight for name, weight in weights.items() if name not in chosen and weight.role is Role.KERNEL]
        made |= {CONFIG: layout.config(request, [*chosen.values()], kept), "format": "pt"}
    if hasattr(layout, "metadata"):
        made |= layout.metadata(request, chosen, weights)
    if hasattr(layout, "meta"):
        made |= layout.meta(request, chosen)
    return made


def _with_net(made: Weights, request: Request, layout: Any, before: Weights, names: Mapping[str, list[str]]) -> Weights:
    """Give quantised weights the order of the plain ones, the config next to them, and what derives their numbers."""
    net = made._net
    orders = {word: partial(_in_order, order, names) for word, order in net.orders.items()}
    own: Callable[[Pieces], Iterator[Weight]] | None = None
    if request.like == "gguf":
        own = layout.derive
    elif request.like == "onnx":
        own = layout.derive(made)
    made._net = net.replace(orders=orders, derive=_both(own, net.derive))
    return made


def _in_order(order: NamesInOrder, names: Mapping[str, list[str]]) -> list[str] | None:
    listed = order()
    return None if listed is None else [part for name in listed for part in names.get(name, [name])]


def _both(own: Any, other: Any) -> Any:
    if own is None or other is None:
        return own or other

    def made(pieces: Pieces) -> Iterator[Weight]:
        yield from own(pieces)
        yield from other(pieces)

    return made


def dequantize(source: Any, *, engine: object = None, workers: int | None = None) -> Weights:
    """Return weights with packed ones as the numbers that they are for, under the names of plain layers, when they are read.

    This is `Weights.effective` for packed weights alone: masks, norms and adapters stay as they are stored. A folder that is
    saved has no quantisation in its config.json. `engine` and `workers` are those of `quantize`. Raises `UnreadableError`, when
    it is read, for a scheme that is not known.

    Examples:
        >>> import numpy as np, steelyard
        >>> q = steelyard.quantize({"fc.weight": np.eye(2, dtype="float32")}, "int8", axis=0)
        >>> w = steelyard.dequantize(q)
        >>> [*w], w["fc.weight"].numpy().tolist()
        (['fc.weight'], [[1.0, 0.0], [0.0, 1.0]])
    """
    if is_spread(None, engine, workers):
        from steelyard.engines.numbers import by_workers

        return by_workers(dequantize, source, engine, workers)
    weights = weights_of(source)
    wanted = {weight.name for weight in packed(weights)}
    if not wanted:
        return weights
    made = replaced(weights, [weight for weight in derive(weights) if weight.name in wanted])
    left_out = (QUANTIZED, CONFIG, "tensor_names", *wanted)
    made = made.with_weights(made.values(), meta={key: value for key, value in made.meta.items() if key not in left_out})
    made._net = made._net.replace(derive=None)
    return made
