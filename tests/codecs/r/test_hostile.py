"""Files of R with false claims, with code, or that would fill the memory."""

import bz2
import gzip
import json
import lzma
import os
import random
import resource
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from steelyard.codecs.compression import plain
from steelyard.codecs.r.stream import read_r
from steelyard.codecs.r.values import Vector
from steelyard.errors import FormatError, SteelyardError
from steelyard.storage.source import from_bytes

ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
MEMORY, SECONDS = 300 << 20, 5
ABOVE = {"cve_promise_as_wts.rds", "closure_called_print.rds"}
"""Hostile files (and those called nnet_*) whose serialization is valid: the reader of the network refuses their contents."""


def read_data(data):
    return read_r(from_bytes(bytes(data), "bytes.rds"))


READ = """
import sys

def refuse(event, details):
    if event.startswith(("subprocess", "os.system", "os.exec", "os.posix_spawn", "socket", "exec")) or event == "open" and details[1] not in ("r", "rb", None):
        raise SystemExit(f"the reader did {event} {details}")

from steelyard.codecs import compression
from steelyard.codecs.r import altrep
from steelyard.codecs.r.stream import read_r
from steelyard.storage.source import open_path
from steelyard.errors import FormatError
import bz2, lzma, zstandard  # what a stream needs is imported by code that is run, and may be
sys.addaudithook(refuse)
try:
    read_r(open_path(sys.argv[1]))
except FormatError as error:
    assert len(str(error).splitlines()) == 1
    print("refused")
else:
    print("read")
"""


