"""Files that try to run code, fill the memory, hang or mislead: for each, every command does what its manifest expects."""

import fcntl
import json
import socket
from pathlib import Path

import carried
import judge
import pytest

ROOT = Path(__file__).parents[1]
LATER = {"rds"}
"""Formats that are not read yet."""
UNHELD = ("st-name-1mb", "st-names-terminal", "npz-extra-member")
"""Files with names that no archive can hold, or with a member that is not an array: converting them is refused."""

READ = """
import hashlib, json, sys
import steelyard
from steelyard.errors import SteelyardError

def fact(weight):
    try:
        array = weight.numpy()
    except SteelyardError as error:
        return {"refused": str(error)}
    return {"sha256": hashlib.sha256(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()).hexdigest()}

try:
    weights = steelyard.weights(sys.argv[1], scope="all")
    facts = [{"name": name, **fact(weight)} for name, weight in weights.items()]
except SteelyardError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
print(*map(json.dumps, facts), sep="\\n")
sys.exit(3 if any("refused" in each for each in facts) else 0)
"""

CONVERT = """
import os, sys
from steelyard.cli import main
status = main(["convert", sys.argv[1], "out.npz", "--scope", "all"])
left = os.listdir(".")
if left != ([] if status else ["out.npz"]):
    sys.exit(f"Traceback (most recent call last): left behind {left}")
sys.exit(status)
"""


CHECK = """
import contextlib, io, json, sys
from steelyard.cli import main
said = io.StringIO()
with contextlib.redirect_stdout(said):
    status = main(["check", sys.argv[1], "--json"])
print(said.getvalue(), end="")
found = json.loads(said.getvalue() or "{}").get("findings", [])
if found:  # in the judge's words: 2 where nothing can be read, 3 where some weights cannot be read, 0 where all can
    code = any(each["kind"] == "code" and each["severity"] == "error" for each in found)
    if (status == 3) != code or not status and any(each["severity"] != "info" for each in found):
        sys.exit(f"Traceback (most recent call last): status {status} for {found}")
    kinds = {each["kind"] for each in found}
    refused = [each["what"] for each in found if each["kind"] == "missing shard" or each["what"].startswith("cannot be read: ")]
    status = 2 if refused else 3 if "unreadable" in kinds else 0
    if refused:
        print("steelyard:", sys.argv[1], refused[0], file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def manifest():
    """What is known of the hostile files of the formats that are read."""
    manifest = json.loads((carried.folder("hostile") / "hostile.json").read_text())
    judge.make_special(carried.folder("hostile"), manifest["cases"])
    return {**manifest, "cases": {name: case for name, case in manifest["cases"].items() if case["format"] not in LATER}}


@pytest.fixture(scope="module")
def pythons():
    with judge.pythons() as started:
        yield started


def judged(pythons, manifest, *argv):
    """Run Python with these arguments over every file, and return the verdicts.

    One run at a time on this machine: the files name one port.
    """
    with (carried.DATA / "hostile.tar.xz").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return judge.judge(pythons, carried.folder("hostile"), manifest["cases"], manifest["port"], argv)


def failures(verdicts):
    """Return what is wrong, and the last line of the error."""
    return {name: (verdict.bad, verdict.error) for name, verdict in verdicts.items() if verdict.bad}


def test_reading_does_what_the_manifest_says_of_every_file(pythons, manifest):
    verdicts = judged(pythons, manifest, "-c", READ, "{file}")
    assert not failures(verdicts)
    assert len(verdicts) > 400


def test_ls_lists_what_can_be_listed_and_says_in_a_line_why_the_rest_cannot(pythons, manifest):
    assert not failures(judged(pythons, manifest, "-m", "steelyard", "ls", "{file}", "--scope", "all"))


def test_check_finds_something_or_reads_everything(pythons, manifest):
    verdicts = judged(pythons, manifest, "-c", CHECK, "{file}")
    assert not failures(verdicts)
    assert {verdict.outcome for verdict in verdicts.values()} == {"read", "list-only", "reject"}


def test_convert_writes_all_or_nothing(pythons, manifest):
    verdicts = judged(pythons, manifest, "-c", CONVERT, "{file}")
    for name in UNHELD:
        assert verdicts.pop(name).bad == ["wrong reject"]
    wrong = failures(verdicts)
    for name, (bad, error) in list(wrong.items()):
        # one refused tensor is enough for nothing to be written; the error names it
        case = manifest["cases"][name]
        refused = [tensor.replace("/", ".").rpartition(".")[2] for tensor in case["refuse"]]
        if case["expect"] == "list-only" and bad == ["wrong reject"] and any(leaf in error for leaf in refused):
            del wrong[name]
    assert not wrong


BENIGN = {"expect": "read", "also": [], "tensors": {}, "refuse": [], "forbid": [], "survive": False, "threat": ""}


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        ("print('fine')", []),
        ("import sys; sys.exit('the file is cut off at byte 12')", ["wrong reject"]),
        ("import sys; sys.exit('KeyError: 12 is missing')", ["wrong reject", "unclear error"]),
        ("{}[1]", ["wrong reject", "traceback"]),
        ("print('\\x1b[2J')", ["control characters"]),
        ("print('x' * 200_000)", ["flood"]),
        ("print('TOP-SECRET')", ["leaked secret"]),
        ("import os; open(os.environ['CANARY_DIR'] + '/x', 'w')", ["code executed"]),
        ("open('CANARY_ESCAPE', 'w')", ["wrote outside"]),
        ("import sys; open(sys.argv[1], 'a').write('!')", ["changed input"]),
        ("import socket; socket.create_connection(('127.0.0.1', int(sys.argv[2])))", ["network"]),
        ("import os; os.abort()", ["crash"]),
        ("while True: pass", ["hang"]),
        ("import signal; signal.pause()", ["hang"]),
        ("x = b'1' * (220 << 20); import signal; signal.pause()", ["memory"]),
        ('print(\'{"name": "w", "sha256": "12"}\')', []),
        ('print(\'{"name": "w", "refused": "too large"}\')', ["wrong accept"]),
    ],
)
def test_the_judge_sees_what_a_command_does_wrong(pythons, tmp_path, monkeypatch, code, bad):
    monkeypatch.setattr(judge, "SECONDS", 1)
    monkeypatch.setattr(judge, "WAITING", 5)
    monkeypatch.setattr(judge, "MEMORY", 200 << 20)
    (tmp_path / "files" / "x").mkdir(parents=True)
    (tmp_path / "files" / "x" / "file").write_text("hello")
    port = free_port()
    argv = ["-c", f"import sys; {code}" if code[0] != "w" else code, "{file}", str(port)]
    verdicts = judge.judge(pythons, tmp_path, {"x": {**BENIGN, "path": "files/x/file"}}, port, argv)
    assert verdicts["x"].bad == bad


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize(("digest", "bad"), [("12", []), ("13", ["wrong values"])])
def test_the_judge_sees_wrong_numbers(digest, bad):
    said = json.dumps({"name": "w", "sha256": digest})
    case = {**BENIGN, "tensors": {"w": {"sha256": "12"}}}
    assert judge.verdict(case, judge.Run(0, said, "", "", ())).bad == bad
