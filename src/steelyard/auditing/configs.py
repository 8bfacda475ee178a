"""JSON files: configs of Keras and of the Hub, chat templates, and the lists of an exported program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits

if TYPE_CHECKING:
    from steelyard.auditing.findings import AuditFinding, Inside, Place
    from steelyard.storage.source import Source

_VOCABULARIES = ("tokenizer.json", "vocab.json", ":schema.json")
"""Large files without settings, and those that another auditor reads."""

_BEGINNINGS = (b"{", b"[", b"\xff", b"\xfe", b"\xef", b"\0")
"""Brackets, also after a byte order mark."""
_HUB = ("model_index.json", "modules.json")
_MARKS = re.compile(
    rb'"(?:class_name|auto_map|trust_remote_code|_target_|custom_|_?attn_impl|weight_map|paths?"|pickle"|safe_mode)'
    rb"|name_or_path|torch\.ops|__lambda__|\{\{|\{%|\\u00[2-7]|\x00"
)
"""What a judged config has at least; a letter may be escaped, or the text be in UTF-16."""


def recognises(source: Source) -> bool:
    """Recognise JSON by its name, and a config of Keras also by its first bytes."""
    name = source.name.lower()
    if source.size > limits.JSON or name.endswith(_VOCABULARIES):
        return False
    if name.endswith((".json", ".jsonl", ".zarray", ".zmetadata")):
        return not source.is_folder
    return source.head(1) in (b"{", b"[", b" ", b"\n") and b'"class_name"' in source.head(4096)


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Judge all that loaders look for in such a file. Raises `FormatError` for JSON that is damaged."""
    text = source.read(0, source.size)
    if text.lstrip()[:1] not in _BEGINNINGS or (source.name.endswith("l") and text.lstrip()[:1] == b"{" and b"}\n{" in text):
        return  # a text, or a value for each line
    if not _MARKS.search(text) and not source.name.endswith(_HUB):
        return
    from steelyard.auditing import hub, keras_configs, programs
    from steelyard.auditing.plain_values import decoded, texts_in
    from steelyard.auditing.templates import is_template, judged

    config = decoded(text, source)
    yield from keras_configs.judged(config, source, place)
    yield from hub.judged(config, source, place)
    yield from programs.judged(config, place)
    for path, value in texts_in(config):
        if "template" in path.lower() and is_template(value):
            yield from judged(value, place)
