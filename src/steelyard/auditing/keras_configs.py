"""Judges Keras configs of all versions: what a loader would import, call, read or unpickle for each object in them.

An object is a dict with these entries; functions are objects too, of the class "function" with their name as config:

    class_name         "Dense"; "function"; "__lambda__" for compiled code
    module             in Keras 3 the package from which it is imported, "keras.layers"; absent for registered classes
    registered_name    the package and the name under which it is registered, "my_layers>Dense"
    config             its settings
"""

from __future__ import annotations

import base64
import binascii
import builtins
import re
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from steelyard.auditing.findings import AuditFinding, Inside, Place, Remark
from steelyard.auditing.keras_names import (
    CLASSES,
    FUNCTION_MODULES,
    KERAS,
    LIBRARIES,
    OUTSIDE_MODULES,
    PATHS,
    RUNS,
    SAVED_METADATA,
    UNSAFE_FUNCTIONS,
)
from steelyard.auditing.libraries import FRAMEWORKS, looks_like_class, rule_of_name
from steelyard.auditing.names import words
from steelyard.auditing.plain_values import dicts_in
from steelyard.auditing.tensorflow_ops import rule_of_op
from steelyard.errors import printable
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from steelyard.codecs.plain import Plain
    from steelyard.storage.source import Source

    Found = Iterator[tuple[str, str] | Remark]
    """Rules and sentences."""

_PATH = 1024  # characters of a path at most; a longer text is the content itself
_OP = re.compile(r'"?\bop"?\s*:\s*"([\w>]+)"')
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{1,15}://")
_ORDINARY_SYMBOLS = re.compile(r"(?:math|nn|linalg|signal|strings|image|sparse|ragged|random|bitwise|__operators__)\.\w+|\w+")
_UNSAFE_SYMBOLS = frozenset(("py_function", "numpy_function", "py_func", "load_library", "load_op_library", "print", "function"))


def is_config(config: Plain) -> bool:
    """Whether a value of JSON contains objects of Keras."""
    return any(_is_object(entry) for entry in dicts_in(config))


