"""Files that no magic number marks, known by how their first numbers and messages follow each other."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from steelyard.codecs.signatures.ways import OTHER, arrays_of, source_of

if TYPE_CHECKING:
    from steelyard.storage.source import Source


def _darknet(source: Source, head: bytes) -> bool:
    """Three int32 of a version, 0.1.0 or 0.2.x, and the number of images seen, in 4 or 8 bytes; then float32."""
    if not source.name.lower().endswith((".weights", ".backup")) or len(head) < 20:
        return False
    major, minor = struct.unpack_from("<2i", head)
    seen = 16 if major * 10 + minor < 2 else 20
    return major == 0 and minor in (1, 2) and (source.size - seen) % 4 == 0


# uint32 0, the version; uint64 levels of lengths, none in weights; uint32 0, the version of the tensor; int32 length of
# a message TensorDesc, {1: type of numbers, 2: length of each axis}, which follows, and then the numbers
def _paddle(source: Source, head: bytes) -> bool:
    if len(head) < 24 or any(head[:16]):
        return False
    (length,) = struct.unpack_from("<i", head, 16)
    return 2 < length < 200 and head[20] == 8 and head[21] < 30 and head[22] in (0x10, 0x12)


# GraphDef: {1: NodeDef {1: name, 2: operator, ...}}; MindSpore: {1: Value {1: name, 2: tensor {1: length ..., 2: type}}}
_NODE = re.compile(rb"\n[^\0]{1,3}?\n(.)([\w./:-]+)\x12(.)(.*)", re.DOTALL)


def _node(head: bytes) -> bytes:
    """Return what follows the name in the first message of a list of named messages, none if there is no such list."""
    match = _NODE.match(head)
    return match[3] + match[4] if match and match[1][0] == len(match[2]) else b""


def _graph_def(source: Source, head: bytes) -> bool:
    rest = _node(head)
    return 2 <= rest[0] < 64 and bool(re.fullmatch(rb"[A-Z]\w+", rest[1 : 1 + rest[0]])) if rest else False


def _mindspore(source: Source, head: bytes) -> bool:
    return bool(re.search(rb"\x12.(Float|Int|UInt|BFloat|Bool)\d*[\"\x1a]", _node(head)[:200], re.DOTALL))


# NetParameter: {1: name, 2: old layers, 3: inputs, 100: layers}
def _caffe(source: Source, head: bytes) -> bool:
    if source.name.lower().endswith(".caffemodel"):
        return True
    return bool(re.match(rb"\n(.)[ -~]{1,100}(\xa2\x06|\x12.{1,3}\x0a)", head, re.DOTALL)) and b"\xa2\x06" in head


# Model: {1: version of the specification, 2: description}
def _coreml(source: Source, head: bytes) -> bool:
    return bool(re.match(rb"\x08[\x01-\x14]\x12", head)) and (
        source.name.lower().endswith(".mlmodel") or b"com.github.apple.coremltools" in head
    )


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


def _is_beside(source: Source, suffix: str) -> bool:
    """Whether a .bin has a file of the same name with another suffix next to it."""
    stem, dot, own = (source.path or "").rpartition(".")
    return bool(dot) and own.lower() == "bin" and os.path.isfile(f"{stem}.{suffix}")


def _openvino(source: Source, head: bytes) -> bool:
    return _is_beside(source, "xml")


def _ncnn(source: Source, head: bytes) -> bool:
    return _is_beside(source, "param")


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


STRUCTURES: tuple[tuple[Callable[[Source, bytes], bool], str], ...] = (
    (_darknet, f"the weights of a Darknet model, which are not read; {source_of('ONNX or PyTorch')}"),
    (_paddle, f"a tensor of PaddlePaddle, which is not read; {arrays_of('paddle.static.load_program_state')}"),
    (_mindspore, f"a checkpoint of MindSpore, which is not read; {arrays_of('mindspore.load_checkpoint')}"),
    (_graph_def, "a frozen graph of TensorFlow (GraphDef), which is not read; convert it with tf2onnx, and open the .onnx file"),
    (_caffe, "a Caffe model, which is not read; convert it with caffe2onnx, and open the .onnx file"),
    (_coreml, f"a Core ML model, which is not read; {source_of('PyTorch, Keras or ONNX')}"),
    (_records, "a log of TensorBoard, without weights; open the checkpoint of the run"),
    (_tokenizer, f"a tokenizer of SentencePiece, {OTHER}"),
    (_windows, f"a program or library in machine code (Windows), {OTHER}"),
    (_arrow, f"a stream of Arrow tables, {OTHER}"),
    (_mnn, f"a model of MNN, which is not read; {source_of('ONNX')}"),
    (_openvino, f"the numbers of an OpenVINO model, which are not read; {source_of('ONNX, PyTorch or TensorFlow')}"),
    (_ncnn, f"the numbers of an ncnn model, which are not read; {source_of('ONNX or PyTorch')}"),
    (_onnx_tensor, f"a single tensor of ONNX (TensorProto), which is not read; {arrays_of('onnx.numpy_helper.to_array')}"),
)
"""How to know a file, and what it is, in the order in which they are asked."""
