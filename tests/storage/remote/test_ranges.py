"""What is fetched of a remote file, and what is kept, with a file in memory that counts."""

import threading
from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard import sizes
from steelyard.errors import FormatError
from steelyard.storage.remote.ranges import Ranges

KIB = 1 << 10


class Memory:
    """A file in memory; `asked` has the ranges that were fetched."""

    name = "memory://file"

    def __init__(self, size):
        self.content = (bytes(range(251)) * (size // 251 + 1))[:size]
        self.size = size
        self.asked = []
        self.fails = 0

    def submit(self, start, stop):
        assert 0 <= start < stop <= self.size
        self.asked.append((start, stop - start))
        coming = Future()
        if self.fails:
            self.fails -= 1
            coming.set_exception(FormatError(self.name, "gone"))
        else:
            coming.set_result(self.content[start:stop])
        return coming


def read(ranges, offset, length):
    block = bytearray(length)
    ranges.fill(offset, memoryview(block))
    return bytes(block)


@settings(max_examples=40)
@given(
    st.integers(1, 5000),
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 2000)), max_size=30),
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 50)), max_size=5),
)
def test_any_reads_give_the_bytes_of_the_file(size, reads, hints):
    changed = {"HEAD": 64, "TAIL": 128, "WINDOW": 1024, "BULK": 512, "PIECE": 100, "KEPT": 700}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changed.items():
            patch.setattr(sizes, f"REMOTE_{name}_BYTES", value)
        patch.setattr(sizes, "READ_GAP_BYTES", 16)
        file = Memory(size)
        ranges = Ranges(file)
        ranges.ahead((offset % size, min(length, size - offset % size)) for offset, length in hints)
        for offset, length in reads:
            start = offset % size
            stop = min(start + length, size)
            assert read(ranges, start, stop - start) == file.content[start:stop]
            assert ranges._held <= 700 + 2048 + 1024
            assert ranges._held == sum(span.stop - span.start for span in ranges._spans.values())
            assert ranges._starts == sorted(ranges._spans)


def test_a_read_after_another_fetches_twice_as_much_and_every_byte_once():
    file = Memory(1 << 22)
    ranges = Ranges(file)
    for offset in range(0, file.size, 10_000):
        read(ranges, offset, min(10_000, file.size - offset))
    lengths = [length for _, length in file.asked]
    assert lengths[:2] == [128 * KIB, 256 * KIB]
    assert sum(lengths) == file.size
    assert len(lengths) < 20


def test_two_threads_that_read_two_parts_in_order_are_two_streams():
    file = Memory(1 << 22)
    ranges = Ranges(file)
    half = file.size // 2
    for offset in range(0, half, 10_000):
        read(ranges, offset, min(10_000, half - offset))
        read(ranges, half + offset, min(10_000, half - offset))
    assert len(file.asked) < 30
    assert sum(length for _, length in file.asked) == file.size


def test_the_next_range_is_on_its_way_while_one_is_read():
    file = Memory(1 << 23)
    ranges = Ranges(file)
    for offset in range(0, 1 << 21, 1 << 15):
        read(ranges, offset, 1 << 15)
    assert max(start + length for start, length in file.asked) > 3 << 20


def test_a_read_at_the_end_fetches_the_last_128_kib_in_one_request():
    file = Memory(1 << 20)
    ranges = Ranges(file)
    read(ranges, file.size - 22, 22)
    read(ranges, file.size - 100 * KIB, 100)
    assert file.asked == [(file.size - 128 * KIB, 128 * KIB)]


def test_a_large_read_is_fetched_in_pieces_and_not_kept():
    file = Memory(1 << 23)
    ranges = Ranges(file)
    assert read(ranges, 5, 5 << 20) == file.content[5 : 5 + (5 << 20)]
    assert [length for _, length in file.asked] == [1 << 20] * 5
    assert ranges._held == 0


def test_what_is_read_soon_is_fetched_at_once_and_neighbours_together():
    file = Memory(1 << 20)
    ranges = Ranges(file)
    ranges.ahead([(500_000, 100), (100, 50), (200, 50)])
    assert file.asked == [(100, 150), (500_000, 100)]
    assert read(ranges, 500_000, 100) == file.content[500_000:500_100]
    assert len(file.asked) == 2


def test_what_failed_is_asked_for_again_by_the_next_read():
    file = Memory(1 << 20)
    ranges = Ranges(file)
    file.fails = 1
    with pytest.raises(FormatError, match="gone"):
        read(ranges, 0, 10)
    assert read(ranges, 0, 10) == file.content[:10]


def test_many_threads_read_what_is_in_the_file(monkeypatch):
    monkeypatch.setattr(sizes, "REMOTE_KEPT_BYTES", 1 << 18)
    file = Memory(1 << 21)
    ranges = Ranges(file)
    wrong = []

    def work(seed):
        for nth in range(60):
            start = (seed * 7 + nth * 104_729) % (file.size - 5000)
            if read(ranges, start, 5000) != file.content[start : start + 5000]:
                wrong.append(start)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_read_past_the_end_is_an_error():
    with pytest.raises(FormatError, match=r"ends at byte 10, and 12 are needed"):
        read(Ranges(Memory(10)), 8, 4)
