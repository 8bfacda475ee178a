"""`steelyard serve`: show a file in the browser."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from steelyard.commands import add_before, add_file, add_scope, print_json

if TYPE_CHECKING:
    import argparse


def run(args: argparse.Namespace) -> int:
    """Show a file of any size in the browser; numbers are read only when they are displayed.

    The printed address works on this machine only and contains a secret token. Anyone who has it can read the numbers of
    these files, and do nothing else. With --before OLDER the page also shows the differences from an older file of any
    format or framework. Ctrl-C stops the server.

    steelyard serve after.safetensors --before before.pt --open
    """
    from steelyard.inspector.server import serve_sources

    def announce(url: str) -> None:
        if args.json:
            print_json({"url": url, "file": args.file, "before": args.before})
        else:
            print(f"{url}\nPress Ctrl-C to stop.")
        sys.stdout.flush()  # a program that waits for the address must not wait for a buffer

    sources = [each for each in (args.file, args.before) if each is not None]
    serve_sources(sources, announce, scope=args.scope, port=args.port, open_browser=args.open)
    return 0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the files and the port."""
    from steelyard.inspector.server import PORT

    add_file(parser)
    add_before(parser)
    parser.add_argument(
        "--port", type=_port, default=PORT, metavar="N", help=f"listen on this port, or the next free one (default: {PORT})"
    )
    parser.add_argument("--open", action="store_true", help="open the browser")
    add_scope(parser)


def _port(text: str) -> int:
    import argparse

    if not text.isascii() or not text.isdecimal() or not 0 <= int(text[:9]) < 0x10000:
        raise argparse.ArgumentTypeError(f"invalid port {text!r}: use a number from 0 to 65535")
    return int(text)
