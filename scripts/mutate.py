"""Mutation testing: change one line of a module, run the tests nearest to it, and report the changes that survive."""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/steelyard"
COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
COMPARISONS |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult}
OPERATORS |= {ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}


def changed(node):
    """Return the node with one meaning changed, or None where there is nothing to change."""
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in COMPARISONS:
            return ast.Compare(node.left, [COMPARISONS[type(op)](), *node.ops[1:]], node.comparators)
        case ast.BinOp() if type(node.op) in OPERATORS and not isinstance(node.left, ast.Name | ast.Constant | ast.BinOp):
            return ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
        case ast.BoolOp():
            return ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
        case ast.UnaryOp(op=ast.Not()):
            return node.operand
        case ast.Constant(value=bool() | int() as value):
            return ast.Constant(not value if isinstance(value, bool) else value + 1)
    return None


def runs(tree):
    """Yield the nodes that run when a function is called: no annotations, no defaults, no docstrings."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in function.body:
                yield from (node for node in ast.walk(statement) if not isinstance(node, ast.FunctionDef))


def mutants(path):
    """Return (line number, new line, new text) of every change that can be made to a file, each on one line."""
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    found = {}
    for node in runs(ast.parse(text)):
        new = changed(node)
        if new is None or node.lineno != node.end_lineno:
            continue
        line = lines[node.lineno - 1].encode()
        made = line[: node.col_offset] + f"({ast.unparse(new)})".encode() + line[node.end_col_offset :]
        if b'f"' not in line and b"f'" not in line:  # positions inside f-strings are not those of the line
            before, after = "".join(lines[: node.lineno - 1]), "".join(lines[node.lineno :])
            found[node.lineno, made] = (node.lineno, made.decode(), before + made.decode() + after)
    return list(found.values())


def nearest(path):
    """Return the tests that mirror a module: its own file, that of its folder, or the folder."""
    part = path.relative_to(SOURCE).with_suffix("")
    own = ROOT / "tests" / part.parent / f"test_{part.name}.py"
    folder = ROOT / "tests" / part.parent
    return own if own.exists() else next(each for each in (folder, *folder.parents) if each.is_dir())


def survives(path, text, tests, limit):
    """Return whether the tests pass with this text in place of the module."""
    with tempfile.TemporaryDirectory() as work:
        copied = Path(work) / "src"
        shutil.copytree(ROOT / "src", copied, ignore=shutil.ignore_patterns("__pycache__"))
        (copied / path.relative_to(ROOT / "src")).write_text(text)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-o", f"pythonpath={copied} tests", str(tests)]
        environment = {**os.environ, "PYTHONPATH": str(copied), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            return not subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, timeout=limit, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return False


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=10, help="changes tried in each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tests", type=Path, help="the tests to run, in place of those that mirror the module")
    parser.add_argument("--limit", type=int, default=300, help="seconds for one run; a longer one counts as noticed")
    args = parser.parse_args()
    tried = survived = 0
    for path in (each.resolve() for each in args.modules):
        tests = args.tests or nearest(path)
        if not survives(path, path.read_text(), tests, args.limit):
            sys.exit(f"{tests.relative_to(ROOT)} fails without any change")
        every = mutants(path)
        for number, line, text in random.Random(args.seed).sample(every, min(args.count, len(every))):
            alive = survives(path, text, tests, args.limit)
            tried, survived = tried + 1, survived + alive
            print("SURVIVED" if alive else "noticed ", f"{path.relative_to(ROOT)}:{number}", line.strip(), flush=True)
    print(f"{survived} of {tried} changes survived")


if __name__ == "__main__":
    main()
