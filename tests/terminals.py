"""Running the command in pipes, and in a real terminal of any width."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

ROOT = Path(__file__).parents[1]
ESCAPE = re.compile(r"\x1b\[[0-9;]*[mK]")
BAR = re.compile(r"\r[^\r\n]*\x1b\[K")
# the variables that decide how a terminal is used come from the test, not from the caller's environment
DECIDING = (
    "COLUMNS",
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLORTERM",
    "LESS",
    "TERM",
    "PYTHONIOENCODING",
    "PYTHONUNBUFFERED",
)
ENV = {
    **{key: value for key, value in os.environ.items() if key not in DECIDING},
    "PYTHONPATH": str(ROOT / "src"),
    "TERM": "xterm-256color",
    "STEELYARD_PAGER": "",  # which would wait for its reader
    "PYTHONUTF8": "1",
}


def run(*args, env=None):
    """Run the command as a process of its own, its output in pipes."""
    return subprocess.run(
        [sys.executable, "-m", "steelyard", *map(str, args)],
        capture_output=True,
        text=True,
        env={**ENV, **(env or {})},
        check=False,
    )


def in_terminal(columns, *args, env=None, status=0):
    """Run the command in a terminal of so many columns, and return what it wrote there.

    The bar that it draws and wipes out where it takes more than a second, as on a busy machine, is left out.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-m", "steelyard", *map(str, args)]
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env={**ENV, **(env or {})})
    os.close(follower)
    written = b""
    while True:
        try:
            block = os.read(leader, 1 << 16)
        except OSError:  # Linux's answer when the other side is closed
            break
        if not block:
            break
        written += block
    os.close(leader)
    assert process.wait() == status, written
    return BAR.sub("", written.decode().replace("\r\n", "\n"))
