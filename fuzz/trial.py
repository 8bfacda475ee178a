"""All commands on one changed file, in a process of its own with limits, and what they did wrong.

A command must read a file or refuse it in one clear line, within little time and memory, and do nothing else. The process
is a fork of this one, which has imported what the commands need, so that it starts in milliseconds.
"""

import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import h5py  # noqa: F401 - it runs `uname` when it is imported, which is no fault of a command

from steelyard.cli import main
from steelyard.core import plugins

SECONDS = 10
"""CPU time that a command may take."""
MEMORY = 400 << 20  # bytes, in addition to the 60 MiB of an idle process
ADDRESSES = 4 << 30  # bytes of address space, which protect this machine
WAITED = 300  # seconds until a process that uses no CPU is ended: a busy machine may take some
OUTPUT = 256 << 20  # bytes that a command may write
LONGEST_LINE = 100_000
WRITTEN = (".npz", ".safetensors", ".pt", ".h5", ".msgpack", ".gguf", ".rds", ".keras", ".npy", ".safetensors.index.json")
"""Suffixes of what `convert` writes."""
STATUSES = {"check": (0, 1, 2, 3), "diff": (0, 1, 2)}
"""The exit statuses of commands that report findings: 1 for some, and of `check` 2 for damage and 3 for code."""
PYTHON = re.compile(  # the name of an exception of Python's, which explains nothing to a user
    r"error: (\S+: )?'?\w*(Key|Index|Attribute|Type|Value|Assertion|Unicode\w+|Recursion|Overflow|ZeroDivision|Name)Error\b"
)
READABLE = tuple({*map(os.path.realpath, (sys.prefix, sys.base_prefix, Path(__file__).parents[1] / "src")), os.devnull})
"""Folders that Python itself reads."""
PROCESS = "/proc/self/"
"""The folder of what the system knows of this process, such as its libraries."""
CHANGES = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate", "shutil.rmtree"}
NEVER = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class", "code.__new__"}

FRAMEWORKS = {*plugins.names("frameworks"), "tensorflow", "onnx", "onnxruntime", "transformers"} - {"numpy", "steelyard"}
"""What no command may import."""


@dataclass
class Trial:
    """How the commands ended: `wrong` has a line for each fault, and `signature` is equal for files that ended alike."""

    wrong: list[str] = field(default_factory=list)
    signature: tuple = ()
    modules: list[str] = field(default_factory=list)


