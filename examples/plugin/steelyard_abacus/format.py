"""Files of abacus: b"abacus 1\n", a line of JSON such as [["kernels.0", [4, 3]]], then all numbers, float32, little-endian."""

import json
from math import prod

from steelyard.core.readers import chunks_of
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError
from steelyard.storage.atomic import replacing
from steelyard.storage.source import Stored

SUFFIXES = (".abacus",)
MAGIC = b"abacus 1\n"
LONGEST = 1 << 20  # bytes of the line of JSON: a file decides no memory


def sniff(source):
    """Recognise a file by its first bytes."""
    return not source.is_folder and source.head(len(MAGIC)) == MAGIC


def read(source, scope):
    """List the weights; their numbers are read when somebody asks for them."""
    line, end, _ = source.head(LONGEST)[len(MAGIC) :].partition(b"\n")
    at, listed = len(MAGIC + line + end), []
    try:
        for name, shape in json.loads(line):
            listed.append(
                Weight(name=str(name), shape=tuple(map(int, shape)), dtype="float32", read=Stored(source, at, "float32"))
            )
            at += 4 * prod(listed[-1].shape)
    except (ValueError, TypeError, RecursionError) as error:
        raise FormatError(source.name, f"the second line does not list names and shapes: {error}") from None
    if at != source.size:
        raise FormatError(source.name, f"the numbers end at byte {at:,}, and the file at {source.size:,}")
    return Weights(listed)


def write(weights, path):
    """Write a file, which takes its place when it is complete."""
    numbers = weights.astype("float32")
    with replacing(path) as file:
        file.write(MAGIC + json.dumps([[weight.name, weight.shape] for weight in numbers.values()]).encode() + b"\n")
        file.writelines(chunks_of(numbers.values()))
