"""Long pickles of plain values, which Python's unpickler builds: the same roots as the machine gives, and never a call."""

import copyreg
import gzip
import pickle
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import steelyard
from steelyard.codecs.budget import Budget
from steelyard.codecs.pickle import outline as outlines
from steelyard.codecs.pickle.machine import Machine
from steelyard.codecs.pickle.model_weights import _plain_entries, holding
from steelyard.errors import FormatError, SteelyardError
from steelyard.storage.source import from_bytes

ACCEPTED = b"\x94()]}ea" + b"N\x88\x89us" + b"t\x85\x86\x87" + b"GMJK" + b"hqjr" + b"\x8cXC\x8a\x8d" + b"\x95\x80"

scalars = some.one_of(
    some.none(), some.booleans(), some.integers(-(1 << 40), 1 << 40), some.floats(allow_nan=False), some.text(max_size=300)
)
plain_values = some.recursive(
    scalars | some.binary(max_size=7),
    lambda inner: some.one_of(
        some.lists(inner, max_size=5),
        some.lists(inner, max_size=5).map(tuple),
        some.dictionaries(scalars, inner, max_size=5),
        inner.map(lambda value: [value, value]),
    ),
    max_leaves=30,
)


@pytest.fixture(autouse=True)
def short_pickles(monkeypatch):
    """Outline short pickles too, read in short steps."""
    monkeypatch.setattr(outlines, "THRESHOLD", 0)
    monkeypatch.setattr(outlines, "STEP", 300)


def outline(data, **limits):
    source = from_bytes(data, "a.pkl")
    with steelyard.limits.allow(**limits):
        return outlines.outline(source, 0, Budget(source))


def lists(value):
    """Return a value with its inner tuples as lists, as an outline may have them."""
    if isinstance(value, (list, tuple)):
        return [lists(each) for each in value]
    return {key: lists(each) for key, each in value.items()} if isinstance(value, dict) else value


def summary(data, *, outlined):
    """Return what a listing takes from the root of a pickle, and where it ends; or the kind of the error."""
    machine = Machine(from_bytes(data, "a.pkl"), outlines=outlined)
    try:
        root = machine.load()
    except SteelyardError as error:
        return type(error).__name__
    return holding(root), repr(_plain_entries(root)), machine.offset, machine.is_plain


@settings(max_examples=150, deadline=None)
@given(plain_values, some.integers(0, 5))
def test_the_outline_of_any_plain_value_has_the_root_that_pickle_has(value, protocol):
    data = pickle.dumps(value, protocol)
    found = outline(data + b"rest")
    if found is None:
        assert protocol < 4 or isinstance(value, bytes)
    else:
        root, end = found
        assert (type(root), lists(root), end) == (type(value), lists(pickle.loads(data)), len(data))
    assert summary(data, outlined=True) == summary(data, outlined=False)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_rows_tables_and_numbers_are_outlined(protocol):
    for value in (
        [{"id": n, "name": f"n{n}", "tags": ["a", n % 7], "x": (n % 300, n / 3)} for n in range(700)],
        [(n, n / 3, f"n{n}") for n in range(700)],
        {f"k{n}": -n << 33 for n in range(1500)},
        ({"a": ("b",)}, "x" * 5000, "\ud800é" * 100, ("y", "z")),
        ((), {}, [], None, 1.5),
    ):
        root, _ = outline(pickle.dumps(value, protocol))
        assert (type(root), lists(root)) == (type(value), lists(value))


def test_no_other_opcode_is_accepted_in_any_mode():
    accepted = set()
    for code in range(256):
        data = bytes([code]) + b"\0" * 8 + b"."
        source = from_bytes(data)
        for bare, replaces in ((b"us", False), (b"t\x85\x86\x87", False), (b"us", True)):
            scan = outlines.Scan(source, 0, Budget(source), bare, replaces_tuples=replaces)
            scan.is_plain()
            if scan.at > 0:
                accepted.add(code)
    assert accepted == {*ACCEPTED, *b"."} - {0x80}  # PROTO of protocol 0 does not exist
    assert outline(b"\x80\x04N.") == (None, 4)
    assert len(set(ACCEPTED)) == 31


