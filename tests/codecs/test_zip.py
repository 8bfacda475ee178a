"""The strict zip reader, on archives by Python's `zipfile`, and on archives that only `zipfile` accepts."""

import io
import struct
import zipfile

import pytest

from steelyard.codecs.zip import directory, member_source, mentions
from steelyard.errors import FormatError
from steelyard.storage.source import from_bytes

CONTENT = {"a/data.pkl": b"x" * 5000, "a/data/0": bytes(range(256)) * 300, "a/empty": b"", "ü": b"name"}


def archive(method=zipfile.ZIP_STORED, content=CONTENT, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method, **options) as made:
        for name, data in content.items():
            made.writestr(name, data)
    return bytearray(file.getvalue())


def read(data):
    source = from_bytes(bytes(data), "file.zip")
    parts = {name: member_source(source, member) for name, member in directory(source).items()}
    return {name: part.read(0, part.size) for name, part in parts.items()}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read_as_they_were_written(method):
    assert read(archive(method)) == CONTENT


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_any_run_of_a_member_is_read_in_any_order(method):
    source = from_bytes(bytes(archive(method)), "file.zip")
    part = member_source(source, directory(source)["a/data/0"])
    whole = CONTENT["a/data/0"]
    for start, length in ((70_000, 100), (0, 10), (5, 7000), (7005, 10), (76_799, 1), (0, len(whole)), (300, 0)):
        assert part.read(start, length) == whole[start : start + length]


def test_a_small_member_is_read_with_its_local_header_once_and_then_by_itself():
    source, reads = from_bytes(bytes(archive()), "file.zip"), []
    fill = source.fill
    source.fill = lambda offset, buffer: reads.append(offset) or fill(offset, buffer)
    part = member_source(source, directory(source)["ü"])
    reads.clear()
    assert [part.read(0, 2), len(reads), part.read(0, 4), len(reads)] == [b"na", 1, b"name", 2]


def test_a_checksum_is_compared_when_a_member_is_read_whole_in_pieces_or_at_once():
    data = archive()
    data[data.index(bytes(range(256))) + 9] ^= 1
    source = from_bytes(bytes(data), "file.zip")
    member = directory(source)["a/data/0"]
    with pytest.raises(FormatError, match="checksum"):
        member_source(source, member).read(0, member.size)
    part = member_source(source, member)
    part.read(0, 12)
    part.read(10, 1000)
    with pytest.raises(FormatError, match="checksum"):
        part.read(1010, member.size - 1010)
    assert member_source(source, member).read(5000, 10) == CONTENT["a/data/0"][5000:5010], "a run from the middle is not checked"


def test_a_member_that_is_read_again_from_its_beginning_is_checked_again():
    data = archive()
    for damage in (0, 1):
        data[data.index(bytes(range(250))) + 252] ^= damage
        source = from_bytes(bytes(data), "file.zip")
        member = directory(source)["a/data/0"]
        part = member_source(source, member)
        part.read(0, 100)
        part.read(0, 50)
        if damage:
            with pytest.raises(FormatError, match="checksum"):
                part.read(50, member.size - 50)
        else:
            assert part.read(50, member.size - 50) == CONTENT["a/data/0"][50:]


def test_a_checksum_of_zero_is_not_compared():
    data = archive(content={"a": b"data"})
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        crc = made.getinfo("a").CRC
    assert read(data.replace(struct.pack("<L", crc), bytes(4)))["a"] == b"data"


def test_64_bit_sizes_are_read():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made, made.open("a", "w", force_zip64=True) as member:
        member.write(b"data")
    assert read(file.getvalue())["a"] == b"data"


def changed(find, replace, count=1, content=None):
    data = bytes(archive(content=content or {"a": b"one", "b": b"two"}))
    assert find in data
    return data.replace(find, replace, count)


