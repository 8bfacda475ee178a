"""What one scanner says of files, for benchmarks/audit.py: run in the environment of the scanner, TOOL < FILES > VERDICTS.

The files are a list in JSON, and so are the verdicts: "yes" for a file of which the tool would warn, by its own threshold,
"no" for one that it passes, "error" for one on which it gives up.
"""

import contextlib
import importlib.metadata
import json
import logging
import os
import sys
import tempfile

FOUND, SILENT, GAVE_UP = "yes", "no", "error"


def steelyard():
    from steelyard.auditing import audit

    return lambda path: FOUND if any(finding.severity != "info" for finding in audit(path).findings) else SILENT


def picklescan():
    from picklescan.scanner import scan_file_path

    def said(path):
        result = scan_file_path(path, strict=True)
        return FOUND if result.issues_count else GAVE_UP if result.scan_err else SILENT

    return said


def modelscan():
    from modelscan.modelscan import ModelScan

    def said(path):
        result = ModelScan().scan(path)
        return FOUND if result["issues"] else GAVE_UP if result["errors"] else SILENT

    return said


def fickling():
    from fickling.cli import main

    os.chdir(tempfile.mkdtemp())  # it writes a report there
    return lambda path: {0: SILENT, 1: FOUND}.get(main(["fickling", "--check-safety", path]), GAVE_UP)


def modelaudit():
    from modelaudit.core import determine_exit_code, scan_model_directory_or_file

    return lambda path: {0: SILENT, 1: FOUND}.get(determine_exit_code(scan_model_directory_or_file(path)), GAVE_UP)


def hayward():
    from pathlib import Path

    from hayward import ModelFileScanner, is_coverage_gap

    def said(path):
        found = ModelFileScanner().scan_file(Path(path))
        if any(finding.severity.value in ("critical", "high") for finding in found):
            return FOUND
        return GAVE_UP if any(map(is_coverage_gap, found)) else SILENT

    return said


def weightguard():
    from pathlib import Path

    from weightguard import Severity, scan_path

    return lambda path: FOUND if scan_path(Path(path)).fails(Severity.HIGH) else SILENT


TOOLS = {tool.__name__: tool for tool in (steelyard, picklescan, modelscan, fickling, modelaudit, hayward, weightguard)}


def verdict(said, path):
    try:
        return said(path)
    except Exception:  # noqa: BLE001 - a tool may raise anything
        return GAVE_UP


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    tool = sys.argv[1]
    files = json.load(sys.stdin)
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
        said = TOOLS[tool]()
        verdicts = [verdict(said, path) for path in files]
    json.dump({"version": importlib.metadata.version(tool), "verdicts": verdicts}, sys.stdout)
