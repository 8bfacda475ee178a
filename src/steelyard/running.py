"""Running a command: its arguments, its errors and warnings as one line each, its exit status."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from steelyard import __version__
from steelyard.errors import SteelyardError, SteelyardWarning, printable

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    Load = Callable[[str], "Command"]

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


def run(names: Sequence[str], load: Load, argv: list[str]) -> int:
    """Run the command at the beginning of `argv`, and return its exit status; an error is one line on stderr.

    `load` returns the module of a command by its name.
    """
    if sys.stdout is None:
        return trouble(OSError(errno.EBADF, "standard output is closed; open it, or send it to /dev/null"))
    args = _parsed(names, load, argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode shows escapes
    with warnings.catch_warnings(), _allowed(args.limits or ()):
        warnings.simplefilter("always", SteelyardWarning)
        warnings.showwarning = _show_warning
        return _guarded(args)


def _allowed(given: Sequence[dict[str, int]]) -> AbstractContextManager[None]:
    """Change the limits that the command line gives, a later one of the same name last, while a command runs."""
    from steelyard.codecs import limits

    return limits.allow(**{name: value for each in given for name, value in each.items()})


def _guarded(args: argparse.Namespace) -> int:
    try:
        status = args.run(args) or 0
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
    _complain(f"error: {one_line(error)}")
    return TROUBLE


def _complain(line: str) -> None:
    """Print a line to stderr, if that is open and has room: nothing else can report that it has not."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(line, file=sys.stderr)


def _drop_output() -> None:
    """Discard unwritten output: the interpreter would try to write it again at exit, and report a second error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_line(error: BaseException) -> str:
    """Return the message of an error on one line."""
    if isinstance(error, OSError) and error.strerror:
        file = f"{printable(error.filename)}: " if error.filename else ""
        return f"{file}{error.strerror}"
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}" if str(error) else "not enough memory"
    return printable(error, 2000)


def _show_warning(  # the arguments are those of warnings.showwarning
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: object = None, line: str | None = None
) -> None:
    _complain(f"warning: {printable(message, 2000)}")


def _parsed(names: Sequence[str], load: Load, argv: list[str]) -> argparse.Namespace:
    """Parse the arguments; only the parser of the requested command is made, since each takes a millisecond."""
    if not argv or argv[0] not in names:
        argv = [_overview(names, load).parse_args(argv or ["--help"]).command]  # ends the process but for "-- COMMAND"
    command = load(argv[0])
    about, example = _help(command)
    parser = argparse.ArgumentParser(
        prog=f"steelyard {argv[0]}",
        description=about,
        epilog=f"example:\n  {example}",
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    command.arguments(parser)
    parser.add_argument(
        "--limits",
        metavar="NAME=N",
        action="append",
        type=_limits,
        help="raise a limit for files that you trust, as INFLATED_RATIO=2000 (docs/formats.md), or none for no limits of memory "
        "and time; may be given again",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=command.run)
    return parser.parse_args(argv[1:])


def _limits(text: str) -> dict[str, int]:
    from steelyard.codecs import limits

    try:
        return limits.given(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _overview(names: Sequence[str], load: Load) -> argparse.ArgumentParser:
    """Make the parser that names the commands, with an example of each."""
    helps = {name: _help(load(name)) for name in names}
    lines = [f"  {name:<12}{about.splitlines()[0] if about else ''}" for name, (about, _) in helps.items()]
    examples = [f"  {example}" for _, example in helps.values()]
    parser = argparse.ArgumentParser(
        prog="steelyard",
        description="The weights of any neural network in one shape, whatever file they are in.",
        epilog="\n".join(["commands:", *lines, "", "examples:", *examples, "", "steelyard COMMAND --help explains each."]),
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "command", choices=list(names), metavar="COMMAND", help="one of the commands below, with its own arguments"
    )
    parser.add_argument("--version", action="version", version=f"steelyard {__version__}")
    return parser


def _help(command: Command) -> tuple[str, str]:
    """Return the text of a command's docstring, and its last line, which is an example."""
    about, _, example = (command.run.__doc__ or "").strip().rpartition("\n\n")
    return "\n".join(line.strip() for line in about.splitlines()), example.strip()


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Return a help formatter of the terminal's width, for which argparse itself would import shutil."""
    from steelyard.text.terminal import screen_of

    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=screen_of(sys.stdout).width or 100)
