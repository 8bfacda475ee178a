"""Programs of a few operations, and their outputs in C, from one compilation for many of them."""

import numpy as np
from toolchains import STRICT, run, tool

from steelyard.device.forward.c import RESERVED, files
from steelyard.device.forward.planning import Facts, of_program
from steelyard.device.program.arithmetic import Arithmetic
from steelyard.device.program.program import Program, Step
from steelyard.device.symbols import Symbols
from steelyard.device.writers import c

RNG = np.random.default_rng(0)


def numbers(*shape):
    return RNG.standard_normal(shape).astype("float32")


def program(*steps, inputs=((3, 4, 4),)):
    """Return a program of operations, each with its inputs, by default the value before it."""
    made, shapes = [], [tuple(shape) for shape in inputs]
    for step in steps:
        operation, *places = step if isinstance(step, list) else [step]
        places = tuple(places) or (len(shapes) - 1,)
        given = [np.ones((1, *shapes[place]), "float32") for place in places]
        shapes.append(operation.run(given, Arithmetic()).shape[1:])
        made.append(Step("layer", operation, places, shapes[-1]))
    return Program([f"x{at}" for at in range(len(inputs))], inputs, made, [len(shapes) - 1])


DRIVER = """
#include <stdio.h>
{includes} /* one compilation for all nets */
static {real} scratch[65536], y[65536];
{given}
int main(void)
{{
    size_t i;
{calls}
    return 0;
}}
"""
CALL = """
    for (i = 0; i < sizeof scratch / sizeof *scratch; i++) scratch[i] = y[i] = ({real})0 / ({real})0;
    n{at}_run({inputs}, y, scratch);
    if (fwrite(y, sizeof *y, N{at}_OUT, stdout) != N{at}_OUT) return 1;
"""


def exported(known, at, options, choices):
    symbols = Symbols(f"n{at}", c.LIMIT, (*c.RESERVED, *RESERVED))
    facts = Facts("a test", "0", options._replace(name=f"n{at}"), choices)
    return of_program(known, None, facts, symbols, c.derived)


def compiled(programs, folder, options, choices, *, run_them=True):
    """Return the outputs of the first stored example of each program in C, and of their twins."""
    real, given, calls, expected, names = {None: "float", "float64": "double"}[options.dtype], [], [], [], []
    for at, known in enumerate(programs):
        made = exported(known, at, options, choices)
        for name, pieces in files(made, made.forward, f"n{at}.c").items():
            (folder / name).write_text("".join(pieces))
        names.append(f"n{at}.c")
        forward, inputs = made.forward, made.forward.proof.inputs
        for nth, array in enumerate(inputs):
            kind = "int32_t" if nth in forward.integers else real
            values = ", ".join(repr(float(value)) if kind == real else str(value) for value in array[0].reshape(-1))
            given.append(f"static const {kind} x{at}_{nth}[] = {{{values}}};")
        calls.append(CALL.format(at=at, real=real, inputs=", ".join(f"x{at}_{nth}" for nth in range(len(inputs)))))
        first = [array[:1] for array in inputs]
        types = forward.arithmetic
        expected.append(forward.program.run(*first, dtype=types.numbers, accumulate=types.sums, libm=types.libm)[0])
    includes = "\n".join(f'#include "n{at}.c"' for at in range(len(names)))
    text = DRIVER.format(real=real, includes=includes, given="\n".join(given), calls="".join(calls))
    (folder / "driver.c").write_text(text)
    if not run_them:
        return None
    run(tool("gcc"), "-std=c99", "-O0", "-ffp-contract=off", *STRICT, "driver.c", "-lm", "-o", "nets", cwd=folder)
    made = np.frombuffer(run("./nets", cwd=folder), real.replace("float", "f4").replace("double", "f8"))
    return np.split(made, np.cumsum([each.size for each in expected])[:-1]), expected
