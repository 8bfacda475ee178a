"""The recipes of the page on devices run, and all languages print what the net computes."""

import re
from pathlib import Path

import numpy as np
import pytest
from toolchains import STRICT, micropython, run, tool

import steelyard

PAGE = (Path(__file__).parents[2] / "docs" / "device.md").read_text()
ARDUINO = """
#include <cstdio>
struct Printer { void begin(int) {} void println(float y, int digits) { std::printf("%.*f\\n", digits, double(y)); } } Serial;
static inline float pgm_read_float(const float *place) { return *place; }
#include "sketch.ino"
int main() { setup(); loop(); return 0; }
"""


def block(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Run the first block of the page, and return its folder and what its net computes."""
    folder = tmp_path_factory.mktemp("page")
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(block("python"), names)
        steelyard.export(names["net"], "iris_progmem.h", name="iris", dtype="float32", progmem=True)
    return folder, names["net"].decision_function([[5.1, 3.5, 1.4, 0.2]])[0]


def in_c(folder):
    (folder / "main.c").write_text(block("c"))
    run(tool("gcc"), "-std=c99", *STRICT, "main.c", "-o", "in_c", cwd=folder)
    return run(folder / "in_c", cwd=folder).decode()


def for_arduino(folder):
    (folder / "sketch.ino").write_text(block("cpp"))
    (folder / "main.cc").write_text(ARDUINO)
    run(tool("g++"), "-std=c++11", "-Wall", "-Wextra", "-Werror", "main.cc", "-o", "for_arduino", cwd=folder)
    return run(folder / "for_arduino", cwd=folder).decode()


def in_rust(folder):
    (folder / "main.rs").write_text(block("rust"))
    run(tool("rustc"), "-D", "warnings", "main.rs", "-o", "in_rust", cwd=folder)
    return run(folder / "in_rust", cwd=folder).decode()


def in_micropython(folder):
    return micropython(f'import sys\nsys.path.append("/")\n{block("micropython")}', [str(folder / "iris.py")], folder)


@pytest.mark.parametrize("recipe", [in_c, for_arduino, in_rust, in_micropython], ids=lambda recipe: recipe.__name__)
def test_a_recipe_prints_what_the_net_computes(recipe, made):
    folder, expected = made
    assert np.allclose([float(line) for line in recipe(folder).split()], expected, atol=2e-5)
