"""Runs every command in bad surroundings, each in a fork: streams that are closed, full or broken, and things that are no files.

Usage: python surroundings.py FOLDER, which prints what happened as JSON. The fork ends as the interpreter would: by flushing.
"""

import builtins
import contextlib
import errno
import io
import itertools
import json
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np
from forking import forked

import steelyard
from steelyard.cli import COMMANDS, main

ODD = "a\n\x1b[31m\udcff\u202e"
"""A part of names that would break a line, colour a terminal, turn the reading direction, and is not UTF-8."""
NET = {"fc1.weight": np.ones((4, 3), "f4"), "fc1.bias": np.arange(4, dtype="f4"), f"fc2.{ODD[:-2]}": np.ones(2, "f4")}
SECONDS = 60
"""A command that waits longer, as for a pipe that no one writes to, is ended."""
STREAMS = (
    "stdout closed",
    "stdout full",
    "stdout broken",
    "stdin closed",
    "stderr closed",
    "stderr full",
    "all closed",
    "interrupt",
)
HELP = (["--help"], ["--version"], ["help", "ls"])
PLACES = ("folder", "null", "pipe", "unreadable", "missing", "empty", "odd")


def command_lines(file, net, out):
    """Return the arguments of every command with this file, by command; `net` is a sound file where there are two."""
    return {
        "ls": [["ls", file], ["ls", file, net], ["ls", "--json", file]],
        "show": [["show", file, "fc1.weight"], ["show", "--json", file, "fc1.bias"]],
        "vector": [["vector", file, "-o", f"{out}/v.npy"]],
        "convert": [["convert", file, f"{out}/o.npz"], ["convert", "--json", file, f"{out}/o.npz"], ["convert", net, "--like", file, f"{out}/o.npz"]],
        "export": [["export", file, "-o", f"{out}/o.h"], ["export", "--json", file, "-o", f"{out}/o.bin"], ["export", file, "-o", f"{out}/o.rs", "--dry-run"]],
        "transfer": [["transfer", file, "--into", net, "-o", f"{out}/o.npz"], ["transfer", net, "--into", file, "--plan"],
                     ["transfer", net, "--into", net, "--plan", "--rules", file], ["transfer", net, "--into", net, "--plan", "--pairs", file]],
        "check": [["check", "--health", file], ["check", "--json", file]],
        "digest": [["digest", file], ["digest", "-c", file], ["digest", "--json", file]],
        "stats": [["stats", file], ["stats", "--json", file], ["stats", file, "-o", f"{out}/t.csv"]],
        "layers": [["layers", file], ["layers", "--json", file], ["layers", file, "-o", f"{out}/t.csv"]],
        "size": [["size", file], ["size", "--json", file, "--fits", "8GB"], ["size", file, "-o", f"{out}/t.csv"]],
        "grid": [["grid", file], ["grid", "--json", file, "--before", net], ["grid", net, "--before", file], ["grid", file, "-o", f"{out}/g.csv"]],
        "diff": [["diff", file, net], ["diff", "--json", net, file], ["diff", file, net, "-o", f"{out}/t.csv"]],
        "save-patch": [["save-patch", file, net, "-o", f"{out}/p.safetensors"]],
        "apply-patch": [["apply-patch", net, file, "-o", f"{out}/o.npz"]],
        "history": [["history", file], ["history", "--json", file, net], ["history", file, net, "-o", f"{out}/t.csv"]],
        "pack": [["pack", file], ["pack", "--back", file, "-o", f"{out}/r"], ["pack", "--json", "--back", file, "-o", f"{out}/r"]],
        "spectra": [["spectra", file], ["spectra", "--json", file], ["spectra", file, "-o", f"{out}/t.csv"]],
        "lineage": [["lineage", net, file, net], ["lineage", "--json", file, net], ["lineage", file, net, "-o", f"{out}/t.csv"]],
        "catalog": [["catalog", file, "-o", f"{out}/c.parquet"], ["catalog", "--json", file, net, "-o", f"{out}/c.parquet"],
                    ["catalog", "query", file, "formats"]],
        "average": [["average", net, file, "-o", f"{out}/o.npz"], ["average", "--json", file, net, "--dry-run"]],
        "merge": [["merge", net, file, "-o", f"{out}/o.npz"], ["merge", "--json", file, net, "--dry-run"]],
        "prune": [["prune", file, "--amount", "0.5", "-o", f"{out}/o.npz"], ["prune", "--json", file, "--amount", "0.5", "--dry-run"]],
        "quantize": [["quantize", file, "--to", "int8", "-o", f"{out}/o.npz"], ["quantize", "--json", file, "--to", "nf4", "--dry-run"]],
        "factorize": [["factorize", file, "--rank", "1", "-o", f"{out}/o.npz"], ["factorize", file, "--rank", "1", "--dry-run"]],
        "plot": [["plot", file, "-o", f"{out}/p.png"]],
        "report": [["report", file, "-o", f"{out}/r.html"], ["report", "--json", file, "-o", f"{out}/r.html"]],
        "serve": [["serve", file, "--port", "x"]],
        "completion": [["completion", "--line", "show", file, ""], ["completion", "bash"]],
    }  # fmt: skip


