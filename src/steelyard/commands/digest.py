"""`steelyard digest`: print a short text that is equal for equal weights."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from steelyard.commands import Answer, add_engine, add_paths, add_selection, asked_of, opened, print_each, print_json, streamed
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    import argparse

    from steelyard.measures.digest import Algorithm, Digest, Layout


def run(args: argparse.Namespace) -> int:
    """Print a digest of each weight and one of the whole, which are equal for equal weights in any container.

    Digests depend on names, dtypes, shapes and numbers, but not on the format or the order of the weights. With --total
    only the digest of the whole is printed. With --layout canonical, names and the order of axes and gates do not matter
    either, so the same net has the same digest in two frameworks. With -c the paths are lists of digests from this command:
    each listed file is digested again and compared, and the exit status is 1 if a digest differs. A list may name files of its
    own folder only, unless --anywhere, and no URLs.

    steelyard digest a.pt b.safetensors --total
    """
    from steelyard.measures.digest import digest_of
    from steelyard.paths import expanded
    from steelyard.text.measured import digest_lines, unsure_line

    if args.check:
        if asked_of(args):
            raise ShapeError("-c verifies lists in this process; use it without --engine and its options")
        return _verified(args)

    def digested(file: str) -> Answer:
        result = _digest(file, args, args.algorithm, args.layout) if stream is None else stream.of(file)
        if result.unsure and not args.json:
            print(f"warning: {printable(file)}: {unsure_line(result)}", file=sys.stderr)
        return Answer(result.to_dict(), "\n".join(digest_lines(result, file, each=not args.total)))

    files = expanded(args.paths)
    with streamed(files, args, digest_of, args.algorithm, args.layout) as stream:
        return print_each(files, digested, json=args.json)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the paths, the algorithm, and the selection of weights."""
    from steelyard.measures.digest import ALGORITHMS, LAYOUTS

    add_paths(parser)
    parser.add_argument("-a", "--algorithm", choices=ALGORITHMS, default="sha256", help="sha256 (the default), blake3 or xxh3")
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        default="own",
        help="own: names and axes as they are (the default); canonical: neither matters",
    )
    parser.add_argument("--total", action="store_true", help="print only the digest of all weights of a file")
    parser.add_argument("-c", "--check", action="store_true", help="the paths are lists of digests: verify the files they name")
    parser.add_argument("--anywhere", action="store_true", help="with -c, open files outside the folder of a list too")
    add_selection(parser)
    add_engine(parser)


def _digest(file: str, args: argparse.Namespace, algorithm: Algorithm, layout: Layout) -> Digest:
    from steelyard.measures.digest import digest
    from steelyard.text.progress import following

    with following(opened(file, args), "reading") as watched:
        return digest(watched, algorithm, layout=layout)


def _verified(args: argparse.Namespace) -> int:
    """Verify lists of digests, and return the exit status."""
    from steelyard.measures.digest.checklist import verify

    records, bad = [], 0
    if args.total:
        raise ShapeError("-c verifies lists; use it without --total")
    for path in args.paths:
        listed = verify(path, lambda file, algorithm, layout: _digest(file, args, algorithm, layout), anywhere=args.anywhere)
        for verdict in listed:
            bad += not verdict.ok
            records.append({"list": path, "what": verdict.what, "verdict": verdict.verdict, "why": verdict.why})
            if not args.json:
                print(verdict, flush=True)
    if args.json:
        print_json({"ok": not bad, "verdicts": records})
    return 1 if bad else 0