def limited(seconds=SECONDS):
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def test_hostile_files_are_refused_or_read_in_little_time_and_memory(fixtures):
    cases = json.loads((fixtures / "hostile" / "hostile.json").read_text())
    assert len(cases) == 64
    for name, case in cases.items():
        path = fixtures / "hostile" / name
        run = subprocess.run(
            [sys.executable, "-c", READ, str(path)],
            capture_output=True,
            text=True,
            env=ENV,
            preexec_fn=limited,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, (name, run.stderr[-500:], run.stdout)
        sound = name in ABOVE or name.startswith("nnet_")
        wanted = {"ok": "read", "opaque": "read", "refuse": "read" if sound else "refused"}.get(case["outcome"])
        assert run.stdout.strip() == (wanted or run.stdout.strip()), name


PACKERS = {"gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zstd": zstandard.ZstdCompressor().compress}


@pytest.mark.parametrize("kind", PACKERS)
def test_many_streams_of_zeros_do_not_fill_the_memory(tmp_path, kind):
    pack, path = PACKERS[kind], tmp_path / "bomb.rds"
    for claimed in (1 << 30, 3):  # inside a vector, and behind the last object
        path.write_bytes(pack(struct.pack(">2s5i", b"X\n", 2, 0, 0, 24, claimed)) + pack(bytes(1 << 24)) * 64)
        run = subprocess.run(
            [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, env=ENV, preexec_fn=limited, check=False
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout.strip() == ("refused" if claimed > 3 else "read")


def test_the_memory_check_of_the_test_above_can_fail():
    for code in ("x = bytearray(400 << 20)", "while True: pass"):
        run = subprocess.run([sys.executable, "-c", code], preexec_fn=lambda: limited(1), capture_output=True, check=False)
        assert run.returncode


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("a length past the end", [14, 1000]),
        ("a long vector past the end", [14, -1, 1, 0]),
        ("a long vector that is none", [14, -1, 0, 5]),
        ("a list past the end", [19, 1000]),
        ("a list of lists that ends too early", [19, 2, 19, 1, 254]),
        ("attributes that are not a pairlist", [13 | 512, 0, 13, 0]),
        ("a reference to nothing", [255 | 1 << 8]),
        ("an unknown type", [99]),
        ("a text that is a number", [16, 1, 14, 0]),
        ("a text of negative length", [16, 1, 9, -7]),
        ("a name that is a number", [1, 14, 0]),
        ("a builtin of negative length", [8, -3]),
        ("bytecode with negative constants", [21, 0, 13, 0, -4]),
        ("bytecode with too many constants", [21, 0, 13, 0, 1 << 30]),
        ("an ALTREP of no class", [238, 254, 254, 254]),
        ("a persistent name with names", [247, 1, 0]),
        ("a dim of texts", [13 | 512, 0, 1026, 1, 9, 3, 0x64696D00, 16, 0, 254]),
    ],
)
def test_a_false_claim_is_refused_in_one_line_in_binary_and_in_ascii(what, words):
    for order in "<>":
        with pytest.raises(FormatError) as binary:
            read_data((b"X\n" if order == ">" else b"B\n") + struct.pack(f"{order}{len(words) + 3}i", 2, 0, 0, *words))
        assert "\n" not in str(binary.value)
    with pytest.raises(FormatError) as ascii_:
        read_data(b"A\n2\n0\n0\n" + b"".join(b"%d\n" % word for word in words))
    assert "\n" not in str(ascii_.value)


@pytest.mark.parametrize(
    "text",
    [
        b"A\n2\n0\n0\n14\n2\n1.5\n",
        b"A\n2\n0\n0\n14\n1\nabc\n",
        b"A\n2\n0\n0\n13\n1\n99999999999\n",
        b"A\n2\n0\n0\n" + b"1" * 100_000,
    ],
)
def test_ascii_that_is_cut_or_not_a_number_is_refused(text):
    with pytest.raises(FormatError):
        read_data(text)


def test_ascii_may_lack_its_last_line_end_and_have_any_white_space():
    assert read_data(b"A\n2\n0\n0\n14\n2\n1.5\n0x1.8p+1").plain() == [1.5, 3.0]
    assert read_data(b"A\n2\n0 0 14" + b" \n" * 100_000 + b"2\nNA 2").plain()[1] == 2.0


def test_small_compressed_files_may_not_use_much_memory():
    head = struct.pack(">2s5i", b"X\n", 2, 0, 0, 19, 3_000_000)
    lists = gzip.compress(head + struct.pack(">2i", 19, 0) * 3_000_000)
    with pytest.raises(FormatError, match="bytes of memory, too many for a file of"):
        read_data(lists)
    with pytest.raises(FormatError, match="inflates from"):
        read_data(gzip.compress(struct.pack(">2s5i", b"X\n", 2, 0, 0, 24, 1 << 28) + bytes(1 << 28), 1))


def read_values(data):
    """Read every object of an R serialization, also those that hold no weights; return whether it could be read."""
    try:
        left, seen = [read_r(from_bytes(data, "x.rds"))], set()
    except SteelyardError:
        return False
    while left:
        value = left.pop()
        if value is None or id(value) in seen:
            continue
        seen.add(id(value))
        repr(value)
        if isinstance(value, Vector) and value.numbers:
            value.read(0, min(value.length, 1 << 20))
        left += getattr(value, "attributes", {}).values()
        left += getattr(value, "parts", {}).values()
        left += [inner for _, inner in value.pairs()] if hasattr(value, "pairs") else []
    return True


def test_changed_files_raise_only_errors_of_steelyard(fixtures):
    chance, rounds = random.Random(4), 4000
    folders = ("types", "other", "rtorch", "nnet/containers", "hostile")
    seeds = [path.read_bytes() for folder in folders for path in sorted((fixtures / folder).iterdir()) if path.suffix != ".json"]
    seeds = [seed for seed in map(plain_bytes, seeds) if 0 < len(seed) < 100_000]
    seeds += [seed for seed in seeds if seed[:2] == b"A\n"] * 10
    assert len(seeds) > 150
    read = 0
    for _ in range(rounds):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 3)):
            at, length = chance.randrange(len(data) + 1), chance.choice((1, 1, 4, 8))
            data[at : at + length] = chance.choice((chance.randbytes(length), b"\xff" * length, bytes(length), b""))
        read += read_values(bytes(data))
    assert rounds // 10 < read < rounds - rounds // 10, "changes that are always or never seen test little"


def plain_bytes(data):
    """Return the content of a compressed seed: under a checksum, any change would only be detected as damage."""
    try:
        content = plain(from_bytes(data))
    except FormatError:
        return data
    return content.read(0, content.size)


def test_objects_may_be_nested_to_any_depth():
    depth = 200_000
    data = struct.pack(">2s3i", b"X\n", 2, 0, 0) + struct.pack(">2i", 19, 1) * depth + struct.pack(">i", 254)
    value, count = read_data(data), 0
    while value is not None:
        value, count = value.items[0], count + 1
    assert count == depth
