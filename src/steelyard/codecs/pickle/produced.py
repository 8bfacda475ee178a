"""The opcodes of pickles that Steelyard writes; the memo has what `torch.save` stores in it, since readers know that form."""

from __future__ import annotations


class Memo:
    """What a pickle has stored so far: each value that it stores takes the next place, as in the pickles of `torch.save`."""

    __slots__ = ("_known", "_stored")

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._stored = 0

    def put(self) -> bytes:
        """Return the opcode that stores the value on top of the stack."""
        self._stored += 1
        return b"r" + (self._stored - 1).to_bytes(4, "little")

    def once(self, key: str, opcodes: bytes) -> bytes:
        """Return opcodes that push and store a value, or one that fetches it if it was stored before."""
        if key in self._known:
            return b"j" + self._known[key].to_bytes(4, "little")
        self._known[key] = self._stored
        return opcodes + self.put()

    def named(self, module: str, name: str) -> bytes:
        """Return the opcodes that push a class or a function."""
        line = f"c{module}\n{name}\n"
        return self.once(line, line.encode())

    def word(self, text: str) -> bytes:
        """Return the opcodes that push a word which occurs many times."""
        return self.once(text, pushed(text))


def pushed(text: str) -> bytes:
    """Return the opcode that pushes a text."""
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + len(data).to_bytes(4, "little") + data


def pushed_number(value: int) -> bytes:
    """Return the opcode that pushes a number of at least 0."""
    if value < 1 << 31:
        return b"J" + value.to_bytes(4, "little")
    return b"\x8a\x09" + value.to_bytes(9, "little")


_TUPLES = (b")", b"\x85", b"\x86", b"\x87")
"""The opcodes of tuples of none to three values; longer ones begin with a mark, and the empty one is not stored."""


def pushed_tuple(values: tuple[int, ...], memo: Memo) -> bytes:
    """Return the opcodes that push a tuple of numbers, and store it."""
    numbers = b"".join(map(pushed_number, values))
    if len(values) < len(_TUPLES):
        return numbers + _TUPLES[len(values)] + (memo.put() if values else b"")
    return b"(" + numbers + b"t" + memo.put()
