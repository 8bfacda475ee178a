"""The steps of recurrent layers of PyTorch that a net uses: the last one alone, or the whole sequence.

A recurrent layer always returns its whole sequence and its last state; only a run shows which of them the net takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from steelyard.frameworks.torch.functions import PASSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FULL = slice(None)


class UsedSteps:
    """Records the outputs of recurrent layers, and the steps that the net takes of them.

    `returned` is invoked after each call of a layer, `taken` with the arguments of a layer and with the output of the net, and
    `called` with each function outside of layers.
    """

    __slots__ = ("_sequences", "_states", "_used")

    def __init__(self) -> None:
        self._sequences: dict[int, tuple[str, nn.RNNBase, torch.Tensor]] = {}
        self._states: dict[int, tuple[str, torch.Tensor]] = {}
        self._used: dict[str, set[str]] = {}

    def returned(self, name: str, part: nn.Module, output: object) -> None:
        """Record the sequence and the states of a recurrent layer; a kept tensor keeps its identity."""
        if not isinstance(part, nn.RNNBase) or not isinstance(output, tuple):
            return
        sequence = output[0].data if isinstance(output[0], PackedSequence) else output[0]
        self._sequences[id(sequence)] = (name, part, sequence)
        self._states.update((id(state), (name, state)) for state in _tensors(output[1:]))

    def taken(self, structure: object) -> None:
        """Record a use of tensors as they are."""
        for tensor in _tensors(structure):
            self._use(tensor, "all")

    def called(self, word: str, args: Sequence[Any], kwargs: Mapping[str, Any], output: object) -> None:
        """Record a use of tensors by a function; one that changes no number only passes them on."""
        made = next(_tensors(output), None)
        for tensor in _tensors((args, kwargs)) if made is not None else ():
            name, part, _ = self._sequences.get(id(tensor), ("", None, None))
            if made is not None and word in PASSING and part is not None:
                self._sequences[id(made)] = (name, part, made)
            elif made is not None and word in PASSING and id(tensor) in self._states:
                self._states[id(made)] = (self._states[id(tensor)][0], made)
            else:
                self._use(tensor, "last" if part is not None and _takes_last(part, tensor, word, args) else "all")

    def known(self) -> dict[str, str]:
        """Return "last" or "all" for each layer of which something is used."""
        return {name: "last" if used == {"last"} else "all" for name, used in self._used.items()}

    def _use(self, tensor: torch.Tensor, steps: str) -> None:
        if id(tensor) in self._sequences:
            self._used.setdefault(self._sequences[id(tensor)][0], set()).add(steps)
        elif id(tensor) in self._states:
            self._used.setdefault(self._states[id(tensor)][0], set()).add("last")


def _takes_last(part: nn.RNNBase, sequence: torch.Tensor, word: str, args: Sequence[Any]) -> bool:
    """Whether a function takes the last step of a sequence; that of the backward direction is at the beginning."""
    axis = 1 if part.batch_first and sequence.ndim == 3 else 0
    if part.bidirectional or len(args) < 2:
        return False
    if word == "select":
        return len(args) == 3 and args[1] % sequence.ndim == axis and _is_last(args[2], sequence.shape[axis])
    if word != "getitem":
        return False
    index = _spelled_out(args[1] if isinstance(args[1], tuple) else (args[1],), sequence.ndim)
    others = [each for place, each in enumerate(index) if place != axis]
    return len(index) == sequence.ndim and all(each == _FULL for each in others) and _is_last(index[axis], sequence.shape[axis])


def _is_last(place: object, length: int) -> bool:
    if isinstance(place, slice):
        return place.step in (None, 1) and range(length)[place] == range(length - 1, length)
    return isinstance(place, int) and place in (-1, length - 1)


def _spelled_out(index: tuple[Any, ...], count: int) -> list[Any]:
    """Return an index with a part for each axis; tensors, masks and new axes leave it as it is."""
    if any(not isinstance(each, (int, slice)) and each is not Ellipsis for each in index):
        return []
    at = next((place for place, each in enumerate(index) if each is Ellipsis), len(index))
    before, after = list(index[:at]), list(index[at + 1 :])
    return [*before, *[_FULL] * (count - len(before) - len(after)), *after]


def _tensors(structure: object) -> Iterator[torch.Tensor]:
    if isinstance(structure, torch.Tensor):
        yield structure
        return
    inside: Iterable[object] = ()
    if isinstance(structure, Mapping):
        inside = structure.values()
    elif isinstance(structure, (tuple, list)):
        inside = structure
    for each in inside:
        yield from _tensors(each)
