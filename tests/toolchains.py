"""The compilers and interpreters that the tests run; `scripts/system` installs them, and one that is missing fails a test."""

import shutil
import subprocess

import pytest
from carried import PACKAGES

TOOLS = {
    "gcc": "gcc",
    "g++": "g++",
    "clang": "clang",
    "rustc": "rustc",
    "node": "nodejs",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf",
    "avr-gcc": "gcc-avr",
    "qemu-system-arm": "qemu-system-arm",
    "qemu-system-riscv32": "qemu-system-misc",
    "cppcheck": "cppcheck",
    "bash": "bash",
    "zsh": "zsh",
    "fish": "fish",
}
"""The package of Debian that has each tool."""
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow")
MICROPYTHON = PACKAGES.parent / "micropython-1.27.0" / "micropython.mjs"
RUNNER = """
import { readFileSync } from "node:fs";
const [, , micropython, script, ...files] = process.argv;
const { loadMicroPython } = await import(micropython);
const python = await loadMicroPython({ stdout: (line) => console.log(line), linebuffer: true });
for (const file of files) python.FS.writeFile("/" + file.split("/").pop(), readFileSync(file));
python.runPython(readFileSync(script, "utf8"));
"""


def tool(name):
    """Return the path of a tool, or fail with a line that names its package."""
    return shutil.which(name) or pytest.fail(
        f"{name} is missing: install the package {TOOLS[name]}, as scripts/system tests does", pytrace=False
    )


def run(*command, cwd):
    """Run a command, which must end well and without a warning, and return what it printed."""
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[:4000]
    assert not done.stderr, done.stderr.decode()[:4000]
    return done.stdout


def micropython(script, files, cwd):
    """Run a script in MicroPython with files in its root folder, and return what it printed."""
    if not MICROPYTHON.exists():
        pytest.fail(f"{MICROPYTHON} is missing; scripts/micropython fetches it", pytrace=False)
    (cwd / "run.mjs").write_text(RUNNER)
    (cwd / "script.py").write_text(script)
    return run(tool("node"), "run.mjs", MICROPYTHON, "script.py", *files, cwd=cwd).decode()
