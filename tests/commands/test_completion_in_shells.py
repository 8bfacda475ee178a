"""Tab in an interactive bash, zsh and fish: the words that the command then gets."""

import os
import pty
import select
import sys
import time

import numpy as np
import pytest
from terminals import ENV
from toolchains import tool

STARTS = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(steelyard completion bash)"'),
    "zsh": (["-f", "-i"], 'autoload -U compinit; compinit -D -u; eval "$(steelyard completion zsh)"'),
    "fish": (["--no-config", "-i"], "steelyard completion fish | source"),
}
TYPED = {
    "steelyard sho": (b"show", b"<show>"),
    "steelyard show net.npz fc1.w": (b"fc1.weight", b"<show><net.npz><fc1.weight>"),
    "steelyard show net.npz dense/kernel:": (b"kernel:0", b"<show><net.npz><dense/kernel:0>"),
    "steelyard show net.npz out": (b"put", b"<show><net.npz><out put[0]>"),
}
"""What is typed before Tab, what then must appear, and what the command gets after Enter."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a net, and a command that prints the words that it gets; the scripts for shells come from Steelyard."""
    made = tmp_path_factory.mktemp("shells")
    np.savez(made / "net.npz", **{"fc1.weight": np.ones(2), "dense/kernel:0": np.ones(2), "out put[0]": np.ones(2)})
    (made / "bin").mkdir()
    command = made / "bin" / "steelyard"
    real = f'[ "$1" = completion ] && exec "{sys.executable}" -m steelyard "$@"'
    command.write_text(f'#!/bin/sh\n{real}\nprintf "<%s>" "$@"; echo " done"\n')
    command.chmod(0o755)
    return made


@pytest.mark.parametrize("shell", STARTS)
def test_tab_completes_commands_and_names_with_colons_dots_and_blanks(shell, folder):
    options, script = STARTS[shell]
    path = tool(shell)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execve(
            path, [shell, *options], {**ENV, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder), "PS1": "$ "}
        )
    try:
        os.write(terminal, f"{script}; echo rea''dy\n".encode())
        seen_until(terminal, b"ready")
        for typed, (appears, got) in TYPED.items():
            os.write(terminal, f"{typed}\t".encode())
            seen_until(terminal, appears)
            os.write(terminal, b"\n")
            assert got in seen_until(terminal, b" done")
    finally:
        os.kill(process, 9)
        os.waitpid(process, 0)
        os.close(terminal)


def seen_until(terminal, mark, seconds=60):
    """Read what a shell writes until the mark, and return it."""
    seen, end = b"", time.monotonic() + seconds
    while mark not in seen:
        assert time.monotonic() < end, seen
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 1 << 16)
    return seen
