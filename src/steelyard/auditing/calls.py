"""Judges what a pickle would do: each call, each name and each change of state, by the lists of the expected and the known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from steelyard.auditing.arguments import accepted
from steelyard.auditing.expected import ARGUMENTS, CLASS, FUNCTION, ITEMS, OBJECT, is_expected, kind_of
from steelyard.auditing.findings import Remark
from steelyard.auditing.libraries import CONTAINERS, rule_of_name
from steelyard.auditing.rules import RULES
from steelyard.codecs import limits
from steelyard.codecs.pickle.values import Global, Record, class_of
from steelyard.codecs.pickle.writing import written
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.auditing.findings import AuditFinding, Place
    from steelyard.codecs.pickle.machine import Log, Machine
    from steelyard.codecs.pickle.values import Pickled

_SEVERITIES = ("info", "warning", "error")
_METHODS = frozenset(("__setstate__", "__class__", "append", "extend", "add", "update", "__setitem__", "__reduce__", "__dict__"))
"""Attributes that an unpickler calls, or that change what an object is."""
_FILLED = frozenset(("collections", "builtins", "__builtin__"))
"""Modules of classes whose objects take items without running anything else."""


def judged(log: Log, machine: Machine, place: Place) -> Iterator[AuditFinding]:
    """Yield a finding for each call, state and name that weights do not need, in the order of the pickle."""
    return (found_at(place, remark, at if at is None else at - place.origin) for remark, at in remarks(log, machine))


def found_at(place: Place, remark: Remark, at: int | None) -> AuditFinding:
    """Return the finding of a remark about a byte of what is at a place; without a byte, about all of it."""
    return remark.found(str(place) if at is None else place.at(at))


def remarks(log: Log, machine: Machine) -> Iterator[tuple[Remark, int | None]]:
    """Yield what is to be said of each call, state and name that weights do not need, and its byte.

    Of each rule at most `limits.FINDINGS` are listed, and the rest is counted.
    """
    counts: Counter[str] = Counter()
    known: set[str] = set()
    shown: set[int] = set()
    said = chain(_calls(log, shown, counts), _states(log), _fillings(log), _names(log, machine, shown))
    for remark, at in said:
        rule, what = remark.rule, remark.what
        if what not in known:
            counts[rule] += 1
            if counts[rule] <= limits.FINDINGS:
                known.add(what)
                yield remark, at
    for rule, count in counts.items():
        if count > limits.FINDINGS:
            yield Remark(rule, f"{count - limits.FINDINGS:,} more findings of the rule {rule}"), None


def _calls(log: Log, shown: set[int], counts: Counter[str]) -> Iterator[tuple[Remark, int]]:
    """Yield the calls; the names that their sentences show are added to `shown`. Those beyond the limit are only counted."""
    for record, how, at in log.calls:
        rule = rule_of_call(record, how)
        if rule and counts[rule] >= limits.FINDINGS:
            counts[rule] += 1
            shown.update(map(id, (record.call, *_named(record))))
        elif rule:
            what = _sentence(rule, record)
            shown.update(id(part) for part in (record.call, *_named(record)) if isinstance(part, Global) and part.text in what)
            yield Remark(rule, what, _classes_of(record)), at


def _classes_of(record: Record) -> tuple[str, ...]:
    """Return the classes that no list of the expected has, of those that a call names; none if a function is among its names."""
    names = [part for part in (record.call, *_named(record)) if isinstance(part, Global)]
    strange = [part for part in names if not is_expected(part.module, part.name)]
    if not isinstance(record.call, Global) or any(RULES[rule_of_name(part.module, part.name)].runs for part in strange):
        return ()
    return tuple(dict.fromkeys(part.text for part in strange))


def rule_of_call(record: Record, how: str) -> str:
    """Return the rule that a call breaks, the worst of those of its function and of the names in its arguments; "" for none."""
    own = _rule_of_target(record, how)
    named = [rule_of_name(part.module, part.name) for part in _named(record) if not is_expected(part.module, part.name)]
    return max((own, *named), key=lambda rule: _SEVERITIES.index(RULES[rule].severity) if rule else -1)


def _rule_of_target(record: Record, how: str) -> str:
    target = record.call
    if not isinstance(target, Global):
        return "pickle-computed-call"
    kind = kind_of(target.module, target.name)
    if ARGUMENTS in kind:
        return "" if accepted(target, record.args) else "pickle-argument"
    makes = how == "NEWOBJ" or (how in ("INST", "OBJ") and record.args == ())  # without the constructor
    if CLASS in kind or FUNCTION in kind or (OBJECT in kind and makes):
        return ""
    if kind:
        return "pickle-call"
    rule = rule_of_name(target.module, target.name)
    if rule == "pickle-known-class" and how != "NEWOBJ" and (target.module, target.name) not in CONTAINERS:
        return "pickle-constructor"
    called = rule == "pickle-name" or (rule == "pickle-unproven-class" and how != "NEWOBJ")
    return "pickle-call" if called else rule


def _named(record: Record) -> Iterator[Global]:
    """Yield the names among the arguments of a call."""
    for part in record.args if type(record.args) is tuple else (record.args,):
        if isinstance(part, Global):
            yield part


def _sentence(rule: str, record: Record) -> str:
    kind = class_of(record)
    if RULES[rule].severity == "error" or kind is None:
        return f"would have run {printable(written(record), 400)}"
    shown = written(record) if record.call is kind and record.args not in ((), []) else kind.text
    return f"makes an object of {printable(shown, 400)}, {_WORDS[rule]}"


_WORDS = {
    "pickle-unknown-class": "a class that no list knows; loading imports its module",
    "pickle-unproven-class": "a class that is not proven to run nothing when it is made like this",
    "pickle-constructor": "a class of a known library, with arguments; its constructor would run",
    "pickle-known-class": "a class of a known library, which loading imports",
}


def _states(log: Log) -> Iterator[tuple[Remark, int]]:
    for target, state, at in log.states:
        if isinstance(target, Global):
            yield Remark("pickle-state", f"would change {printable(target.text)}, a class, a function or a module"), at
            continue
        held = [part for part in (state if type(state) is tuple else (state,)) if type(part) is dict]
        changed = sorted({key for part in held for key in part if type(key) is str and key in _METHODS and _is_made(part[key])})
        if changed and not (isinstance(target, Record) and _is_plain_object(target)):
            owner = printable(target.text) if isinstance(target, Record) else "a dict"
            what = f"would change {', '.join(changed)} of an object of {owner}, which a loader may call"
            yield Remark("pickle-state", what), at


def _is_made(value: Pickled) -> bool:
    """Whether a value may be a function or an object, not plain data."""
    return isinstance(value, (Global, Record))


def _is_plain_object(target: Record) -> bool:
    """Whether an object has no attributes of its own that an unpickler would call."""
    return target.text == "numpy.dtype"


def _fillings(log: Log) -> Iterator[tuple[Remark, int]]:
    for target, at in log.fillings:
        if isinstance(target, Global):
            what = f"would call a method of {printable(target.text)}, a class, a function or a module"
            yield Remark("pickle-state", what), at
        elif isinstance(target, Record) and (kind := class_of(target)) is not None and not _takes_items(kind):
            what = f"adds items to an object of {printable(kind.text)}, which may run its code"
            yield Remark("pickle-unproven-class", what, (kind.text,)), at


def _takes_items(kind: Global) -> bool:
    """Whether adding items to objects of a class runs nothing else; classes that are not expected have findings already."""
    own = kind_of(kind.module, kind.name)
    return not own or ITEMS in own or kind.module in _FILLED


def _names(log: Log, machine: Machine, shown: set[int]) -> Iterator[tuple[Remark, int]]:
    """Yield names that are not among the calls that were shown."""
    for (module, name), at in log.names.items():
        if id(machine.globals.get((module, name))) in shown or is_expected(module, name):
            continue
        rule = rule_of_name(module, name)
        text = printable(f"{module}.{name}")
        if RULES[rule].severity == "error":
            yield Remark(rule, f"would have run {text}"), at
        else:
            yield Remark(rule, f"names {text}, {_WORDS[rule]}", (f"{module}.{name}",)), at
