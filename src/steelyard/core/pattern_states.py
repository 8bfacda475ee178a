"""Regular expressions run in all their states at once, after Pike: no way is tried twice, so none can explode.

Python's own parser makes the tree, and Python's own matcher tests each letter and place, so both agree on what these mean.
"""

from __future__ import annotations

import re
from importlib import import_module
from math import log
from typing import Any

_MOST = 5_000  # instructions of a program: counted repeats are written out
_PLACES = {
    "AT_BEGINNING": "^",
    "AT_BEGINNING_STRING": r"\A",
    "AT_END": "$",
    "AT_END_STRING": r"\Z",
    "AT_BOUNDARY": r"\b",
    "AT_NON_BOUNDARY": r"\B",
}
_KINDS = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_UNSUPPORTED = {
    "GROUPREF": "refers to a group",
    "GROUPREF_EXISTS": "refers to a group",
    "ASSERT": "looks around",
    "ASSERT_NOT": "looks around",
    "ATOMIC_GROUP": "has atomic groups",
    "POSSESSIVE_REPEAT": "has possessive repeats",
}
_ENDLESS = 1e18


def tree_of(text: str) -> Any:
    """Return the tree of an expression, as Python's own parser makes it."""
    return import_module("re._parser").parse(text)


def ways_of(tree: Any, length: int) -> float:
    """Return at most how many ways there are through an expression on a name of so many letters.

    >>> [ways_of(tree_of(text), 10) for text in ("ab*", "(a|bc)*", "(a+)+b")]
    [11.0, 1024.0, 10000000000.0]
    """
    ways = 1.0
    for op, value in tree:
        ways = min(ways * _ways(str(op), value, length), _ENDLESS)
    return ways


