"""A command line as its arguments; the help; and one line on what is wrong with the arguments."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from steelyard import __version__
from steelyard.errors import meant, printable, quoted
from steelyard.text.terminal import screen_of

if TYPE_CHECKING:
    from steelyard.running import Command

    Load = Callable[[str], Command]
    Purposes = Mapping[str, Mapping[str, str]]
    """The commands of each purpose, each with a line on what it gives."""

MISUSED = 2
WHENS = ("auto", "always", "never")
"""When the output has colours."""
PAGED = frozenset(("ls", "show", "stats", "size", "grid", "spectra", "check", "digest", "diff", "lineage", "catalog"))
"""The commands whose output may be long; the others print what they wrote, or run until they are stopped."""
LEAST = 0.6
"""How similar a word of the command line must be to one that is suggested: most options are short."""
WIDE = 100
"""The width of a help text where no terminal limits it, and at most."""
HELP = ("-h", "--help")
ALONE = (*HELP, "--version", "help")
"""What may stand in the place of a command."""
EXAMPLES = """\
examples:
  steelyard model.safetensors             the same as steelyard ls
  steelyard show model.safetensors fc1    a layer
  steelyard diff before.pt after.onnx     what changed
  steelyard help diff                     what diff prints, and all its options"""
_CHOICE = re.compile(r"argument (?P<name>.+?): invalid choice: (?P<quote>['\"])(?P<word>.*)(?P=quote) \(choose from")
_NAMING = {"the following arguments are required: ": "needs", "unrecognized arguments: ": "takes no further argument:"}
_KINDS = {"invalid int value: ": " is not a whole number", "invalid float value: ": " is not a number"}
_KEYWORD = re.compile(r"""'(?:[^'\\]|\\.)*'|(?<![\w."(-])(?P<name>[a-z][a-z_]*)=(?P<value>[^\s,;]*)""")
"""A keyword of Python with its value; one in quotes is part of a name."""
_options: Container[str] = ()
"""The options of the command that runs."""


def parsed(names: Sequence[str], load: Load, argv: Sequence[str], purposes: Purposes) -> argparse.Namespace:
    """Parse the arguments; only the parser of the requested command is made, since each takes a millisecond.

    A path in the place of a command is listed. Ends the process for a help text, and for arguments that no command takes.
    """
    word, *rest = argv or ["--help"]
    if word == "help" and rest:
        word, rest = rest[0], ["--help"]
    if word in ALONE:
        print(f"steelyard {__version__}" if word == "--version" else overview(purposes))
        raise SystemExit(0)
    if word not in names and _may_be_path(word):
        word, rest = "ls", list(argv)
    if word not in names:
        _refuse(_unknown(word, names))
    command = load(word)
    parser = parser_of(word, command)
    kept = {"run": command.run, "commands": (names, load), "paged": word in PAGED}
    parser.error = lambda message: _refuse(_misuse(parser, rest, message))  # type: ignore[method-assign]
    parser.print_help = lambda *_: print(parser.format_help(), end="")  # type: ignore[method-assign] # its own hides errors
    return parser.parse_args(rest, argparse.Namespace(options=frozenset(parser._option_string_actions), **kept))


