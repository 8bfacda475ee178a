"""`steelyard check`: find defects of files."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steelyard.commands import (
    add_effective,
    add_engine,
    add_explain,
    add_paths,
    each_file,
    explain,
    print_json,
    print_records,
    streamed,
)
from steelyard.errors import FormatError, printable
from steelyard.paths import PIPELINES

if TYPE_CHECKING:
    import argparse

    from steelyard.engines.calls import Stream
    from steelyard.measures.check import Check
    from steelyard.measures.check.outcomes import Outcome
    from steelyard.measures.check.policy import Policy


def run(args: argparse.Namespace) -> int:
    """Check that files are readable, complete and finite, and list the code that loading them would run.

    Every number is read once, including the optimizer's. The findings are weights that cannot be read, weights with NaN or
    Inf, each with the index of the first, and what loading the file would run, such as posix.system('...'); nothing is run.
    Each ends with the id of its rule, which docs/audit.md explains. A folder stands for all files in it and in its folders.
    --health adds properties that trained nets rarely have: constant kernels, dead or duplicate units, norms far from those at
    initialization, numbers clipped by a narrow type, running variances of zero, unused embeddings. Healthy nets may have the
    findings marked "info" too. --audit-only reads no numbers, and only lists what loading each file would run. The exit status
    is 0 without findings of at least the severity --fail-on, 1 with some, 2 when a file is damaged or cannot be read at all,
    and 3 when loading it would run code.

    steelyard check model.pt --health
    """
    from steelyard.codecs.archive import archive_of
    from steelyard.measures.check import check_of
    from steelyard.measures.check.outcomes import outcome_of_index, summary
    from steelyard.paths import below
    from steelyard.text.terminal import screen_of

    named, screen = below(args.paths, models=not args.audit_only), screen_of(sys.stdout)
    outcomes: list[Outcome] = []
    policy = _policy(args)
    archives = {archive for file in named if (archive := archive_of(file)) != file}

    def checked(file: str) -> tuple[Any, str]:
        is_index = not named[file] and not args.audit_only and (os.path.basename(file) in PIPELINES or file in archives)
        outcome = outcome_of_index(file, policy) if is_index else _outcome(file, args, policy, stream, named=named[file])
        outcomes.append(outcome)
        imports = _imports(file) if args.imports else None
        record = outcome.to_dict() if imports is None else {**outcome.to_dict(), "imports": imports}
        is_shown = not args.json and outcome.word != "no model"
        return record, _text(outcome, imports or {}, screen, f"{printable(file)}: " if len(named) > 1 else "") if is_shown else ""

    looked_at = named if not args.audit_only else ()
    with streamed(looked_at, args, check_of, args.health, scope="all") as stream:
        status, records = each_file(named, checked)
    errors = {record["file"]: record["error"] for record in records if "error" in record}
    _write(args, outcomes, errors)
    total = summary(outcomes, len(errors))
    if total.no_model == total.files:
        raise FormatError(" ".join(args.paths), f"no model among {total.files:,} file{'s' * (total.files != 1)}")
    _print_total(args, records, total)
    _explain(args, outcomes)
    status = max([status, *(each.status(args.fail_on) for each in outcomes)])
    return 0 if args.write_baseline and not errors else status


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the paths, the checks, what is known and trusted, and the files to write."""
    add_paths(parser)
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument("--health", action="store_true", help="also look for properties that trained nets rarely have")
    scope.add_argument("--audit-only", action="store_true", help="read no numbers: only list what loading the files would run")
    add_effective(parser)
    add_explain(parser)
    add_engine(parser)
    parser.add_argument("--imports", action="store_true", help="also list each class and function that pickles name")
    parser.add_argument(
        "--fail-on",
        choices=("info", "warning", "error"),
        default="warning",
        metavar="LEVEL",
        help="exit with status 1 on findings of at least this severity: info, warning (the default) or error",
    )
    parser.add_argument(
        "--allow",
        metavar="CLASS",
        action="append",
        default=[],
        help="trust a class, as my.nets.Net: warnings about it become info; may be repeated",
    )
    parser.add_argument("--baseline", metavar="FILE", help="do not count the findings in this file, by digest and rule")
    parser.add_argument("--write-baseline", metavar="FILE", help="write all findings as known, and exit with status 0")
    parser.add_argument("--sarif", metavar="FILE", help="write the findings as SARIF 2.1.0, which code hosts show")
    parser.add_argument("--bom", metavar="FILE", help="write a bill of materials: CycloneDX 1.6, with digests and licences")


