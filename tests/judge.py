"""Runs a command over the hostile files, and reports what it did wrong with each, if anything.

A command must report a file correctly or refuse it in one clear line, in a little time and memory, and do nothing else: run
no code of the file, write nowhere, open no connection, and read no file that only a hostile name leads to.

A line of JSON that a command prints for a weight has its `name`, and `sha256` of its numbers or the reason in `refused`.
Exit status 0 means that the file was read, 3 that some weights were refused, and all else that the file was.
"""

import contextlib
import hashlib
import json
import os
import queue
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SECONDS = 10  # of the processor
WAITING = 60  # seconds by the clock, which a busy machine may need
MEMORY = 2500 << 20  # bytes
LONGEST_LINE = 100_000
LONGEST_ERROR = 2000
SHORTEST_ERROR = 12
MARK = "CANARY"  # of the names of files that a hostile file has written, if it could
SECRET = "TOP-SECRET"  # the content of the files that no hostile name may reach
WORKERS = 2
TURNING = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
OURS = re.compile(  # the name of an exception of Python's, which explains nothing to a user
    r"(error: *)?(\S+: )?(Key|Index|Attribute|Type|Assertion|UnicodeDecode|UnicodeEncode|Recursion|Overflow|ZeroDivision|Memory"
    r"|Name|ModuleNotFound)Error\b|struct\.error\b|StopIteration\b"
)


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str
    ended_by: str  # "hang" or "memory" where it had to be killed
    side_effects: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """The verdict on a command and a file: the outcome is "read", "list-only" or "reject"."""

    outcome: str
    bad: list[str]
    error: str


class Listener(threading.Thread):
    """Counts the connections to the port that hostile files name."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.hits = 0
        self.own = set()
        self.socket = socket.create_server(("127.0.0.1", port))

    def run(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, (_, port) = self.socket.accept()
                self.hits += port not in self.own
                connection.close()

    def counted(self):
        """Return the connections so far, after all that were made before this call are counted."""
        with socket.socket() as own:
            own.bind(("127.0.0.1", 0))
            self.own.add(own.getsockname()[1])
            own.connect(self.socket.getsockname())
            own.recv(1)  # until it is accepted, after those before it, and closed
        return self.hits

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@contextlib.contextmanager
def pythons():
    """Start as many Pythons as commands may run at a time, and end them afterwards."""
    started = [Python() for _ in range(WORKERS)]
    yield started
    for python in started:
        python.close()


def judge(pythons, corpus, cases, port, argv):
    """Run `python` with these arguments, where "{file}" stands for the file, over all cases; return their verdicts."""
    listener, free = Listener(port), queue.SimpleQueue()
    listener.start()
    for python in pythons:
        free.put(python)

    def one(name):
        python = free.get()
        try:
            return _one(python, corpus, name, cases[name], argv, listener)
        finally:
            free.put(python)

    try:
        with ThreadPoolExecutor(len(pythons)) as pool:
            return dict(zip(cases, pool.map(one, cases), strict=True))
    finally:
        listener.close()


class Python:
    """A Python that runs each command in a fork of itself, one at a time (`prefork.py`)."""

    def __init__(self):
        program = [sys.executable, str(Path(__file__).with_name("prefork.py"))]
        self.process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def start(self, **request):
        """Start a command, and return its process."""
        print(json.dumps(request), file=self.process.stdin)
        return int(self.process.stdout.readline())

    def status(self):
        """Wait for the command, and return its exit status."""
        return int(self.process.stdout.readline())

    def close(self):
        self.process.communicate()


def make_special(corpus, cases):
    """Make the empty folders and hard links that the archive of the cases cannot hold."""
    for name, case in cases.items():
        for place, (kind, *target) in case["special"].items():
            path = corpus / "files" / name / place
            if not os.path.lexists(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.mkdir() if kind == "dir" else os.link(corpus / "files" / name / target[0], path)


def _one(python, corpus, name, case, argv, listener):
    home = Path(tempfile.mkdtemp(prefix="judged-"))
    try:
        watched, own = (corpus, corpus / "files", Path(tempfile.gettempdir()), Path("/")), corpus / "files" / name
        before, hits, state = {each: set(os.listdir(each)) for each in watched}, listener.counted(), _state(own)
        status, ended_by = _execute(python, [word.replace("{file}", str(corpus / case["path"])) for word in argv], home)
        effects = {
            "code executed": os.listdir(home / "canary"),
            "wrote outside": _escaped(before) + [path for path in home.rglob(f"*{MARK}*") if path.parent != home / "canary"],
            "changed input": _state(own) != state,
            "network": listener.counted() != hits,
        }
        said = [(home / stream).read_bytes().decode(errors="backslashreplace") for stream in ("stdout", "stderr")]
        return verdict(case, Run(status, *said, ended_by, tuple(kind for kind, seen in effects.items() if seen)))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _execute(python, argv, home):
    """Run a command to its end, or to that of its time or memory; return its status and what ended it."""
    for folder in ("cwd", "canary", "home", "tmp"):
        (home / folder).mkdir()
    env = {"CANARY_DIR": home / "canary", "HOME": home / "home", "TMPDIR": home / "tmp", "NO_COLOR": "1", "COLUMNS": "120"}
    places = {"cwd": home / "cwd", "stdout": home / "stdout", "stderr": home / "stderr"}
    process = python.start(argv=argv, env={key: str(value) for key, value in env.items()}, **{key: str(at) for key, at in places.items()})  # fmt: skip
    ended_by, deadline = "", time.monotonic() + WAITING
    try:
        ended = os.pidfd_open(process)
    except ProcessLookupError:  # it has ended already
        return python.status(), ""
    try:
        while not ended_by and not select.select([ended], [], [], 0.02)[0]:
            hangs = _worked(process) > SECONDS or time.monotonic() > deadline
            ended_by = "memory" if _largest(process) > MEMORY else "hang" if hangs else ""
    finally:
        os.close(ended)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the process and all that it started
            os.killpg(process, signal.SIGKILL)
    return python.status(), ended_by


def _worked(pid):
    """Return the seconds that a process has kept the processor busy."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _largest(pid):
    """Return the most bytes of memory that a process has had; `ru_maxrss` would count those of its parent too."""
    try:
        return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) << 10
    except (OSError, TypeError):  # it has just ended
        return 0


