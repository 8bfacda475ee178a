"""The figures of docs/security.md: what is tested is counted in the repository itself, between two markers of the page."""

import ast
import json
import sys
import tarfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"
TWICE = "changed files of HDF5 and Keras, each read twice; signals, hangs and numbers that nobody wrote; the most that one took"
BEGIN, END = "<!-- figures: scripts/security -->", "<!-- end of figures -->"


def hostile_cases():
    """Return the hostile files of the tests, by what they must get."""
    with tarfile.open(ROOT / "tests" / "data" / "hostile.tar.xz") as archive:
        name = next(member for member in archive if member.name.endswith("hostile.json"))
        return json.loads(archive.extractfile(name).read())["cases"]


def literal(path, name):
    """Return the expression that a module assigns to a name, without importing the module."""
    for node in ast.parse((ROOT / path).read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        if any(isinstance(each, ast.Name) and each.id == name for each in targets):
            return node.value
    raise LookupError(f"{path} assigns nothing to {name}")


def figures():
    """Return the lines of the figures."""
    cases = hostile_cases()
    expected, formats = Counter(case["expect"] for case in cases.values()), Counter(case["format"] for case in cases.values())
    targets = literal("fuzz/targets.py", "TARGETS").keys
    mutators = [path for path in (ROOT / "fuzz" / "mutators").glob("*.py") if path.stem not in ("__init__", "recorded")]
    limits = [node for node in ast.parse((ROOT / "src/steelyard/codecs/limits.py").read_text()).body if _is_limit(node)]
    return [
        "| what | how many |",
        "|---|---|",
        f"| hostile files | {len(cases)}, of {len(formats)} formats: {', '.join(f'{n} {f}' for f, n in formats.most_common())} |",
        f"| of these read, listed in part, refused | {expected['read']}, {expected['list-only']}, {expected['reject']} |",
        f"| targets of the fuzzer, mutators that know a structure | {len(targets)}, {len(mutators)} |",
        f"| {TWICE} | {twice()} |",
        f"| writers swept by kills, full disks and second writers | {writers()} |",
        f"| limits of memory and time | {len(limits)} |",
    ]


def twice():
    """Return what the last long run of fuzz/twice.py measured."""
    found = json.loads((ROOT / "fuzz" / "twice.json").read_text())
    return f"{found['mutants']:,}; {found['faults']}; {found['MB']} MB, {found['s']} s"


def _is_limit(node):
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper()


def writers():
    """Return the number of writers that the tests sweep."""
    sys.path[:0] = [str(ROOT / "tests")]
    from writing.writers import WRITERS

    return len(WRITERS)


def page(text):
    """Return the page with new figures."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([before + BEGIN, "", *figures(), "", END + after])


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
