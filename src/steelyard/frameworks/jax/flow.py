"""The data flow of a traced net: the layers and functions that feed each layer, followed through the operations of the trace.

Layers mark their inputs and outputs in the trace. What is between two marks of a layer belongs to it; every other operation on
data is part of a function, which is a layer of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.dataflow import MAX_SOURCES
from steelyard.frameworks.jax.functions import (
    PASSING,
    CallSite,
    as_layer,
    call_site,
    is_plain_call,
    library_call,
    traced_inside,
    update,
)

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr, JaxprEqn

    from steelyard.core.graph import Layer

    Sources = tuple[str, ...]
    """The layers and functions from which data comes, with repeats."""

IN, AGAIN, OUT = "steelyard in ", "steelyard again ", "steelyard out "
_INSIDE = "\0inside a layer"
"""The source of data on its way through a layer."""


class _Open(NamedTuple):
    """The call of a function whose operations follow one another: its name, its first operation, and the places seen."""

    name: str
    site: CallSite
    seen: set[object]


class TraceWalk:
    """One walk through a trace.

    `inputs` are the sources of each marked layer, `functions` the functions by name, `order` the names of both in the order of
    their first operation. `is_plain` becomes false at a loop or a branch, and where data cannot be followed.
    """

    __slots__ = ("_batched", "_counts", "_known", "_open", "functions", "inputs", "is_plain", "order")

    def __init__(self, known: Mapping[str, Layer], taken: Sequence[str], batched: int) -> None:
        self.inputs: dict[str, list[str]] = {}
        self.functions: dict[str, Layer] = {}
        self.order: dict[str, None] = {}
        self.is_plain = True
        self._known = (*known, *taken)
        self._batched = batched
        self._counts: Counter[str] = Counter()
        self._open: _Open | None = None

    def follow(self, jaxpr: Jaxpr, given: Sequence[Sources]) -> list[Sources]:
        """Return the sources of each output of a trace, of which `given` are those of its inputs."""
        sources: dict[Any, Sources] = dict(zip(jaxpr.invars, given, strict=True))

        def of(variable: Any) -> Sources:
            return () if hasattr(variable, "val") else sources.get(variable, ())

        for equation in jaxpr.eqns:
            origins = [of(variable) for variable in equation.invars]
            sources.update(zip(equation.outvars, self._after(equation, origins), strict=True))
        return [of(variable) for variable in jaxpr.outvars]

    def needed(self, ends: Sequence[str]) -> set[str]:
        """Return the functions on which the outputs of the net or one of its layers depend."""
        reached: set[str] = set()
        pending = [*ends, *(name for before in self.inputs.values() for name in before)]
        while pending:
            name = pending.pop()
            if name in self.functions and name not in reached:
                reached.add(name)
                pending += self.functions[name].inputs or ()
        return reached

    def _after(self, equation: JaxprEqn, origins: Sequence[Sources]) -> list[Sources]:
        """Return the sources of the outputs of an operation."""
        merged = tuple(name for each in origins for name in each)[:MAX_SOURCES]
        count = len(equation.outvars)
        mark = str(equation.params.get("name", "")) if equation.primitive.name == "name" else ""
        if mark.startswith((IN, AGAIN)):
            return [self._entered(mark, merged)] * count
        if mark.startswith(OUT):
            return [(mark.removeprefix(OUT),)] * count
        if not merged or _INSIDE in merged or mark:
            inner = traced_inside(equation) if merged and _is_marked(equation) else None
            return self.follow(inner, origins) if inner is not None else [(_INSIDE,) if _INSIDE in merged else merged] * count
        return self._outside(equation, origins, merged)

    def _outside(self, equation: JaxprEqn, origins: Sequence[Sources], merged: Sources) -> list[Sources]:
        """Return the sources of an operation on data that belongs to no layer."""
        inner, count = traced_inside(equation), len(equation.outvars)
        named = library_call(equation) if is_plain_call(equation) else ""
        if inner is not None and not named and (is_plain_call(equation) or _is_marked(equation)):
            self.is_plain &= is_plain_call(equation)
            return self.follow(inner, origins)
        site = call_site(equation)
        if equation.primitive.name in PASSING and not (site and self._continues(site)):
            return [merged] * count
        word = (site.word if site else "") or named or equation.primitive.name
        return [(self._called(word, site, equation, origins),)] * count

    def _continues(self, site: CallSite) -> bool:
        return self._open is not None and (site.word, site.callers) == (self._open.site.word, self._open.site.callers)

    def _called(self, word: str, site: CallSite | None, equation: JaxprEqn, origins: Sequence[Sources]) -> str:
        """Return the name of the function that an operation belongs to: that of the operation before, or another one."""
        passing = equation.primitive.name in PASSING
        taken = [each for sources in origins for each in sources]
        if self._open and site and self._continues(site) and (passing or site.place not in self._open.seen):
            name = self._open.name
            update(self.functions[name], equation, self._batched)
            before = self.functions[name].inputs or ()
            taken = [each for each in dict.fromkeys(taken) if each != name and each not in before]
        else:
            name = self._named(word)
            data = [variable for variable, sources in zip(equation.invars, origins, strict=True) if sources]
            self.functions[name] = as_layer(name, word, equation, data, self._batched)
            self.functions[name].inputs = ()
            self.order[name] = None
            self._open = _Open(name, site, set()) if site else None
        if self._open and site:
            self._open.seen.add(site.place)
        layer = self.functions[name]
        layer.inputs = (*(layer.inputs or ()), *taken)
        return name

    def _named(self, word: str) -> str:
        word = {"rewriting_take": "getitem"}.get(word, word)
        while True:
            self._counts[word] += 1
            name = word if self._counts[word] == 1 else f"{word}#{self._counts[word]}"
            if not any(each == name or each.startswith((f"{name}/", f"{name}.", f"{name}[")) for each in self._known):
                return name

    def _entered(self, mark: str, merged: Sources) -> Sources:
        """Record the inputs of a layer; one that runs again has its further inputs too."""
        self._open = None
        if mark.startswith(IN):
            name = mark.removeprefix(IN)
            self.order.setdefault(name, None)
            self.inputs.setdefault(name, []).extend(each for each in merged if each != _INSIDE)
        else:
            earlier = self.inputs.setdefault(mark.removeprefix(AGAIN), [])
            earlier.extend(name for name in dict.fromkeys(merged) if name not in earlier and name != _INSIDE)
        return (_INSIDE,)


def _is_marked(equation: JaxprEqn) -> bool:
    """Whether a layer is called inside an operation."""
    inner = traced_inside(equation)
    return inner is not None and any(
        str(each.params.get("name", "")).startswith("steelyard ") or _is_marked(each) for each in inner.eqns
    )
