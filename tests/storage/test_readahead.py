import threading

import pytest

from steelyard.core.readers import chunks_of, raw_chunks
from steelyard.core.weight import Weight
from steelyard.errors import FormatError
from steelyard.sizes import READ_AHEAD_BYTES as AHEAD
from steelyard.storage.readahead import BUFFERS, read_ahead
from steelyard.storage.source import Source, from_bytes

DATA = bytes(range(256)) * 40


def runs(source, size=100):
    read = source.numbers(0, "uint8")
    return [(read, start, min(size, source.size - start)) for start in range(0, source.size, size)]


def weight(name, source, offset, size):
    return Weight(name=name, shape=(size,), dtype="uint8", read=source.numbers(offset, "uint8"))


def test_runs_come_in_order_whichever_thread_is_faster():
    assert b"".join(bytes(chunk) for chunk in read_ahead(runs(from_bytes(DATA)), 100)) == DATA


def test_a_chunk_is_unchanged_until_the_next_is_requested():
    seen = []
    for chunk in read_ahead(runs(from_bytes(DATA)), 100):
        before = bytes(chunk)
        threading.Event().wait(0.001)  # long enough for the thread to fill the other buffers
        assert bytes(chunk) == before
        seen.append(before)
    assert b"".join(seen) == DATA


def test_an_error_of_reading_is_raised_in_the_place_of_its_run_and_ends_the_thread():
    def fill(offset, buffer):
        if offset >= 500:
            raise FormatError("a file", "it became shorter while it was read", offset)
        buffer[:] = DATA[offset : offset + len(buffer)]

    source = Source("a file", len(DATA), fill, from_bytes)
    threads, seen = threading.active_count(), []
    with pytest.raises(FormatError, match="became shorter"):
        seen.extend(bytes(chunk) for chunk in read_ahead(runs(source), 100))
    assert threading.active_count() == threads


def test_stopping_early_leaves_no_thread_and_reads_no_further_than_the_buffers():
    read = []
    source = Source("a file", len(DATA), lambda offset, _: read.append(offset), from_bytes)
    threads, chunks = threading.active_count(), read_ahead(runs(source), 100)
    next(chunks)
    chunks.close()
    assert threading.active_count() == threads
    assert len(read) <= BUFFERS


def test_large_weights_are_read_ahead_and_small_ones_between_them_keep_their_order():
    data = bytes(range(251)) * (4 * AHEAD // 251)
    source = from_bytes(data)
    sizes = [AHEAD, AHEAD + 7, 10, 0, 3, AHEAD, 5]
    starts = [sum(sizes[:nth]) for nth in range(len(sizes))]
    found = [weight(str(start), source, start, size) for start, size in zip(starts, sizes, strict=True)]
    assert b"".join(bytes(chunk) for chunk in chunks_of(found, 1 << 17)) == data[: sum(sizes)]
    assert b"".join(bytes(chunk) for chunk in raw_chunks(found[1], 1 << 17)) == data[AHEAD : 2 * AHEAD + 7]
