"""Running a command: its arguments, its errors and warnings as one line each, its exit status."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from steelyard.command_line import complain, options_said, parsed
from steelyard.errors import SteelyardError, SteelyardWarning, printable
from steelyard.text.pager import paged
from steelyard.text.terminal import coloured

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from steelyard.command_line import Load, Purposes

TROUBLE = 2
INTERRUPTED = 130
"""The status that a shell reports for a command that Ctrl-C ended."""
PIPE_CLOSED = 141
"""The status that a shell reports for a command whose reader closed the pipe, as `head` does."""


class Command(Protocol):
    """The interface of a module in `steelyard/commands`."""

    def run(self, args: argparse.Namespace, /) -> int | None:
        """Run the command; the docstring is its help, the last line of it an example."""

    def arguments(self, parser: argparse.ArgumentParser, /) -> None:
        """Declare the arguments of the command."""


def run(names: Sequence[str], load: Load, argv: list[str], purposes: Purposes) -> int:
    """Run the command at the beginning of `argv`, and return its exit status; an error is one line on stderr.

    `load` returns the module of a command by its name; `purposes` are what the help text says of all of them.
    """
    if sys.stdout is None:
        return trouble(OSError(errno.EBADF, "standard output is closed; open it, or send it to /dev/null"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode shows escapes
    return _guarded(lambda: _run(_parsed(names, load, argv, purposes)))


def _parsed(names: Sequence[str], load: Load, argv: Sequence[str], purposes: Purposes) -> argparse.Namespace:
    if any("://" in word for word in argv):
        from steelyard.storage.remote.addresses import concealed

        argv = [concealed(word) for word in argv]  # no token of a URL gets into what is printed
    try:
        return parsed(names, load, argv, purposes)
    except SystemExit:
        sys.stdout.flush()  # a help text, which must not fail later
        raise


def _run(args: argparse.Namespace) -> int:
    if args.json and getattr(args, "csv", False):
        raise SteelyardError("--csv and --json both say what is printed; give one of them")
    from steelyard.core.gc_pause import seldom_collected

    said, shown = options_said(args.options), coloured(args.color)
    with warnings.catch_warnings(), _allowed(args.limits or ()), said, shown, seldom_collected():
        warnings.simplefilter("always", SteelyardWarning)
        warnings.showwarning = _shower_of_warnings()
        with paged(wanted=args.paged and not args.no_pager):
            return _guarded(lambda: args.run(args))


def _allowed(given: Sequence[dict[str, int]]) -> AbstractContextManager[None]:
    """Change the limits that the command line gives, a later one of the same name last, while a command runs."""
    from steelyard.codecs import limits

    return limits.allow(**{name: value for each in given for name, value in each.items()})


def _guarded(work: Callable[[], int | None]) -> int:
    """Return the exit status of some work; what ends it early is a line on stderr, or nothing if the user ended it."""
    try:
        status = work() or 0
        sys.stdout.flush()  # here, where a full disk or a closed pipe is still reported
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except (SteelyardError, OSError, MemoryError) as error:
        return trouble(error)
    return int(status)


def trouble(error: BaseException) -> int:
    """Print an error, and return the exit status for it."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()  # output that precedes the error is printed before it
    except OSError:
        _drop_output()
    complain(f"error: {one_line(error)}")
    return TROUBLE


def _drop_output() -> None:
    """Discard unwritten output: the interpreter would try to write it again at exit, and report a second error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_line(error: BaseException) -> str:
    """Return the message of an error on one line."""
    if isinstance(error, OSError) and error.strerror:
        file = f"{printable(error.filename)}: " if error.filename else ""
        return f"{file}{error.strerror}{'; name a file in it' if error.errno == errno.EISDIR else ''}"
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}" if str(error) else "not enough memory"
    return printable(error, 2000)


def _shower_of_warnings() -> Callable[..., None]:
    """Return a function that prints each warning once, though a file may be opened twice; `warnings` calls it."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: object) -> None:
        text = printable(message, 2000)
        if text not in shown:
            complain(f"warning: {text}")
        shown.add(text)

    return show
