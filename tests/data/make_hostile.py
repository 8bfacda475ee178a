"""Make hostile files byte by byte, and pack them: python tests/data/make_hostile.py [ARCHIVE]

`hostile.json` says of every file what it tries, what a reader must do, and the digests of the tensors that it may give. The
safetensors files are made here, from the header that lies and the numbers behind it. Those of other formats are kept as they
are packed; the format's own library, or a hand with a hex editor, wrote them. A new file is a function here and an entry there.
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


SAFETENSORS = {
    "st-dtype-not-string": one(dtype=["F32"]),
    "st-dtype-unknown": framed({**ONE, "x": {"dtype": "Q4_X", "shape": [6], "data_offsets": [24, 48]}}, W + W),
    "st-header-len-101mb": framed(TWO, W + B, 101_000_000),
    "st-header-len-2e63": framed(TWO, W + B, 1 << 63),
    "st-header-len-zero": framed(TWO, W + B, 0),
    "st-json-bom": framed(b"\xef\xbb\xbf" + json.dumps(ONE).encode()),
    "st-json-exp-int": framed(json.dumps(ONE, separators=TIGHT).replace("24]", "2.4e1]").encode()),
    "st-json-nan": one(shape=[float("nan"), 3], data_offsets=[0, float("inf")]),
    "st-lead-space": framed(b"  " + json.dumps(ONE).encode()),
    "st-metadata-is-tensor": framed({"__metadata__": ONE["w"], **ONE}),
    "st-metadata-not-string": framed({"__metadata__": {"a": [1, 2]}, **ONE}),
    "st-name-empty": framed({"": ONE["w"]}),
    "st-no-tensors": framed({"__metadata__": {}}, b""),
    "st-offset-negative": one(data_offsets=[-24, 0]),
    "st-offset-reversed": one(data_offsets=[24, 0]),
    "st-seven-bytes": bytes([1, 0, 0, 0, 0, 0, 0]),
    "st-shape-float": one(shape=[2.0, 3.0]),
    "st-shape-negative": one(shape=[-2, -3]),
    "st-shape-not-list": one(shape=6),
    "st-shape-overflow": one(shape=[1 << 32, 1 << 32, 6]),
    "st-shape-string": one(shape=["2", "3"]),
    "st-truncated-header": framed(TWO, W + B)[:40],
    "st-truncated-data": framed(TWO, W + B)[:-5],
}


def repacked(archive, made):
    """Return the archive with these files in place of those of their names, all else as it was."""
    raw = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=raw, mode="w:xz", preset=9) as new:
        for member in old:
            content = old.extractfile(member).read() if member.isreg() else None
            name = Path(member.name).parent.name
            if content is not None and name in made:
                content = made[name]
            member.size = len(content or b"")
            new.addfile(member, io.BytesIO(content) if content is not None else None)
    return raw.getvalue()


def main(target=ARCHIVE):
    Path(target).write_bytes(repacked(ARCHIVE, SAFETENSORS))


if __name__ == "__main__":
    main(*sys.argv[1:])
