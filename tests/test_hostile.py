"""Files that try to run code, to fill the memory, to hang or to lie: every one behaves as its manifest says."""

import fcntl
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENV = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1"}
LATER = {"orbax", "rds", "torch-dcp"}
"""Formats that are not read yet."""
WATCHED = {"keras", "keras-h5", "npy", "npz", "onnx", "orbax", "pickle", "joblib", "safetensors-index", "skops", "tf-checkpoint"}
"""Formats with which a file may name a URL: they go together, since one run at a time can watch the network."""
UNHELD = ("st-name-1mb", "st-names-terminal")
"""Files with names that no archive can hold: converting them into one is refused."""

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
import contextlib, io, sys
from steelyard.cli import main
said = io.StringIO()
with contextlib.redirect_stdout(said):
    status = main(["check", sys.argv[1]])
print(said.getvalue(), end="")
if status == 1:  # in the judge's words: 2 where files are missing, 3 where some weights cannot be read, 0 where all can
    kinds = [next((kind for kind in (" cannot be read: ", " is not finite: ", "would have run ", " is missing") if kind in line), "")
             for line in said.getvalue().splitlines()]
    if not kinds or not all(kinds):
        sys.exit(f"Traceback (most recent call last): findings without a kind: {said.getvalue()}")
    status = 2 if " is missing" in kinds else 3 if " cannot be read: " in kinds else 0
    if status == 2:
        print("steelyard:", sys.argv[1], said.getvalue().splitlines()[0], file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def corpus(shared, tmp_path_factory):
    """The hostile files, and the formats among them."""
    folder = tmp_path_factory.mktemp("hostile")
    with tarfile.open(shared / "security" / "hostile.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def formats_of(corpus):
    cases = json.loads((corpus / "hostile.json").read_text())["cases"]
    return {case["format"] for case in cases.values()} - LATER


def judged(shared, corpus, tmp_path, command):
    """Run a command over every file, on both cores, and return what the judge says of each.

    One run at a time: the judge listens on one port of this machine.
    """
    with open(os.path.join(os.path.dirname(corpus.parent), "hostile.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        formats = formats_of(corpus)
        running = []
        for name, part in (("watched", formats & WATCHED), ("others", formats - WATCHED)):
            report = tmp_path / f"{name}.json"
            judge = [sys.executable, str(shared / "security" / "run_hostile.py"), "--corpus", str(corpus), "--cmd", command]
            judge += ["--formats", ",".join(sorted(part)), "--out", str(report), "--timeout", "10", "-v"]
            running.append(
                (report, subprocess.Popen(judge, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
            )
            if name == "watched":
                wait_for_listener(corpus)
        said = [process.communicate()[0] for _, process in running]
    assert "not watched" not in said[0], said[0]
    cases = {}
    for report, _ in running:
        assert report.exists(), said
        cases |= json.loads(report.read_text())["cases"]
    assert {case["format"] for case in cases.values()} == formats
    return cases


def wait_for_listener(corpus):
    """Wait until the first judge has the port, so that it and not the second watches the network."""
    port = f":{json.loads((corpus / 'hostile.json').read_text())['port']:04X} "
    for _ in range(1000):
        if port in Path("/proc/net/tcp").read_text():
            return
        import time

        time.sleep(0.01)
    pytest.fail("the judge does not listen")


def failures(cases):
    """Return what the judge found wrong, and the last line of the error."""
    return {name: (case["bad"], case["error"]) for name, case in cases.items() if case["bad"]}


def python(*arguments):
    """Return a command line of this Python, as the judge takes it."""
    return " ".join(f"'{argument}'" for argument in (sys.executable, *arguments))


def test_reading_does_what_the_manifest_says_of_every_file(shared, corpus, tmp_path):
    cases = judged(shared, corpus, tmp_path, python(shared / "security" / "read_all.py", "{file}"))
    assert not failures(cases)
    assert len(cases) > 400


def test_ls_lists_what_can_be_listed_and_says_in_a_line_why_the_rest_cannot(shared, corpus, tmp_path):
    cases = judged(shared, corpus, tmp_path, python("-m", "steelyard", "ls", "{file}", "--scope", "all"))
    assert not failures(cases)


def test_check_finds_something_or_reads_everything(shared, corpus, tmp_path):
    script = tmp_path / "check.py"
    script.write_text(CHECK)
    cases = judged(shared, corpus, tmp_path, python(script, "{file}"))
    assert not failures(cases)
    assert {case["outcome"] for case in cases.values()} == {"read", "list-only", "reject"}


def test_convert_writes_all_or_nothing(shared, corpus, tmp_path):
    script = tmp_path / "convert.py"
    script.write_text(CONVERT)
    cases = judged(shared, corpus, tmp_path, python(script, "{file}"))

    manifest = json.loads((corpus / "hostile.json").read_text())["cases"]
    for name in UNHELD:
        assert cases.pop(name)["bad"] == ["wrong reject"]
    wrong = failures(cases)
    for name, (bad, error) in list(wrong.items()):
        # one tensor that is refused is enough for nothing to be written; which one is said
        refused = [tensor.replace("/", ".").rpartition(".")[2] for tensor in manifest[name]["refuse"]]
        if manifest[name]["expect"] == "list-only" and bad == ["wrong reject"] and any(leaf in error for leaf in refused):
            del wrong[name]
    assert not wrong