def attempt(files, opened, sample, turn):
    """Run all commands on a model in these files, of which `opened` is the path, and return the `Trial`.

    `sample` is the path of a sound file, for `diff` and `transfer`; the number `turn` chooses among options.
    """
    home = Path(tempfile.mkdtemp(prefix="steelyard-fuzz-"))
    try:
        for name, data in files.items():
            (home / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (home / "in" / name).write_bytes(data)
        (home / "out").mkdir()
        gc.collect()
        gc.freeze()  # the child shares the memory of what it does not touch
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer Pythons warn of threads, such as those of a test's frameworks
            child = os.fork()
        if not child:
            _run_child(home, opened, sample, turn)
        gc.unfreeze()
        return _ended(child, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def kind(fault):
    """Return a fault without the words that differ from file to file."""
    return re.sub(r"[0-9][0-9,]*|'.*'|\S*/\S*", "#", fault)[:150]


def preload(modules):
    """Import what a child has imported, so that the next one need not."""
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def warm(path, *suffixes):
    """Run the commands on a sound file in this process, so that each child has what a first run imports and computes.

    What they print and how they end is of no interest here: children run them again.
    """
    before = {*sys.modules}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        commands = [["ls", "--json", path], ["check", "--health", path], ["digest", path], ["stats", path], ["diff", path, path]]
        commands += [["convert", path, f"{folder}/weights{suffix}"] for suffix in suffixes]
        commands += [
            ["transfer", path, "--into", path, "-o", f"{folder}/given.npz"],
            ["report", path, "-o", f"{folder}/page.html"],
        ]
        for argv in commands:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                main(argv)
    if imported := FRAMEWORKS & {*sys.modules} - before:  # which no child would notice
        raise ImportError(f"a command imported {sorted(imported)}")


def _ended(child, home):
    """Wait for the process, and return what it reported."""
    ended = os.pidfd_open(child)
    hangs = not select.select([ended], [], [], WAITED)[0]
    os.close(ended)
    if hangs:
        os.kill(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    reports = [json.loads(line) for line in (home / "report").read_text().splitlines()] if (home / "report").exists() else []
    trial = Trial()
    for report in reports:
        trial.wrong += report.get("wrong", [])
        trial.modules += report.get("modules", [])
    trial.signature = tuple(report["ended"] for report in reports if "ended" in report)
    during = next((report["begins"] for report in reversed(reports) if "begins" in report), "start")
    if hangs:
        trial.wrong.append(f"{during}: hangs without using the CPU")
    elif os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF:
        trial.wrong.append(f"{during}: takes more than {SECONDS} s")
    elif status:
        trial.wrong.append(f"{during}: ended by {os.waitstatus_to_exitcode(status)}")
    most = next((report["most"] for report in reports if "most" in report), MEMORY >> 20)
    if used.ru_maxrss >> 10 > most and not any("MiB" in line for line in trial.wrong):
        trial.wrong.append(f"{during}: takes {used.ru_maxrss >> 10} MiB")
    return trial


def _run_child(home, opened, sample, turn):
    """Run every command and report; never returns."""
    status = 1
    try:
        os.chdir(home)
        child = _Child(home, opened, sample, turn)
        child.run()
        status = 0
    except BaseException:  # noqa: BLE001 - a mistake of the fuzzer itself must be seen
        with (home / "report").open("a") as report:
            report.write(json.dumps({"wrong": [f"fuzzer: {traceback.format_exc()}"]}) + "\n")
    finally:
        os._exit(status)


class _Child:
    """The process that runs the commands: its limits, its output, its reports."""

    def __init__(self, home, opened, sample, turn):
        self.home = home
        self.file = str(home / "in" / opened).rstrip("/")
        self.sample = sample
        self.readable = (*READABLE, os.path.dirname(os.path.realpath(sample)))
        self.turn = turn
        self.report = os.open(home / "report", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.streams = [os.open(home / name, os.O_RDWR | os.O_CREAT) for name in ("stdout", "stderr")]
        self.before = _state(home / "in")
        self.escapes = []
        self.watching = False
        self.peak = 0

    def run(self):
        """Run the commands in turn."""
        for number, stream in enumerate(self.streams, 1):
            os.dup2(stream, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
        addresses, resident = (int(pages) * resource.getpagesize() for pages in Path("/proc/self/statm").read_text().split()[:2])
        self.most = (resident + MEMORY) >> 20  # MiB: what the process had before, such as a test's frameworks, is not counted
        self._tell(most=self.most)
        resource.setrlimit(resource.RLIMIT_AS, (addresses + ADDRESSES,) * 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT, OUTPUT))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        warnings.simplefilter("error")
        sys.dont_write_bytecode = True
        sys.addaudithook(self._audit)
        self._run_all()
        self._tell(modules=[name for name in sys.modules if name.partition(".")[0] != "__main__"])

    def _run_all(self):
        listed = self._command("ls", "--json", "--scope", "all", "--", self.file)
        names = self._names(listed)
        turn = self.turn
        skip = ["--skip-unreadable"] * (turn // 20 % 2)
        for name in (names[turn % len(names)], names[-1]) if names else ():
            self._command("show", "--scope", "all", "--", self.file, name)
        self._command("check", "--health", self.file)
        self._same_numbers()
        self._command("stats", "--scope", "all", self.file, *skip)
        self._convert(WRITTEN[turn % len(WRITTEN)], "--scope", ("model", "all")[turn // 10 % 2], *skip)
        self._command("diff", self.sample, self.file, *skip)
        if turn % 3:
            self._written("transfer", self.sample, "--into", self.file, "-o", f"out/taken{Path(self.file).suffix}")
        else:
            self._written("transfer", self.file, "--into", self.sample, "-o", "out/given.npz", "--resize", "pad")
        self._written("report", self.file, "-o", "out/page.html", *(["--before", self.sample] * (turn % 2)), *skip)
        if _state(self.home / "in") != self.before:
            self._tell(wrong=["commands changed the files that they read"])

    def _names(self, listed):
        status, out = listed
        if status:
            return []
        try:
            listed = json.loads(out)
            return [weight["name"] for file in (listed if isinstance(listed, list) else [listed]) for weight in file["weights"]]
        except (ValueError, KeyError, TypeError) as error:
            self._tell(wrong=[f"ls: prints JSON that cannot be read: {error!r}"])
            return []

    def _same_numbers(self):
        """Digest twice, with fresh memory that is filled with another byte: a number that nobody wrote would differ."""
        digests = []
        for byte in (0x55, 0xAA):
            _perturb(byte)
            digests.append(self._command("digest", "--scope", "all", self.file))
        _perturb(0)
        if digests[0] != digests[1]:
            self._tell(wrong=["digest: differs between two runs"])

    def _convert(self, suffix, *options):
        out = f"out/weights{suffix}"
        if self._written("convert", self.file, out, *options, keep=True) == 0:
            status, _ = self._command("digest", "--scope", "all", out)
            if status:
                self._tell(wrong=[f"convert: wrote a {suffix} that cannot be read: {self.error}"])
        shutil.rmtree("out")
        os.mkdir("out")

    def _written(self, *argv, keep=False):
        """Run a command that writes into `out`; one that fails must leave nothing there."""
        status, _ = self._command(*argv)
        left = sorted(os.listdir("out"))
        partly = argv[0] == "report" and "weights cannot be read" in self.error
        if status and left and not partly:
            self._tell(wrong=[f"{argv[0]}: failed, but left {left}"])
        if not status and (not left or any(name.startswith(".") for name in left)):
            self._tell(wrong=[f"{argv[0]}: succeeded, but left {left}"])
        if not keep:
            shutil.rmtree("out")
            os.mkdir("out")
        return status

    def _command(self, *argv):
        """Run one command; return its status and output, and report what was wrong."""
        for stream in self.streams:
            os.ftruncate(stream, 0)
            os.lseek(stream, 0, os.SEEK_SET)
        self._tell(begins=argv[0])
        wrong, status = [], -1
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        self.watching = True
        try:
            status = main(list(argv))
        except BaseException as error:  # noqa: BLE001 - that none comes out is what is tested
            self.watching = False  # the traceback reads our files
            wrong.append(f"{argv[0]}: traceback: {_place(error)}")
        finally:
            self.watching = False
            signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = (os.pread(stream, os.fstat(stream).st_size, 0).decode(errors="backslashreplace") for stream in self.streams)
        wrong += [f"{argv[0]}: {what}" for what in [*_faults(argv[0], status, out, err), *self._costs(), *self.escapes]]
        self.escapes = []
        self.error = next((line for line in err.splitlines() if line.startswith("error:")), "")
        self._tell(ended=f"{argv[0]} {status} {kind(self.error)}", wrong=wrong)
        return status, out

    def _costs(self):
        """Report memory, once."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10  # MiB
        if peak > self.most >= self.peak:
            yield f"takes {peak} MiB"
        self.peak = peak

    def _tell(self, **report):
        os.write(self.report, f"{json.dumps(report)}\n".encode())

    def _audit(self, event, args):
        """Note what a command does to other files, to other programs or to the network."""
        if not self.watching:
            return
        if event == "open" and isinstance(args[0], (str, bytes)):
            self._open(os.fsdecode(args[0]), args[1], args[2])
        elif event == "import" and args[0].partition(".")[0] in FRAMEWORKS:
            self.escapes.append(f"imports {args[0]}")
        elif event.startswith("socket.") or event in NEVER:
            self.escapes.append(f"{event} {str(args)[:200]}")
        elif event in CHANGES:
            folder = os.readlink(f"{PROCESS}fd/{args[-1]}") if isinstance(args[-1], int) and args[-1] >= 0 else ""
            self._stay(event, [os.path.join(folder, os.fsdecode(each)) for each in args if isinstance(each, (str, bytes))], "out")

    def _open(self, path, mode, flags):
        writes = (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or any(c in (mode or "") for c in "wax+")
        if writes:
            if path != os.devnull:
                self._stay("open", [path], "out")
        elif not path.startswith(PROCESS) and not os.path.realpath(path).startswith(self.readable):
            self._stay("open", [path], "")

    def _stay(self, event, paths, folder):
        own = os.path.realpath(self.home / folder)
        for path in map(os.fsdecode, paths):
            if not f"{os.path.realpath(path)}/".startswith(f"{own}/"):
                self.escapes.append(f"{event} of {path}, which is outside")


def _perturb(byte):
    """Let the C library fill fresh memory with a byte."""
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(-6, byte)  # M_PERTURB


def _faults(command, status, out, err):
    """Return what is wrong with the way in which a command ended."""
    lines = err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    if status not in (*STATUSES.get(command, (0, 2)), -1):
        yield f"exit status {status}"
    reported = command == "check" and out  # damage that it found is not an error, and a file of several may be refused
    if status != -1 and len(errors) != (status == 2) and not (reported and status == 2):
        yield f"exit status {status} with {len(errors)} lines of errors: {errors[:3]}"
    for line in lines:
        if not line.startswith(("error: ", "warning: ")):
            yield f"a line that is neither an error nor a warning: {line[:300]!r}"
            break
    if unclear := next(filter(PYTHON.match, errors), None):
        yield f"unclear error: {unclear[:300]}"
    if "not enough memory" in err:
        yield f"asks for too much memory: {err[-300:]}"
    if strange := next((c for c in set(out + err) if not c.isprintable() and c not in "\n\t"), None):
        yield f"prints {strange!r}"
    if command != "ls" and any(len(line) > LONGEST_LINE for line in (out + err).splitlines()):
        yield "floods the terminal"


def _place(error):
    """Return the type, the place and the message of an exception."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "steelyard" in frame.filename]
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames[-3:]))
    return f"{type(error).__name__} in {where}: {str(error)[:200]}"


def _state(folder):
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}
