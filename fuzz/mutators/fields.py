"""Changes of single fields, and of plain bytes: numbers at the edges, texts that lead elsewhere, pieces in other places."""

NUMBERS = (0, 1, 2, 3, 4, 7, 8, 16, 63, 64, 127, 128, 255, 256, 1023, 4096, 65535, 65536, 1 << 20, 1 << 24, 1 << 28)
EDGES = (31, 32, 53, 58, 60, 61, 62, 63, 64)
TEXTS = (
    *("", ".", "..", "../outside", "/etc/passwd", "a/b", "-x", "con", "w\x1b[31m", "w\n", "w\0", "\u202ew", "\ud800", "ü", "字"),
    *("__proto__", "nan", "-1", "1e999", "float32", "float64", "int8", "bool", "object", "O", "|V4", "<f4", ">f8", "F16", "U64"),
    *("w[0]", "*", "%s", "weight", "bias", "kernel", "gamma", "running_var"),
)


def number(chance, old, bits=64):
    """Return another number, which fits into so many bits."""
    near = (old + 1, old - 1, old + 8, old * 2, old // 2, -old, old ^ 1 << chance.randrange(bits))
    edge = (1 << chance.choice(EDGES)) - chance.choice((0, 1, 2, -1))
    return chance.choice((chance.choice(near), chance.choice(near), chance.choice(NUMBERS), edge)) & ((1 << bits) - 1)


def signed(chance, old):
    """Return another number, perhaps a negative one, or one that is not whole."""
    value = number(chance, old) if isinstance(old, int) else chance.choice((old * 2, -old, 0.0))
    return chance.choice((value, value, -value, old + 0.5, 1e308))


def text(chance, old):
    """Return another text."""
    at = chance.randrange(len(old) + 1)
    return chance.choice(
        (
            chance.choice(TEXTS),
            old + chance.choice(TEXTS),
            old[:at] + old[at + 1 :],
            old[:at] + chance.choice("0129a./_:-") + old[at + 1 :],
            old.swapcase(),
            old * (chance.choice((2, 3, 200)) if len(old) < 1000 else 2),
        )
    )


def pieces(chance, items):
    """Change a list in place: leave out an item, repeat it, move it, or cut the list off."""
    at, other = chance.randrange(len(items)), chance.randrange(len(items))
    what = chance.randrange(6)
    if what == 0:
        del items[at]
    elif what == 1:
        items.insert(other, items[at])
    elif what == 2:
        items[at], items[other] = items[other], items[at]
    elif what == 3:
        items[at] = items[other]
    elif what == 4:
        del items[at:]
    else:
        items[at:at] = [items[at]] * chance.choice((1, 2, 50))


def in_place(chance, data, spans, order="little"):
    """Return bytes with another number in one of these (offset, width) spans."""
    at, width = chance.choice(spans)
    old = int.from_bytes(data[at : at + width], order)
    return data[:at] + number(chance, old, 8 * width).to_bytes(width, order) + data[at + width :]


def mutate(data, chance):
    """Return bytes of which a few are changed, left out, repeated or cut off."""
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        length = chance.choice((1, 1, 1, 2, 4, 8, 64))
        what = chance.randrange(6)
        if what == 0:
            data[at : at + length] = chance.randbytes(length)
        elif what == 1:
            del data[at : at + length]
        elif what == 2:
            data[at:at] = data[at : at + length]
        elif what == 3:
            data[at : at + length] = chance.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * length
        elif what == 4 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif len(data) > 1 and chance.random() < 0.3:
            del data[max(at, 1) :]
    return bytes(data)
