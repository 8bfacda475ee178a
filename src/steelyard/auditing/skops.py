"""skops: the types that a schema names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.expected import is_expected
from steelyard.auditing.findings import AuditFinding
from steelyard.auditing.libraries import rule_of_name
from steelyard.codecs import limits
from steelyard.codecs.budget import check_json
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.auditing.findings import Inside, Place
    from steelyard.storage.source import Source


def recognises(source: Source) -> bool:
    """Recognise the schema by its name in the archive."""
    return source.name.endswith(":schema.json") and source.size <= limits.JSON


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Name each type that weights do not need. Raises `FormatError` for another text."""
    text = source.read(0, source.size)
    check_json(text, source)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(source.name, f"the schema is not JSON: {error}") from None
    for module, name in dict.fromkeys(_types(schema)):
        if not is_expected(module, name):
            rule = rule_of_name(module, name)
            shown = printable(f"{module}.{name}")
            if rule in ("pickle-name", "pickle-dotted-name"):
                yield AuditFinding("skops-type", str(place), f"would have run {shown}")
            else:
                yield AuditFinding(rule, str(place), f"makes an object of {shown}")


def _types(schema: object) -> Iterator[tuple[str, str]]:
    """Yield module and name of every node, without recursion."""
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if "__loader__" in node:
                yield str(node.get("__module__")), str(node.get("__class__"))
            pending += reversed(node.values())
        elif isinstance(node, list):
            pending += reversed(node)