def test_damaged_and_odd_pickles_are_listed_as_the_machine_lists_them():
    chance = random.Random(7)
    value = [{"id": n, "t": (n, str(n)), "l": [n] * (n % 3)} for n in range(12)]
    for protocol in (2, 4):
        data = pickle.dumps(value, protocol)
        for _ in range(400):
            mutant = bytearray(data)
            for _ in range(chance.randrange(1, 3)):
                mutant[chance.randrange(len(mutant))] = chance.choice(ACCEPTED + b"QRcb\x93\x82.0")
            found = summary(bytes(mutant), outlined=True)
            assert found == summary(bytes(mutant), outlined=False) or _is_odd(bytes(mutant)), bytes(mutant)


def _is_odd(data):
    """Whether Python sets items of what is not a dict, which the machine refuses."""
    with pytest.raises(FormatError, match=r"has no items|MARK|appends to|empty stack"):
        Machine(from_bytes(data)).load()
    return True


def test_a_cached_extension_is_never_called():
    called = []
    copyreg.add_extension("steelyard.io", "weights", 0xF0)
    copyreg._extension_cache[0xF0] = called.append
    try:
        for data in (b"\x82\xf0K\x01\x85R.", b"]\x82\xf0K\x01\x85R."):
            assert outline(data) is None
        data = b"\x95" + (5).to_bytes(8, "little") + b"](K\x01e\x82\xf0K\x01\x85R."
        assert outline(data) is None
    finally:
        copyreg.remove_extension("steelyard.io", "weights", 0xF0)
    assert not called


def test_frames_that_end_within_an_opcode_do_not_move_the_unpickler():
    inner = b"\x82\xf0K\x01\x85R" * 5
    for length in range(60):
        data = b"\x95" + struct.pack("<Q", length) + b"](X" + struct.pack("<I", len(inner)) + inner + b"K\x07e."
        found = outline(data)
        assert found is None or found == ([inner.decode("latin-1"), 7], len(data))


def test_a_name_that_reached_the_unpickler_would_be_refused():
    assert outlines._built(pickle.dumps(print)) is None
    assert outlines._built(b"cos\nsystem\n(S'true'\ntR.") is None


@pytest.mark.parametrize(
    "data",
    [
        b"]r\xff\xff\xff\x7f.",  # a place in the memo that takes gigabytes
        b"]r\xff\xff\xff\x00.",
        b"]r\x00\x00\x01\x00.",
        b"]X\xff\xff\xff\x7fab.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x8a\x09" + b"\xff" * 9 + b".",  # many such integers can have one hash
        b"}K\x01K\x02\x86K\x03s.",  # a tuple as a key
        b"}(" + b"N\x85" + b"\x85" * 100_000 + b"Nu.",  # whose hash would exhaust the stack of C
        b"}(N\x85\x94" + b"".join(b"h%ch%c\x86\x94" % (n, n) for n in range(60)) + b"Nu.",  # or take years
    ],
)
def test_what_would_cost_too_much_is_left_to_the_machine(data):
    assert outline(data) is None


def test_deep_lists_are_outlined_and_released():
    root, _ = outline(b"]" * 200_000 + b"a" * 199_999 + b".", MEMORY=1 << 30)
    assert type(root) is list


def test_a_bomb_is_refused_before_it_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(outlines, "_built", lambda data: pytest.fail("was built"))
    (tmp_path / "a.pkl.gz").write_bytes(gzip.compress(b"\x80\x02](" + b"]" * 3_000_000 + b"e.", 1))
    with pytest.raises(FormatError, match=r"takes more than [\d,]+ bytes of memory"):
        steelyard.weights(tmp_path / "a.pkl.gz")


def test_a_compressed_table_of_many_small_dicts_is_within_the_budget(tmp_path):
    rows = [{"id": n, "name": f"item {n}", "ok": n % 2 == 0} for n in range(20_000)]
    (tmp_path / "a.pkl.gz").write_bytes(gzip.compress(pickle.dumps(rows), 6))
    with steelyard.limits.allow(MEMORY=(100 << 20) // 15):  # as for 300,000 of them
        assert steelyard.weights(tmp_path / "a.pkl.gz").meta["holds"] == "a list of 20000 members"


def test_a_plain_pickle_is_not_audited_since_it_calls_nothing_but_one_that_is_followed_is(tmp_path, monkeypatch):
    from steelyard import auditing

    monkeypatch.setattr(auditing, "audit", lambda source: pytest.fail("was audited"))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([1, 2]))
    assert len(steelyard.weights(tmp_path / "a.pkl")) == 0
    monkeypatch.undo()
    (tmp_path / "b.pkl").write_bytes(pickle.dumps([1, 2]) + b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(SteelyardError, match=r"would have run os\.system"):
        steelyard.weights(tmp_path / "b.pkl")
