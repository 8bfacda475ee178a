"""GGUF: fields of the header are changed; a changed text gets its length, and the numbers their alignment."""

import struct

from mutators import fields

WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
TEXT, ARRAY = 8, 9


def recognises(data):
    """Whether this is such a file."""
    return data.startswith(b"GGUF")


class _Walk:
    """The spans of numbers and of texts in a header, in the order of the file."""

    def __init__(self, data):
        self.data, self.at = data, 4
        self.numbers, self.texts = [], []
        self.number(4)
        tensors, pairs = self.number(8), self.number(8)
        for _ in range(pairs):
            self.text()
            self.value(self.number(4))
        for _ in range(tensors):
            self.text()
            for _ in range(self.number(4)):
                self.number(8)
            self.number(4)
            self.number(8)

    def number(self, width):
        self.numbers.append((self.at, width))
        self.at += width
        if self.at > len(self.data):
            raise IndexError("the header ends before its fields do")
        return int.from_bytes(self.data[self.at - width : self.at], "little")

    def text(self):
        length = self.number(8)
        self.texts.append((self.at, length))
        self.at += length

    def value(self, kind):
        if kind == TEXT:
            self.text()
        elif kind == ARRAY:
            inner, count = self.number(4), self.number(8)
            for _ in range(count):
                self.value(inner)
        else:
            self.number(WIDTHS[kind])


def mutate(data, chance):
    """Return a file with one to three changed fields."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        walk = _Walk(data)
        header, content = data[: walk.at], data[-(-walk.at // 32) * 32 :]
        if walk.texts and chance.random() < 0.3:
            at, length = chance.choice(walk.texts)
            new = fields.text(chance, header[at : at + length].decode("utf-8", "replace")).encode("utf-8", "surrogatepass")
            header = header[: at - 8] + struct.pack("<Q", len(new)) + new + header[at + length :]
        elif chance.random() < 0.1:
            content = fields.mutate(content, chance)
        else:
            header = fields.in_place(chance, header, walk.numbers)
        data = header + bytes(-len(header) % 32) + content
    return data