def make(folder):
    """Make the sound file, and all that stands in the place of a file."""
    places = {name: str(folder / f"{name}.npz") for name in PLACES}
    places["odd"] = str(folder / f"{ODD}.npz")
    for path in (folder / "net.npz", places["odd"], places["unreadable"]):
        steelyard.save(NET, path)
    os.mkdir(places["folder"])
    os.mkfifo(places["pipe"])
    places["null"] = "/dev/null"
    Path(places["empty"]).touch()
    return str(folder / "net.npz"), places


def disturb(stream):
    """Close or break streams of this process as a shell would before it starts; return a file with what is printed to stderr."""
    said = os.memfd_create("stderr")
    os.dup2(said, 2)
    out = os.memfd_create("stdout")
    os.dup2(out, 1)
    which, _, how = stream.partition(" ")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if which not in (name, "all"):
            continue
        if how == "closed":
            os.close(number)
        elif how == "full":
            os.dup2(os.open("/dev/full", os.O_WRONLY), number)
        else:
            reading, writing = os.pipe()
            os.close(reading)
            os.dup2(writing, number)
    sys.stdin, sys.stdout, sys.stderr = (_opened(number) for number in range(3))
    if stream == "interrupt":
        _interrupt()
    return out, said


def _opened(number):
    """Open a stream as the interpreter does at start-up: None where it is closed."""
    try:
        os.fstat(number)
    except OSError:
        return None
    buffer = io.BufferedReader(io.FileIO(0)) if number == 0 else io.BufferedWriter(io.FileIO(number, "w", closefd=False))
    return io.TextIOWrapper(buffer, "utf-8", errors="backslashreplace" if number == 2 else "strict", line_buffering=number == 2)


def _interrupt():
    """Let the first file be opened as if Ctrl-C were pressed at that moment."""

    def opened(*args, **options):
        raise KeyboardInterrupt

    os.open = opened


def _forbid(path):
    """Let a file be unreadable, as it is to all but root."""
    real_os, real = os.open, open

    def refused(function):
        def opened(name, *args, **options):
            if os.fspath(name) == path if isinstance(name, (str, os.PathLike)) else False:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
            return function(name, *args, **options)

        return opened

    os.open, builtins.open = refused(real_os), refused(real)


def run(argv, stream, forbidden):
    """Run a command to its end and that of its interpreter; return its status, and what it printed."""
    signal.alarm(SECONDS)
    kept = os.dup(1)
    out, said = disturb(stream)
    if forbidden:
        _forbid(forbidden)
    try:
        status = main(argv)
    except SystemExit as error:
        status = error.code
    except KeyboardInterrupt:
        status = "a traceback of KeyboardInterrupt"
    except BaseException:
        status = traceback.format_exc()[-1500:]
    late = _flushed(sys.stdout) or (_flushed(sys.stderr) if stream.partition(" ")[0] not in ("stderr", "all") else "")
    os.close(kept)
    texts = [os.pread(each, 100_000, 0).decode(errors="backslashreplace") for each in (out, said)]
    return {"status": status, "out": texts[0], "err": texts[1], "late": late}


def _flushed(stream):
    try:
        if stream is not None and not stream.closed:
            stream.flush()
    except OSError as error:
        return f"{error!r} at exit"
    return ""


def runs(folder):
    """Yield the argument lists, the stream and the forbidden path of each run."""
    net, places = make(folder)
    for stream in STREAMS:
        for lines in command_lines(net, net, folder / "out").values():
            yield lines[-1] if "--json" in lines[-1] else lines[0], stream, None
        if stream != "interrupt":  # no file is opened
            yield from ((argv, stream, None) for argv in HELP)
    for name, path in places.items():
        for argv in itertools.chain.from_iterable(command_lines(path, net, folder / "out").values()):
            if name == "pipe" and set(argv) & {"--rules", "--pairs", "-c"}:
                continue  # a text that another program writes, for which the command waits
            yield argv, "", path if name == "unreadable" else None


def run_all(folder):
    """Run everything; return what each did."""
    (folder / "out").mkdir()
    warnings.simplefilter("ignore")
    found, planned = [], list(runs(folder))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for argv, stream, _ in planned:
            if stream == STREAMS[0] and argv[0] != "serve" and argv not in HELP:
                main(argv)  # all that is needed is imported now, once for all forks
    for argv, stream, forbidden in planned:
        ended, seen = forked(lambda argv=argv, stream=stream, forbidden=forbidden: run(argv, stream, forbidden), 10)
        found.append({"argv": argv, "stream": stream, "ended": ended, **(seen or {})})
    return found


if __name__ == "__main__":
    assert set(command_lines("", "", "")) == set(COMMANDS)
    sys.stdout.write(json.dumps(run_all(Path(sys.argv[1]))))
