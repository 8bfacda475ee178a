"""The inventory of checked files for a bill of materials: formats, digests, licences and findings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.errors import SteelyardError
from steelyard.measures.check.digests import files_below, sha256_of, size_of
from steelyard.measures.check.outcomes import NO_MODEL, Outcome
from steelyard.storage.source import open_regular

if TYPE_CHECKING:
    from steelyard.measures.check.findings import Finding

_CARD, _CONFIG = "README.md", "config.json"
_KEYS = ("license", "licence", "general.license", "general.license.name", "modelspec.license", "spdx_license")
"""The keys of metadata under which formats keep a licence."""


class Item(NamedTuple):
    """A file, or a folder that is one model with its files; `name` is relative to the folder of the inventory.

    `size` is None and `sha256` blank for a URL, and for a file that cannot be opened; a folder has the size of its other files,
    and no digest but theirs.
    """

    name: str
    is_model: bool
    format: str
    size: int | None
    sha256: str
    licences: tuple[str, ...]
    weights: int
    outcome: str
    findings: tuple[Finding, ...]
    files: tuple[Item, ...] = ()


def inventory(outcomes: Sequence[Outcome], errors: Mapping[str, str], folder: str = "") -> list[Item]:
    """Return an item for each checked file, and for each that could not be read, by name."""
    items = [_item(each.file, each, folder) for each in outcomes]
    items += [_item(file, None, folder) for file in errors if os.path.lexists(file)]
    return sorted(items, key=lambda item: item.name)


def _item(path: str, outcome: Outcome | None, folder: str) -> Item:
    known = _format(path) if outcome is not None and outcome.word != NO_MODEL else ""
    is_model = bool(known)
    is_folder = os.path.isdir(path)
    inside = [
        Item(_relative(each, path), False, "", *_size_and_digest(each), (), 0, "", ())
        for each in (files_below(path) if is_folder else ())
    ]
    return Item(
        _relative(path, folder),
        is_model,
        known,
        *((sum(each.size or 0 for each in inside), "") if is_folder else _size_and_digest(path)),
        tuple(dict.fromkeys(_licences(path))) if is_model else (),
        outcome.check.weights if outcome is not None else 0,
        outcome.word if outcome is not None else "unreadable",
        outcome.check.findings if outcome is not None else (),
        tuple(inside),
    )


def _size_and_digest(path: str) -> tuple[int | None, str]:
    """Return None and "" for a URL, and for what cannot be opened, such as a link to itself; the check of it says why."""
    if "://" in path:
        return None, ""
    try:
        return size_of(path), sha256_of(path)
    except OSError:
        return None, ""


def _relative(path: str, folder: str) -> str:
    if "://" in path:
        return path
    name = os.path.relpath(path, folder or ".").replace(os.sep, "/")
    return os.path.basename(os.path.abspath(path)) if name == "." else name


def _format(path: str) -> str:
    from steelyard.formats import format_of
    from steelyard.storage.opening import open_source

    try:
        return str(getattr(format_of(open_source(path)), "__name__", "")).rpartition(".")[2]
    except SteelyardError:
        return ""


def _licences(path: str) -> Iterator[str]:
    """Yield the licences that the metadata of a file have, then those in the card and the config next to it."""
    from steelyard.measures.check import listed

    try:
        meta = listed(path).meta
    except SteelyardError:
        meta = {}
    inner = meta.get("metadata")
    for held in (meta, inner if isinstance(inner, Mapping) else {}):
        yield from (held[key] for key in _KEYS if isinstance(held.get(key), str) and held[key])
    if "://" in path:
        return
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    yield from _of_card(_text(os.path.join(folder, _CARD)))
    yield from _of_config(_text(os.path.join(folder, _CONFIG)))


def _text(path: str) -> str:
    try:
        with open_regular(path) as file:
            return file.read(limits.JSON).decode(errors="replace")
    except OSError:
        return ""


def _of_card(text: str) -> Iterator[str]:
    """Yield the licences in the front matter of a card: `license: mit`, or a list below `license:`."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---":
        return
    is_list = False
    for line in lines[1:]:
        key, colon, value = line.partition(":")
        if line.strip() == "---":
            return
        if is_list and line.lstrip().startswith("- "):
            yield line.strip()[2:].strip("\"' ")
            continue
        is_list = key == "license" and bool(colon) and not value.strip()
        if (key == "license" and value.strip() and value.strip() != "other") or (key == "license_name" and value.strip()):
            yield value.strip("\"' ")


def _of_config(text: str) -> Iterator[str]:
    import json

    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return
    value = record.get("license") if isinstance(record, dict) else None
    if isinstance(value, str) and value:
        yield value
