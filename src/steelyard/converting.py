"""From one file into another: other names, another type, another format, whatever the size."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.core.casting import casting
from steelyard.core.stacked import relaid
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, ShapeError, WeightNotFoundError, printable
from steelyard.formats import check_names, weights_in, writer_of
from steelyard.io import weights
from steelyard.storage.source import Source, open_path

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope

INDEX = ".index.json"
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def renamed(found: Weights, rules: Iterable[str], prefix: str = "") -> Weights:
    r"""Return the same weights under other names: each rule in turn, then `prefix` before every name.

    A rule is "pattern=template" as `Weights.rename` takes them, parted at its last "=": ``module\.(.*)=\1``.
    Raises `ShapeError` for a rule that cannot be read, and when two names become one.
    """
    for rule in rules:
        pattern, equals, template = rule.rpartition("=")
        if not equals:
            raise ShapeError(f"the rule {printable(rule)!r} has no '='; write it as 'pattern=template'")
        try:
            found = found.rename(pattern, template)
        except (re.error, IndexError) as error:
            raise ShapeError(f"the rule {printable(rule)!r} is no regular expression and its template: {error}") from None
    return found.rename(r"(?s:(.*))", prefix.replace("\\", r"\\") + r"\1") if prefix else found


def into(found: Weights, model: Weights) -> Weights:
    """Return the weights of `model` with the numbers of `found`, in its types, so that its file can be written anew.

    Weights of the model that `found` leaves out keep their numbers. Raises `ShapeError` for a name or a shape that the model
    does not have, and `LossyError`, when it is read, for a number that its type cannot hold.
    """
    for name, weight in found.items():
        if name not in model:
            raise ShapeError(f"{WeightNotFoundError(name, model)}; the model has other names, which --rename can give")
        if weight.shape != model[name].shape:
            what = f"{printable(name)} has shape {list(weight.shape)}, in the model {list(model[name].shape)}"
            raise ShapeError(f"{what}; nothing was written")
    return model.with_weights((_into(found.get(w.name), w) for w in model.values()), detached=True)


def _into(weight: Weight | None, own: Weight) -> Weight:
    if weight is None:
        return own
    read = weight.read if weight.dtype == own.dtype else casting(weight, own.dtype)
    return own.replace(read=relaid(own.read, read))


def opened(path: str, scope: Scope = "model") -> tuple[Weights, set[str]]:
    """Return the weights of a file, and the real paths of all files that were opened to read them."""
    if "://" in path:
        return weights(path, scope=scope), set()
    used: set[str] = set()
    return weights_in(_watched(open_path(path), used), scope), used


def write(found: Weights, path: str, used: Iterable[str] = (), shard_size: int | None = None) -> tuple[str, int]:
    """Write weights into a file whose suffix says the format; return its path and how many weights it has.

    With `shard_size`, bytes, they go into several files of at most that size, and the index that is returned.
    `used` are the files that the weights are read from: one of several may not be written over, since the rest
    would no longer fit, but the only one may. The file takes its place when it is complete, so its old content
    can be read to the end. Raises `FormatError` when the format cannot hold a weight, or `path` is among `used`.
    """
    target = path if shard_size is None or path.endswith(INDEX) else f"{path}{INDEX}"
    files = set(used)
    if len(files) > 1 and os.path.realpath(target) in files and not target.endswith(INDEX):
        raise FormatError(target, "is one of the files that are read, and the others need it; write into another file")
    writer: Any = writer_of(Path(target))
    check_names(found, target)
    if shard_size is None:
        writer.write(found, Path(target))
    else:
        writer.write(found, Path(target), shard_size)
    return target, len(found)


def size_of(text: str) -> int:
    """Return the bytes that a size such as "500MB", "5GB" or "2GiB" means.

    >>> size_of("5GB"), size_of("1.5 KiB")
    (5000000000, 1536)
    """
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([kmgt]i?b)?", text.strip().lower())
    size = int(float(match[1]) * _UNITS[match[2] or ""]) if match else 0
    if size < 1:
        raise ValueError(f"{text!r} is no size; write it as 500MB, 5GB or 2GiB")
    return size


def _watched(source: Source, used: set[str]) -> Source:
    """Return the same source, which notes every file that is opened through it."""
    if source.path is not None and not source.is_folder:
        used.add(os.path.realpath(source.path))
    return Source(source.name, source.size, source.fill, lambda name: _watched(source.beside(name), used), source.path)
