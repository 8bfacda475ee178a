"""`steelyard serve`: looking at files in the browser."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from steelyard.commands import add_scope, print_json
from steelyard.errors import MissingExtraError, ShapeError

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> int:
    """Show one file, or two side by side, in the browser, whatever their size: numbers are read when they are looked at.

    The address that is printed is good on this machine only, and holds a word that nobody can guess; whoever has it can
    read the numbers of these files, and do nothing else. Of two files the second is the older one, and what differs is
    shown. Ctrl-C ends it.

    steelyard serve model.safetensors before.pt --open
    """
    from importlib.util import find_spec

    from steelyard.inspector.api import Answers
    from steelyard.inspector.server import address, listen, new_token, serve
    from steelyard.paths import expanded

    paths = expanded(args.paths)
    if len(paths) > 2:
        raise ShapeError(f"serve shows one file, or two side by side; {len(paths)} are given")
    if not (find_spec("starlette") and find_spec("uvicorn")):
        raise MissingExtraError("the inspector", "view")
    answers = Answers(paths, args.scope)
    with listen(args.port) as listening:
        token = new_token()
        url = address(listening, token)
        if args.json:
            print_json({"url": url, "files": paths})
        else:
            print(f"{url}\nCtrl-C ends it.")
        sys.stdout.flush()  # whoever started it reads the address, and waits no more
        if args.open:
            import webbrowser

            webbrowser.open(url)
        serve(answers, listening, token)
    return 0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files and the port."""
    from steelyard.inspector.server import PORT

    parser.add_argument("paths", nargs="+", metavar="PATH", help="a weight file, or a folder that is one model; two at most")
    parser.add_argument(
        "--port", type=_port, default=PORT, metavar="N", help=f"listen on this port, or the next (default: {PORT})"
    )
    parser.add_argument("--open", action="store_true", help="open the browser")
    add_scope(parser)


def _port(text: str) -> int:
    import argparse

    if not text.isascii() or not text.isdecimal() or not 0 <= int(text[:9]) < 0x10000:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number up to 65535")
    return int(text)
