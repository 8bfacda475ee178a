"""Pickles: opcodes are left out, repeated, exchanged or added, and their arguments changed, with true lengths.

Some mutants get a script that makes much of little: shared values, nested containers, many byte strings of opcodes.
"""

import io
import pickletools
import struct

from mutators import fields
from mutators import mutate as mutate_any

OTHERS = b".()]}N\x88\x89tlds0aeubQRo\x85\x86\x87\x81\x8f\x90\x91\x92\x94\x93"
GLOBALS = (
    *("posix system", "builtins eval", "torch._utils _rebuild_tensor_v2", "torch FloatStorage", "torch.nn.modules.linear Linear"),
    *("collections OrderedDict", "collections Counter", "numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"),
    *("numpy.core.multiarray scalar", "torch Size", "_codecs encode", "builtins bytearray", "copyreg _reconstructor"),
    *("joblib.numpy_pickle NumpyArrayWrapper", "builtins set", "builtins getattr", "torch.storage _load_from_bytes"),
)
COUNTED = {
    "T": "<i",
    "X": "<I",
    "B": "<I",
    "\x8d": "<Q",
    "\x8e": "<Q",
    "\x96": "<Q",
    "U": "<B",
    "C": "<B",
    "\x8c": "<B",
    "\x8b": "<i",
    "\x8a": "<B",
}
LARGEST = 1 << 15
"""Bytes that the repeated opcodes of a script take."""
OPCODES = (
    b"N",
    b"(",
    b"]",
    b"}",
    b")",
    b"2",
    b"\x94",
    b"cm\nC\n",
    b"cm\nC\n)R",
    b"\x80\4",
    b"N.",
    b"P1\n",
    b"]\x94h\0a",
    b"}NNs",
)
MAGICS = (
    b"PK\3\4",
    b"BZh9",
    b"\x1f\x8b\x08",
    b"\x80\4N.",
    b"\x93NUMPY\1\0",
    b"\x89HDF\r\n\x1a\n",
    b"X\n\0\0\0\3",
    b"GGUF\3\0\0\0",
    b"ZF",
)
NUMBERED = {"K": "<B", "M": "<H", "J": "<i", "q": "<B", "r": "<I", "h": "<B", "j": "<I"}


def recognises(data):
    """Whether this begins as a pickle does."""
    return (
        (data[:1] == b"\x80" and data[1:2] <= b"\5") or data[:2] in (b"(d", b"(l", b"(i", b"cc", b"]q", b"}q") or data[:1] == b"c"
    )


def mutate(data, chance):
    """Return a pickle with one to three changed opcodes."""
    codes, rest = _opcodes(data)
    if chance.random() < 0.1:
        codes.insert(chance.randrange(len(codes)), _amplified(chance))
        rest += chance.choice((b"", b"", b"\0" + chance.choice((*MAGICS, *OPCODES)) * 1000))
        return b"".join(codes) + rest
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at = chance.randrange(len(codes))
        what = chance.random()
        if what < 0.2:
            fields.pieces(chance, codes)
        elif what < 0.25:
            codes.insert(at, bytes((chance.choice(OTHERS),)))
        elif what < 0.3:
            codes.insert(at, b"c%s\n%s\n" % tuple(chance.choice(GLOBALS).encode().split()))
        else:
            codes[at] = _changed(codes[at], chance)
        codes = codes or [b"."]
    return b"".join(codes) + rest


def _amplified(chance):
    """Return a script that leaves the stack as it was, of which each byte costs a reader as much as it can."""
    count = chance.choice((10, 300, 2000))
    code = chance.choice(OPCODES)
    kind = chance.randrange(5)
    if kind == 0:  # one value, fetched or duplicated many times
        shared = chance.choice(
            (code * count, b"(" + b"N" * count + b"t", b"}(" + b"K\1NK\2N" * count + b"u", _held(b"N" * count))
        )
        again = chance.choice((b"2", b"h\xff", b"h\xffh\xff\x86", b"cm\nC\nh\xffR", b"cm\nC\n)\x81h\xffb", b"h\xffQ"))
        script = b"(" + shared + b"q\xff" + again * (LARGEST // 2 // len(again)) + b"1"
    elif kind == 1:  # lists of two of the one before
        pairs = (b"](j%bj%ber%b" % (_place(n), _place(n), _place(n + 1)) for n in range(count))
        script = b"(]r" + _place(0) + b"".join(pairs) + b"1"
    elif kind == 2:  # many byte strings, each of which may be anything
        texts = (chance.choice(MAGICS) + code * chance.choice((1, 9)) + _place(n) for n in range(count))
        script = b"(" + b"".join(map(_held, texts)) + b"1"
    elif kind == 3:  # one long byte string of opcodes
        script = _held(code * (LARGEST // len(code))) + b"0"
    else:  # containers in each other
        script = b"(" + code * (LARGEST // len(code)) + b"1"
    return script


def _place(number):
    return struct.pack("<I", number)


def _held(data):
    return b"C%c%b" % (len(data), data) if len(data) < 256 else b"B" + _place(len(data)) + data


def _opcodes(data):
    """Return the bytes of each opcode, and those after the last that could be read."""
    file, codes, begin = io.BytesIO(data), [], 0
    try:
        while begin < len(data):  # old files of torch are several pickles
            for _ in pickletools.genops(file):
                codes.append(data[begin : file.tell()])
                begin = file.tell()
    except Exception:  # noqa: BLE001 - what follows is not a pickle
        pass
    return codes, data[begin:]


def _changed(code, chance):
    name, content = chr(code[0]), code[1:]
    if name in NUMBERED:
        width = struct.calcsize(NUMBERED[name])
        return code[:1] + fields.in_place(chance, content, [(0, width)])
    if name in COUNTED:
        wide = struct.calcsize(COUNTED[name])
        inner = content[wide:]
        if name in "TXU\x8c\x8d":
            inner = fields.text(chance, inner.decode("utf-8", "replace")).encode("utf-8", "surrogatepass")
        else:
            inner = mutate_any(inner, chance)
        return code[:1] + (len(inner) % (1 << 8 * wide)).to_bytes(wide, "little") + inner
    if name == "c":
        return b"c%s\n%s\n" % tuple(chance.choice(GLOBALS).encode().split())
    if len(code) > 2 and content.endswith(b"\n"):
        return code[:1] + fields.text(chance, content[:-1].decode("utf-8", "replace")).encode("utf-8", "surrogatepass") + b"\n"
    return bytes((chance.choice(OTHERS),)) if len(code) == 1 else fields.mutate(code, chance)
