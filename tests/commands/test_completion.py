"""Completion by shells: what may follow, and that a real bash takes it, whatever a file's names are."""

import os
import subprocess
import sys

import numpy as np
import pytest
from terminals import ENV
from toolchains import tool

from steelyard.cli import COMMANDS, command, main
from steelyard.commands.completion import SHELLS
from steelyard.completing import candidates
from steelyard.core.weight import Role


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a net, a large one, one with hostile names, and files that are no nets."""
    made = tmp_path_factory.mktemp("complete")
    np.savez(made / "net.npz", **{"fc1.weight": np.ones((2, 2)), "fc1.bias": np.ones(2), "out put[0]": np.ones(2)})
    np.savez(made / "large.npz", **{f"h.{nth}.weight": np.ones(1) for nth in range(150)})
    np.savez(made / "hostile.npz", **{"$(touch canary)": np.ones(1), "a\nb": np.ones(1), "`touch canary`;*": np.ones(1)})
    (made / "notes.txt").write_text("")
    (made / "bad.pt").write_text("no model")
    (made / "sub").mkdir()
    return made


CASES = {
    "sh": ["show"],
    "help di": ["diff", "digest"],
    "ls --ro": ["--role"],
    "ls x --role ker": ["kernel"],
    "ls x --role=ker": ["--role=kernel"],
    "ls x --role = ker": ["kernel"],
    "plot x --kind h": ["heads", "heatmap", "histograms", "history"],
    "convert a b --dtype bf": ["bfloat16"],
    "show ne": ["net.npz"],
    "show ": ["bad.pt", "hostile.npz", "large.npz", "net.npz", "sub/"],
    "show net.npz f": ["fc1", "fc1.bias", "fc1.weight"],
    "show --effective net.npz fc1.w": ["fc1.weight"],
    "ls net.npz --select fc1": ["fc1.bias", "fc1.weight"],
    "plot net.npz --name fc1.": ["fc1.bias", "fc1.weight"],
    "show large.npz ": ["h."],
    "show large.npz h.14": ["h.14", "h.14.weight", "h.140", "h.140.weight"],
    "show bad.pt ": [],
    "show https://example.org/net.npz ": [],
    "show net.npz fc1.weight ": [],
    "net.npz --sta": ["--stats"],
    "ne": ["net.npz"],
    "no": ["notes.txt"][:0],
    "plot net.npz -o no": ["notes.txt"],
    "nothing ": ["bad.pt", "hostile.npz", "large.npz", "net.npz", "sub/"],
}


@pytest.mark.parametrize("line", CASES)
def test_a_line_is_continued_by_what_fits(line, folder, monkeypatch):
    monkeypatch.chdir(folder)
    found = candidates(line.split(" "), COMMANDS, command)
    assert set(CASES[line]) <= set(found) if "h.14" in line else found == CASES[line]


def test_an_empty_line_is_continued_by_every_command_and_options_by_all_of_them():
    assert candidates([""], COMMANDS, command) == sorted(COMMANDS)
    assert candidates([], COMMANDS, command) == sorted(COMMANDS)
    assert {"--json", "--select", "--limits"} <= set(candidates(["stats", "-"], COMMANDS, command))
    assert candidates(["ls", "x", "--role", ""], COMMANDS, command) == sorted(map(str, Role))


def complete(folder, *words):
    """Let bash complete the last word, as it does when Tab is pressed, and return what it would offer."""
    (folder / "bin").mkdir(exist_ok=True)
    wrapper = folder / "bin" / "steelyard"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m steelyard "$@"\n')
    wrapper.chmod(0o755)
    script = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _steelyard; printf "%s\\n" "${COMPREPLY[@]}"'
    command_line = ["bash", "--norc", "-c", f'eval "$(steelyard completion bash)"; {script}', "-", "steelyard", *words]
    env = {**ENV, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    run = subprocess.run(command_line, cwd=folder, capture_output=True, text=True, env=env, check=True)
    assert not run.stderr
    return run.stdout.splitlines()


def test_a_real_bash_completes_and_runs_nothing_that_a_file_says(folder):
    assert complete(folder, "show", "net.npz", "") == ["fc1", "fc1.bias", "fc1.weight", "out put[0]"]
    assert complete(folder, "show", "hostile.npz", "") == ["$(touch canary)", "`touch canary`;*"]
    assert not list(folder.rglob("canary"))


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_each_shell_is_printed_and_is_valid_for_it(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "completion --line" in script
    assert subprocess.run([tool(shell), "-n"], input=script, text=True, capture_output=True, check=False).returncode == 0
