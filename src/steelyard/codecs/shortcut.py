"""A whole tensor of a state_dict in one step of the pickle machine, where `torch.save` wrote it the usual way.

Its thirty opcodes are recognised together, and leave stack and memo as one by one: a file of ten thousand
tensors is listed in a fraction of the time.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from steelyard.codecs.inert import Global, Persistent, Record

if TYPE_CHECKING:
    from steelyard.codecs.pickle import Machine

_WORD, _NUMBER = rb"(h.|j....)", rb"(?:K.|M..|J...[\x00-\x7f])"
_DIMS = rb"((?:%b){1,3}[\x85-\x87]|\((?:%b){4,8}t)" % (_NUMBER, _NUMBER)
_PUT = rb"r(....)"
_ARGUMENTS = b"".join(
    (
        rb"\(%b%bX(.)\0\0\0(\d{1,18})%b%b(%b)t%bQ" % (_WORD, _WORD, _PUT, _WORD, _NUMBER, _PUT),  # the storage
        rb"(%b)%b%b%b%b([\x88\x89])" % (_NUMBER, _DIMS, _PUT, _DIMS, _PUT),  # how the tensor lies in it
        rb"%b\)R%bt%bR%b" % (_WORD, _PUT, _PUT, _PUT),  # its hooks, of which there are none, and the call
    )
)
_NEXT = rb"X(....)([ -~]+)%b%b\(" % (_PUT, _WORD)
_REPEATED = (1, 2, 6, 7, 9, 10, 12, 14, 15, 22)
"""The groups that most tensors of a file have in common: what is taken from the memo, numbers, the flag."""
_PUTS = (5, 8, 11, 13, 16, 17, 18, 21)
"""The groups that say where something is kept in the memo."""
_OWN = (3, 4, 19, 20)
"""The groups of texts: the storage's key and the next tensor's name, each behind its length."""
_IN_ORDER = struct.Struct(f"<{len(_PUTS)}L").pack


@lru_cache
def _pattern() -> Callable[[bytes, int], re.Match[bytes] | None]:
    """Compile what a tensor looks like: the arguments of the call that makes it, then name and function of the next."""
    return re.compile(_ARGUMENTS + _NEXT, re.DOTALL).match


def tensors(machine: Machine) -> None:
    """Do at once what the opcodes of tensors that follow one another do one by one, except for the last of them.

    The machine stands behind the mark that begins the arguments of a tensor, before and after.
    """
    match, stack, memo = _pattern(), machine.stack, machine.memo
    known: dict[Any, tuple[Any, ...] | None] = {}
    while stack and _is_rebuild(stack[-1]) and (found := match(machine.data, machine.at)):
        repeated = found.group(*_REPEATED)
        if repeated not in known:
            known[repeated] = _alike(machine, repeated)
        alike, first = known[repeated], len(memo)
        width, key, length, name = found.group(*_OWN)
        if width[0] != len(key) or int.from_bytes(length, "little") != len(name) or alike is None:
            return
        if b"".join(found.group(*_PUTS)) != _IN_ORDER(*range(first, first + len(_PUTS))):
            return
        _push(machine, alike, key.decode(), name.decode())
        machine.at = found.end()


def _push(machine: Machine, alike: tuple[Any, ...], key: str, name: str) -> None:
    """Put a tensor in the place of the function that makes it, and the next one's name and function behind it."""
    kind, place, device, count, start, size, step, flag, rebuild = alike
    stack, memo = machine.stack, machine.memo
    into = len(memo)
    memo[into] = key
    identity = memo[into + 1] = (kind, place, key, device, count)
    memo[into + 2] = size
    memo[into + 3] = step
    hooks: dict[Any, Any] = {}
    memo[into + 4] = hooks
    storage = Persistent(identity)
    machine.references.append(storage)
    args = memo[into + 5] = (storage, start, size, step, flag, hooks)
    record = memo[into + 6] = Record(stack[-1], args)
    machine.records.append(record)
    memo[into + 7] = name
    stack[-1] = record
    stack += (name, rebuild)


def _alike(machine: Machine, repeated: tuple[bytes, ...]) -> tuple[Any, ...] | None:
    """Return what the groups that tensors have in common stand for; None where that must be said opcode by opcode.

    It holds for as long as things are put into the memo behind what was taken from it.
    """
    kind, place, device, numel, offset, shape, stride, flag, hooks, rebuild = repeated
    words = [int.from_bytes(word[1:], "little") for word in (kind, place, device, hooks, rebuild)]
    taken = [machine.memo[word] for word in words]
    if max(words) >= len(machine.memo) or not _is_rebuild(taken[4]):
        return None
    if type(taken[3]) is not Global or taken[3].text != "collections.OrderedDict":
        return None
    dims = machine.dims
    (count,), (start,), size, step = (dims.get(text) or _dims(dims, text) for text in (numel, offset, shape, stride))
    return *taken[:3], count, start, size, step, flag == b"\x88", taken[4]


def _is_rebuild(target: Any) -> bool:
    return type(target) is Global and target.text == "torch._utils._rebuild_tensor_v2"


def _dims(known: dict[bytes, tuple[int, ...]], text: bytes) -> tuple[int, ...]:
    """Return the numbers of a run of number opcodes; shapes repeat, so each is read once."""
    found = known[text] = tuple(int.from_bytes(word[1:], "little") for word in _NUMBERS(text.removeprefix(b"(")))
    return found


_NUMBERS = re.compile(_NUMBER, re.DOTALL).findall