def judged(config: Plain, source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Yield a finding for each object that can run or reach out of the file, at any depth, and the pickles in them."""
    if not is_config(config):
        return
    for entry in dicts_in(config):
        for remark in (Remark(*each) for each in (*_object(entry), *_settings(entry))):
            if remark.rule == "keras-unknown-class" and source.name == SAVED_METADATA:
                shown = printable(_text(entry, "class_name"))
                yield AuditFinding(
                    "keras-saved-class", str(place), f"has a layer of the class {shown}; its saved graph runs instead"
                )
            else:
                yield remark.found(str(place))
        yield from _modules_of_torch(entry, source, place)


def _is_object(entry: Mapping[str, Plain]) -> bool:
    return isinstance(entry.get("class_name"), str) and not entry.keys().isdisjoint(("config", "module", "registered_name"))


def _object(entry: Mapping[str, Plain]) -> Found:
    name, module = _text(entry, "class_name"), _text(entry, "module")
    registered, config = _text(entry, "registered_name"), entry.get("config")
    if not _is_object(entry):
        return
    if name == "__lambda__":
        yield "keras-code", "has compiled Python code, which a loader would run"
    elif name == "Lambda":
        yield from _lambda(config)
    elif name in RUNS:
        yield "keras-runs", f"has an object of {printable(name)}, which {RUNS[name]}"
    elif name == "function" or (isinstance(config, str) and module and not looks_like_class(name)):
        yield from _function(module, config if isinstance(config, str) else registered)
    elif name in ("TensorFlowOpLayer", "TFOpLambda"):
        yield from _operation(config)
    elif name == "__typespec__":
        inner = config if isinstance(config, dict) else {}
        yield from _class(_text(inner, "module"), _text(inner, "spec_name"), "")
    else:
        yield from _class(module, name, registered)


def _lambda(config: Plain) -> Found:
    function = config.get("function") if isinstance(config, dict) else None
    kind = config.get("function_type") if isinstance(config, dict) else None
    if isinstance(function, list) or kind == "lambda" or _is_tuple(function):
        yield "keras-code", "has a Lambda layer with compiled Python code, which a loader would run"
    elif not isinstance(function, dict):  # a dict is an object of its own, which is judged by itself
        name = printable(function, 100) if isinstance(function, str) else "a function"
        yield "keras-lambda", f"has a Lambda layer that calls {name}, which the loader looks up by name"


def _is_tuple(value: Plain) -> bool:
    return isinstance(value, dict) and value.get("class_name") == "__tuple__"


def _function(module: str, name: str) -> Found:
    shown = printable(f"{module}.{name}" if module else name, 200)
    own = _inside_keras(module)
    if own is not None:
        first = own.partition(".")[0]
        if first not in FUNCTION_MODULES or name in UNSAFE_FUNCTIONS or name.startswith(("load", "save", "_")):
            yield "keras-function", f"names the function {shown}, which a loader would call or hand out"
    elif module in ("", "builtins", "__main__"):
        if name in vars(builtins) and name not in ("abs", "max", "min", "sum", "round", "pow"):
            yield "keras-function", f"names the function {shown}, which a loader would call or hand out"
        elif "." in name:
            yield "keras-function", f"names the function {shown}, an attribute of an attribute"
        elif module and name.lower() not in _FUNCTIONS:
            yield "keras-unknown-class", f"names the function {shown}, which no list knows"
    elif _package(module) in LIBRARIES:
        yield "keras-known-class", f"names the function {shown} of a known library"
    else:
        yield "keras-function", f"names the function {shown}, whose module a loader would import"


_FUNCTIONS = words(
    """
    relu relu6 sigmoid hard_sigmoid tanh softmax softplus softsign swish silu gelu elu selu linear exponential mish
    log_softmax leaky_relu mse mae mape msle mean_squared_error mean_absolute_error categorical_crossentropy
    binary_crossentropy sparse_categorical_crossentropy kl_divergence poisson hinge squared_hinge log_cosh logcosh huber
    accuracy acc binary_accuracy categorical_accuracy sparse_categorical_accuracy cosine_similarity
    """
)


def _class(module: str, name: str, registered: str) -> Found:
    package, _, tail = registered.rpartition(">") if ">" in registered else name.rpartition(">")
    shown = printable(f"{module}.{name}" if module else registered or name, 200)
    own = _inside_keras(module)
    if own is not None:
        if own.partition(".")[0] in OUTSIDE_MODULES and name not in CLASSES:
            yield "keras-function", f"names {shown}, of a module that reads or writes files, or changes what Keras permits"
        elif name not in CLASSES and not looks_like_class(name):
            yield "keras-function", f"names the function {shown}, which a loader would call"
        elif (name not in CLASSES and own.partition(".")[0] != "ops") or package:
            yield Remark("keras-unknown-class", f"names {shown}, a class that Keras does not have", (f"{module}.{name}",))
    elif module and module not in ("builtins", "__main__"):
        yield from _foreign(module, name, shown)
    else:
        yield from _registered(package, tail, name, shown)


def _registered(package: str, tail: str, name: str, shown: str) -> Found:
    """Judge a class without a module, which a loader finds by its registered name."""
    if package in ("Custom", "Keras") and tail in CLASSES:
        return  # optimizers of tf_keras are registered like this
    if package.partition(".")[0] in sys.stdlib_module_names:
        yield "keras-function", f"names {shown}, of a module that a loader would import"
    elif package.lower() in LIBRARIES:
        yield "keras-known-class", f"names {shown}, a class of a known library"
    elif "." in name and rule_of_name(*name.rsplit(".", 1)) in ("pickle-name", "pickle-dotted-name"):
        yield "keras-function", f"names {shown}, which a loader would import"
    elif package or name not in CLASSES:
        what = f"names {printable(tail or name)}, a class that no list knows; its code would run"
        yield Remark("keras-unknown-class", what, (tail or name,))


def _foreign(module: str, name: str, shown: str) -> Found:
    rule = rule_of_name(module, name)
    if rule in ("pickle-name", "pickle-dotted-name"):
        yield "keras-function", f"names {shown}, whose module a loader would import"
    elif _package(module) in LIBRARIES or rule == "pickle-known-class":
        yield "keras-known-class", f"names {shown}, a class of a known library, which a loader would import"
    elif _package(module) in FRAMEWORKS and name in CLASSES:
        return
    else:
        what = f"names {shown}, a class that no list knows; a loader would import its module"
        yield Remark("keras-unknown-class", what, (f"{module}.{name}",))


def _operation(config: Plain) -> Found:
    """Judge an operator of TensorFlow that is a layer: the node of a graph as JSON, or the name of a function."""
    inner = config if isinstance(config, dict) else {}
    node, symbol = inner.get("node_def"), inner.get("function")
    for op in _OP.findall(node) if isinstance(node, str) else ():
        if rule := rule_of_op(op):
            yield rule, f"has the operator {printable(op)} as a layer"
    if isinstance(symbol, str) and (not _ORDINARY_SYMBOLS.fullmatch(symbol) or symbol in _UNSAFE_SYMBOLS):
        yield "keras-function", f"calls tf.{printable(symbol, 200)} as a layer"


def _settings(entry: Mapping[str, Plain]) -> Found:
    """Judge the settings of an object: paths, addresses, and what weakens the loader."""
    for twin, value in entry.items():
        key = twin.partition("\0")[0]
        if key == "safe_mode" and value is False:
            yield "keras-unsafe-mode", "asks for loading without safe_mode"
        if not isinstance(value, str) or not value:
            continue
        if key in PATHS and len(value) < _PATH:
            yield "keras-file", f"names the file {printable(value, 200)} as {key}, which a loader would read"
        elif _ADDRESS.match(value):
            yield "keras-file", f"names the address {printable(value, 200)} as {printable(key)}"
        elif key == "name" and ".." in value.replace("\\", "/").split("/"):
            yield "path-traversal", f"names the layer {printable(value, 200)}, a path that leads out of a folder"
        elif value == "enable_unsafe_deserialization" and "class_name" not in entry:
            yield "keras-unsafe-mode", "names enable_unsafe_deserialization"


def _modules_of_torch(entry: Mapping[str, Plain], source: Source, place: Place) -> Iterator[Inside]:
    """Yield the PyTorch modules that are stored as base64."""
    config = entry.get("config")
    held = config.get("module") if entry.get("class_name") == "TorchModuleWrapper" and isinstance(config, dict) else None
    held = held.get("value") if isinstance(held, dict) else held  # marked as bytes: {"class_name": "__bytes__", ...}
    if isinstance(held, str):
        try:
            content = base64.b64decode(held)
        except (binascii.Error, ValueError):
            content = held.encode("utf-8", "surrogatepass")
        yield Inside(from_bytes(content, "module.pt", within=source), Place("the PyTorch module", place))


def _inside_keras(module: str) -> str | None:
    """Return the module within Keras, without "src" or "api"; None for a module of another package.

    >>> _inside_keras("keras.src.layers.core.dense"), _inside_keras("keras"), _inside_keras("kerasx")
    ('layers.core.dense', '', None)
    """
    for package in KERAS:
        if module == package or module.startswith(f"{package}."):
            rest = module[len(package) + 1 :]
            return re.sub(r"^(?:(?:src|api|_tf_keras|_v2|v2|engine|legacy)(?:\.|$)|keras(?:\.|$))+", "", rest)
    return None


def _package(module: str) -> str:
    return module.partition(".")[0]


def _text(entry: Mapping[str, Plain], key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) else ""
