"""Random pickle streams, and what Python's own unpickler and pickletools find in them: nothing in them is imported or run."""

import _pickle
import copyreg
import io
import pickle
import pickletools
import struct

NAMES = [
    ("posix", "system"),
    ("builtins", "eval"),
    ("evil_pkg", "run"),
    ("evil_pkg.nets", "Net"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch.nn.modules.linear", "Linear"),
    ("collections", "OrderedDict"),
    ("torch.storage", "_load_from_bytes"),
    ("functools", "partial"),
    ("numpy", "dtype"),
    ("subprocess", "Popen"),
    ("sklearn.datasets._covtype", "GzipFile"),
    ("torch", "nn.Linear"),
]
VALUES = [b"N", b"\x88", b"\x89", b"K\x05", b"M\x05\x05", b"J\1\0\0\0", b"]", b"}", b")", b"(", b"(", b"0", b"1", b"2", b"\x8f", b"I1\n", b"I01\n", b"L5L\n", b"F1.5\n", b"G" + bytes(8), b"C\3abc", b"B\2\0\0\0ab", b"U\2ab", b"S'ab'\n", b"\x8a\1\5", b"\x8b\1\0\0\0\5", b"T\2\0\0\0ab", b"\x96\2" + bytes(7) + b"ab", b"\x95" + bytes(8), b"p0\n", b"g0\n", b"Pid\n"]  # fmt: skip
BUILDS = [b"R", b"R", b"R", b"\x81", b"\x81", b"\x92", b"o", b"b", b"b", b"\x85", b"\x86", b"\x87", b"t", b"l", b"d", b"a", b"e", b"s", b"u", b"\x90", b"\x91", b"\x93", b"\x93", b"Q", b"\x94"]  # fmt: skip
DAMAGE = [
    b"\xff",
    b"I0x10\n",
    b"X\2\0\0\0\xff\xfe",
    b"\x97",
    b"\x82\1",
    b"\x80\x63",
    b"h\x63",
    b"Fnan\n",
    b"V\\ud800\n",
    b"\x8e" + bytes(7) + b"\x7f",
]


REGISTERED = ("evil_pkg.registry", "make")
"""What the extension code 1 stands for here; a pickle has only the number, so the audit cannot know the name."""
copyreg.add_extension(*REGISTERED, 1)
EXTENSIONS = [b"\x82\1", b"\x83\1\0", b"\x84\1\0\0\0"]


def text(word, chance):
    """Push a text, by one of the opcodes that do."""
    data = word.encode()
    return chance.choice(
        [
            b"\x8c" + bytes([len(data)]) + data,
            b"X" + struct.pack("<L", len(data)) + data,
            b"\x8d" + struct.pack("<Q", len(data)) + data,
            b"V" + data + b"\n",
        ]
    )


def name(chance):
    """Push a class or function, by one of the opcodes that do, sometimes through the memo."""
    module, word = chance.choice(NAMES)
    how = chance.randrange(5)
    if how == 0:
        return f"c{module}\n{word}\n".encode()
    if how == 1:
        return f"(i{module}\n{word}\n".encode()
    if how == 2:
        at = chance.randrange(200)
        return text(module, chance) + b"q" + bytes([at]) + b"0" + text(word, chance) + b"r" + struct.pack("<L", at + 1) + b"0h" + bytes([at]) + b"j" + struct.pack("<L", at + 1) + b"\x93"  # fmt: skip
    return text(module, chance) + text(word, chance) + b"\x93"


def call(chance):
    """Call a class or function, by each of the opcodes that do: OBJ and INST with arguments, NEWOBJ_EX with keywords, EXT."""
    module, word = chance.choice(NAMES)
    values = b"".join(chance.choice([b"N", b"K\x05", b"]", b"}", b")", b"U\2ab"]) for _ in range(chance.randrange(3)))
    taken = chance.choice([b")", b"N\x85", b"(" + values + b"t"])
    keywords = b"}" + text("key", chance) + chance.choice([b"N", b"K\x05", b"}"]) + b"s"
    how = chance.randrange(6)
    if how == 0:
        return b"(" + values + f"i{module}\n{word}\n".encode()
    if how == 1:
        return b"(" + name(chance) + values + b"o"
    if how == 2:
        return name(chance) + taken + keywords + b"\x92"
    if how == 3:
        return name(chance) + taken + b"\x81" + chance.choice([b"", keywords + b"b", b"N" + keywords + b"\x86b"])
    if how == 4:
        return chance.choice(EXTENSIONS) + taken + chance.choice([b"R", b"\x81", keywords + b"\x92"])
    return name(chance) + taken + b"R" + chance.choice([b"", b"Na", b"(NNe", b"NNs", b"(NNu", b"(N\x90", b"Q"])


def stream(chance):
    """Return a random stream: names, values, calls and a little damage, in an order that often means something."""
    parts = [b"\x80" + bytes([chance.choice([2, 3, 4, 5])])] if chance.random() < 0.8 else []
    for _ in range(chance.randrange(1, 12)):
        kind = chance.random()
        if kind < 0.2:
            parts.append(call(chance))
        elif kind < 0.4:
            parts += [name(chance), chance.choice([b")R", b"N\x85R", b"(NtR", b")\x81", b")}\x92", b"", b"}b", text("x", chance) + b"\x85R"])]  # fmt: skip
        elif kind < 0.65:
            parts.append(chance.choice(VALUES))
        elif kind < 0.95:
            parts.append(chance.choice(BUILDS))
        else:
            parts.append(chance.choice(DAMAGE))
    return b"".join(parts) + (b"." if chance.random() < 0.9 else b"")


def listed(data):
    """Return the names that pickletools lists as GLOBAL and INST, up to the end or the damage."""
    found = set()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in ("GLOBAL", "INST"):
                module, _, word = argument.partition(" ")
                found.add((module, word))
    except (ValueError, IndexError, UnicodeDecodeError):
        pass
    return found


def found_by_unpickling(data):
    """Return the names that Python's two unpicklers ask for; their classes are inert here."""
    found = set()
    for base in (pickle._Unpickler, _pickle.Unpickler):

        class Unpickler(base):
            def find_class(self, module, word):
                found.add((module, word))
                return Inert

            def persistent_load(self, _):
                return None

        try:
            Unpickler(io.BytesIO(data)).load()
        except Exception:
            continue
    return found


class Inert:
    """Takes any arguments, state and items."""

    def __new__(cls, *_, **__):
        return object.__new__(cls)

    def __init__(self, *_, **__):
        pass

    def __call__(self, *_, **__):
        return self

    def __setstate__(self, _):
        pass

    def append(self, _):
        pass

    def __setitem__(self, _, __):
        pass


def missed(data):
    """Return the names in a stream that the audit neither expects nor names."""
    from steelyard.auditing import audit
    from steelyard.auditing.expected import is_expected
    from steelyard.errors import printable
    from steelyard.storage.source import from_bytes

    found = audit(from_bytes(data, "a.pkl")).findings
    told = "\n".join(finding.what for finding in found)
    names = listed(data) | found_by_unpickling(data)
    if any(finding.rule == "pickle-outside" for finding in found):
        names.discard(REGISTERED)
    strange = (printable(f"{module}.{word}") for module, word in names if not is_expected(module, word))
    return sorted(text for text in strange if text not in told)
