"""The functions of a language that a forward pass needs, and those that they call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping


def used(texts: Mapping[str, str], wanted: Iterable[str]) -> Iterator[str]:
    """Yield the names of functions whose texts are needed: those that are wanted, and all that their texts name.

    >>> list(used({"a": "def a(): b()", "b": "def b(): c()", "c": "def c(): 1", "d": "def d(): 1"}, ["b"]))
    ['b', 'c']
    """
    found, names = set[str](), re.compile(rf"\b({'|'.join(map(re.escape, texts))})\b")
    new = {name for name in wanted if name in texts}
    while new:
        found |= new
        new = {name for each in new for name in names.findall(texts[each])} - found
    yield from (name for name in texts if name in found)


def own_functions(texts: Iterable[str]) -> list[str]:
    """Return the names of our own elementary functions that texts call, as `own_exp(`.

    >>> own_functions(["own_exp(x) + own_tanh(x)", "own_exp(1)"])
    ['exp', 'tanh']
    """
    return sorted({name for text in texts for name in re.findall(r"\bown_(\w+)\(", text)})
