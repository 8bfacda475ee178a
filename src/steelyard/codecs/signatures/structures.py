"""Files that no magic number marks, known by how their first numbers and messages follow each other."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from steelyard.codecs.signatures.ways import OTHER, arrays_of

if TYPE_CHECKING:
    from steelyard.storage.source import Source


def _records(source: Source, head: bytes) -> bool:
    """TFRecord: a length as uint64, its checksum, the record, its checksum."""
    if len(head) < 17:
        return False
    length = int.from_bytes(head[:8], "little")
    return 0 < length <= source.size - 16 and b"brain.Event:" in head[12:64]


def _tokenizer(source: Source, head: bytes) -> bool:
    """SentencePiece: {1: {1: piece, 2: score, 3: type}}, of which the first is the unknown one."""
    return bool(re.match(rb"\n.\n.<(unk|pad|s)>\x15", head, re.DOTALL))


def _mnn(source: Source, head: bytes) -> bool:
    return source.name.lower().endswith(".mnn") and head[4:8] != b"TFL3"


def _onnx_tensor(source: Source, head: bytes) -> bool:
    """TensorProto: {1: length of each axis, 2: type of numbers, 8: name or 9: numbers}."""
    return source.name.lower().endswith(".pb") and bool(
        re.match(rb"(\x08.)*\x10[\x01-\x14]([\x22\x3a\x42\x4a])", head, re.DOTALL)
    )


def _windows(source: Source, head: bytes) -> bool:
    """A program for DOS, whose field at byte 60 is the place of the one for Windows."""
    if head[:2] != b"MZ" or len(head) < 64:
        return False
    (place,) = struct.unpack_from("<I", head, 60)
    return head[place : place + 4] == b"PE\0\0"


def _arrow(source: Source, head: bytes) -> bool:
    """A stream of messages: int32 -1, and int32 the length of the message, a multiple of 8."""
    return head[:4] == b"\xff\xff\xff\xff" and len(head) > 16 and head[4] % 8 == 0 and any(head[4:6]) and not any(head[6:8])


def _tesseract(source: Source, head: bytes) -> bool:
    """Tesseract: how many parts there may be as int32, and where each begins as int64, -1 where there is none."""
    count = int.from_bytes(head[:4], "little")
    first = 4 + 8 * count
    if not 15 < count < 65 or len(head) < first:
        return False
    places = [place for place in struct.unpack_from(f"<{count}q", head, 4) if place != -1]
    return places[:1] == [first] and places == sorted(places) and places[-1] < source.size


STRUCTURES: tuple[tuple[Callable[[Source, bytes], bool], str], ...] = (
    (_records, "a log of TensorBoard, without weights; open the checkpoint of the run"),
    (_tokenizer, f"a tokenizer of SentencePiece, {OTHER}"),
    (_tesseract, "a model of Tesseract (.traineddata), which is not read: no library gives the weights of its net as arrays"),
    (_windows, f"a program or library in machine code (Windows), {OTHER}"),
    (_arrow, f"a stream of Arrow tables, {OTHER}"),
    (_mnn, "a model of MNN by its name, and not by its content (partial download?)"),
    (_onnx_tensor, f"a single tensor of ONNX (TensorProto), which is not read; {arrays_of('onnx.numpy_helper.to_array')}"),
)
"""How to know a file, and what it is, in the order in which they are asked."""
