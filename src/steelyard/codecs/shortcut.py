"""A whole tensor of a state_dict in one step of the pickle machine, where `torch.save` wrote it the usual way.

Its thirty opcodes are recognised together, and leave stack and memo as one by one: a file of ten thousand
tensors is listed in a fraction of the time.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from steelyard.codecs.inert import Global

if TYPE_CHECKING:
    from steelyard.codecs.pickle import Machine

_WORD, _NUMBER = rb"(h.|j....)", rb"(?:K.|M..|J...[\x00-\x7f])"
_DIMS = rb"((?:%b){1,3}[\x85-\x87]|\((?:%b){4,8}t)r(....)" % (_NUMBER, _NUMBER)
_ARGUMENTS = rb"\(%b%bX(.)\0\0\0(\d{1,18})r(....)%b(%b)tr(....)Q(%b)%b%b([\x88\x89])%b\)Rr(....)tr(....)Rr(....)" % (
    *(_WORD, _WORD, _WORD),
    *(_NUMBER, _NUMBER, _DIMS, _DIMS, _WORD),
)
_NAMED = rb"(?:X(....)([ -~]+)r(....)%b\()?" % _WORD
"""A name and the function, as they stand before the arguments of each tensor but the first."""


@lru_cache
def _pattern() -> Callable[[bytes, int], re.Match[bytes] | None]:
    """Compile what a tensor looks like: the arguments of `torch._utils._rebuild_tensor_v2`, some 30 opcodes."""
    return re.compile(_NAMED + _ARGUMENTS, re.DOTALL).match


_PUTS = struct.Struct("<7L").unpack


def tensors(machine: Machine) -> bool:
    """Do at once what the opcodes of the tensors that follow one another do one by one; False where there is none.

    The machine stands behind the mark that begins the arguments of the first one.
    """
    match, stack, memo = _pattern(), machine.stack, machine.memo
    taken = False
    while found := match(machine.data, machine.at):
        size, name, put, rebuild, *fields = found.groups()
        if (size is None) is taken or fields[2][0] != len(fields[3]):
            break
        if taken:
            if int.from_bytes(size, "little") != len(name):
                break
            text = memo[int.from_bytes(put, "little")] = name.decode()
            stack += (text, _tensor(machine, _get(memo, rebuild), fields))
        else:
            stack.append(_tensor(machine, stack.pop(), fields))
        machine.at = found.end()
        taken = True
    return taken


def _tensor(machine: Machine, target: Any, fields: Sequence[bytes]) -> Any:
    kind, place, _, key, put1, device, numel, put2, offset, shape, put3, stride, put4, flag, hooks, put5, put6, put7 = fields
    memo, dims = machine.memo, machine.dims
    into1, into2, into3, into4, into5, into6, into7 = _PUTS(put1 + put2 + put3 + put4 + put5 + put6 + put7)
    text = key.decode()
    (count,) = dims.get(numel) or _dims(dims, numel)
    identity = (_get(memo, kind), _get(memo, place), text, _get(memo, device), count)
    memo[into1] = text
    memo[into2] = identity
    size = memo[into3] = dims.get(shape) or _dims(dims, shape)
    step = memo[into4] = dims.get(stride) or _dims(dims, stride)
    ordered = _get(memo, hooks)
    empty = type(ordered) is Global and ordered.text == "collections.OrderedDict"
    nothing = memo[into5] = {} if empty else machine.call(ordered, ())
    (start,) = dims.get(offset) or _dims(dims, offset)
    args = memo[into6] = (machine.refer(identity), start, size, step, flag == b"\x88", nothing)
    record = memo[into7] = machine.call(target, args)
    return record


def _get(memo: dict[int, Any], word: bytes) -> Any:
    return memo[word[1] if len(word) == 2 else int.from_bytes(word[1:], "little")]


def _dims(known: dict[bytes, tuple[int, ...]], text: bytes) -> tuple[int, ...]:
    """Return the numbers of a run of number opcodes; shapes repeat, so each is read once."""
    found = known[text] = tuple(int.from_bytes(word[1:], "little") for word in _NUMBERS(text.removeprefix(b"(")))
    return found


_NUMBERS = re.compile(_NUMBER, re.DOTALL).findall
