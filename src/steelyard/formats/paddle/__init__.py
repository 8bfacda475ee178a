"""PaddlePaddle: the tensors of a `.pdiparams` file, with the names of its `.pdmodel`, or of a folder of tensors.

The program next to the tensors gives their names, roles and axes. Without it they are called 0, 1, 2 ... in their order.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.core.roles import infer_roles
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FileMissingError, FormatError, SteelyardError
from steelyard.formats.paddle.tensors import begins_tensor, tensor_at

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.formats.paddle.program import Program
    from steelyard.storage.source import Source

SUFFIXES = (".pdiparams",)

_COST = 1000
_TENSOR = re.compile(r".+\.(w|b)_\d+(_\w+)?")
_FIRST = 5
"""files of a folder that are looked at"""
_UNNAMED = "the program that names the tensors is not next to them, or has others, so that they are numbered"


def sniff(source: Source) -> bool:
    """Recognise a tensor at the beginning, or a folder of files with one tensor each."""
    if not source.is_folder:
        return begins_tensor(source)
    named = sorted(name for name in source.names() if _TENSOR.fullmatch(name))
    return any(_is_tensor(source, name) for name in named[:_FIRST])


def _is_tensor(folder: Source, name: str) -> bool:
    try:
        file = folder.beside(name)
        return not file.is_folder and begins_tensor(file)
    except SteelyardError:
        return False


def read(source: Source, scope: Scope) -> Weights:
    """List the tensors in the order of the file, those of a folder by their names."""
    if source.is_folder:
        return _of_folder(source)
    budget, at = Budget(source), 0
    tensors = []
    while at < source.size:
        budget.spend(_COST, at)
        tensor, at = tensor_at(source, at)
        tensors.append(tensor)
    base = os.path.basename(source.name.replace("\\", "/"))
    if len(tensors) == 1 and not base.lower().endswith(SUFFIXES):
        return Weights([tensors[0].replace(name=base)])
    program = _program(source, base.rpartition(".")[0])
    facts = program.variables if program else []
    fits = [(tensor.shape, tensor.dtype) for tensor in tensors] == [(known.shape, known.dtype) for known in facts]
    if program is None or not fits:
        notes: dict[str, object] = {"notes": [_UNNAMED]}
        return Weights([tensor.replace(name=str(place)) for place, tensor in enumerate(tensors)], meta=notes)
    return Weights(_explained(program, [tensor.replace(name=known.name) for tensor, known in zip(tensors, facts, strict=True)]))


def _of_folder(folder: Source) -> Weights:
    """List the tensors of a folder, each of which is a file."""
    listed = []
    for name in sorted(folder.names()):
        if not name.startswith(".") and _is_tensor(folder, name):
            file = folder.beside(name)
            tensor, end = tensor_at(file, 0)
            if end != file.size:
                raise FormatError(file.name, f"has {file.size - end:,} bytes after its tensor; pass the file alone")
            listed.append(tensor.replace(name=name))
    program = _program(folder, "")
    return Weights(_explained(program, listed) if program else infer_roles(listed))


def _program(source: Source, stem: str) -> Program | None:
    """Return the program next to tensors; None where there is none."""
    from steelyard.formats.paddle.program import read_program

    for name in (f"{stem}.pdmodel" if stem else "__model__", "__model__"):
        try:
            file = source.beside(name)
        except FileMissingError:
            continue
        return read_program(file)
    return None


def _explained(program: Program, weights: list[Weight]) -> Iterator[Weight]:
    for weight in weights:
        role, axes = program.meanings.get(weight.name, (Role.OTHER, ""))
        fits = len(axes.split()) == len(weight.shape)
        role = role if fits or role is not Role.BIAS else Role.OTHER  # what is added may be no bias, as a position
        layer = _TENSOR.fullmatch(weight.name) and weight.name.rpartition(".")[0]
        yield weight.replace(role=role, axes=axes if fits else "", layer=layer or "")
