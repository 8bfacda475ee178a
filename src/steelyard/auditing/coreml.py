"""Models of Core ML: layers and models of classes that an app has to bring, and models in other files.

Model            202: pipeline; 200, 201: variants that hold it as 1; 303, 403, 500: neural network; 555: a class; 556: a link
Pipeline         1: models
NeuralNetwork    1: layers, of which 500 is a class
a class          10: its name
a link           1: a file, of which 1 is the name and 2 the path; each has its text as 1
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.archives import leaves
from steelyard.auditing.findings import AuditFinding
from steelyard.codecs.protobuf import BYTES, message
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.auditing.findings import Inside, Place
    from steelyard.codecs.protobuf import Field
    from steelyard.storage.source import Source

_NETWORKS, _PIPELINE, _PIPELINES, _CLASS, _LINKED = (303, 403, 500), 202, (200, 201), 555, 556
_CUSTOM_LAYER, _CLASS_NAME = 500, 10


def recognises(source: Source) -> bool:
    """Recognise a model by its name: protocol buffers have no magic number. MLflow has files of this name in YAML."""
    return source.name.lower().endswith(".mlmodel") and source.head(1) == b"\x08"


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Name each class and file, in the models of a pipeline too. Raises `FormatError` for a damaged model."""
    known: set[str] = set()
    for finding in _of_model(message(source), place):
        if finding.what not in known:
            known.add(finding.what)
            yield finding


def _of_model(fields: Iterable[Field], place: Place) -> Iterator[AuditFinding]:
    for field in fields:
        if field.wire != BYTES:
            continue
        if field.number in _NETWORKS:
            for layer in _inside(field, 1):
                for custom in _inside(layer, _CUSTOM_LAYER):
                    yield _class(custom, "a layer", place)
        elif field.number == _PIPELINE or field.number in _PIPELINES:
            pipelines = [field] if field.number == _PIPELINE else [*_inside(field, 1)]
            for model in (each for pipeline in pipelines for each in _inside(pipeline, 1)):
                yield from _of_model(model.message(), place)
        elif field.number == _CLASS:
            yield _class(field, "a model", place)
        elif field.number == _LINKED:
            yield from _linked(field, place)


def _inside(field: Field, number: int) -> Iterator[Field]:
    return (each for each in field.message() if each.number == number and each.wire == BYTES)


def _class(custom: Field, what: str, place: Place) -> AuditFinding:
    name = "".join(each.text() for each in _inside(custom, _CLASS_NAME))
    shown = f"has {what} of the class {printable(name, 200)}, whose code an app has to bring"
    return AuditFinding("coreml-custom-class", str(place), shown, {"classes": [name]})


def _linked(field: Field, place: Place) -> Iterator[AuditFinding]:
    for path in (each for file in _inside(field, 1) for each in _inside(file, 2)):
        for text in (each.text() for each in _inside(path, 1)):
            for part in text.split(":"):
                if leaves(part):
                    what = f"names a model in the folder {printable(part, 200)}, outside its own"
                    yield AuditFinding("coreml-outside", str(place), what)