def parser_of(name: str, command: Command) -> argparse.ArgumentParser:
    """Make the parser of one command, with the options that all commands have."""
    about, example = _help(command)
    parser = argparse.ArgumentParser(
        prog=f"steelyard {name}",
        description=_filled(about),
        epilog=f"example:\n  {example}",
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    command.arguments(parser)
    every = parser.add_argument_group("options of every command")
    every.add_argument(
        "--limits",
        metavar="NAME=N",
        action="append",
        type=_limits,
        help="raise a limit for files that you trust, as INFLATED_RATIO=2000 (docs/formats.md), or none for no limits of memory "
        "and time; may be given again",
    )
    every.add_argument("--json", action="store_true", help="print one JSON document")
    every.add_argument(
        "--color",
        choices=WHENS,
        default="auto",
        metavar="WHEN",
        help="colours always, never, or on a terminal: auto (the default)",
    )
    every.add_argument("--no-pager", action="store_true", help="print to the terminal itself, however long the output is")
    return parser


def _may_be_path(word: str) -> bool:
    """Whether a word in the place of a command is a path, a pattern or a URL: a file of this name, or it looks like one."""
    return not word.startswith("-") and (os.path.lexists(word) or any(mark in word for mark in "./\\*?["))


def _unknown(word: str, names: Sequence[str]) -> str:
    if word.startswith("-"):
        near = meant(word, ALONE, least=LEAST)
        return f"steelyard has no option {quoted(word)}{near or '; options follow the command'}"
    near = meant(word, (*names, "help"), least=LEAST)
    return f"no command or file is called {quoted(word)}{near or '; steelyard --help lists the commands'}"


def _misuse(parser: argparse.ArgumentParser, given: Sequence[str], message: str) -> str:
    """Return what is wrong with the arguments of a command: an option that it lacks first, since the rest follows from that."""
    options = parser._option_string_actions
    more = f"; {parser.prog} --help explains it"
    for word in given[: given.index("--") if "--" in given else None]:
        name = word.partition("=")[0]
        if name.startswith("-") and name not in options and not re.fullmatch(r"-[0-9.]*", name) and _no_short(name, options):
            return f"{parser.prog} has no option {quoted(name)}{meant(name, options, least=LEAST) or more}"
    if choice := _CHOICE.match(message):
        return _not_chosen(parser, choice["name"], choice["word"])
    message = message.removeprefix("argument ")
    for beginning, what in _KINDS.items():
        name, is_kind, word = message.partition(f": {beginning}")
        if is_kind:
            return f"{name}: {word}{what}"
    if message.endswith((": expected one argument", ": expected at least one argument")):
        return f"{parser.prog} needs a value after {message.partition(':')[0]}{more}"
    for beginning, what in _NAMING.items():
        if message.startswith(beginning):
            return f"{parser.prog} {what} {printable(message.removeprefix(beginning))}{more}"
    return printable(message, 2000)


def _no_short(name: str, options: Mapping[str, object]) -> bool:
    """Whether a word with one hyphen does not begin with a short option, which its value may follow, as in -oPATH."""
    return name.startswith("--") or name[:2] not in options


def _not_chosen(parser: argparse.ArgumentParser, name: str, word: str) -> str:
    """Name the choices of an argument that has none of them."""
    actions = (each for each in parser._actions if each.choices is not None)
    action = next(each for each in actions if name in ("/".join(each.option_strings), each.metavar, each.dest))
    choices = [str(each) for each in action.choices or ()]
    return f"{name} is '{printable(word)}', but must be one of {', '.join(choices)}{meant(word, choices)}"


def _refuse(what: str) -> NoReturn:
    """End the process with one line on what is wrong with its arguments."""
    complain(f"error: {what}")
    raise SystemExit(MISUSED)


def complain(line: str) -> None:
    """Print a line to stderr, if that is open and has room: nothing else can report that it has not.

    What it says to do is in the options of the command that runs, not in the keywords of Python.
    """
    if sys.stderr is not None:
        with suppress(OSError):
            print(as_typed(line), file=sys.stderr)


def as_typed(line: str) -> str:
    """Return a line with the options of the command that runs, as `in_options` does."""
    return in_options(line, _options)


@contextmanager
def options_said(options: Container[str]) -> Iterator[None]:
    """Let lines that complain name these options, until the block ends."""
    global _options  # noqa: PLW0603 - they are those of one process
    before, _options = _options, options
    try:
        yield
    finally:
        _options = before


def in_options(line: str, options: Container[str]) -> str:
    """Return a line with the options of a command in place of Python's keywords, after the semicolon, where it says what to do.

    >>> in_options("a is packed; skip_unreadable=True leaves it out, and axis=0 is known", {"--skip-unreadable", "--axis"})
    'a is packed; --skip-unreadable leaves it out, and --axis=0 is known'
    """

    def said(keyword: re.Match[str]) -> str:
        name, value = keyword["name"], keyword["value"]
        option = f"--{name.replace('_', '-')}" if name else ""
        if option not in options or (value and value[0] in "[({"):
            return keyword[0]
        return option if value in ("", "True") else f"{option}={value}"

    what, mark, remedy = line.partition("; ")
    return what + mark + _KEYWORD.sub(said, remedy)


def _limits(text: str) -> dict[str, int]:
    from steelyard.codecs import limits

    try:
        return limits.given(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def overview(purposes: Purposes) -> str:
    """Return the help text that names the commands by their purpose."""
    lines = ["The weights of any neural network in one shape, whatever file they are in.", ""]
    lines += ["usage: steelyard COMMAND ...      steelyard FILE      steelyard help COMMAND", ""]
    for purpose, commands in purposes.items():
        lines += [f"{purpose}:", *(f"  {name:<12}{what}" for name, what in commands.items()), ""]
    return "\n".join([*lines, EXAMPLES])


def _help(command: Command) -> tuple[str, str]:
    """Return the text of a command's docstring, and its last line, which is an example."""
    about, _, example = (command.run.__doc__ or "").strip().rpartition("\n\n")
    return "\n".join(line.strip() for line in about.splitlines()), example.strip()


def _filled(text: str) -> str:
    """Wrap paragraphs at the width of the terminal."""
    import textwrap

    return "\n\n".join(textwrap.fill(" ".join(each.split()), _width()) for each in text.split("\n\n"))


def _width() -> int:
    return min(screen_of(sys.stdout).width or WIDE, WIDE)


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Return a help formatter of the terminal's width, for which argparse itself would import shutil."""
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=_width())
