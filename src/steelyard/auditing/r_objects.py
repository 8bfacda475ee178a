"""The objects of an R file: what R evaluates when one is loaded or used, and calls that reach out. Nothing is evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.names import words
from steelyard.codecs import limits
from steelyard.codecs.r.values import S4, Environment, Opaque, Pairlist, Symbol, Vector
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.codecs.r.values import Value

    Found = Iterator[tuple[str, str]]
    """Rules and sentences."""

RUNS = words(
    """
    system system2 shell shell.exec pipe socketConnection serverSocket socketAccept download.file download.packages source
    sys.source dyn.load library.dynam install.packages browseURL unlink file.remove file.rename setHook
    assignInNamespace loadRcppModule sourceCpp source_url source_gist install_github curl_download curl_fetch_memory url.exists
    writeBin socketSelect Sys.setenv addTaskCallback mcfork
    """
)
_IN_TEXT = re.compile(
    r"\b(?:system2?|shell(?:\.exec)?|pipe|socketConnection|download\.file|source|dyn\.load|install\.packages|unlink|file\.remove)\s*\("
)
_INDIRECT = frozenset(("do.call", "match.fun", "get", "get0", "mget", "eval", "evalq", "parse", "str2lang", "str2expression"))
"""Functions that call what a text names."""
_AUTOMATIC = frozenset(
    (".First", ".First.sys", ".Last", ".Last.sys", ".onLoad", ".onAttach", ".onUnload", ".First.lib", ".Last.lib")
)
_COMMON = words(
    """
    print c cat library require predict summary plot mean length names class is.null identical list paste paste0 format str
    head nrow ncol dim sum data.frame matrix lapply sapply vapply apply Map Reduce Filter do.call eval parse source load
    readRDS save saveRDS get assign exists stop warning message invisible function return if for while repeat ( { [ [[ $ <- =
    + - * / ^ == != < > & | ! && || : :: ::: @ setwd getwd file.path q quit ls rm options set.seed sample rnorm as.numeric
    as.character numeric factor levels unlist rep seq seq_len seq_along which any all max min range round abs sqrt exp log
    """
)
"""Functions of R's base packages that nearly every session calls."""
_CODE = ("closure", "promise", "active binding", "bytecode")


def masks(root: Value) -> Found:
    """Name the objects of a session that R calls by itself, or instead of its own."""
    for name, value in root.pairs() if isinstance(root, Vector) else ():
        is_code = isinstance(value, Opaque) and value.kind in _CODE
        if name in _AUTOMATIC and is_code:
            yield "r-masks", f"has the function {printable(name)}, which R calls by itself"
        elif name in _COMMON and is_code:
            yield "r-masks", f"has a function {printable(name)} of its own in place of R's"


class ObjectWalk:
    """Walks through all objects of a file, without recursion."""

    __slots__ = ("_functions", "_seen", "_symbols")

    def __init__(self, symbols: set[str]) -> None:
        self._symbols = symbols
        self._seen: set[int] = set()
        self._functions = 0

    def through(self, root: Value) -> Found:
        """Yield what is found."""
        pending: list[tuple[Value, bool, bool]] = [(root, False, False)]
        while pending:
            value, is_binding, in_function = pending.pop()
            if value is None or isinstance(value, Symbol) or id(value) in self._seen:
                continue
            self._seen.add(id(value))
            yield from self._judged(value, is_binding=is_binding, in_function=in_function)
            inside = in_function or (isinstance(value, Opaque) and value.kind == "closure")
            binds = isinstance(value, Environment) or (isinstance(value, Opaque) and value.kind == "dots")
            pending += [(part, binds, inside) for part in reversed([*_parts(value)])]
        if self._functions:
            yield "r-code", f"has {self._functions:,} functions, which R runs only if something calls them"

    def _judged(self, value: Value, *, is_binding: bool, in_function: bool) -> Found:
        if isinstance(value, Environment):
            yield from _bindings(value)
        if not isinstance(value, Opaque):
            return
        if value.kind == "promise":
            yield from self._promise(value, is_binding=is_binding)
        elif value.kind == "active binding" and not is_binding:
            yield "r-active-binding", "has an active binding outside an environment, a function that R calls when it is used"
        elif value.kind == "language":
            rule = "r-function" if in_function else "r-call"
            yield from ((rule, f"calls {printable(name)}") for name in _calls(value))
        elif value.kind == "closure":
            self._functions += 1
        elif value.kind == "bytecode":
            for name in sorted(self._symbols & RUNS):
                yield "r-function", f"has a compiled function, and names {printable(name)}"
        elif value.kind == "ALTREP":
            rule = "r-outside" if value.name.startswith("mmap") else "r-unknown-type"
            yield rule, f"has a vector of the type {printable(value.name)}, which {_WORDS[rule]}"

    def _promise(self, promise: Opaque, *, is_binding: bool) -> Found:
        held, expression = promise.parts.get("value"), promise.parts.get("expression")
        is_open = isinstance(held, Opaque) and held.kind == "unbound value"
        names = [*_reached(expression)]
        if names:
            yield "r-promise", f"has a promise that calls {printable(', '.join(names), 200)}, when its value is used"
        elif is_open and not is_binding:
            yield "r-promise", "has a promise outside an environment, which R evaluates as soon as its value is used"


_WORDS = {"r-outside": "opens another file", "r-unknown-type": "only a package of R can make"}


def _bindings(environment: Environment) -> Found:
    """Judge the active bindings of an environment: objects of R6 have them, and keep their own environment."""
    is_r6 = ".__enclos_env__" in environment.frame or ".__active__" in environment.frame or "R6" in environment.class_
    for name, value in environment.frame.items():
        if isinstance(value, Opaque) and value.kind == "active binding":
            calls = [*_reached(value.parts.get("function"))]
            if calls or not is_r6:
                shown = f", and calls {printable(', '.join(calls), 200)}" if calls else ""
                yield "r-active-binding", f"has the active binding {printable(name)}, which R calls when it is used{shown}"


def _reached(root: Value) -> Iterator[str]:
    """Yield the names of functions that reach out, in all calls within a value."""
    pending, seen, names = [root], set[int](), dict[str, None]()
    while pending and len(seen) < limits.OBJECTS:
        value = pending.pop()
        if value is None or isinstance(value, (Symbol, Environment)) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Opaque) and value.kind == "language":
            names.update(dict.fromkeys(_calls(value)))
        pending += _parts(value)
    yield from names


def _calls(call: Opaque) -> Iterator[str]:
    """Yield the functions of one call that reach out: by its own name, by a package's, or by a text."""
    function, arguments = call.parts.get("function"), call.parts.get("arguments")
    values = arguments.values if isinstance(arguments, Pairlist) else []
    name = function.name if isinstance(function, Symbol) else ""
    texts = [text for value in values for text in _texts(value)]
    if name in RUNS:
        yield name
    elif name in ("::", ":::"):
        yield from (value.name for value in values if isinstance(value, Symbol) and value.name in RUNS)
        yield from (text for text in texts if text in RUNS)
    elif name in _INDIRECT:
        yield from (text for text in texts if text in RUNS)
        yield from (value.name for value in values if isinstance(value, Symbol) and value.name in RUNS)
        yield from (match[0].rstrip("( ") for text in texts for match in _IN_TEXT.finditer(text))
    elif not name and isinstance(function, Vector):
        yield from (text for text in _texts(function) if text in RUNS)


def _texts(value: Value) -> list[str]:
    return [text for text in value.strings or () if text] if isinstance(value, Vector) else []


def _parts(value: Value) -> Iterator[Value]:
    """Yield the values within a value."""
    if isinstance(value, Vector):
        yield from value.items or ()
    elif isinstance(value, Pairlist):
        yield from value.values
    elif isinstance(value, Environment):
        yield from value.frame.values()
        yield value.enclosing
    elif isinstance(value, Opaque):
        yield from value.parts.values()
    if isinstance(value, (Vector, Pairlist, Environment, Opaque, S4)):
        yield from value.attributes.values()
