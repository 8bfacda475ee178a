"""Small files that cost as much as their formats let them: checking each takes at most 5 s on an idle machine, and 300 MB."""

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest

SECONDS, MEGABYTES = 5, 300
"""What a file of a few hundred kilobytes may cost: processor time, twice as much on a busy machine, and memory."""
RUN = """
import json, os, resource, sys
from steelyard.cli import main

for path in sys.argv[1:]:
    child = os.fork()
    if not child:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        status = 70
        try:
            status = main(["check", path])
        finally:
            os._exit(status)
    _, status, used = os.wait4(child, 0)
    print(json.dumps([path, os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss >> 10]), flush=True)
"""


def packed(content):
    return gzip.compress(content, 1)


def archive(**members):
    """Return a zip archive of these members, whose names have "." for "__"."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "."), content)
    return out.getvalue()


def text(word):
    return b"X" + struct.pack("<I", len(word)) + word


def get(place):
    return b"j" + struct.pack("<I", place)


def ints(*numbers):
    """Return the opcodes that push integers."""
    return b"".join(b"J" + struct.pack("<I", number) for number in numbers)


def torch_file(root, storage=bytes(16)):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a/data.pkl", REBUILD + root + b".")
        file.writestr("a/data/0", storage)
    return out.getvalue()


REBUILD = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x000ctorch\nFloatStorage\nq\x010"


def tensor(count, shape, strides):
    storage = b"(" + text(b"storage") + b"h\x01" + text(b"0") + text(b"cpu") + ints(count) + b"tQ"
    return b"h\x00(" + storage + ints(0) + b"(" + ints(*shape) + b"t(" + ints(*strides) + b"t\x89}tR"


def pickles():
    entries = b"}(" + b"".join(ints(key) + b"N" for key in range(20_000)) + b"u"
    made = b"\x80\x02cm\nC\nq\x01"
    yield "lists.pkl.gz", packed(b"\x80\x04(" + b"]\x94" * 1_500_000 + b"l.")
    yield "long-text.pkl.gz", packed(b"\x80\x02" + text(b"a" * 60_000_000) + b".")
    yield "nulls.pkl.gz", packed(b"\x80\x04](" + b"N" * 4_000_000 + b"e.")
    yield "texts.pkl.gz", packed(b"\x80\x04](" + b"\x8c\x02ab\x94" * 2_200_000 + b"e.")
    yield "shared-list.pkl", b"\x80\x02](" + b"K\x01" * 100_000 + b"eq\x000(" + b"h\x00" * 100_000 + b"l."
    yield "shared-bytes.pkl", b"\x80\x04B" + struct.pack("<I", 100_000) + bytes(100_000) + b"q\x000(" + b"h\x00" * 100_000 + b"l."
    yield "shared-state.pkl", made + entries + b"q\x000(h\x01)\x81" + b"h\x00b" * 50_000 + b"l."
    arguments = b"(" + b"N" * 100_000 + b"tq\x000}(NNuq\x020("
    yield "shared-arguments.pkl", b"\x80\x04" + made[2:] + arguments + b"h\x01h\x00h\x02\x92" * 30_000 + b"l."
    pairs = b"".join(b"](" + 2 * get(place) + b"er" + struct.pack("<I", place + 1) for place in range(900))
    yield "shared-pairs.pkl", b"\x80\x02](K\x01eq\x00" + pairs + b"."


def audited():
    """Yield pickles of which the audit looks into many parts, or many times into the same."""

    def of_bytes(content, count=20_000):
        return b"\x80\x04(" + b"".join(b"C\x10" + content(number) for number in range(count)) + b"l."

    yield "after-magic.pkl", b"\x80\x04N.\0\0" + b"\x80\x04" * 50_000
    yield "after-names.pkl", b"\x80\x04N.\0\0" + b"\x80\x02cm\nC\n" * 20_000
    yield "after-headers.pkl", b"\x80\x04N.\0\0" + b"PK\3\4" * 50_000
    yield "short.pkl", b"N." * 300_000
    yield "compressed-bytes.pkl", of_bytes(lambda number: b"BZh9" + struct.pack("<Q4x", number))
    yield "pickled-bytes.pkl", of_bytes(lambda number: b"cm\nC%09d\n." % number)
    yield "bytes.pkl", of_bytes(lambda number: struct.pack("<QQ", number, 0), 40_000)
    made, shared = b"\x80\x02cm\nC\nq\1", b"(" + b"N" * 50_000 + b"tq\2("
    yield "arguments.pkl", made + shared + b"h\1h\2R" * 20_000 + b"l."
    entries = b"}(" + b"".join(ints(key) + b"N" for key in range(20_000)) + b"uq\2("
    yield "states.pkl", made + entries + b"h\1)\x81h\2b" * 20_000 + b"l."
    yield "damaged-names.pkl", made + b"".join(b"cm%d\nC\n" % number for number in range(60_000)) + b"\xff"


def files_of_torch():
    one = tensor(4, [4], [1]) + b"q\x020"
    yield "shared-tensor.pt", torch_file(one + b"(" + b"h\x02" * 100_000 + b"l")
    yield "long-names.pt", torch_file(one + b"}(" + text(b"a" * 100_000) + b"(" + b"h\x02" * 60_000 + b"lu")
    yield "deep-names.pt", torch_file(one + (b"}" + text(b"a" * 50)) * 990 + b"(" + b"h\x02" * 80_000 + b"l" + b"s" * 990)
    views = b"".join(tensor(1, [(1 << 26) - less, 1], [0, 1]) for less in range(1000))
    yield "expanded.pt", torch_file(b"(" + views + b"l", bytes(4))
    code = {f"a/code/{number}__py": "class A(Module):\n a\n" * 45_000 for number in range(20)}
    yield "code.pt", archive(**{"a/data__pkl": b"\x80\x02}.", "a/constants__pkl": b"\x80\x02)."}, **code)


def configs():
    weights = io.BytesIO()
    h5py.File(weights, "w").close()
    held = {"metadata__json": "{}", "model__weights__h5": weights.getvalue()}
    layer = {"class_name": "Dense", "config": {"name": "d"}}
    for _ in range(60):
        layer = {"class_name": "Sequential", "config": {"name": "s", "layers": [layer]}}
    root = {"class_name": "Sequential", "config": {"name": "a", "layers": [layer] * 4000}}
    yield "config.keras", archive(config__json=json.dumps(root), **held)
    array = {"__loader__": "NdArrayNode", "__module__": "numpy", "__class__": "ndarray", "file": "1.npy"}
    node = array
    for number in range(60):
        again = {"__loader__": "CachedNode", "__id__": number - 1}
        node = {"__loader__": "ListNode", "__module__": "m", "__class__": "c", "__id__": number, "content": [node, again]}
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    yield "cached.skops", archive(schema__json=json.dumps(node), **{"1__npy": content.getvalue()})
    header = b'{"a":[' + b"[]," * 100_000 + b"[]]}"
    yield "lists.safetensors", struct.pack("<Q", len(header)) + header


def messages():
    yield "maps.msgpack", b"\xdd" + struct.pack(">I", 300_000) + b"\x80" * 300_000
    yield "inputs.onnx", b"\x08\x08\x3a\xe0\x8b\x11" + b"\x5a\0" * 140_000
    head = b"GGUF" + struct.pack("<I", 3) + struct.pack("<Q", 0)
    key = struct.pack("<QBII", 1, 97, 9, 8)
    yield "texts.gguf", head + struct.pack("<Q", 1) + key + struct.pack("<Q", 40_000) + bytes(320_000)
    keys = b"".join(struct.pack("<Q", 4) + b"%04x" % number + bytes(5) for number in range(20_000))
    yield "keys.gguf", head + struct.pack("<Q", 20_000) + keys


def archives():
    yield "empty.npz", archive(**{f"{number}__txt": b"" for number in range(3000)})
    stream = b"X\n\0\0\0\2\0\4\0\0\0\2\3\0"
    integer = struct.Struct(">i").pack
    yield "members.pkl.gz", packed(b"\x80\x04") + packed(b"") * 20_000 + packed(b"N.")
    yield "members.rds", packed(stream + bytes(2)) + packed(b"") * 20_000 + packed(integer(254))
    yield "nulls.rds", packed(stream + integer(19) + integer(2_000_000) + integer(254) * 2_000_000)
    yield "deep.rds", packed(stream + (integer(19) + integer(1)) * 600_000 + integer(254))


def hdf5(make):
    out = io.BytesIO()
    with h5py.File(out, "w", libver="latest") as file:
        make(file)
    return out.getvalue()


def chunked(file):
    for number in range(200):
        file.create_dataset(f"d{number}", (1 << 25,), "f4", chunks=(1 << 20,), compression="gzip")


def nested(file):
    group = file
    for _ in range(300):
        group = group.create_group("a" * 60)
    for number in range(200):
        group[f"d{number}"] = np.zeros(3)


def described(file):
    for number in range(60):
        file.attrs.create(f"t{number}", ["a"] * 300, dtype=h5py.string_dtype())


def linked(file):
    first = file.create_dataset("a", (4,))
    first.attrs["t"] = np.array([b"a" * 60_000])
    for number in range(1500):
        file[f"b{number}"] = first


def structures():
    for make in (chunked, nested, described, linked):
        yield f"{make.__name__}.h5", hdf5(make)


@pytest.mark.parametrize("cases", [pickles, audited, files_of_torch, configs, messages, archives, structures])
def test_a_small_file_costs_little(cases, tmp_path):
    paths = []
    for name, content in cases():
        assert len(content) < 800_000, name
        (tmp_path / name).write_bytes(content)
        paths.append(str(tmp_path / name))
    done = subprocess.run([sys.executable, "-c", RUN, *paths], capture_output=True, text=True, check=True)
    costs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(costs) == len(paths)
    seconds = SECONDS * (2 if os.getloadavg()[0] > 2 * (os.cpu_count() or 1) else 1)
    dear = [cost for cost in costs if cost[1] not in (0, 1, 2, 3) or cost[2] > seconds or cost[3] > MEGABYTES]
    assert not dear, done.stderr
