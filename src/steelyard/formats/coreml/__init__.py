"""Core ML: the weights of a neural network or a program in a `.mlmodel`, or in the folder of a `.mlpackage`.

Those that are quantised or have a palette are given decoded. The parts of a pipeline have their numbers before their names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.codecs.plain import from_json
from steelyard.codecs.protobuf import BYTES, VARINT, message
from steelyard.core.weights import Weights
from steelyard.dtypes import is_floating
from steelyard.errors import FormatError, SteelyardError

if TYPE_CHECKING:
    from steelyard.codecs.protobuf import Field
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source

SUFFIXES = (".mlmodel",)

# Model: 1 version of the specification, 2 description, and one of the kinds of models
_PIPELINES, _PIPELINE = (200, 201), 202
_NETS, _PROGRAM = (303, 403, 500), 502
_NEWEST = 64
_TREES = {
    402: "trees",
    302: "trees",
    300: "a linear model",
    400: "a linear model",
    301: "support vectors",
    401: "support vectors",
}
_MANIFEST = "Manifest.json"
_USUAL = "Data/com.apple.CoreML/model.mlmodel"
_JSON = 1 << 20
_DEPTH = 8


def sniff(source: Source) -> bool:
    """Recognise the version and the description with which a model begins, or a package with a model."""
    if source.is_folder:
        return _inside(source) is not None
    head = source.head(3)
    if len(head) < 3 or head[0] != 8 or not 0 < head[1] < _NEWEST or head[2] != 0x12:
        return False
    try:
        for field in message(source):
            if field.number > 2 and field.wire == BYTES:
                return field.number in (*_NETS, _PROGRAM, *_PIPELINES, _PIPELINE) or field.number in _TREES
            if field.number not in (1, 2, 10) or field.wire != (BYTES if field.number == 2 else VARINT):
                return False
    except SteelyardError:
        return False
    return False


def _inside(folder: Source) -> Source | None:
    """Return the model of a package, which its manifest names."""
    try:
        if _MANIFEST not in folder.names():
            return None
        file = folder.beside(_MANIFEST)
        content = from_json(file.read(0, file.size), file) if file.size <= _JSON else None
        entries = content.get("itemInfoEntries") if isinstance(content, dict) else None
        root = (
            entries.get(str(content.get("rootModelIdentifier")))
            if isinstance(content, dict) and isinstance(entries, dict)
            else None
        )
        path = root.get("path") if isinstance(root, dict) else None
        model = folder.beside(f"Data/{path}" if isinstance(path, str) else _USUAL)
        return model if not model.is_folder and sniff(model) else None
    except SteelyardError:
        return None


def read(source: Source, scope: Scope) -> Weights:
    """List the weights in the order of the layers or operations; integers of a program only with scope "all"."""
    model = _inside(source) if source.is_folder else source
    if model is None:
        raise FormatError(source.name, "has no model of Core ML any more")
    budget, meta = Budget(model), dict[str, object]()
    found = _model(model, message(model), budget, meta, 0)
    is_all = scope == "all"
    listed = [weight for weight in found if is_floating(weight.dtype) or weight.unreadable or (is_all and weight.dtype != "bool")]
    return Weights(listed, meta=meta)


def _model(source: Source, fields: Iterator[Field], budget: Budget, meta: dict[str, object], depth: int) -> Iterator[Weight]:
    """Yield the weights of a model, and of those in it."""
    from steelyard.formats.coreml.network import network_weights
    from steelyard.formats.coreml.program import program_weights

    if depth > _DEPTH:
        raise FormatError(source.name, f"models are nested more than {_DEPTH} levels deep")
    for field in fields:
        if field.number == 1 and field.wire == VARINT and not depth:
            meta["specificationVersion"] = field.value
        elif field.number in _NETS:
            yield from network_weights(source, field, budget)
        elif field.number == _PROGRAM:
            yield from program_weights(source, field, budget)
        elif field.number in _TREES and not depth:
            raise FormatError(source.name, f"is a Core ML model of {_TREES[field.number]}, not a net")
        else:
            yield from _parts(source, field, budget, meta, depth)


def _parts(source: Source, field: Field, budget: Budget, meta: dict[str, object], depth: int) -> Iterator[Weight]:
    """Yield the weights of the models of a pipeline, with the number of each before their names."""
    if field.number in _PIPELINES:
        pipelines = [inner for inner in field.message() if inner.number == 1]
    else:
        pipelines = [field] if field.number == _PIPELINE else []
    for pipeline in pipelines:
        for number, inner in enumerate(part for part in pipeline.message() if part.number == 1):
            for weight in _model(source, inner.message(), budget, meta, depth + 1):
                yield weight.replace(name=f"{number}.{weight.name}")
