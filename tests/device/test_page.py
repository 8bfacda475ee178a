"""The page on devices is true: its walk to a Cortex-M4 and its recipes run, and print what the page says and the nets compute."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from machines import EXAMPLE
from toolchains import STRICT, micropython, run, tool

import steelyard

PAGE = (Path(__file__).parents[2] / "docs" / "device.md").read_text()
WALK, ALONE = PAGE[: PAGE.index("## The forward pass")], PAGE[PAGE.index("## Weights alone") :]
ARDUINO = """
#include <cstdio>
struct Printer { void begin(int) {} void println(float y, int digits) { std::printf("%.*f\\n", digits, double(y)); } } Serial;
static inline float pgm_read_float(const float *place) { return *place; }
#include "sketch.ino"
int main() { setup(); loop(); return 0; }
"""


def blocks(language, page=ALONE):
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def block(language):
    return blocks(language)[0]


def masked(text):
    """A text without the digits of its fractions, which another processor may change."""
    return re.sub(r"\d\.\d+(e-\d+)?|\d+e-\d+", "#", text)


def shell(command, folder):
    """Run the lines of a block in a shell, and return what they printed on both streams; qemu 7 prints on stderr."""
    for word in re.findall(r"^\s*(\S+)", command.replace("\\\n", " "), re.MULTILINE):
        tool(word)
    done = subprocess.run(["sh", "-ec", command], cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """Run the first block of the walk, and return its folder and what it printed."""
    folder, printed = tmp_path_factory.mktemp("walk"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "92")
        exec(blocks("python", WALK)[0], {"print": lambda *values: printed.append(" ".join(map(str, values)) + "\n")})
    (folder / "main.c").write_text(blocks("c", WALK)[0])
    for file in ("start.c", "cortex_m.ld"):
        shutil.copy(EXAMPLE / file, folder)
    return folder, "".join(printed)


def test_the_walk_prints_what_the_page_shows(walked):
    assert masked(walked[1]) == masked(blocks("text", WALK)[0])


def test_the_test_of_the_walk_passes_on_this_computer(walked):
    folder, (command, _), (_, printed, _) = walked[0], blocks("sh", WALK), blocks("text", WALK)
    assert masked(shell(command, folder)) == masked(printed)


@pytest.mark.parametrize("source", ["main.c", "digits_test.c"])
def test_the_walk_ends_on_a_cortex_m4(walked, source):
    folder, (_, command), (_, tested, answer) = walked[0], blocks("sh", WALK), blocks("text", WALK)
    printed = shell(command.replace("main.c", source), folder)
    assert masked(printed) == masked(answer if source == "main.c" else tested)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Run the first block on weights alone, and return its folder and what its net computes."""
    folder = tmp_path_factory.mktemp("page")
    names = {"steelyard": steelyard}
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