def _state(folder):
    """Return size and time of last change of every file of a folder."""
    paths = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in paths}


def _escaped(before):
    """Remove the files that a hostile file has written where only a hostile name leads to, and return them."""
    found = [folder / name for folder, known in before.items() for name in set(os.listdir(folder)) - known if MARK in name]
    for path in found:
        path.unlink(missing_ok=True)
    return found


def verdict(case, run):
    """Judge how a command ended on a file."""
    facts = list(_facts(run.stdout))
    refused = any("refused" in fact for fact in facts) or "which cannot be read: " in run.stdout  # the words of `ls`
    outcome = "reject" if run.ended_by or run.status not in (0, 3) else "list-only" if refused or run.status == 3 else "read"
    bad = list(run.side_effects)
    bad += [run.ended_by or "crash"] if run.ended_by or run.status < 0 or run.status > 128 else []
    bad += _leaks(case, run, facts)
    fatal = bool(bad)
    bad += _untidy(case, run, facts)
    if not fatal:
        bad += _untrue(case, facts, outcome)
        bad += _unclear(run.stderr, outcome)
    lines = [line for line in run.stderr.splitlines() if line.strip()]
    return Verdict(outcome, bad, lines[-1][:200] if lines else "")


def _facts(stdout):
    """Yield what a command printed of weights as JSON."""
    for line in stdout.splitlines():
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                fact = json.loads(line)
                if isinstance(fact, dict) and "name" in fact:
                    yield fact


def _leaks(case, run, facts):
    """Whether the output has numbers or words of a file that only a hostile name reaches."""
    forbidden = set()
    for each in case["forbid"]:  # a digest, or a path and how many of its first bytes
        path, _, count = each.rpartition(":")
        forbidden.add(hashlib.sha256(Path(path).read_bytes()[: int(count)]).hexdigest() if path else each)
    seen = {fact.get("sha256") for fact in facts}
    return ["leaked secret"] if SECRET in run.stdout + run.stderr or forbidden & seen else []


def _untidy(case, run, facts):
    """Whether the output would steer or flood a terminal."""
    text = run.stdout + run.stderr
    steered = any(
        (unicodedata.category(c) == "Cc" and c not in "\t\n") or unicodedata.bidirectional(c) in TURNING for c in set(text)
    )
    flooded = any(len(line) > LONGEST_LINE for line in text.splitlines()) and not (facts and case["threat"] == "huge name")
    return ["control characters"] * steered + ["flood"] * flooded


def _untrue(case, facts, outcome):
    """Compare what was read with the manifest's entry of the file."""
    wanted, read = (Counter(fact["sha256"] for fact in some if "sha256" in fact) for some in (case["tensors"].values(), facts))
    allowed = {case["expect"], *case["also"]}
    if outcome == "read" and wanted and not facts:  # a command that prints no JSON reports it by its exit status alone
        fits = bool(allowed & {"read", "list-only"})
    else:
        fits = outcome in allowed or (outcome == "list-only" and "reject" in allowed and not read)
    if not fits:
        return ["wrong reject" if outcome == "reject" else "wrong accept"]
    if outcome == "reject" or not facts or case["survive"]:
        return []
    few = bool(wanted - read) and not (outcome == "list-only" and case["expect"] == "reject")
    refuse = {_leaf(name) for name in case["refuse"]}
    many = "read" not in allowed and any(
        fact["sha256"] not in wanted and _leaf(fact["name"]) in refuse for fact in facts if "sha256" in fact
    )
    return ["wrong values"] * few + ["wrong accept"] * many


def _leaf(name):
    return name.replace("/", ".").rpartition(".")[2]


def _unclear(stderr, outcome):
    """Whether an error is a traceback, or explains nothing."""
    if "Traceback (most recent call last)" in stderr:
        return ["traceback"]
    last = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "")
    unclear = not SHORTEST_ERROR <= len(last) <= LONGEST_ERROR or OURS.match(last)
    return ["unclear error"] if outcome == "reject" and unclear else []
