"""The names that weight files need, each with how it may be used; `expected.txt` lists them one by one.

A line is a module, a kind, and names, below the reason why using them runs nothing else. `scripts/expected` writes it from the
installed frameworks, and proves each entry. A kind is one or more of these letters:

n   may be named, as a setting or a type, but not called
o   a class whose objects are made without its constructor, and given attributes: this runs nothing else
c   a class that may be called with any arguments
i   a class whose objects may be given items
f   a function that may be called with any arguments
a   a function that may be called with the arguments that `arguments` accepts
"""

from __future__ import annotations

import os
from functools import cache

OBJECT, CLASS, ITEMS, FUNCTION, ARGUMENTS = "o", "c", "i", "f", "a"


def is_expected(module: str, name: str) -> bool:
    """Whether weight files of the known frameworks use this name.

    >>> is_expected("torch._utils", "_rebuild_tensor_v2"), is_expected("posix", "system"), is_expected("torch", "nn.Linear")
    (True, False, False)
    """
    return bool(kind_of(module, name))


def kind_of(module: str, name: str) -> str:
    """Return the letter of the kind of an expected name; "" for any other, as for each name with a dot."""
    if module.startswith("__torch__") and "." not in name:
        return OBJECT + CLASS  # compiled by TorchScript, whose own machine makes the object
    return _listed().get(module, {}).get(name, "")


@cache
def _listed() -> dict[str, dict[str, str]]:
    with open(os.path.join(os.path.dirname(__file__), "expected.txt"), encoding="utf-8") as file:  # importlib.resources is slow
        lines = file.read().splitlines()
    listed: dict[str, dict[str, str]] = {}
    for line in lines:
        if not line.startswith("#"):
            module, kind, *names = line.split()
            listed.setdefault(module, {}).update(dict.fromkeys(names, kind))
    return listed
