"""Make hostile files byte by byte, and pack them: python tests/data/make_hostile.py [ARCHIVE]

`hostile.json` says of every file what it tries, what a reader must do, and the digests of the tensors that it may give. The
safetensors files are made here, from the header that lies and the numbers after it. Those of other formats are kept as they
are packed; the format's own library, or a hand with a hex editor, wrote them. A new file is a line here and an entry there.
"""

import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
ARCHIVE = HERE / "hostile.tar.xz"
W = (np.arange(6, dtype="<f4") + 0.5).tobytes()
B = np.array([10, 20, 30], "<f4").tobytes()
ONE = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
TWO = {**ONE, "b": {"dtype": "F32", "shape": [3], "data_offsets": [24, 36]}}
TIGHT = (",", ":")


def framed(header, data=W, length=None):
    """Return a file: 8 bytes of the header's length, or of another that is claimed, the header, the data."""
    raw = header if isinstance(header, bytes) else json.dumps(header, separators=TIGHT).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + data


def one(**changes):
    """Return a file of one tensor whose entry lies."""
    return framed({"w": {**ONE["w"], **changes}})


def named(*names, spaces=""):
    """Return a file of tensors with these names, each `W`, or `B` if its name is in a tuple."""
    header, data = {}, b""
    for name in names:
        numbers, shape, key = (B, [3], name[0]) if isinstance(name, tuple) else (W, [2, 3], name)
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(numbers)]}
        data += numbers
    return framed(json.dumps(header, separators=TIGHT).encode() + spaces.encode(), data)


def deep(levels):
    """Return a file with lists in lists as its metadata."""
    return framed(b'{"__metadata__":' + b"[" * levels + b"]" * levels + b',"w":' + json.dumps(ONE["w"]).encode() + b"}")


def many(prefix, count, width, shape, data):
    """Return a file of many tensors, all at the same place."""
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, len(data)]}
    return framed({f"{prefix}{number:0{width}}": entry for number in range(count)}, data)


# PROTO 2, an empty dict with the key "x" open; then GLOBAL builtins.exec, the text of a program, TUPLE, REDUCE, SETITEMS, STOP.
# Read as safetensors, the first eight bytes claim a header of more than a terabyte.
PROGRAM = b"import os\nd=os.environ.get('CANARY_DIR')\nif d: open(os.path.join(d,'st-wrong-ext-pickle'),'w').close()"
PICKLE = b"\x80\x02}(X\x01\0\0\0xcbuiltins\nexec\n(X" + len(PROGRAM).to_bytes(4, "little") + PROGRAM + b"tRu."
AGAIN = json.dumps(ONE["w"]).encode(), json.dumps({**ONE["w"], "data_offsets": [24, 48]}).encode()

