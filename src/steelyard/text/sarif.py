"""Findings as SARIF 2.1.0, the format in which code hosts and editors read them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.measures.check.findings import Finding

    Rules = Mapping[str, tuple[str, str, str]]
    """The severity, the sentence and the address of the section of each rule."""

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}
_DAMAGED = "damaged"
"""The rule of a file that cannot be read at all."""


def sarif_text(found: Iterable[tuple[str, Finding]], errors: Mapping[str, str], rules: Rules, version: str) -> str:
    """Return one SARIF document by this `version` of Steelyard; `errors` are the messages of files that could not be read."""
    places = {name: index for index, name in enumerate(rules)}
    results = [_result(file, finding.rule, finding.severity, finding.what, places) for file, finding in found]
    results += [_result(file, _DAMAGED, "error", message, places) for file, message in errors.items()]
    driver = {"name": "Steelyard", "version": version, "rules": [_rule(name, *about) for name, about in rules.items()]}
    run = {"tool": {"driver": driver}, "columnKind": "utf16CodeUnits", "results": results}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(name: str, severity: str, sentence: str, address: str) -> dict[str, Any]:
    return {
        "id": name,
        "shortDescription": {"text": sentence},
        "help": {"text": f"{sentence} See {address} in the documentation of Steelyard."},  # a helpUri has to be absolute
        "defaultConfiguration": {"level": _LEVELS[severity]},
    }


def _result(file: str, rule: str, severity: str, what: str, places: Mapping[str, int]) -> dict[str, Any]:
    text = printable(what, 2000)
    located = {"artifactLocation": {"uri": address(file)}, "region": {"startLine": 1}}  # code hosts need a line
    record: dict[str, Any] = {"ruleId": rule, "level": _LEVELS[severity], "message": {"text": text}}
    if rule in places:
        record["ruleIndex"] = places[rule]
    fingerprint = sha256(f"{rule}\n{text}".encode("utf-8", "backslashreplace")).hexdigest()
    return {**record, "locations": [{"physicalLocation": located}], "partialFingerprints": {"steelyard/v1": fingerprint}}


def address(file: str) -> str:
    """Return the address of a file: relative to the working folder, or absolute.

    >>> address("runs/a b.pt"), address("/srv/net.pt"), address("https://example.org/net.pt")
    ('runs/a%20b.pt', 'file:///srv/net.pt', 'https://example.org/net.pt')
    """
    if "://" in file:
        return file
    path = quote(os.fsencode(file.replace(os.sep, "/")))
    return f"file://{path}" if os.path.isabs(file) else path
