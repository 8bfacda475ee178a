"""Event files of TensorBoard, of the records of a run.

record      the layout of TFRecord: length (u64), masked CRC-32C of it (u32), the message, masked CRC-32C of that (u32)
Event       1 wall_time (double)  2 step (varint)  3 file_version (string)  5 summary (message)
Summary     1 value (repeated)
Value       1 tag (string)  2 simple_value (float)  5 histo (message)
Histogram   1 min  2 max  3 num  4 sum  5 sum_squares (doubles)  6 bucket_limit  7 bucket (packed doubles)
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.errors import printable
from steelyard.runs.curves import curve_of

if TYPE_CHECKING:
    from steelyard.core.weight import Array

VERSION = b"brain.Event:2"
NAME = "events.out.tfevents.0000000000.steelyard"
_POLYNOMIAL, _MASK = 0x82F63B78, 0xA282EAD8
_DOUBLE, _BYTES, _FLOAT = 1, 2, 5
"""The wire types of protocol buffers: 64 bits, a length and bytes, 32 bits; 0 is a varint."""


def _table() -> tuple[int, ...]:
    made = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)  # noqa: PLW2901 - it is shifted out
        made.append(byte)
    return tuple(made)


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of some bytes.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    found = 0xFFFFFFFF
    for byte in data:
        found = _TABLE[(found ^ byte) & 0xFF] ^ found >> 8
    return found ^ 0xFFFFFFFF


def framed(message: bytes) -> bytes:
    """Return a message as a record."""
    length = struct.pack("<Q", len(message))
    return length + struct.pack("<I", _masked(length)) + message + struct.pack("<I", _masked(message))


def _masked(data: bytes) -> int:
    found = crc32c(data)
    return ((found >> 15 | found << 17) + _MASK) & 0xFFFFFFFF


def write_events(run: Any, folder: str) -> str:
    """Write an event file into a folder, whole or not at all, and return its path."""
    from steelyard.storage.atomic import replacing

    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, NAME)
    with replacing(path) as file:
        file.writelines(map(framed, events(run)))
    return path


def events(run: Any) -> Iterator[bytes]:
    """Yield an event for each record: metrics, norms and update ratios as scalars, and histograms where it has some."""
    times = [row.time if isfinite(row.time) else 0.0 for row in run.rows]
    yield _event(times[0] if times else 0.0, 0, _field(3, VERSION))
    curves = [(f"{word}/", curve_of(run, word)) for word in ("norm", "ratio")]
    histogram_of = {row: nth for nth, row in enumerate(run.histogram_rows)}
    for nth, row in enumerate(run.rows):
        values = [_scalar(name, value) for name, value in row.metrics.items()]
        for prefix, curve in curves:
            values += [_scalar(prefix + name, value) for name, value in zip(curve.names, curve.values[nth].tolist(), strict=True)]
        if nth in histogram_of:
            values += _histograms(run, nth, histogram_of[nth])
        yield _event(times[nth], row.step, _field(5, b"".join(_field(1, value) for value in values if value)))


def _histograms(run: Any, nth: int, at: int) -> Iterator[bytes]:
    for name, found, count, mean, norm in zip(
        run.names,
        run.histograms[at],
        run.column("count")[nth].tolist(),
        run.column("mean")[nth].tolist(),
        run.column("l2")[nth].tolist(),
        strict=True,
    ):
        if count and isfinite(found["low"]):
            low, high = float(found["low"]), float(found["high"])
            with np.errstate(all="ignore"):  # a damaged record may have any numbers
                limits = np.linspace(low, high if high > low else low + 1, len(found["counts"]) + 1)[1:]
            facts = (low, high, float(count), mean * count, norm * norm)
            yield _value(f"weights/{name}", _field(5, _histogram(facts, limits, found["counts"])))


def _histogram(facts: Iterable[float], limits: Array, counts: Array) -> bytes:
    doubles = b"".join(_key(number, _DOUBLE) + struct.pack("<d", value) for number, value in enumerate(facts, 1))
    return doubles + _field(6, limits.astype("<f8").tobytes()) + _field(7, counts.astype("<f8").tobytes())


def _scalar(tag: str, value: float) -> bytes:
    """Return the value of a scalar; nothing for a number that is missing."""
    if value != value:  # noqa: PLR0124 - NaN alone differs
        return b""
    with np.errstate(over="ignore"):
        return _value(tag, _key(2, _FLOAT) + np.float32(value).astype("<f4").tobytes())


def _value(tag: str, content: bytes) -> bytes:
    return _field(1, printable(tag, 1000).encode()) + content


def _event(time: float, step: int, content: bytes) -> bytes:
    return _key(1, _DOUBLE) + struct.pack("<d", time) + _key(2, 0) + _varint(step) + content


def _field(number: int, content: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(content)) + content


def _key(number: int, wire: int) -> bytes:
    return bytes([number << 3 | wire])


def _varint(number: int) -> bytes:
    """Return a whole number in groups of seven bits, the lowest first.

    >>> _varint(300).hex()
    'ac02'
    """
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])
