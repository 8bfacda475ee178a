"""The tests of many forward passes in C as one program, so that a compiler runs once for each machine."""

import re

import numpy as np

OWN_NAMES = (
    "main",
    "sum_of",
    "is_changed",
    "error_of",
    "differing",
    *(f"{word}{n}" for word in ("given", "expected") for n in "12"),
)
"""Names that each test has, besides its macros."""


def together(names):
    """Return a program that includes nets and their tests, and runs them, each after a line with its name."""
    lines = ["#include <stdio.h>"]
    for name in names:
        lines += [f"#define {each} {name}_{each}" for each in OWN_NAMES]
        lines += [f'#include "{name}.c"', f'#include "{name}_test.c"']
        lines += [f"#undef {each}" for each in (*OWN_NAMES, "EXAMPLES", "TOLERANCE")]
    calls = "".join(f'    puts("> {name}");\n    failed |= {name}_main();\n' for name in names)
    return "\n".join([*lines, f"int main(void)\n{{\n    int failed = 0;\n{calls}    return failed;\n}}\n"])


def printed(text):
    """Return the outputs of each net, all of which passed their tests and printed the bits of float32 (`-DPRINT_BITS`)."""
    found = {}
    for part in text.split("> ")[1:]:
        name, *lines = part.splitlines()
        assert ": passed" in part, part
        bits = [int(line, 16) for line in lines if re.fullmatch("[0-9a-f]{8}", line)]
        found[name] = np.array(bits, "uint32").view("float32")
    return found
