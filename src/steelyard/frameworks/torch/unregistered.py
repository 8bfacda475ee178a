"""Modules that a module keeps in a plain list, tuple or dict: PyTorch does not register these, so its state lacks them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from torch import nn

from steelyard.errors import printable
from steelyard.text.units import counted

if TYPE_CHECKING:
    from steelyard.frameworks.torch.state import Part

_LOOKED_INTO = 1000
"""Entries of a container that are looked at: one of settings may be long, one of modules is not."""
_OWN = frozenset(vars(nn.Module()))
_KINDS: dict[type, str] = {list: "a plain list", tuple: "a tuple", dict: "a plain dict"}
_REGISTERED: dict[type, str] = {list: "nn.ModuleList", tuple: "nn.ModuleList", dict: "nn.ModuleDict"}


def unregistered_notes(parts: Iterable[Part]) -> list[str]:
    """Return a sentence for each attribute that holds modules with parameters or buffers which `state_dict()` leaves out."""
    parts = list(parts)
    known = {id(part) for _, part, _ in parts}
    return [note for name, part, _ in parts for note in _notes_of(name, part, known)]


def _notes_of(name: str, part: nn.Module, known: set[int]) -> Iterator[str]:
    for key, value in vars(part).items():
        if type(value) not in _KINDS or key in _OWN:
            continue
        left_out = {id(each): each for each in _modules_in(value) if id(each) not in known and _has_state(each)}
        if left_out:
            path = printable(f"{name}.{key}" if name else key)
            held = f"{path} holds {counted(len(left_out), 'module')} in {_KINDS[type(value)]}"
            yield f"{held}, which state_dict() and this listing leave out; {_REGISTERED[type(value)]} would register them"


def _modules_in(value: list[object] | tuple[object, ...] | dict[object, object]) -> Iterator[nn.Module]:
    """Yield the modules in a container, and in containers in it."""
    held = value.values() if isinstance(value, dict) else value
    for each in islice(held, _LOOKED_INTO):
        if isinstance(each, nn.Module):
            yield each
        elif isinstance(each, (list, tuple, dict)):
            inner = each.values() if isinstance(each, dict) else each
            yield from (part for part in islice(inner, _LOOKED_INTO) if isinstance(part, nn.Module))


def _has_state(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None or next(module.buffers(), None) is not None
