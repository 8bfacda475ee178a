"""How many bytes weights would take in other types.

| word | what is stored so | the rest |
|---|---|---|
| float32, float16, bfloat16 | all real numbers: 4, 2, 2 bytes each | integers as they are |
| int8 | matrices: a byte each, and a float32 scale for each output, as bitsandbytes has them | as it is |
| q8_0, q4_0, q4_K | matrices: blocks of 32, 32, 256 numbers of a row in 34, 18, 144 bytes | float32, as llama.cpp has it |

A matrix is any weight of real numbers with two axes or more that is not a buffer, embeddings included, whose outputs are their
words; biases and norms have one axis and stay floats, as in all quantisers. Rows are along the last axis. As in llama.cpp, rows
that are no whole blocks of q4_K are stored as q5_0 (22 bytes for 32 numbers), and rows that are no whole blocks of 32 as float16.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from steelyard.dtypes import is_floating, itemsize
from steelyard.measures.stored import is_matrix, matrix_in_int8

if TYPE_CHECKING:
    from steelyard.core.weight import Weight

    Part = tuple[int, str]
    """The bytes of a weight, and the word for how a matrix of it is stored instead of the wanted one; blank for none."""

FLOATS = ("float32", "float16", "bfloat16")
_BLOCKS = {"q8_0": (32, 34), "q4_0": (32, 18), "q4_K": (256, 144), "q5_0": (32, 22)}
"""The numbers and the bytes of a block."""
_INSTEAD = {"q4_K": "q5_0"}
WORDS = (*FLOATS, "int8", "q8_0", "q4_0", "q4_K")
"""The types, in the order in which they are listed."""


class Encoding(NamedTuple):
    """All weights in one type: their bytes, how many are `matrices`, and how many of these have another type `instead`."""

    word: str
    nbytes: int
    matrices: int
    instead: dict[str, int]

    @property
    def note(self) -> str:
        """Say which matrices do not have the type; blank if all have it.

        >>> Encoding("q4_K", 1, 9, {"q5_0": 4}).note
        '4 of 9 matrices have rows that are no whole blocks of 256, and count as q5_0 (4)'
        """
        if not self.instead:
            return ""
        named = ", ".join(f"{word} ({count:,})" for word, count in self.instead.items())
        left = sum(self.instead.values())
        rows = f"{left:,} of {self.matrices:,} matrices have rows that are no whole blocks of {_BLOCKS[self.word][0]}"
        return f"{rows}, and count as {named}"


def encodings(weights: Iterable[tuple[Weight, bool | None]]) -> dict[str, Encoding]:
    """Return what weights take in each type; each comes with whether it is a parameter, None where that is not known."""
    alike: dict[object, list[tuple[Weight, bool | None]]] = {}
    for weight, is_parameter in weights:
        alike.setdefault((weight.shape, weight.dtype, weight.axes, is_parameter), []).append((weight, is_parameter))
    listed = [(weight, is_matrix(weight, is_one), len(each)) for each in alike.values() for weight, is_one in each[:1]]
    return {word: _encoding(word, listed) for word in WORDS}


def _encoding(word: str, listed: list[tuple[Weight, bool, int]]) -> Encoding:
    """Return what weights take in a type: of those that are alike one, whether it is a matrix, and how many there are."""
    in_type: Callable[[Weight], Part] = _float(word) if word in FLOATS else _int8 if word == "int8" else _blocks(word)
    rest: Callable[[Weight], Part] = in_type if word in FLOATS else _as_it_is if word == "int8" else _float("float32")
    parts = [((in_type if is_matrix else rest)(weight), times) for weight, is_matrix, times in listed]
    instead: Counter[str] = Counter()
    for (_, other), times in parts:
        instead.update({other: times} if other else {})
    matrices = sum(times for _, is_matrix, times in listed if is_matrix)
    return Encoding(word, sum(size * times for (size, _), times in parts), matrices, dict(instead))


def _as_it_is(weight: Weight) -> Part:
    return weight.nbytes, ""


def _float(word: str) -> Callable[[Weight], Part]:
    return lambda weight: (weight.size * itemsize(word) if is_floating(weight.dtype) else weight.nbytes, "")


def _int8(weight: Weight) -> Part:
    return matrix_in_int8(weight), ""


def _blocks(word: str) -> Callable[[Weight], Part]:
    def part(weight: Weight) -> Part:
        used = word
        while used in _BLOCKS and weight.shape[-1] % _BLOCKS[used][0]:
            used = _INSTEAD.get(used, "float16")
        numbers, width = _BLOCKS.get(used, (1, 2))
        return weight.size // numbers * width, "" if used == word else used

    return part
