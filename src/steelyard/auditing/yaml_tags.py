"""YAML files: tags that make Python objects, and names that a loader calls. The text is searched, not loaded.

!!python/object/apply:os.system ["..."]     PyYAML's own tags, which an unsafe loader calls
!new:os.system, !name:..., !apply:...       HyperPyYAML, of SpeechBrain
_target_: os.system                         Hydra, of NeMo
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.findings import Remark
from steelyard.auditing.hub import named
from steelyard.auditing.libraries import rule_of_name
from steelyard.codecs import limits
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.auditing.findings import AuditFinding, Inside, Place
    from steelyard.storage.source import Source

_PLAIN = frozenset(("tuple", "str", "unicode", "int", "float", "bool", "none", "list", "dict", "complex", "long", "bytes"))
_PYTHON = re.compile(r"(?:!!|tag:yaml\.org,2002:|!<tag:yaml\.org,2002:)python/(?P<kind>[\w/]+)(?::(?P<name>[\w.]+))?")
_RENAMED = re.compile(r"^%TAG\s+\S+\s+tag:yaml\.org,2002:p?\S*", re.MULTILINE)
_CALLED = re.compile(r"!(?P<tag>new|name|apply|module):(?P<name>[\w.]+)")
_LOADER = re.compile(r"""^[\s\-]*["']?loader_module["']?\s*:\s*["']?(?P<name>[A-Za-z_][\w.]*)""", re.MULTILINE)
_TARGET = re.compile(r"""^[\s\-{,]*["']?_(?:target|call)_["']?\s*:\s*["']?(?P<name>[A-Za-z_][\w.]*)""", re.MULTILINE)


def recognises(source: Source) -> bool:
    """Recognise YAML by its name."""
    return source.name.lower().endswith((".yaml", ".yml", "mlmodel")) and not source.is_folder and source.size <= limits.TEXT * 4


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Name the objects that a loader would make."""
    text = source.read(0, source.size).decode("utf-8", "replace")
    for each in dict.fromkeys((*_objects(text), *_calls(text))):
        yield Remark(*each).found(str(place))


def _objects(text: str) -> Iterator[tuple[str, str]]:
    for match in _RENAMED.finditer(text):
        yield "yaml-object", f"gives the tags of Python another name: {printable(match[0])}"
    for match in _PYTHON.finditer(text):
        if match["name"] or match["kind"].split("/")[0] not in _PLAIN:
            yield "yaml-object", f"has the tag {printable(match[0])}, which an unsafe loader would call or import"


def _calls(text: str) -> Iterator[tuple[str, str] | Remark]:
    for match in _LOADER.finditer(text):
        if not match["name"].startswith("mlflow."):
            rule = "yaml-object" if rule_of_name(match["name"], "Loader") == "pickle-name" else "hub-unknown-class"
            yield rule, f"names {printable(match['name'])} as loader_module, which a loader would import"
    for pattern in (_CALLED, _TARGET):
        for match in pattern.finditer(text):
            key = match.groupdict().get("tag") or "_target_"
            for each in named(match["name"], f"!{key}" if pattern is _CALLED else key):
                remark = Remark(*each)
                yield remark._replace(rule="yaml-object") if remark.rule == "hub-function" else remark
