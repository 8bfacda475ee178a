"""skops: the types that a schema names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.expected import is_expected
from steelyard.auditing.findings import AuditFinding
from steelyard.auditing.libraries import rule_of_name
from steelyard.auditing.names import words
from steelyard.auditing.plain_values import decoded, dicts_in
from steelyard.codecs import limits
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.auditing.findings import Inside, Place
    from steelyard.codecs.plain import Plain
    from steelyard.storage.source import Source


def recognises(source: Source) -> bool:
    """Recognise the schema by its name in the archive."""
    return source.name.endswith(":schema.json") and source.size <= limits.JSON


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Name each type that weights do not need. Raises `FormatError` for another text."""
    schema = decoded(source.read(0, source.size), source)
    for what in dict.fromkeys(_calls(schema)):
        yield AuditFinding("skops-reduce", str(place), what)
    for module, name in dict.fromkeys(_types(schema)):
        if not is_expected(module, name):
            rule = rule_of_name(module, name)
            shown = printable(f"{module}.{name}")
            if rule in ("pickle-name", "pickle-dotted-name"):
                yield AuditFinding("skops-type", str(place), f"would have run {shown}")
            else:
                yield AuditFinding(rule, str(place), f"makes an object of {shown}")


# A node: {"__loader__": "ObjectNode", "__module__": "sklearn.x", "__class__": "Net", "content": ...}; the content of
#   FunctionNode  {"module_path": "numpy", "function": "sqrt"}
#   TypeNode      {"__module__": "builtins", "__class__": "dict"}
#   MethodNode    {"func": "predict", "obj": a node}
def _types(schema: Plain) -> Iterator[tuple[str, str]]:
    """Yield module and name of every node, of every type, and of every function."""
    for node in dicts_in(schema):
        is_type = "__loader__" in node or isinstance(node.get("__class__"), str)
        if is_type and node.get("__loader__") != "FunctionNode":
            yield str(node.get("__module__")), str(node.get("__class__"))
        if isinstance(node.get("module_path"), str):
            yield str(node["module_path"]), str(node.get("function"))


def _calls(schema: Plain) -> Iterator[str]:
    """Yield a sentence for each node that takes a method, or calls a function of `operator`."""
    for node in dicts_in(schema):
        loader, content = node.get("__loader__"), node.get("content")
        if loader == "MethodNode":
            method = content.get("func") if isinstance(content, dict) else None
            yield f"would have taken the method {printable(method, 100)} of an object"
        elif loader == "OperatorFuncNode" and node.get("__class__") not in ("itemgetter", "attrgetter"):
            yield f"would have called operator.{printable(node.get('__class__'), 100)}"
        elif isinstance(loader, str) and loader not in _LOADERS:
            yield f"has a node of the unknown kind {printable(loader, 100)}"


_LOADERS = words(
    """
    ObjectNode ReduceNode MethodNode FunctionNode PartialNode TypeNode OperatorFuncNode JsonNode ListNode DictNode SetNode
    TupleNode DefaultDictNode BytesNode BytearrayNode SliceNode NdArrayNode MaskedArrayNode RandomStateNode
    RandomGeneratorNode DtypeNode SparseMatrixNode LossNode TreeNode CachedNode _DictWithDeprecatedKeysNode
    DictWithDeprecatedKeysNode QuantileForestNode IntFloatNode NoneNode StrNode DatetimeNode CategoricalNode OrderedDictNode
    """
)
