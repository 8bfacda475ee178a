"""Folders of several modules, each in a folder of its own, as diffusers and sentence-transformers write them.

    model_index.json  diffusers: {"_class_name": ..., "unet": ["diffusers", "UNet2DConditionModel"], "vae": [null, null]}
    modules.json      sentence-transformers: [{"path": "", "type": "...Transformer"}, {"path": "2_Dense", "type": "...Dense"}]

The name of its folder precedes the names of a module's weights: "unet/conv_in.weight". The module whose path is empty is
in the outer folder, and its names have no prefix. Schedulers, tokenizers and poolings have no weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import check_json
from steelyard.codecs.plain import from_json
from steelyard.codecs.sets import prefixed
from steelyard.core.weights import Weights
from steelyard.errors import FileMissingError, FormatError, SteelyardError, printable
from steelyard.storage.source import Source

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Weight

SUFFIXES = ("model_index.json", "modules.json")

_DIFFUSERS, _SENTENCES = SUFFIXES
_WEIGHTLESS = ("Pooling", "Normalize", "Dropout", "BoW", "WhitespaceTokenizer", "WordWeights")
"""Last words of the types of sentence-transformers' modules that may have no weights."""
_CONFIG = "config.json"
"""Every module of diffusers with weights has this file; schedulers and tokenizers have others."""
_PREFERRED = ("diffusion_pytorch_model", "model", "pytorch_model", "adapter_model")
_SUFFIXES = (".safetensors.index.json", ".safetensors", ".bin.index.json", ".bin")


def sniff(source: Source) -> bool:
    """Recognise a folder with the list of its modules, or that list itself."""
    if source.path is None:
        return source.is_folder and not set(SUFFIXES).isdisjoint(source.names())
    if source.is_folder:
        return any(os.path.isfile(os.path.join(source.path, name)) for name in SUFFIXES)
    return os.path.basename(source.path) in SUFFIXES


def read(source: Source, scope: Scope) -> Weights:
    """List the weights of each module in turn; `meta["incomplete"]` names the modules that are missing."""
    folder = _folder_of(source)
    listed: list[Weight] = []
    incomplete: list[str] = []
    modules = [*_modules(folder)]
    for path, has_weights in modules:
        module = _module(folder, path, scope)
        if module is not None:
            listed += [prefixed(path, weight) for weight in module.values()]
            noted = module.meta.get("incomplete", [])
            incomplete += [f"has a module in {printable(path)} that {what}" for what in noted if isinstance(what, str)]
        elif has_weights:
            incomplete.append(f"lacks the weights of the module in {printable(path) or 'its folder'}")
    if not listed:
        raise FormatError(source.name, "lists modules, but none of them has a file of weights here (partial download?)")
    meta: dict[str, object] = {"modules": [path for path, _ in modules]}
    return Weights(listed, meta=meta | ({"incomplete": incomplete} if incomplete else {}))


def _folder_of(source: Source) -> Source:
    if source.is_folder:
        return source
    return Source(
        os.path.dirname(source.path or "") or ".", 0, source.fill, source.beside, os.path.dirname(source.path or "") or "."
    )


def _modules(folder: Source) -> Iterator[tuple[str, bool]]:
    """Yield the folder of each module, and whether it must have weights."""
    names = folder.names()
    if _SENTENCES in names:
        yield from _sentence_modules(folder)
    else:
        yield from _diffusers_modules(folder, sorted(names))


def _sentence_modules(folder: Source) -> Iterator[tuple[str, bool]]:
    listed = _json(folder.beside(_SENTENCES))
    if not isinstance(listed, list):
        raise FormatError(folder.name, f"{_SENTENCES} is not a list of modules")
    for module in listed:
        path, kind = (module.get("path"), module.get("type")) if isinstance(module, dict) else (None, None)
        if not isinstance(path, str) or not isinstance(kind, str):
            raise FormatError(folder.name, f"{_SENTENCES} lists a module without a path or a type")
        yield path, not kind.endswith(_WEIGHTLESS)


def _diffusers_modules(folder: Source, names: list[str]) -> Iterator[tuple[str, bool]]:
    """Yield the modules that the index names, or all folders with weights where it names none."""
    index = _json(folder.beside(_DIFFUSERS))
    if not isinstance(index, dict):
        raise FormatError(folder.name, f"{_DIFFUSERS} is not an object of modules")
    entries = {name: entry for name, entry in index.items() if isinstance(entry, list) and not name.startswith("_")}
    named = [name for name, entry in entries.items() if any(entry)]
    for name in named or ([] if entries else names):
        held = _names_in(folder, name)
        if held is not None:
            yield name, _CONFIG in held
        elif named:
            yield name, True


def _names_in(folder: Source, name: str) -> list[str] | None:
    """Return the names in a folder of a folder; None where it is no folder."""
    if folder.path is not None:
        path = os.path.join(folder.path, name)
        return os.listdir(path) if os.path.isdir(path) else None
    try:
        inside = folder.beside(name)
    except SteelyardError:
        return None
    return inside.names() if inside.is_folder else None


def _json(source: Source) -> object:
    if source.size > limits.JSON:
        raise FormatError(source.name, f"has {source.size:,} bytes, more than the {limits.JSON:,} that are allowed")
    text = source.read(0, source.size)
    check_json(text, source)
    return from_json(text)


def _module(folder: Source, path: str, scope: Scope) -> Weights | None:
    """Return the weights of a module; None where its folder has none, or is missing."""
    from steelyard.formats import is_model, weights_in

    try:
        inside = _inside(folder, path) if path else folder
    except FileMissingError:
        return None
    there = set(inside.names())
    preferred = next((stem + suffix for suffix in _SUFFIXES for stem in _PREFERRED if stem + suffix in there), None)
    if preferred is not None:
        return weights_in(inside.beside(preferred), scope)
    return weights_in(inside, scope) if path and is_model(inside) else None


def _inside(folder: Source, path: str) -> Source:
    """Return the folder of a module, whose files are opened through the outer folder: only that knows the Hub's cache."""
    opened = folder.beside(path)
    if not opened.is_folder:
        raise FormatError(folder.name, f"the module {printable(path)} is not a folder")
    if opened.path is None:
        return opened

    def beside(name: str) -> Source:
        return _within(folder.beside(f"{path}/{name}"), beside)

    return Source(f"{folder.name}/{path}", 0, folder.fill, beside, os.path.join(folder.path or "", path))


def _within(source: Source, beside: Callable[[str], Source]) -> Source:
    return Source(source.name, source.size, source.fill, beside, source.path)
