"""What forward passes of floats and of integers share: the macros and declarations of a header, and the body of its function."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steelyard.device.forward.spelling import numbered, shape_text
from steelyard.device.symbols import in_comment
from steelyard.device.writers import c
from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    from steelyard.device.exported import Export
    from steelyard.device.forward.c.kernels import Call, Kernels
    from steelyard.device.forward.forward import Forward
    from steelyard.device.forward.integers import IntegerForward
    from steelyard.device.int8.program import IntegerStep
    from steelyard.device.program.program import Step

    Emitter = Callable[[Any, Any], list[Call]]

_SCRATCH = re.compile(r"\bscratch\b")
"""The scratch in an argument, which may name a table of a layer `scratch` too: `net_scratch_weight`."""


def size_name(export: Export, forward: Forward | IntegerForward, memory: str, number: int) -> str:
    """Return the macro with the number of numbers, or codes, of an input or output."""
    return f"{export.options.name}_{'in' if memory == 'input' else 'out'}{numbered(forward, memory, number)}".upper()


def scratch_name(export: Export) -> str:
    """Return the macro with the size of the scratch: numbers of a pass of floats, bytes of one of integers."""
    return f"{export.options.name}_scratch".upper()


def values_of(forward: Forward | IntegerForward, memory: str) -> Sequence[int]:
    """Return the values of the inputs or outputs."""
    return range(len(forward.program.input_names)) if memory == "input" else forward.program.outputs


def declarations(export: Export, note: str, counts: list[str], declared: str) -> Iterator[str]:
    """Yield the end of a header: the function under its `note`, which names the inputs with rows of a table; and the tables."""
    words = f"{', '.join(counts)}: rows of a table, counted from 0; they are not checked." if counts else ""
    yield '\n#ifdef __cplusplus\nextern "C" {\n#endif\n'
    yield note.format(inputs=words).replace(" \n", "\n")
    yield f"{declared};\n"
    for table in export.tables:
        yield from c.facts(export, table)
        yield f"extern const {c.declared(export, table)};\n"
    yield "\n#ifdef __cplusplus\n}\n#endif\n"
    yield from c.ending(export, names=False)


def emitter_of(emitters: Mapping[str, Emitter], step: Step | IntegerStep) -> Emitter:
    """Return the emitter of a step by the class of its operation. Raises `ShapeError` if there is none yet."""
    kind = type(step.operation).__name__
    if kind not in emitters:
        raise ShapeError(f"{quoted(step.name)} is a {kind}, which is not written as C yet; nothing was written")
    return emitters[kind]


def body(declared: str, listed: Sequence[tuple[Step | IntegerStep, list[Call]]], kernels: Kernels) -> Iterator[str]:
    """Yield the definition of the function: the calls of each step under a comment."""
    yield f"\n{declared}\n{{\n"
    if not any(_SCRATCH.search(argument) for _, each in listed for call in each for argument in call.arguments):
        yield "    (void)scratch;\n"
    for step, each in listed:
        yield f"    /* {in_comment(step.name)}: {type(step.operation).__name__}, {shape_text(step.shape)} */\n"
        yield from (f"    {kernels.called(call)}\n" for call in each)
    yield "}\n"
