"""The metadata of a file, as its reader keeps them: for the terminal, and as plain Python for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from steelyard.errors import printable

_LIMIT = 300
"""Maximum characters of a value that are printed."""
_ITEMS = 8
"""Maximum items of a list that are printed."""
_OWN = ("notes", "incomplete", "holds", "plain", "module versions")
"""What a reader says itself, and what only loading needs."""


def plain_metadata(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata as plain Python: nested mappings and lists of texts and numbers; other objects are left out."""
    return {str(key): _plain(value) for key, value in meta.items() if key not in _OWN and _is_plain(value)}


def metadata_lines(meta: Mapping[str, Any]) -> Iterator[str]:
    r"""Yield a line for each entry, nested ones under the names of both; long lists and texts are abbreviated.

    >>> list(metadata_lines({"opset": 17, "metadata": {"a\x1b": "x", "ids": list(range(20))}}))
    ['opset: 17', 'metadata.a\\u001b: x', 'metadata.ids: 0, 1, 2, 3, 4, 5, 6, 7, ... (20 items)']
    """
    for name, value in _flat("", plain_metadata(meta)):
        shown = _shown(value)
        yield f"{printable(name)}: {shown}".rstrip()


def metadata_line(meta: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line with the general entries of a model's own metadata and the number of all, if there are any.

    >>> list(metadata_line({"metadata": {"general.name": "tiny", "llama.block_count": 2}}))
    ['metadata: general.name tiny; 2 entries in all (steelyard show FILE --metadata)']
    """
    held = meta.get("metadata")
    if not isinstance(held, Mapping) or not held:
        return
    general = [key for key in held if str(key).startswith("general.")][:_ITEMS]
    shown = ", ".join(f"{printable(key, 60)} {printable(_shown(held[key]), 60)}" for key in general)
    count = f"{len(held):,} {'entry' if len(held) == 1 else 'entries'}"
    yield f"metadata: {f'{shown}; {count} in all' if shown else count} (steelyard show FILE --metadata)"


def _flat(before: str, record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, dict) and value:
            yield from _flat(f"{before}{key}.", value)
        else:
            yield f"{before}{key}", value


def _shown(value: object) -> str:
    if isinstance(value, list):
        listed = ", ".join(_shown(item) for item in value[:_ITEMS])
        return f"{listed}, ... ({len(value):,} items)" if len(value) > _ITEMS else listed or "(empty)"
    return printable("(empty)" if value == {} else value, _LIMIT)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (str, bytes, int, float, Mapping, list, tuple))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items() if _is_plain(inner)}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.hex()
    return value if _is_plain(value) else repr(value)
