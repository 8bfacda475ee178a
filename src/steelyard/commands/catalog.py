"""`steelyard catalog`: write a catalogue of many files, and ask it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from steelyard.commands import add_engine, add_scope, asked_of, csv_text, print_json
from steelyard.errors import ShapeError

if TYPE_CHECKING:
    import argparse

    from steelyard.catalogs.answers import CatalogTable
    from steelyard.catalogs.catalog import Catalog

QUESTIONS = ("duplicates", "near", "families", "nonfinite", "formats", "holders")
"""The ready questions; any other is SQL."""
QUERY = "query"


def run(args: argparse.Namespace) -> int:
    """Write a catalogue of the weight files in folders, of patterns and of URLs: a row for each weight, and one for each file.

    A weight has its file, name, role, shape, dtype, encoding, digest, statistics, and a sketch of 1,024 floats; a file its
    format, totals, findings, or the error. If the catalogue is there already, only new and changed files are read. The exit
    status is 1 if a file cannot be read, which is a row.

    "steelyard catalog query c.parquet QUESTION" asks it. QUESTION is SQL on the tables files and weights, which DuckDB answers,
    or one of: duplicates, files with the same weights; near, files nearly equal to another; families, files of common origin
    (with --estimate both by sketches alone, without opening a file); nonfinite, files with NaN or Inf; formats, bytes by
    format; holders DIGEST or holders FILE NAME, who has this tensor. A folder of the name query is written ./query.

    steelyard catalog checkpoints/ -o catalog.parquet
    """
    if args.paths[0] == QUERY:
        return _answer(args)
    return _write(args)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the paths or the question, the output, and the engine."""
    from steelyard.measures.digest import ALGORITHMS

    what = "a folder with all below it, a file, a URL or a pattern; or: query CATALOG QUESTION"
    parser.add_argument("paths", nargs="+", metavar="PATH", help=what)
    parser.add_argument(
        "-o", "--out", metavar="FILE", help="the catalogue, a .parquet file; of a question, the answer as a table"
    )
    parser.add_argument(
        "-a", "--algorithm", choices=ALGORITHMS, default="sha256", help="of the digests: sha256 (the default) ..."
    )
    parser.add_argument("--estimate", action="store_true", help="of near and families: by the sketches alone, no file is opened")
    parser.add_argument("--csv", action="store_true", help="print the answer to a question as CSV")
    add_scope(parser)
    add_engine(parser)


def _write(args: argparse.Namespace) -> int:
    from steelyard.catalogs.catalog import Catalog, written
    from steelyard.engines.calls import Asked

    if not args.out:
        raise ShapeError(
            "name the catalogue to be written, as in -o catalog.parquet; to ask one, write: catalog query CATALOG SQL"
        )
    if args.csv or args.estimate:
        raise ShapeError("--csv and --estimate are for questions; to ask a catalogue, write: catalog query CATALOG QUESTION")
    asked = asked_of(args) or Asked()
    update = written(args.paths, args.out, args.algorithm, args.scope, asked, progress=args.progress)
    if args.json:
        print_json({"out": args.out, **update._asdict()})
    else:
        print(Catalog(args.out, update))
    return 1 if update.refused else 0


def _answer(args: argparse.Namespace) -> int:
    from steelyard.catalogs.catalog import opened
    from steelyard.text.catalogs import answer_lines
    from steelyard.text.records import plain
    from steelyard.text.terminal import screen_of

    path, *question = args.paths[1:] or [""]
    if not question:
        raise ShapeError(f"write: catalog query CATALOG QUESTION, where QUESTION is SQL or one of {', '.join(QUESTIONS)}")
    found = _asked(opened(path), question, args)
    if args.out:
        found.write(args.out)
    if args.json:
        print_json({"out": args.out} if args.out else plain(found.to_dict()))
    elif args.csv:
        print(csv_text(found))
    elif not args.out:
        print("\n".join(answer_lines(found, screen_of(sys.stdout))))
    return 0


def _asked(catalog: Catalog, question: list[str], args: argparse.Namespace) -> CatalogTable:
    """Ask a ready question, or one in SQL."""
    word, *rest = question
    if word == "holders":
        return catalog.holders(_tensor(rest))
    if rest:
        raise ShapeError(f"a question is one argument, so write SQL in quotation marks; {len(question)} are given")
    if word in ("near", "families"):
        return _method(catalog, word, estimate=args.estimate)
    return _method(catalog, word) if word in QUESTIONS else catalog.query(word)


def _method(catalog: Catalog, word: str, **options: bool) -> CatalogTable:
    found: CatalogTable = getattr(catalog, word)(**options)
    return found


def _tensor(given: list[str]) -> Any:
    """Return the digest that is given, or the weight of a file."""
    from steelyard.io import weights

    if len(given) == 1:
        return given[0]
    if len(given) != 2:
        raise ShapeError("write: holders DIGEST, or: holders FILE NAME")
    return weights(given[0])[given[1]]
