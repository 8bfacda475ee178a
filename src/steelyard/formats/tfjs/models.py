"""What the reader and the writer of TensorFlow.js share: the names of its files, and what is in a `model.json`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import check_json
from steelyard.codecs.plain import from_json
from steelyard.errors import FileMissingError, FormatError

if TYPE_CHECKING:
    from steelyard.codecs.plain import Plain
    from steelyard.storage.source import Source

MODEL, MANIFEST = "model.json", "weights_manifest.json"
FRAMEWORK = "TensorFlow.js"
SHARD = re.compile(r"group\d+-shard\d+of\d+\.bin")
SHARD_SIZE = 4 << 20
"""Bytes of a shard, as its own converter cuts them: what all browsers cache."""
FACTS = "steelyard"
"""The key of Steelyard's facts in "userDefinedMetadata"."""


def content_of(source: Source) -> Plain:
    """Return the JSON of a model or a manifest."""
    if source.size > limits.JSON:
        raise FormatError(source.name, f"has {source.size:,} bytes, more than the {limits.JSON:,} that are allowed")
    text = source.read(0, source.size)
    check_json(text, source)
    content = from_json(text)
    if content is None:
        raise FormatError(source.name, "is not JSON (partial download?)")
    return content


def manifest_of(source: Source, content: Plain) -> Plain:
    """Return the manifest in a model, or the one next to a model that has none."""
    manifest = content.get("weightsManifest") if isinstance(content, dict) else content
    if manifest is not None:
        return manifest
    try:
        return content_of(source.beside(MANIFEST))
    except FileMissingError:
        raise FormatError(source.name, f"has the layers of a model, and no weights; {MANIFEST} is not next to it") from None


def facts_of(content: Plain) -> str | None:
    """Return the facts that Steelyard wrote into a model without layers."""
    kept = content.get("userDefinedMetadata") if isinstance(content, dict) else None
    facts = kept.get(FACTS) if isinstance(kept, dict) else None
    return facts if isinstance(facts, str) else None