BROKEN = {
    "bytes after the end": (bytes(archive()) + b"tail", "follow the end"),
    "a cut archive": (bytes(archive())[:-30], "no end record|cut"),
    "two members of one name": (changed(b"b", b"a", 9), "duplicate|contradicts"),
    "a local name that differs": (changed(b"a", b"c"), "contradicts"),
    "an encrypted member": (changed(b"PK\1\2\x14\x03\x14\0\0\0", b"PK\1\2\x14\x03\x14\0\1\0"), "encrypted"),
    "an unknown method": (changed(b"PK\1\2\x14\x03\x14\0\0\0\0\0", b"PK\1\2\x14\x03\x14\0\0\0\x63\0"), "method 99|two sizes"),
    "a wrong count": (changed(b"\2\0\2\0", b"\3\0\3\0"), "cut|damaged"),
    "bytes between the directory and its end": (changed(b"PK\5\6", b"gapPK\5\6"), "does not end where the end record begins"),
    "two counts": (changed(b"\2\0\2\0", b"\2\0\3\0"), "counts disagree"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", BROKEN)
def test_an_ambiguous_archive_is_refused(name):
    data, what = BROKEN[name]
    with pytest.raises(FormatError, match=what):
        read(data)


def test_a_member_whose_local_header_moves_it_past_the_end_is_refused():
    data = archive(content={"a": b"x" * 100})
    data[28:30] = b"\xff\xff"  # the length of the extra field
    with pytest.raises(FormatError, match=r"overlaps the next one or the directory|ends at byte"):
        read(data)


def test_a_member_whose_extra_field_moves_it_over_the_next_one_is_refused_and_the_next_one_is_read():
    data = archive(content={"a": b"x" * 100, "b": b"y" * 200})
    data[28:30] = (60).to_bytes(2, "little")  # the length of the extra field, so that the data of a are partly those of b
    source = from_bytes(bytes(data), "a.zip")
    members = directory(source)
    with pytest.raises(FormatError, match="the member a overlaps the next one or the directory"):
        member_source(source, members["a"]).read(0, 100)
    assert member_source(source, members["b"]).read(0, 200) == b"y" * 200


def test_a_member_with_too_small_or_too_large_a_size_is_refused():
    for size in (4999, 5001):
        data = archive(zipfile.ZIP_DEFLATED, {"a": b"x" * 5000})
        wrong = bytes(data).replace(struct.pack("<L", 5000), struct.pack("<L", size))
        with pytest.raises(FormatError, match="does not inflate"):
            read(wrong)


def test_a_bomb_is_refused_before_it_is_inflated():
    data = archive(zipfile.ZIP_DEFLATED, {"a": bytes(100 << 20)})
    with pytest.raises(FormatError, match="would inflate"):
        read(data)


def test_a_sniff_never_raises():
    assert mentions(from_bytes(bytes(archive()), "x"), b"data.pkl")
    assert not mentions(from_bytes(bytes(archive()), "x"), b"other")
    for data in (b"", b"PK", b"PK\5\6" + bytes(18), bytes(archive())[:200]):
        assert not mentions(from_bytes(data, "x"), b"data.pkl")


def test_ten_thousand_members_are_listed():
    data = archive(content={f"a/{i}": b"" for i in range(10_000)})
    assert list(directory(from_bytes(bytes(data), "x"))) == [f"a/{i}" for i in range(10_000)]


def longer(name, more):
    """An archive whose member of three bytes claims some more, in both headers, and has no checksum."""
    data = archive(content={"a": b"one", "b": b"two"})
    with zipfile.ZipFile(io.BytesIO(data)) as made:
        at = made.getinfo(name).header_offset
    entry = data.index(b"PK\1\2") if name == "a" else data.rindex(b"PK\1\2")
    for sizes in (at + 14, entry + 16):
        data[sizes : sizes + 12] = struct.pack("<3L", 0, 3 + more, 3 + more)
    return data


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("more", [1, 34])
def test_a_member_that_reaches_into_the_next_one_or_into_the_directory_is_refused(name, more):
    assert read(longer(name, 0)) == {"a": b"one", "b": b"two"}
    with pytest.raises(FormatError, match=f"member {name} overlaps the next one or the directory"):
        read(longer(name, more))


def with_64_bit_end(count=2, disks=0, shift=0, full=True):
    """An archive with the end records of one that has 64-bit sizes."""
    data = bytes(archive(content={"a": b"one", "b": b"two"}))
    end = data.rindex(b"PK\5\6")
    size, start = struct.unpack("<2L", data[end + 12 : end + 20])
    record = b"PK\6\6" + struct.pack("<Q2H2L4Q", 44, 45, 45, disks, 0, count, count, size, start + shift)
    locator = b"PK\6\7" + struct.pack("<LQL", 0, end, 1)
    short = struct.pack("<2H2L", 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF) if full else data[end + 8 : end + 20]
    return data[:end] + record + locator + data[end : end + 8] + short + data[end + 20 :]


@pytest.mark.parametrize("full", [True, False])
def test_the_64_bit_end_record_is_read(full):
    data = with_64_bit_end(full=full)
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == ["a", "b"]
    assert read(data) == {"a": b"one", "b": b"two"}


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (with_64_bit_end(disks=1), "contradicts itself"),
        (with_64_bit_end(shift=1), "contradicts itself"),
        (with_64_bit_end(count=1), "more entries than the 1"),
        (with_64_bit_end(count=1, full=False), "disagree"),
        (with_64_bit_end(full=False).replace(b"PK\5\6" + struct.pack("<4H", 0, 0, 2, 2), b"PK\5\6" + bytes(8)), "disagree"),
        (changed(struct.pack("<2H", 2, 2), struct.pack("<2H", 0xFFFF, 0xFFFF)), "announces 64-bit sizes but has none"),
    ],
)
def test_a_64_bit_end_record_that_contradicts_the_archive_is_refused(data, what):
    with pytest.raises(FormatError, match=what):
        read(data)


