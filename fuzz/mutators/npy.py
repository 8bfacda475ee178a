"""Files of one array: the dict of the header is changed, and its length repaired."""

import ast

from mutators import fields

DTYPES = (
    "<f4",
    ">f4",
    "<f8",
    "<f2",
    "|i1",
    "<i8",
    "<u2",
    "|b1",
    "<c8",
    "|O",
    "|V4",
    "|V2",
    "<U3",
    "|S0",
    "<M8[s]",
    "<f16",
    "f3",
    "",
)


def recognises(data):
    """Whether this is such a file."""
    return data.startswith(b"\x93NUMPY")


def mutate(data, chance):
    """Return a file with a changed shape, dtype, order, key or number of bytes."""
    wide = 2 if data[6] == 1 else 4
    end = 8 + wide + int.from_bytes(data[8 : 8 + wide], "little")
    facts, content = ast.literal_eval(data[8 + wide : end].decode("latin-1")), data[end:]
    what = chance.randrange(6)
    if what == 0:
        facts["shape"] = tuple(_shape(list(facts["shape"]), chance))
    elif what == 1:
        facts["descr"] = chance.choice((*DTYPES, [("a", "<f4"), ("b", "<i2")], fields.text(chance, str(facts["descr"]))))
    elif what == 2:
        facts["fortran_order"] = chance.choice((not facts["fortran_order"], 1, None, "x"))
    elif what == 3:
        facts[fields.text(chance, "descr")] = facts.pop(chance.choice(list(facts)), 0)
    elif what == 4:
        content = fields.mutate(content, chance)
    text = repr(facts)
    if what == 5:
        text = fields.text(chance, text)
    raw = text.encode("utf-8", "surrogatepass")
    raw += b" " * (-(len(raw) + 9 + wide) % 64) + b"\n"
    version = data[6:8] if chance.random() < 0.95 else bytes((chance.randrange(5), 0))
    return data[:6] + version + (len(raw) % (1 << 8 * wide)).to_bytes(wide, "little") + raw + content


def _shape(shape, chance):
    if shape and chance.random() < 0.6:
        at = chance.randrange(len(shape))
        shape[at] = chance.choice((fields.number(chance, shape[at]), -1, 0, shape[at] + 1, 2.0, "3", None, True))
        return shape
    return chance.choice(([*shape, 1], [*shape, 0], [1] * 65, shape[1:], shape[::-1], [*shape, 0, 1 << 62, 8]))
