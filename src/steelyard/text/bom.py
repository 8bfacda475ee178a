"""An inventory as a bill of materials: CycloneDX 1.6, as JSON that is equal for equal files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from steelyard.errors import first_of, printable

if TYPE_CHECKING:
    from steelyard.measures.check.inventory import Item

_SPDX = {
    name.lower(): name
    for name in (
        *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear", "ISC", "MPL-2.0", "Unlicense", "Zlib"),
        *("AFL-3.0", "Artistic-2.0", "BSL-1.0", "ECL-2.0", "EPL-1.0", "EPL-2.0", "EUPL-1.1", "EUPL-1.2", "LPPL-1.3c"),
        *("MS-PL", "NCSA", "OFL-1.1", "OSL-3.0", "PostgreSQL", "WTFPL", "CC0-1.0", "C-UDA-1.0", "GFDL-1.3-only"),
        *("CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-NC-2.0", "CC-BY-NC-3.0", "CC-BY-NC-4.0"),
        *("CC-BY-NC-SA-2.0", "CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0", "CC-BY-NC-ND-3.0", "CC-BY-NC-ND-4.0", "CC-BY-ND-4.0"),
        *("GPL-2.0-only", "GPL-3.0-only", "GPL-3.0-or-later", "LGPL-3.0-only", "AGPL-3.0-only", "AGPL-3.0-or-later"),
    )
}
"""Licences of the SPDX list that models have; any other is given by its name."""


def bom_text(items: Sequence[Item], version: str, moment: int | None = None) -> str:
    """Return one CycloneDX document, made by this `version` of Steelyard.

    `moment`, in seconds since 1970, is when it was made, if that is to be in it.
    """
    metadata: dict[str, Any] = {} if moment is None else {"timestamp": _timestamp(moment)}
    metadata["tools"] = {"components": [{"type": "application", "name": "steelyard", "version": version}]}
    record = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": [_component(item) for item in items],
    }
    return json.dumps(record, indent=2) + "\n"


def _component(item: Item) -> dict[str, Any]:
    kind = "machine-learning-model" if item.is_model else "file"
    record: dict[str, Any] = {"type": kind, "bom-ref": printable(item.name, 2000), "name": printable(item.name, 2000)}
    if item.sha256:
        record["hashes"] = [{"alg": "SHA-256", "content": item.sha256}]
    if item.licences:
        record["licenses"] = [{"license": _licence(name)} for name in item.licences]
    if item.files:
        record["components"] = [_inner(each, item.name) for each in item.files]
    record["properties"] = [{"name": f"steelyard:{name}", "value": value} for name, value in _properties(item)]
    return record


def _inner(item: Item, outer: str) -> dict[str, Any]:
    return {**_component(item), "bom-ref": printable(f"{outer}/{item.name}", 2000)}


def _properties(item: Item) -> list[tuple[str, str]]:
    facts = [("format", item.format), ("bytes", "" if item.size is None else str(item.size)), ("outcome", item.outcome)]
    facts += [("weights", str(item.weights))] if item.is_model else []
    if closed := [each.name for each in item.files or (item,) if each.size is None and "://" not in each.name]:
        facts += [("not-opened", first_of(closed, len(closed)))]
    found = [("finding", f"{each.severity} {each.rule}: {printable(each.what, 2000)}") for each in item.findings]
    return [(name, value) for name, value in facts if value] + found


def _licence(name: str) -> dict[str, str]:
    known = _SPDX.get(name.lower())
    return {"name": printable(name)} if known is None else {"id": known}


def _timestamp(moment: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