def test_sizes_and_checksum_may_follow_the_data():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def tell(self):
            raise OSError

    file = Pipe()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a", b"data" * 100)
    data = file.getvalue()
    assert data[14:26] == bytes(12)
    assert read(data) == {"a": b"data" * 100}
    flag = data.index(struct.pack("<2H", 8, 8))
    with pytest.raises(FormatError, match="contradicts the directory"):
        read(data[:flag] + b"\0" + data[flag + 1 :])


def with_64_bit_sizes(extra):
    """An archive whose only directory entry has full sizes and a full offset, and this extra field."""
    data = archive(content={"a": b"data"})
    entry, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    data[entry + 20 : entry + 28] = b"\xff" * 8
    data[entry + 42 : entry + 46] = b"\xff" * 4
    data[entry + 30 : entry + 32] = struct.pack("<H", len(extra))
    data[end + 12 : end + 16] = struct.pack("<L", end - entry + len(extra))
    return data[:end] + extra + data[end:]


TIME = struct.pack("<2HBL", 0x5455, 5, 1, 0)
WIDE = struct.pack("<2H3Q", 1, 24, 4, 4, 0)


@pytest.mark.parametrize(
    "extra", [WIDE, TIME + WIDE, WIDE + TIME], ids=["alone", "after another record", "before another record"]
)
def test_64_bit_sizes_and_offsets_are_in_the_extra_field(extra):
    data = with_64_bit_sizes(extra)
    assert zipfile.ZipFile(io.BytesIO(data)).read("a") == b"data"
    assert read(data) == {"a": b"data"}


@pytest.mark.parametrize("extra", [TIME, struct.pack("<2H2Q", 1, 16, 4, 4), struct.pack("<2H", 1, 0)])
def test_a_full_size_without_its_64_bit_value_is_refused(extra):
    with pytest.raises(FormatError, match="announces 64-bit sizes but has none"):
        read(with_64_bit_sizes(extra))
