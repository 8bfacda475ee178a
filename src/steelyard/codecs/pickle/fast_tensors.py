"""A whole tensor of a state_dict in one step of the pickle machine, where `torch.save` wrote it the usual way.

Its thirty opcodes are recognised together, and leave stack and memo as one by one: a file of ten thousand
tensors is listed in a fraction of the time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from steelyard.codecs.pickle.values import Global, Persistent, Record

if TYPE_CHECKING:
    from steelyard.codecs.pickle.machine import Machine

_WORD, _NUMBER = rb"(?:h.|j....)", rb"(?:K.|M..|J...[\x00-\x7f])"
_DIMS = rb"(?:(?:%b){1,3}[\x85-\x87]|\((?:%b){4,8}t)" % (_NUMBER, _NUMBER)
_PUT = rb"r(....)"
_ARGUMENTS = b"".join(
    (
        rb"\((%b%b)X(.)\0\0\0(\d{1,18})%b(%b%b)t%bQ" % (_WORD, _WORD, _PUT, _WORD, _NUMBER, _PUT),  # the storage
        rb"(%b%b)%b(%b)%b" % (_NUMBER, _DIMS, _PUT, _DIMS, _PUT),  # how the tensor lies in it
        rb"([\x88\x89]%b)\)R%btr(....)R%b" % (_WORD, _PUT, _PUT),  # its hooks, of which there are none, and the call
    )
)
_NEXT = rb"X(....)([ -~]+)%b(%b)\(" % (_PUT, _WORD)
_KEPT = 8
"""Things that the opcodes of a tensor keep in the memo."""
_ONES = sum(1 << 32 * place for place in range(_KEPT))
_COUNTING = sum(place << 32 * place for place in range(_KEPT))
"""Where in the memo things are kept one after another, as one number of 32 bits for each; the first lies at 0."""


@lru_cache
def _pattern() -> Callable[[bytes, int], re.Match[bytes] | None]:
    """Compile what a tensor looks like: the arguments of the call that makes it, then name and function of the next."""
    return re.compile(_ARGUMENTS + _NEXT, re.DOTALL).match


def tensors(machine: Machine) -> None:
    """Do at once what the opcodes of tensors that follow one another do one by one, except for the last of them.

    The machine stands behind the mark that begins the arguments of a tensor, before and after.
    """
    match, stack, memo = _pattern(), machine.stack, machine.memo
    known: dict[Any, tuple[Any, ...]] = {}
    if not stack or not _is_rebuild(stack[-1]):
        return
    while found := match(machine.data, machine.at):
        # k0 to k7 say where in the memo something is kept
        storage, width, key, k0, numel, k1, place, k2, step, k3, flag, k4, k5, k6, length, name, k7, rebuild = found.groups()
        repeated = storage, numel, place, step, flag, rebuild
        alike = known.get(repeated) or _alike(machine, repeated)
        if width[0] != len(key) or int.from_bytes(length, "little") != len(name) or alike is None:
            return
        if int.from_bytes(b"".join((k0, k1, k2, k3, k4, k5, k6, k7)), "little") != _COUNTING + len(memo) * _ONES:
            return
        known[repeated] = alike
        _push(machine, alike, key.decode(), name.decode())
        machine.at = found.end()


def _push(machine: Machine, alike: tuple[Any, ...], key: str, name: str) -> None:
    """Put a tensor in the place of the function that makes it, and the next one's name and function behind it."""
    kind, place, device, count, start, size, step, flag, rebuild = alike
    stack, memo = machine.stack, machine.memo
    into = len(memo)
    memo[into] = key
    memo[into + 1] = identity = kind, place, key, device, count
    memo[into + 2] = size
    memo[into + 3] = step
    hooks: dict[Any, Any] = {}
    memo[into + 4] = hooks
    storage = Persistent(identity)
    memo[into + 5] = args = storage, start, size, step, flag, hooks
    memo[into + 6] = record = Record(stack[-1], args)
    memo[into + 7] = name
    machine.references.append(storage)
    machine.records.append(record)
    stack[-1] = record
    stack += name, rebuild


def _alike(machine: Machine, repeated: tuple[bytes, ...]) -> tuple[Any, ...] | None:
    """Return what the groups that tensors have in common stand for; None where that must be said opcode by opcode.

    It holds for as long as things are put into the memo behind what was taken from it.
    """
    storage, numel, offset_shape, stride, flag_hooks, rebuild = repeated
    first, second = _word(storage)
    third, numel = _word(numel)
    words = first, _word(second)[0], third, _word(flag_hooks[1:])[0], _word(rebuild)[0]
    kind, place, device, hooks, make = [machine.memo[word] for word in words]
    empty = type(hooks) is Global and hooks.text == "collections.OrderedDict"
    if max(words) >= len(machine.memo) or not empty or not _is_rebuild(make):
        return None
    dims = machine.dims
    (count,), (start, *size), step = (dims.get(text) or _dims(dims, text) for text in (numel, offset_shape, stride))
    return kind, place, device, count, start, tuple(size), step, flag_hooks[:1] == b"\x88", make


def _word(text: bytes) -> tuple[int, bytes]:
    """Return which thing of the memo a text takes first, and what follows it."""
    end = 2 if text[:1] == b"h" else 5
    return int.from_bytes(text[1:end], "little"), text[end:]


def _is_rebuild(target: Any) -> bool:
    return type(target) is Global and target.text == "torch._utils._rebuild_tensor_v2"


def _dims(known: dict[bytes, tuple[int, ...]], text: bytes) -> tuple[int, ...]:
    """Return the numbers of a run of number opcodes; shapes repeat, so each is read once."""
    found = known[text] = tuple(int.from_bytes(word[1:], "little") for word in re.findall(_NUMBER, text, re.DOTALL))
    return found