def _ways(op: str, value: Any, length: int) -> float:
    if op in _REPEATS:
        least, most, body = value
        most = min(int(most), length // max(body.getwidth()[0], 1))
        inner = ways_of(body, length)
        if inner == 1:
            return float(max(most - least, 0) + 1)
        return float(inner**most) if most * log(inner) < log(_ENDLESS) else _ENDLESS
    if op == "BRANCH":
        return sum(ways_of(each, length) for each in value[1])
    if op in ("SUBPATTERN", "ASSERT", "ASSERT_NOT"):
        return ways_of(value[-1], length)
    return ways_of(value, length) if op == "ATOMIC_GROUP" else 1.0


class States:
    """An expression as a program: a list of instructions, each an operation with up to two arguments.

    `letter` and `place` hold a test of the letter at a place, or of the place; `split` two ways, the preferred one first; `mark`
    the number of a border of a group.
    """

    __slots__ = ("_code", "_groups")

    def __init__(self, tree: Any) -> None:
        self._code: list[tuple[str, Any, int]] = []
        self._groups: dict[int, str] = dict.fromkeys(range(1, tree.state.groups), "")
        self._groups |= {number: name for name, number in tree.state.groupdict.items()}
        self._add(tree, tree.state.flags)
        self._code.append(("end", None, 0))

    def __len__(self) -> int:
        return len(self._code)

    def match(self, name: str) -> re.Match[str] | None:
        """Return the match of a whole name."""
        states = [(0, (-1,) * (2 * len(self._groups) + 2))]
        for at in range(len(name)):
            reached = self._reached(name, at, states)
            states = [(state + 1, marks) for state, marks in reached if self._takes(state, name, at)]
            if not states:
                return None
        ended = self._reached(name, len(name), states)
        return next((self._as_match(name, marks) for state, marks in ended if self._code[state][0] == "end"), None)

    def _takes(self, state: int, name: str, at: int) -> bool:
        op, test, _ = self._code[state]
        return op == "letter" and test(name, at) is not None

    def _reached(self, name: str, at: int, begun: list[tuple[int, tuple[int, ...]]]) -> list[tuple[int, tuple[int, ...]]]:
        """Return the states that need the next letter, or end, by preference: of two ways to one state the first counts."""
        seen, reached, pending = set[int](), [], begun[::-1]
        while pending:
            state, marks = pending.pop()
            if state in seen:
                continue
            seen.add(state)
            op, value, other = self._code[state]
            if op == "split":
                pending += [(other, marks), (value, marks)]
            elif op == "mark":
                pending.append((state + 1, (*marks[:value], at, *marks[value + 1 :])))
            elif op in ("letter", "end"):
                reached.append((state, marks))
            elif value(name, at) is not None:
                pending.append((state + 1, marks))
        return reached

    def _as_match(self, name: str, marks: tuple[int, ...]) -> re.Match[str] | None:
        """Return Python's match of an expression that has nothing to choose: each group is at its place, of its length."""
        groups = [self._as_group(number, *marks[2 * number : 2 * number + 2]) for number in self._groups]
        return re.compile(f"(?s){''.join(groups)}.{{{len(name)}}}").fullmatch(name)

    def _as_group(self, number: int, begin: int, end: int) -> str:
        named = f"?P<{self._groups[number]}>" if self._groups[number] else ""
        return f"({named}(?!))?" if min(begin, end) < 0 else f"(?=.{{{begin}}}({named}.{{{end - begin}}}))"

    def _add(self, tree: Any, flags: int) -> None:
        for op, value in tree:
            self._add_one(str(op), value, flags)
            if len(self._code) > _MOST:
                raise re.error("counts too far")

    def _add_one(self, op: str, value: Any, flags: int) -> None:
        if op in _UNSUPPORTED:
            raise re.error(_UNSUPPORTED[op])
        if op == "SUBPATTERN":
            number, added, removed, body = value
            self._code += [("mark", 2 * number, 0)] if number else []
            self._add(body, (flags | added) & ~removed)
            self._code += [("mark", 2 * number + 1, 0)] if number else []
        elif op == "BRANCH":
            self._add_choice(value[1], flags)
        elif op in _REPEATS:
            self._add_repeat(value, flags, eager=op == "MAX_REPEAT")
        elif op == "AT":
            self._code.append(("place", re.compile(_PLACES[str(value)], flags).match, 0))
        else:
            self._code.append(("letter", re.compile(_letter(op, value), flags).match, 0))

    def _add_choice(self, choices: Any, flags: int) -> None:
        jumps = []
        for choice in choices[:-1]:
            fork = self._hole()
            self._add(choice, flags)
            jumps.append(self._hole())
            self._code[fork] = ("split", fork + 1, len(self._code))
        self._add(choices[-1], flags)
        for jump in jumps:
            self._code[jump] = ("split", len(self._code), len(self._code))

    def _add_repeat(self, repeat: Any, flags: int, *, eager: bool) -> None:
        least, most, body = repeat
        if not body.getwidth()[0] and most > 1:
            raise re.error("repeats what may be empty")
        for _ in range(least):
            self._add(body, flags)
        endless = str(most) == "MAXREPEAT"
        forks = []
        for _ in range(1 if endless else int(most) - least):
            forks.append(self._hole())
            self._add(body, flags)
        if endless:
            self._code.append(("split", forks[0], forks[0]))
        for fork in forks:
            ways = (fork + 1, len(self._code))
            self._code[fork] = ("split", *(ways if eager else ways[::-1]))

    def _hole(self) -> int:
        self._code.append(("split", 0, 0))
        return len(self._code) - 1


def _letter(op: str, value: Any) -> str:
    """Return the expression of one letter."""
    if op == "ANY":
        return "."
    if op in ("LITERAL", "NOT_LITERAL"):
        return f"[{'^' * (op == 'NOT_LITERAL')}{_escaped(value)}]"
    return f"[{''.join(_member(str(kind), each) for kind, each in value)}]"


def _member(kind: str, value: Any) -> str:
    if kind == "NEGATE":
        return "^"
    if kind == "RANGE":
        return f"{_escaped(value[0])}-{_escaped(value[1])}"
    return _KINDS[str(value)] if kind == "CATEGORY" else _escaped(value)


def _escaped(code: int) -> str:
    return f"\\U{code:08x}"
