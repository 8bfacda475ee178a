"""Packs of TensorFlow Lite models: zip archives, such as those of MediaPipe, and tar archives, of several `.tflite` files.

The name of its member, without the suffix, precedes the names of a model's weights: "hand_detector/conv/kernel". A pack
may hold further packs. Other members, such as labels, are named in a note.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.sets import prefixed
from steelyard.codecs.tar import is_tar, tar_members
from steelyard.codecs.zip import directory, is_zip, member_source, mentions
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, first_of
from steelyard.storage.source import Source

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Weight

SUFFIXES = (".task",)

_MODELS = (".tflite", ".lite")
_NAMED = 5


def sniff(source: Source) -> bool:
    """Recognise a zip or tar archive with a `.tflite` member."""
    if mentions(source, b".tflite") and not mentions(source, b"data.pkl"):
        return True
    try:
        return is_tar(source) and any(name.lower().endswith(_MODELS) for name, _ in tar_members(source))
    except FormatError:
        return False


def read(source: Source, scope: Scope) -> Weights:
    """List the weights of each model in turn, in the order of the archive."""
    listed: list[Weight] = []
    models: list[str] = []
    others: list[str] = []
    for name, member in _members(source, 0):
        if not name.lower().endswith(_MODELS):
            others.append(name)
            continue
        stem = name.rpartition(".")[0]
        models.append(name)
        listed += [prefixed(stem, weight) for weight in _model(member, scope).values()]
    if not models:
        raise FormatError(source.name, "is a pack without a model of TensorFlow Lite")
    meta: dict[str, object] = {"models": models}
    if others:
        meta["notes"] = [f"the pack also holds {first_of(others, _NAMED)}, which were not read"]
    return Weights(listed, meta=meta)


def _model(member: Source, scope: Scope) -> Weights:
    from steelyard.formats import part_in

    if member.head(8)[4:] != b"TFL3":
        raise FormatError(member.name, "is not a model of TensorFlow Lite")
    return part_in(member, scope)


def _members(source: Source, depth: int) -> Iterator[tuple[str, Source]]:
    """Yield the files of a pack, and those of the packs in it under the names of these."""
    if depth >= limits.NESTED_FILES:
        raise FormatError(source.name, f"more than {limits.NESTED_FILES} levels of packs in packs")
    if is_zip(source):
        found: Iterator[tuple[str, Source]] = iter(
            [(name, member_source(source, member)) for name, member in directory(source).items() if name[-1:] != "/"]
        )
    else:
        found = tar_members(source)
    for name, member in found:
        if name.lower().endswith(SUFFIXES) and is_zip(member):
            yield from ((f"{name.rpartition('.')[0]}/{inner}", each) for inner, each in _members(member, depth + 1))
        else:
            yield name, member
