"""Pickles of tensors run both ways, with `fast_tensors` and opcode by opcode, which must end alike."""

import struct

from steelyard.codecs.pickle.machine import Machine
from steelyard.codecs.pickle.values import Blob, Boxed, Global, Persistent, Record
from steelyard.errors import SteelyardError
from steelyard.storage.source import from_bytes


def run_machine(source, *, is_fast):
    """Run a pickle, with or without `fast_tensors`, and return its root or error, the machine's records and its memo."""
    machine = Machine(source)
    machine.is_fast = is_fast
    try:
        root = machine.load()
    except SteelyardError as error:
        root = str(error)
    return [root, machine.offset, machine.stack, machine.marks, machine.memo, machine.records, machine.references], machine


def are_alike(one, other):
    """Compare decoded pickles. What is mutable must also be shared in the same places."""
    left, partners, seen = [(one, other)], {}, set()
    while left:
        a, b = left.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, (list, dict, Record, Persistent)) and partners.setdefault(id(a), id(b)) != id(b):
            return False
        if (id(a), id(b)) in seen:
            continue
        seen.add((id(a), id(b)))
        mine, others = _members(a), _members(b)
        if mine is None:
            if repr(a) != repr(b):
                return False
        elif len(mine) != len(others):
            return False
        else:
            left += zip(mine, others, strict=True)
    return True


def _members(value):
    """Return what a value consists of; None for a plain one."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, Record):
        return [value.call, value.args, value.state, value.items, value.entries]
    slots = {Persistent: ("key",), Boxed: ("value",), Blob: ("offset", "length"), Global: ("text",)}.get(type(value))
    if slots:
        return [getattr(value, slot) for slot in slots]
    return value if isinstance(value, (list, tuple)) else None


def fast_as_slow(data):
    """Run a pickle with and without `fast_tensors`; both must end alike."""
    source = from_bytes(data, "x.pkl")
    fast, _ = run_machine(source, is_fast=True)
    slow, _ = run_machine(source, is_fast=False)
    assert are_alike(fast, slow)


def pickle_of_tensors(count=48):
    """Return a state_dict as torch.save pickles it: enough tensors for memo indices above 255, which take four bytes."""
    memo = {}

    def put(key):
        memo[key] = index = len(memo)
        return b"q%c" % index if index < 256 else b"r" + struct.pack("<L", index)

    def once(key, content):
        if key not in memo:
            return content + put(key)
        return b"h%c" % memo[key] if memo[key] < 256 else b"j" + struct.pack("<L", memo[key])

    def text(word):
        return b"X" + struct.pack("<L", len(word)) + word

    def tensor(place):
        rows = place % 3 + 1
        yield text(b"layers.%d.weight" % place) + put(object())
        yield once("rebuild", b"ctorch._utils\n_rebuild_tensor_v2\n")
        yield b"((" + once("storage", text(b"storage")) + once(rows & 1, b"ctorch\n%sStorage\n" % (b"Float", b"Half")[rows & 1])
        yield text(b"%d" % place) + put(object()) + once("cpu", text(b"cpu")) + b"K%ct" % (4 * rows) + put(object()) + b"Q"
        yield b"K\0K%cK\4\x86" % rows + put(object()) + b"K\4K\1\x86" + put(object())
        yield b"\x89" + once("ordered", b"ccollections\nOrderedDict\n") + b")R" + put(object())
        yield b"t" + put(object()) + b"R" + put(object())

    head = b"\x80\2" + once("ordered", b"ccollections\nOrderedDict\n") + b")R" + put(object()) + b"("
    return head + b"".join(piece for place in range(count) for piece in tensor(place)) + b"u."
