"""The inert pickle machine: plain data as in Python's own unpickler, and recorded calls."""

import pickle
import struct
from collections import Counter, OrderedDict, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.codecs import limits
from steelyard.codecs.pickle import opcodes
from steelyard.codecs.pickle import stream as stream_module
from steelyard.codecs.pickle.machine import Machine
from steelyard.codecs.pickle.values import Blob, Boxed, Global, Record
from steelyard.codecs.pickle.writing import written
from steelyard.errors import FormatError, UnsafeFileError
from steelyard.storage.source import from_bytes

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.binary(max_size=2000)
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)


def load(data):
    return Machine(from_bytes(data)).load()


def plain(value):
    """Load blobs and unbox keys."""
    if isinstance(value, Blob):
        return value.source.read(value.offset, value.length)
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, tuple):
        return tuple(plain(part) for part in value)
    if isinstance(value, dict):
        return {key.value if isinstance(key, Boxed) else key: plain(part) for key, part in value.items()}
    return value


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@settings(max_examples=150, deadline=None)
@given(data=DATA)
def test_plain_data_is_read_as_python_reads_it(protocol, data):
    stream = pickle.dumps(data, protocol=protocol)
    assert plain(load(stream)) == pickle.loads(stream)


@settings(max_examples=300, deadline=None)
@given(data=DATA, cut=st.integers(0, 400), flip=st.integers(0, 255))
def test_a_damaged_pickle_raises_an_error_of_steelyard_or_decodes_to_other_data(data, cut, flip):
    stream = bytearray(pickle.dumps(data, protocol=4))
    stream[cut % len(stream)] = flip
    told = ["one line"]
    try:
        load(bytes(stream))
    except FormatError as error:
        told = str(error).splitlines()
    assert len(told) == 1


@given(data=DATA)
@settings(max_examples=50, deadline=None)
def test_a_cut_pickle_is_refused(data):
    stream = pickle.dumps(data, protocol=4)
    for end in range(len(stream)):
        with pytest.raises(FormatError):
            load(stream[:end])


def test_dicts_and_sets_that_a_call_makes_are_data():
    value = [OrderedDict(a=1), Counter("aab"), defaultdict(list, b=2), {1, 2}, frozenset([3]), bytearray(b"xy"), b"\xff" * 2000]
    for protocol in (2, 4, 5):
        found = plain(load(pickle.dumps(value, protocol=protocol)))
        assert found[:3] == [{"a": 1}, {"a": 2, "b": 1}, {"b": 2}]
        assert [sorted(found[3]), list(found[4]), bytes(found[5]), found[6]] == [[1, 2], [3], b"xy", b"\xff" * 2000]


def test_a_call_is_recorded_and_not_made(tmp_path):
    class Evil:
        def __reduce__(self):
            import os

            return os.system, (f"touch {tmp_path}/ran",)

    for protocol in range(6):
        machine = Machine(from_bytes(pickle.dumps({"x": Evil()}, protocol=protocol)))
        record = machine.load()["x"]
        assert isinstance(record, Record)
        assert record.text == "posix.system"
        assert written(record) == f"posix.system('touch {tmp_path}/ran')"
    assert not list(tmp_path.iterdir())


def test_keys_that_are_unsafe_to_hash_are_boxed():
    deep = b"\x80\x02}" + b")" + b"\x85" * 300_000 + b"Ns."
    (key,) = load(deep)
    assert isinstance(key, Boxed)
    same_hash = (
        b"\x80\x02}(" + b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(1, 3000)) + b"u."
    )
    assert len(load(same_hash)) == 2999


