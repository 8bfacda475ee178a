"""Runs all opcodes of a tensor of a state_dict in one step, if `torch.save` wrote it in the usual form.

One pattern recognises the thirty opcodes. Stack, memo and records end in the state that running them one by one gives; the
fuzz target `fast-tensors` compares both. A file of ten thousand tensors is listed in about half the time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from steelyard.codecs.pickle.values import Global, Persistent, Record

if TYPE_CHECKING:
    from typing import TypeAlias

    from steelyard.codecs.pickle.machine import Machine
    from steelyard.codecs.pickle.values import Pickled

    Shared: TypeAlias = tuple[
        Pickled, Pickled, Pickled, int, tuple[None, ...], int, tuple[int, ...], tuple[int, ...], bool, Pickled
    ]
    """Storage class, "storage", device, elements and what follows them, offset, shape, strides, requires_grad, and the function
    of the next tensor."""

_WORD, _NUMBER = rb"(?:h.|j....)", rb"(?:K.|M..|J...[\x00-\x7f])"
# TUPLE1 to TUPLE3 pop as many values as their names indicate; longer tuples begin with a MARK.
_DIMS = rb"(?:(?:%b)\x85|(?:%b){2}\x86|(?:%b){3}\x87|\((?:%b){4,8}t)" % ((_NUMBER,) * 4)
_PUT = rb"r(....)"
# What torch.save writes for each tensor after the name and the function _rebuild_tensor_v2. Each "put" stores the value
# in the next place of the memo; "get" fetches a value that was stored before.
#   (                                     MARK of the arguments
#   (  get get  X name put  get numel  t put  Q     MARK, "storage", class, key of the storage, device, elements: BINPERSID;
#                                         before 1.6, a None follows the elements
#   offset  shape put  strides put        numbers and tuples of numbers
#   \x88 or \x89  get ) R put            requires_grad, and an empty OrderedDict of hooks
#   t put  R put                          the arguments, and the call
#   X name put  get  (                    name and function of the next tensor
_ARGUMENTS = b"".join(
    (
        rb"\((%b%b)X(.)\0\0\0(\d{1,18})%b(%b%b)(N?)t%bQ" % (_WORD, _WORD, _PUT, _WORD, _NUMBER, _PUT),  # the storage
        rb"(%b%b)%b(%b)%b" % (_NUMBER, _DIMS, _PUT, _DIMS, _PUT),  # offset, shape and strides
        rb"([\x88\x89]%b)\)R%btr(....)R%b" % (_WORD, _PUT, _PUT),  # requires_grad, no hooks, and the call
    )
)
_NEXT = rb"X(....)([ -~]+)%b(%b)\(" % (_PUT, _WORD)
_PUTS = 8
"""Memo entries that each tensor stores."""
_ONES = sum(1 << 32 * place for place in range(_PUTS))
_COUNTING = sum(place << 32 * place for place in range(_PUTS))
"""Memo indices 0 to 7, each of 32 bits, as one number: adding `n * _ONES` makes them n to n + 7."""


@lru_cache
def _pattern() -> Callable[[bytes, int], re.Match[bytes] | None]:
    """Compile the pattern of a tensor: the arguments of its call, then name and function of the next tensor."""
    return re.compile(_ARGUMENTS + _NEXT, re.DOTALL).match


def fast_tensors(machine: Machine) -> None:
    """Run the opcodes of consecutive tensors, one step each, except for the last of them.

    Before and after, the machine is at the second MARK of a tensor's arguments.
    """
    match, stream, stack, memo = _pattern(), machine.stream, machine.stack, machine.memo
    known: dict[tuple[bytes, ...], Shared] = {}
    if not stack or not _is_rebuild(stack[-1]):
        return
    while tensor := match(stream.data, stream.at):
        # k0 to k7 are the memo indices
        storage, width, key, k0, numel, view, k1, place, k2, step, k3, flag, k4, k5, k6, length, name, k7, rebuild = (
            tensor.groups()
        )
        repeated = storage, numel, view, place, step, flag, rebuild
        shared = known.get(repeated) or _shared(machine, repeated)
        if width[0] != len(key) or int.from_bytes(length, "little") != len(name) or shared is None:
            return
        if int.from_bytes(b"".join((k0, k1, k2, k3, k4, k5, k6, k7)), "little") != _COUNTING + len(memo) * _ONES:
            return
        known[repeated] = shared
        _push(machine, shared, key.decode(), name.decode())
        stream.at = tensor.end()


def _push(machine: Machine, shared: Shared, key: str, name: str) -> None:
    """Replace the function on the stack by the record of its call, then push name and function of the next tensor."""
    kind, place, device, count, view, start, size, step, flag, rebuild = shared
    stack, memo = machine.stack, machine.memo
    into = len(memo)
    memo[into] = key
    memo[into + 1] = identity = kind, place, key, device, count, *view
    memo[into + 2] = size
    memo[into + 3] = step
    hooks: Pickled = {}
    memo[into + 4] = hooks
    storage = Persistent(identity)
    memo[into + 5] = args = storage, start, size, step, flag, hooks
    memo[into + 6] = record = Record(stack[-1], args)
    memo[into + 7] = name
    machine.references.append(storage)
    machine.records.append(record)
    stack[-1] = record
    stack += name, rebuild


def _shared(machine: Machine, repeated: tuple[bytes, ...]) -> Shared | None:
    """Return the values of the groups that tensors have in common; None where the opcodes must run one by one.

    The values stay valid while only new places of the memo are stored.
    """
    storage, numel, view, offset_shape, stride, flag_hooks, rebuild = repeated
    first, second = _word(storage)
    third, numel = _word(numel)
    words = first, _word(second)[0], third, _word(flag_hooks[1:])[0], _word(rebuild)[0]
    values = [machine.memo.get(word) for word in words]
    kind, place, device, hooks, make = values
    has_no_hooks = type(hooks) is Global and hooks.text == "collections.OrderedDict"
    if None in values or max(words) >= len(machine.memo) or not has_no_hooks or not _is_rebuild(make):
        return None
    dims = machine.dims
    (count,), (start, *size), step = (dims.get(text) or _dims(dims, text) for text in (numel, offset_shape, stride))
    return kind, place, device, count, (None,) * len(view), start, tuple(size), step, flag_hooks[:1] == b"\x88", make


def _word(text: bytes) -> tuple[int, bytes]:
    """Return the memo index that these opcodes fetch, and the remaining bytes."""
    end = 2 if text[:1] == b"h" else 5
    return int.from_bytes(text[1:end], "little"), text[end:]


def _is_rebuild(target: Pickled) -> bool:
    return type(target) is Global and target.text == "torch._utils._rebuild_tensor_v2"


def _dims(known: dict[bytes, tuple[int, ...]], text: bytes) -> tuple[int, ...]:
    """Return the numbers of consecutive number opcodes; shapes repeat, so each is parsed once."""
    numbers = known[text] = tuple(int.from_bytes(word[1:], "little") for word in re.findall(_NUMBER, text, re.DOTALL))
    return numbers
