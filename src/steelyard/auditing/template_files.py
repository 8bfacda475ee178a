"""Files that hold one chat template, `chat_template.jinja` and its like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits

if TYPE_CHECKING:
    from steelyard.auditing.findings import AuditFinding, Inside, Place
    from steelyard.storage.source import Source

_FILE = re.compile(r"(?<!\.html)(?<!\.xml)(?<!\.py)(?<!\.md)(?<!\.txt)(?<!\.sh)\.(?:jinja2?|j2)\Z")


def recognises(source: Source) -> bool:
    """Recognise a file that holds one template; those of web pages and source code have a second suffix."""
    return bool(_FILE.search(source.name.lower())) and source.size <= limits.TEXT


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Judge the template."""
    from steelyard.auditing.templates import judged

    yield from judged(source.read(0, source.size).decode("utf-8", "replace"), place)