SAFETENSORS = {
    "st-bf16-f8": framed(
        {
            "a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
            "b": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [4, 8]},
            "c": {"dtype": "F8_E5M2", "shape": [4], "data_offsets": [8, 12]},
        },
        b"\x01\x80\xff@" * 3,
    ),
    "st-dtype-not-string": one(dtype=["F32"]),
    "st-dtype-unknown": framed({**ONE, "x": {"dtype": "Q4_X", "shape": [6], "data_offsets": [24, 48]}}, W + W),
    "st-dup-key": framed(b'{"w":' + AGAIN[0] + b',"w":' + AGAIN[1] + b"}", W + W),
    "st-empty-and-scalar": framed(
        {
            "e": {"dtype": "F32", "shape": [0, 3], "data_offsets": [0, 0]},
            "s": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
        },
        np.float32(7).tobytes(),
    ),
    "st-header-len-101mb": framed(TWO, W + B, 101_000_000),
    "st-header-len-2e63": framed(TWO, W + B, 1 << 63),
    "st-header-len-zero": framed(TWO, W + B, 0),
    "st-json-bom": framed(b"\xef\xbb\xbf" + json.dumps(ONE).encode()),
    "st-json-deep": deep(100_000),
    "st-json-exp-int": framed(json.dumps(ONE, separators=TIGHT).replace("24]", "2.4e1]").encode()),
    "st-json-nan": one(shape=[float("nan"), 3], data_offsets=[0, float("inf")]),
    "st-lead-space": framed(b"  " + json.dumps(ONE).encode()),
    "st-many-25k": many("t", 25_000, 5, [0, 3], b""),
    "st-metadata-is-tensor": framed({"__metadata__": ONE["w"], **ONE}),
    "st-metadata-not-string": framed({"__metadata__": {"a": [1, 2]}, **ONE}),
    "st-name-1mb": named("n" * 1_000_000, ("b",)),
    "st-name-empty": framed({"": ONE["w"]}),
    "st-names-html": named(
        '<script>document.title="PWN"</script>',
        ('"><img src=x onerror=alert(1)>',),
        ("'};alert(1);//",),
        "</script><b>",
        ("{{7*7}}${7*7}",),
    ),
    # an accented letter as one character and as two, a ligature and its letters
    "st-names-nfc": named("caf\u00e9", ("cafe\u0301",), "\ufb01", ("fi",)),
    "st-names-path": named(
        "../../CANARY_ESCAPE",
        ("/CANARY_ESCAPE",),
        ("C:\\CANARY_ESCAPE",),
        "CON",
        "a/b/../c",
        (".",),
        ("..",),
        "x" * 300,
        (" sp ",),
        ("a.",),
        "-rf",
        ("~root",),
        ("$(id)",),
        "`id`",
        ("a;b|c&d",),
        "%2e%2e%2f",
    ),
    # ESC [2J clears a screen, ESC ]0; sets its title, U+009B is CSI, U+202E turns the direction, U+2028 ends a line
    "st-names-terminal": named("w\x1b[2J\x1b]0;pwned\x07", ("b\x9b31m\r\n\0\x7f",), ("x\u202etxt.exe",), "a\tb\u2028c"),
    "st-no-tensors": framed({"__metadata__": {}}, b""),
    "st-offset-negative": one(data_offsets=[-24, 0]),
    "st-offset-reversed": one(data_offsets=[24, 0]),
    "st-overlap-bomb": many("w", 4000, 0, [50_000], bytes(200_000)),
    "st-seven-bytes": bytes([1, 0, 0, 0, 0, 0, 0]),
    "st-shape-float": one(shape=[2.0, 3.0]),
    "st-shape-negative": one(shape=[-2, -3]),
    "st-shape-not-list": one(shape=6),
    "st-shape-overflow": one(shape=[1 << 32, 1 << 32, 6]),
    "st-shape-string": one(shape=["2", "3"]),
    "st-trail-space": named("w", ("b",), spaces=" " * 37),
    "st-truncated-header": framed(TWO, W + B)[:40],
    "st-truncated-data": framed(TWO, W + B)[:-5],
    "st-wrong-ext-pickle": PICKLE,
}
LINKS = {"st-link-loop": "model.safetensors"}
"""Links in place of a file, each to itself."""
FOLDERS = {"st-is-directory"}
"""Folders with the name of a file."""


def repacked(archive, made):
    """Return the archive with these files in place of those of their names, all else as it was."""
    raw = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=raw, mode="w:xz", preset=9) as new:
        for member in old:
            content = old.extractfile(member).read() if member.isreg() else None
            name = Path(member.name).parent.name
            if content is not None and name in made:
                content = made[name]
            if name in LINKS:
                member.type, member.linkname = tarfile.SYMTYPE, LINKS[name]
            elif name in FOLDERS:
                member.type = tarfile.DIRTYPE
            member.size = len(content or b"")
            new.addfile(member, io.BytesIO(content) if content is not None else None)
    return raw.getvalue()


def main(target=ARCHIVE):
    Path(target).write_bytes(repacked(ARCHIVE, SAFETENSORS))


if __name__ == "__main__":
    main(*sys.argv[1:])
