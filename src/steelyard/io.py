"""The way in and the way out: `weights` of any source, and `save` into a file."""

from __future__ import annotations

import os
import sys
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from steelyard.core.net_facts import found_in, with_file
from steelyard.core.weights import Weights
from steelyard.destinations import destination, is_distributed, is_folder
from steelyard.errors import (
    FormatError,
    IncompleteWarning,
    LeftOutWarning,
    NonFiniteWarning,
    ShapeError,
    UnsafeFileError,
    WeightNotFoundError,
    first_of,
    printable,
    quoted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from types import FrameType

    from steelyard.auditing import Audit
    from steelyard.core.divided import Processes
    from steelyard.core.net_facts import Found
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source

    Warn = Callable[[object], None]


def weights(source: Any, *, scope: Scope = "model", limits: Mapping[str, int] | Literal["none"] | None = None) -> Weights:
    """Return the weights of a live model, a wrapper or container of models, or a file.

    `source` is a model of any supported framework, an array, a dict or list of these, `Weights`
    (returned unchanged), the path of a weight file, or its URL (which needs the extra "remote").
    A generator, such as `net.named_parameters()`, is consumed: pass a new one to another function.
    A folder whose files make one model is a source too; `LeftOutWarning` names its other weight files.
    Nothing is copied, and no number is read.
    With scope "all", every tensor of a file is listed by its full path, also those of the optimizer.
    `limits` changes the limits of `steelyard.limits` for a file that you trust, while it is listed and whenever its numbers are
    read: a mapping of their names to numbers, or "none" for no limits of memory and time.

    Raises `UnknownModelError`, `NotFittedError`, `FileMissingError` or `FormatError`, and `ValueError` for an unknown limit.

    Examples:
        >>> import numpy as np
        >>> weights({"fc": {"kernel": np.ones((2, 3))}})["fc.kernel"].shape
        (2, 3)
    """
    if scope not in ("model", "all"):
        raise ShapeError(f'scope is {quoted(scope)}; it must be "model" or "all"')
    if isinstance(source, Weights):
        return source
    if isinstance(source, (str, os.PathLike)):
        from steelyard.storage.opening import open_source

        opened, used = open_source(os.fspath(source)), set[str]()
        opened = _watched(opened, used) if opened.is_folder else opened
        if opened.is_far:
            from steelyard.storage.remote.ranges import listing

            with listing():
                read = _listed(opened, scope, limits)
        else:
            read = _listed(opened, scope, limits)
        _warn_of_files(read, opened, used)
        return read.with_weights(read.values(), remote=True) if opened.is_far else read
    from steelyard.frameworks import weights_of

    return weights_of(source)


def _listed(source: Source, scope: Scope, limits: Mapping[str, int] | Literal["none"] | None) -> Weights:
    if limits is None:
        return _read(source, scope)
    from steelyard.codecs.raised import with_limits

    return with_limits(lambda: _read(source, scope), limits)


def _read(source: Source, scope: Scope) -> Weights:
    """Read a file; its weights answer what loading it would run, and a refusal names that."""
    from steelyard.formats import is_model, weights_in

    def audit(found: Found | None = None) -> Audit:
        from steelyard.auditing import audited

        source.whole.spent = 0  # what the reader decoded is free again, or part of the weights
        return audited(source, found)

    try:
        read = weights_in(source, scope)
        if not read and not read.meta.get("plain"):  # whose opcodes could all have been run
            _refuse_code(audit(), source, "holds no weights")
    except FormatError as error:
        if source.is_folder and not is_model(source):
            raise  # it may be a home folder, and all files in it are no answer to a question about one model
        error.__traceback__ = None  # it keeps alive what the reader had decoded, and the audit decodes it again
        error.audit = error.audit or audit()
        _refuse_code(error.audit, source, str(error).removeprefix(f"{printable(source.name)}: "), error)
        raise
    return with_file(read, partial(audit, found_in(read)), source)


def _refuse_code(audit: Audit, source: Source, reason: str, error: FormatError | None = None) -> None:
    """Raise `UnsafeFileError` if a file without readable weights would run code."""
    calls = [finding.what for finding in audit.findings if finding.runs]
    if calls and not isinstance(error, UnsafeFileError):
        refusal = UnsafeFileError(source.name, f"{reason}; {'; '.join(calls[:3])}")
        refusal.audit = audit
        raise refusal from error


def readable_weights(source: Any, *, skip_unreadable: bool = False, effective: bool = False) -> Weights:
    """Return the weights of `source` for functions that need their numbers: all can be read, as far as the listing shows.

    With `effective` they are those that the net computes with. Raises `UnreadableError`, which names the others; with
    `skip_unreadable` those are left out with a `LeftOutWarning`.
    """
    from steelyard.core.selection import readable

    listed = weights(source)
    return readable(listed.effective() if effective else listed, skip_unreadable=skip_unreadable)


def incomplete(weights: Weights) -> list[str]:
    """Return the sentences of a reader about missing files of the model; none if it is complete."""
    noted = weights.meta.get("incomplete") if not weights.live else None
    return [printable(what, 1000) for what in noted if isinstance(what, str)] if isinstance(noted, list) else []


def save(
    source: Any,
    path: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    shard_size: int | None = None,
    processes: int | None = None,
    like: Any = None,
    skip_unreadable: bool = False,
) -> None:
    """Write the weights of `source` (a model, a path, a dict of arrays, `Weights`) into a file.

    The suffix of `path` determines the format. The file takes its place only when it is complete and on the
    disk; its metadata keeps the role, layer and axes of each weight, and which weights are tied. A ".msgpack" of Flax
    has no place for these, and puts weights together whose names begin alike; a ".npy" is one array without a name.
    With `dtype` floats are cast, as by `Weights.astype`. With `shard_size`, in bytes, the weights go into several files of
    at most that size, and an index that ends in ".index.json". A `path` that ends in ".dcp" is a folder: a distributed
    checkpoint of PyTorch, with a file for each of the `processes`, over which the weights are divided as by FSDP; one by
    default. One in ".orbax" is a checkpoint of Orbax, whose arrays are in as many chunks. One in "model.json" gets the shards of
    TensorFlow.js, of 4 MiB or `shard_size` each. With `like`, a file of ONNX, TensorFlow.js, GGUF, CTranslate2 or a fit of R,
    that model is written again with these numbers, in its types: neither a graph nor a tokenizer can be made of weights alone.
    Any other `path` that is a folder, or ends in "/", gets model.safetensors and config.json, that of the folder the weights are
    from with the config of their quantiser, so that transformers loads them. Weights that cannot be read are refused with
    `UnreadableError`, or left out with `skip_unreadable`, and a warning.
    Warns with `NonFiniteWarning` when a weight holds NaN or Inf. Raises `FormatError` for a suffix that no
    format writes, or for a type that the format cannot hold, `ShapeError` for a type that floats cannot be cast to, a size
    below 1 or weights that the model does not have, and `LossyError` for a number that does not fit into its new type.

    Examples:
        >>> import numpy as np, tempfile
        >>> path = f"{tempfile.mkdtemp()}/net.safetensors"
        >>> save({"fc.weight": np.eye(2)}, path, dtype="float16")
        >>> weights(path)["fc.weight"].numpy().tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    from steelyard.core.divided import processes_of, read_by_the_first
    from steelyard.core.selection import readable

    is_file = isinstance(source, (str, os.PathLike))
    kept, used = opened(os.fspath(source)) if is_file else (weights(source), set())
    kept = readable(kept, skip_unreadable=skip_unreadable)
    warn = _warning(sys._getframe(1))
    if (together := processes_of(kept)) is not None:
        if is_distributed(os.fspath(path)) and like is None and processes is None and shard_size is None:
            _save_parts(kept, os.fspath(path), dtype, together, warn)
            return
        with read_by_the_first(kept, together) as first:
            if first is not None:
                _save(first, os.fspath(path), (dtype, like), (used, shard_size, processes), warn)
        return
    _save(kept, os.fspath(path), (dtype, like), (used, shard_size, processes), warn)


def _save(kept: Weights, path: str, changes: tuple[str | None, Any], options: tuple[Any, ...], warn: Warn) -> None:
    """Write the weights, cast to a type and put into a model, if these are given."""
    from steelyard.numerics.nonfinite import Scans

    dtype, like = changes
    kept = kept if dtype is None else kept.astype(dtype)
    kept = kept if like is None else into(kept, weights(like), retype=dtype is not None)
    destination(kept, path, *options)  # refused before any number is read
    scans = Scans(kept, warn)
    write(scans.weights, path, *options)
    scans.finish()


def _save_parts(kept: Weights, path: str, dtype: str | None, together: Processes, warn: Warn) -> None:
    """Write a distributed checkpoint of which each process writes its own parts."""
    from pathlib import Path

    from steelyard.core.divided import own_parts
    from steelyard.formats.dcp.together import write_together
    from steelyard.numerics.nonfinite import Scans

    parts = own_parts(kept, together)
    own = Weights([part.weight for part in parts])
    if dtype is not None:
        kept, own = kept.astype(dtype), own.astype(dtype)
    destination(kept, path, (), None)
    scans = Scans(own, warn)
    write_together(kept, [part._replace(weight=scans.weights[part.weight.name]) for part in parts], Path(path), together)
    scans.finish()


def _warning(caller: FrameType) -> Warn:
    """Return a function that warns of NaN and Inf at the line of the caller, from whatever depth, or thread, it is called."""

    def warn(finding: object) -> None:
        registry = caller.f_globals.setdefault("__warningregistry__", {})
        file, module = caller.f_code.co_filename, caller.f_globals.get("__name__", "")
        warnings.warn_explicit(str(finding), NonFiniteWarning, file, line, module, registry)

    line = caller.f_lineno
    return warn


def opened(path: str, scope: Scope = "model") -> tuple[Weights, set[str]]:
    """Return the weights of a file, and the real paths of all files that were opened to read them."""
    if "://" in path:
        return weights(path, scope=scope), set()
    read, source, used = _opened(path, scope)
    _warn_of_files(read, source, used)
    return read, used


def files_of(path: str, scope: Scope = "model") -> set[str]:
    """Return the real paths of all files that must be opened to read the weights of a file."""
    return set() if "://" in path else _opened(path, scope)[2]


def _opened(path: str, scope: Scope) -> tuple[Weights, Source, set[str]]:
    from steelyard.storage.opening import open_source

    used: set[str] = set()
    source = _watched(open_source(path), used)
    return _read(source, scope), source, used


def _warn_of_files(read: Weights, source: Source, used: set[str]) -> None:
    """Warn, where the caller was called, of missing files of the model, and of other weight files in its folder."""
    missing = incomplete(read)
    for what in missing:
        warnings.warn(f"{printable(source.name)}: {what}", IncompleteWarning, stacklevel=3)
    if source.is_folder and not missing and (left_out := _left_out(source, used)):
        warnings.warn(f"{printable(source.name)}: {left_out}", LeftOutWarning, stacklevel=3)


def _left_out(folder: Source, used: set[str]) -> str:
    """Return a sentence that names the weight files of a folder that are no part of its model; blank if there are none."""
    from steelyard.formats import ARCHIVES, TRAINING, weight_files, weight_files_of

    if folder.path is None:
        is_read = {name: f"{folder.name.rstrip('/')}/{name}" in used for name in weight_files_of(folder.names())}
    else:
        is_read = {name: os.path.realpath(os.path.join(folder.path, name)) in used for name in weight_files(folder.path)}
    others = [name for name in is_read if not is_read[name] and not TRAINING.fullmatch(name)]
    if folder.path is not None and (archives := [name for name in os.listdir(folder.path) if name.lower().endswith(ARCHIVES)]):
        from steelyard.formats.wrapped import has_models

        others += [name for name in sorted(archives) if has_models(os.path.join(folder.path, name))]
    if not others:
        return ""
    shown = first_of(others, 5)
    is_adapter = all(name.startswith("adapter_model.") for name in others)
    way = "--adapter or merge_adapter merges it" if is_adapter else "pass a file to choose it"
    model = printable(next((name for name in is_read if is_read[name]), "that of its folders"))
    return f"the model of this folder is {model}; left out {shown}; {way}"


def _watched(source: Source, used: set[str]) -> Source:
    """Return the same source with a record of every file that is opened through it."""
    from steelyard.storage.source import Source

    if not source.is_folder:
        path = source.path or source.whole.path  # a member of an archive is in the file of that
        used.add(source.name if path is None else os.path.realpath(path))
        if source.path is None:
            used.add(source.name)

    def beside(name: str) -> Source:
        return _watched(source.beside(name), used)

    return Source(source.name, source.size, source.fill, beside, source.path, remote=source.remote, copy=source.copy)


def into(values: Weights, model: Weights, *, retype: bool = False) -> Weights:
    """Return the weights of `model` with the numbers of `values`, in its types, so that its file can be written again.

    Weights of the model that `values` leaves out keep their numbers. With `retype` the types of `values` are kept where the
    file allows others than its own. Raises `ShapeError` for a name or a shape that the model does not have, and `LossyError`,
    when it is read, for a number that its type cannot hold.
    """
    from steelyard.codecs.original import ORIGINAL, Original

    for name, weight in values.items():
        if name not in model:
            raise ShapeError(f"{WeightNotFoundError(name, model)}; the model has other names, so rename the weights first")
        if weight.shape != model[name].shape:
            what = f"{printable(name)} has shape {list(weight.shape)}, in the model {list(model[name].shape)}"
            raise ShapeError(f"{what}; nothing was written")
    original = model.meta.get(ORIGINAL)
    if not isinstance(original, Original):
        return model.with_weights((_into(values.get(w.name), w, None) for w in model.values()), detached=True)
    axes = original.retyped if retype else None
    made = (_into(values.get(w.name), w, axes) for w in model.values())
    return model.with_weights(made, detached=True, meta={**model.meta, ORIGINAL: original.as_like()})


def _into(weight: Weight | None, own: Weight, retyped: int | None) -> Weight:
    """Return a weight of the model with new numbers; with at least `retyped` axes floats keep their new type."""
    from steelyard.core.casting import casting
    from steelyard.core.stacked import relaid
    from steelyard.dtypes import is_floating

    if weight is None:
        return own
    if retyped is not None and len(own.shape) >= retyped and is_floating(weight.dtype) and is_floating(own.dtype):
        return own.replace(read=weight.read, dtype=weight.dtype, encoding="")
    read = weight.read if weight.dtype == own.dtype else casting(weight, own.dtype)
    return own.replace(read=relaid(own.read, read))


def write(
    listed: Weights, path: str, used: Collection[str] = (), shard_size: int | None = None, processes: int | None = None
) -> str:
    """Write weights into a file in the format of its suffix, or into shards and their index, and return its path.

    A folder gets model.safetensors and the model's config.json; one that ends in ".dcp" becomes a distributed checkpoint.

    `used` are the files that the weights are read from: a single one may be overwritten, but not one of several, since
    the rest would no longer fit. The file takes its place when it is complete, so its old content
    can be read to the end. Raises `FormatError` when the format cannot hold a weight, or `path` is among `used`.
    """
    from pathlib import Path

    from steelyard.core.lasting import lasting

    writer, target = destination(listed, path, used, shard_size, processes)
    if into_folder := is_folder(path):
        os.makedirs(path, exist_ok=True)
    with lasting():
        writer.write(listed, Path(target), *(number for number in (shard_size, processes) if number is not None))
    if into_folder:
        from steelyard.codecs.model_folder import write_config

        write_config(listed, path)
    return target