def _policy(args: argparse.Namespace) -> Policy:
    from steelyard.measures.check.policy import Policy, read_baseline

    return Policy(args.allow, read_baseline(args.baseline) if args.baseline else frozenset())


def _outcome(file: str, args: argparse.Namespace, policy: Policy, stream: Stream | None, *, named: bool) -> Outcome:
    """Check a file; one of a folder may be anything but a model."""
    from steelyard.measures.check.outcomes import outcome, outcome_of_audit, outcome_of_other

    if args.audit_only:
        return outcome_of_audit(file, policy)
    try:
        if stream is None:
            check = _check(file, health=args.health, effective=args.effective, named=named)
        else:
            check = _taken(stream, file, health=args.health, named=named)
    except FormatError as error:
        if named:
            raise
        return outcome_of_other(file, error, policy)
    return outcome(file, check, policy)


def _check(file: str, *, health: bool, effective: bool, named: bool) -> Check:
    """Check a file with a progress bar; a file that cannot be opened may be a model with missing shards."""
    from steelyard.measures.check import checked, listed, model_of, refused
    from steelyard.text.progress import following

    try:
        weights = listed(file, "all", effective=effective)
    except FormatError as error:
        if not named:
            raise
        # a traceback would keep in memory what its frames had read
        return refused(file, error.with_traceback(None), health=health)
    with following(weights, "checking") as everything:
        if not health:
            return checked(everything)
        with following(model_of(file, weights, effective=effective), "checking its health") as model:
            return checked(everything, model)


def _taken(stream: Stream, file: str, *, health: bool, named: bool) -> Check:
    """Take what an engine found; a file that it could not read as weights may be a model with missing shards."""
    from steelyard.measures.check import refused

    try:
        found: Check = stream.of(file)
    except FormatError as error:
        if not named:
            raise
        return refused(file, error, health=health)
    return found


def _imports(file: str) -> dict[str, int]:
    from steelyard.auditing.imports import imports

    return imports(file)


def _text(outcome: Outcome, imports: Mapping[str, int], screen: Any, head: str) -> str:
    from steelyard.text.measured import check_total, import_lines, judged_lines

    judged = judged_lines(outcome)
    painted = [screen.paint(f"{head}{line}", "" if finding is None else finding.severity) for finding, line in judged]
    painted += [f"{head}{line}" for line in import_lines(imports)]
    if screen.width is not None and (total := check_total(outcome.check)):  # a pipe has a line for each finding
        painted.append(total)
    return "\n".join(painted)


def _print_total(args: argparse.Namespace, records: list[Any], total: Any) -> None:
    """Print the summary of several files, and JSON."""
    from steelyard.measures.check.outcomes import common_folder
    from steelyard.text.measured import summary_line
    from steelyard.text.records import plain

    if args.json and len(records) == 1:
        print_records(plain(records))
    elif args.json:
        print_json({"files": plain(records), "summary": total.to_dict()})
    elif len(records) > 1:
        print(summary_line(total, common_folder(record["file"] for record in records)))


def _explain(args: argparse.Namespace, outcomes: list[Outcome]) -> None:
    """Print what the severities and the rules of the findings mean, if that is asked for."""
    if args.explain:
        from steelyard.measures.check.rules import all_rules
        from steelyard.text.explanations import SEVERITIES

        found = [finding for outcome in outcomes for finding in outcome.check.findings]
        rules = {rule: sentence for rule, (_, sentence) in all_rules().items()}
        explain(args, SEVERITIES | rules, (*(each.severity for each in found), *(each.rule for each in found)))


def _write(args: argparse.Namespace, outcomes: list[Outcome], errors: Mapping[str, str]) -> None:
    """Write the files that the options name; names in a bill of materials are relative to the folder that holds all files."""
    if args.write_baseline or args.sarif or args.bom:
        from steelyard.measures.check.outcomes import common_folder
        from steelyard.measures.check.writing import write

        is_folder = len(args.paths) == 1 and os.path.isdir(args.paths[0])
        files = (file for file in (*(each.file for each in outcomes), *errors) if "://" not in file)
        folder = args.paths[0] if is_folder else common_folder(files)
        write(outcomes, errors, baseline=args.write_baseline, sarif=args.sarif, bom=args.bom, folder=folder)