@pytest.mark.parametrize(
    ("stream", "what"),
    [
        (b"\x80\x02r\xff\xff\xff\x7f.", "stack or memo"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.", "announced"),
        (b"\x80\x04\x96" + struct.pack("<Q", 1 << 60) + b"x.", "announced"),
        (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x.", "claims"),
        (b"\x80\x63N.", "protocol 99"),
        (b"I" + b"1" * 5000 + b"\n.", "digits"),
        (b"\x80\x02]N.", None),
        (b"", "ends"),
        (b"N", "ends"),
        (b"\x80\x02K", "ends"),
        (b"\x80\x02}]Ns.", "key of a dict"),
        (b"\x80\x02}(Nu.", "without a value"),
        (b"\x80\x02K\x01Na.", "appends to a int"),
        (b"\x80\x02K\x01NNs.", "SETITEMS is applied to a int"),
        (b"\x80\x02K\x01}b.", "BUILD is applied to a int"),
        (b"\x80\x04NN\x93.", "is not text"),
        (b"\xff.", "not an opcode"),
        (b"(" * 20_000 + b".", "stack or memo"),
        (b"h\x05.", "stack or memo"),
    ],
)
def test_an_invalid_stream_is_refused_with_the_reason(stream, what):
    if what is None:
        assert load(stream) is None
        return
    with pytest.raises(FormatError, match=what):
        load(stream)


@pytest.mark.parametrize("opcode", [b"\x82\x01", b"\x83\x01\0", b"\x84\x01\0\0\0", b"\x97", b"\x98"])
def test_objects_from_outside_the_file_are_refused(opcode):
    with pytest.raises(UnsafeFileError, match="outside"):
        load(b"\x80\x05" + opcode + b".")


def test_the_work_of_a_pickle_is_bounded():
    with limits.allow(MEMORY=0, MEMORY_PER_BYTE=10), pytest.raises(FormatError, match="bytes of memory, too many for a file of"):
        load(b"N0" * 1000 + b"N.")
    text = b"\x80\x02X" + struct.pack("<L", 100_000) + b"a" * 100_000 + b"q\x000"
    again = b"c_codecs\nencode\n(h\x00X\x06\0\0\0latin1tR0"
    with limits.allow(MEMORY=0), pytest.raises(FormatError, match="bytes of memory, too many for a file of"):
        load(text + again * 100 + b"N.")
    state = b"".join(b"K%cN" % key for key in range(200))
    built = b"\x80\x02cm\nC\n)R}(" + state + b"uq\x00b" + b"h\x00b" * 1000 + b"."
    with limits.allow(MEMORY=0), pytest.raises(FormatError, match="bytes of memory, too many for a file of"):
        load(built)


def test_a_pickle_larger_than_the_window_is_read_across_its_borders(monkeypatch):
    monkeypatch.setattr(stream_module, "WINDOW", 8192)
    value = [
        {"n": i, "text": "x" * (i % 50), "more": "y" * 9000 if i % 100 == 0 else "", "raw": bytes(i % 3000)} for i in range(2000)
    ]
    stream = pickle.dumps(value, protocol=4)
    assert plain(load(stream)) == value


def test_long_runs_of_bytes_stay_in_the_file():
    found = load(pickle.dumps({"a": bytes(5000), "b": b"short"}))
    assert isinstance(found["a"], Blob)
    assert len(found["a"]) == 5000
    assert found["b"] == b"short"


def test_every_opcode_of_the_protocols_has_its_function():
    from pickletools import opcodes as known

    unknown = {op.name for op in known if opcodes.HANDLERS[ord(op.code)] is opcodes.HANDLERS[0]}
    assert unknown == set()


def test_names_become_text_and_nothing_is_imported():
    found = load(b"\x80\x04\x8c\x0athis_is_no\x8c\x06module\x93.")
    assert isinstance(found, Global)
    assert found.text == "this_is_no.module"


def test_numbers_of_thousands_of_digits_are_shortened_in_messages():
    import numpy as np

    from steelyard.formats import weights_in

    huge = b"\x8a\xff" + b"\x7f" * 255
    long = b"\x8b" + struct.pack("<L", 1024) + b"\x7f" * 1024
    for number in (huge, long, b"L" + b"9" * 4299 + b"L\n"):
        machine = Machine(from_bytes(b"\x80\x02cos\nsystem\n(" + number + b"tR."))
        machine.load()
        assert len(written(machine.records[0])) < 200
        array = pickle.dumps(np.zeros(3), protocol=2).replace(b"K\x03\x85", number + b"\x85")
        found = weights_in(from_bytes(b"\x80\x02}(" + number + array[2:-1] + b"u.", "a.pkl"))
        (weight,) = found.values()
        with pytest.raises(FormatError, match="shape"):
            weight.numpy()


def test_nested_lists_that_share_items_are_not_expanded_without_limit():
    from steelyard.formats import weights_in

    stream = (
        b"\x80\x03](C\x08abcdefgheq\x00"  # bytes, which are searched for
        + b"".join(b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60))
        + b"."
    )
    with pytest.raises(FormatError, match="bytes of memory, too many for a file of"):
        weights_in(from_bytes(stream, "a.pkl"))
