"""The export of a forward pass: the program of a source, its tables, and its proof."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from steelyard.device.forward.forward import Choices, Examples, Forward
from steelyard.device.forward.memory import planned
from steelyard.device.forward.preparing import arrays, counting, prepared
from steelyard.device.forward.proof import proven
from steelyard.device.program import program_of
from steelyard.device.program.arithmetic import Arithmetic
from steelyard.device.tables import tabled
from steelyard.errors import ShapeError, printable, quoted
from steelyard.io import weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.core.weight import Array
    from steelyard.device.exported import Export, Options
    from steelyard.device.program.program import Program
    from steelyard.device.symbols import Symbols

ACCUMULATE = {"float": None, "double": "float64"}


class Facts(NamedTuple):
    """What an export states of its source, and the options."""

    source: str
    digest: str
    options: Options
    choices: Choices


def planned_forward(
    source: object, examples: Examples, facts: Facts, symbols: Symbols, derived: Callable[[int], list[str]]
) -> Export:
    """Return the export of a source's forward pass without its files. Raises as `export` does."""
    known = program_of(source, examples.inputs, outputs=examples.outputs)
    return of_program(known, examples.inputs, facts, symbols, derived)


def of_program(known: Program, probe: object, facts: Facts, symbols: Symbols, derived: Callable[[int], list[str]]) -> Export:
    """Return the export of a program without its files. Raises as `export` does."""
    options, choices = facts.options, facts.choices
    dtype = options.dtype or "float32"
    program = prepared(known, dtype, fold=choices.fold)
    arithmetic = Arithmetic(dtype, ACCUMULATE[choices.accumulate] or dtype, choices.libm)
    integers = counting(program)
    proof = proven(program, known, arithmetic, probe)
    listed, names = _named(program)
    given = options._replace(dtype=None)
    made = tabled(weights(listed), facts.source, facts.digest, given, symbols, bits=options.text == "bits", derived=derived)
    made.options = options
    known_symbols = {true: symbol for symbol, true in made.true_names.items()}
    known_symbols |= {made.true_names[symbol]: table.symbol for symbol, table in made.ties.items()}
    places = {key: known_symbols[true] for key, true in names.items()}
    made.forward = Forward(program, arithmetic, planned(program), proof, integers, places, choices)
    return made


def check(options: Options, choices: Choices, *, in_integers: bool) -> None:
    """Refuse options that a forward pass in floats, or in integers, has no use for."""
    usual = Choices()
    unused = ("fold", "accumulate", "libm") if in_integers else ("rounding", "calibrate")
    if wrong := next((word for word in unused if getattr(choices, word) != getattr(usual, word)), ""):
        kind = "integers" if in_integers else "floats"
        raise ShapeError(f"{wrong} has no meaning for a forward pass in {kind}; nothing was written")
    if options.channels:
        raise ShapeError(
            "channels has no meaning for a forward pass, whose arrays have the order of its loops; nothing was written"
        )
    if options.progmem:
        raise ShapeError(
            "a forward pass reads its arrays as memory, not as program memory; leave out progmem; nothing was written"
        )
    if in_integers:
        return
    if options.dtype not in (None, "float32", "float64"):
        raise ShapeError(f"a forward pass computes in float32 or float64, not in {printable(options.dtype)}; nothing was written")
    if choices.fold not in (True, False, "scalers"):
        raise ShapeError(f'fold is {quoted(choices.fold)}; it must be True, False or "scalers"; nothing was written')
    if choices.accumulate not in ACCUMULATE:
        raise ShapeError(f"accumulate is {quoted(choices.accumulate)}; it must be float or double; nothing was written")
    if options.dtype == "float64" and not choices.libm:
        raise ShapeError("our own functions compute in float32; leave out dtype; nothing was written")


def _named(program: Program) -> tuple[dict[str, Array], dict[tuple[int, str], str]]:
    """Return the arrays of a program by names of their own, and these names by step and field; shared arrays are one."""
    listed: dict[str, Array] = {}
    names: dict[tuple[int, str], str] = {}
    known: dict[int, str] = {}
    for nth, step in enumerate(program.steps):
        for field, array in arrays(step.operation).items():
            if id(array) not in known:
                stem = f"{step.name}.{field}"
                known[id(array)] = next(word for word in _numbered(stem) if word not in listed)
                listed[known[id(array)]] = array
            names[nth, field] = known[id(array)]
    return listed, names


def _numbered(stem: str) -> list[str]:
    return [stem, *(f"{stem}.{number}" for number in range(2, 10_000))]
