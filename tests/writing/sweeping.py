"""Runs accidents over every writer, in forks of one process, and prints what happened as JSON.

A step is a call that changes a disk, or syncs it. A fork may end at a step as by kill -9, or let another process write there.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

from forking import forked

from steelyard.storage import atomic, atomic_folder

REACHED = set()
"""The modules whose calls of `replacing` were reached."""


def _noting(real):
    def replacing(path):
        REACHED.add(sys._getframe(1).f_globals["__name__"])
        return real(path)

    return replacing


atomic.replacing = _noting(atomic.replacing)  # before the modules that import it

from writing import writers  # noqa: E402

from steelyard.cli import main  # noqa: E402
from steelyard.errors import SteelyardError  # noqa: E402
from steelyard.formats.dcp.metadata import checkpoint  # noqa: E402
from steelyard.storage.source import from_bytes  # noqa: E402

STEPS = ("open", "fsync", "replace", "rename", "link", "unlink", "mkdir", "rmdir", "chmod")
"""Functions of `os` that change a disk; the writes of `replacing` are steps too."""
BUFFER = 4096  # bytes
WRITES = 3
"""The number of writes of a file, evenly spread, at which a process is killed."""
KILLED = 9
METADATA = ".metadata"
TIMES = "_CHECKPOINT_METADATA"
"""A file of Orbax with the time of the save."""
MEMORY = "/dev/shm"
"""A folder in memory, where a sync takes no time; the order of the steps is the same."""


def run(action):
    """Run a command or a function; return its exit status and what it printed to stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(action, list):
            return main(action), err.getvalue()
        try:
            return action() or 0, ""
        except (SteelyardError, OSError) as error:
            return 2, f"error: {error}\n"


class Stepping:
    """Counts the steps of this process, by name, and calls `at` before each with its number; a write may stop halfway."""

    def __init__(self, at):
        self.names = []
        self.at = at

    def install(self):
        for name in STEPS:
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        atomic_folder._exchanged = self._wrapped("replace", atomic_folder._exchanged)
        stepping = self

        class Raw(io.FileIO):
            def write(self, data):
                view = memoryview(data).cast("B")
                stepping.step("write", lambda: super(Raw, self).write(view[: len(view) // 2]))
                return super().write(view)

        atomic.open = lambda handle, mode: io.BufferedRandom(Raw(handle, "r+"), BUFFER)

    def _wrapped(self, name, real):
        def call(*args, **options):
            self.step(name, lambda: None)
            return real(*args, **options)

        return call

    def step(self, name, half):
        self.names.append(name)
        self.at(len(self.names), half)


def steps_of(action):
    """Return the names of the steps of an action, which a fork takes undisturbed."""

    def work():
        stepping = Stepping(lambda number, half: None)
        stepping.install()
        assert run(action)[0] == 0
        return stepping.names

    return forked(work)[1]


def chosen(names):
    """Return the numbers of the steps to disturb, from 1: all but the writes, and some of these."""
    writes = [number for number, name in enumerate(names, 1) if name == "write"]
    some = {writes[place * len(writes) // WRITES] for place in range(WRITES)} if len(writes) > WRITES else set(writes)
    return [number for number, name in enumerate(names, 1) if name != "write" or number in some]


def moments(names):
    """Return four steps: the first write, the last sync before the replacement, the last replacement, and the last of all."""
    last = len(names) - names[::-1].index("replace")
    return [names.index("write") + 1, last - names[:last][::-1].index("fsync"), last, len(names)]


def content(out):
    """Return the files of a folder but for hidden ones, which a killed process may leave; `.metadata` is a part of a checkpoint.

    A hidden file that a manifest names as pending is what a reader finds instead of the file of numbers.
    """
    inside = [path for each in out.iterdir() if not is_hidden(each) for path in (each.rglob("*") if each.is_dir() else [each])]
    files = {str(path.relative_to(out)): path.read_bytes() for path in inside if path.is_file()}
    for manifest in [json.loads(data) for name, data in files.items() if name.endswith(".raw.json")]:
        pending = out / manifest["pending"]
        files[manifest["data"]] = pending.read_bytes() if pending.exists() else files[manifest["data"]]
    return files


def hidden(out):
    return sorted(path.name for path in out.iterdir() if is_hidden(path))


def is_hidden(path):
    return path.name.startswith(".") and path.name != METADATA


def items(files):
    """Return the bytes of all items of a distributed checkpoint, by name and offsets."""
    found = checkpoint(from_bytes(files[METADATA])).items
    chunks = {(name, at): info for name, tensor in found.items() for at, _, info in tensor.chunks}
    return {key: files[info.file][info.offset : info.offset + info.length] for key, info in chunks.items()}


class Sweep:
    """One writer in a folder of its own, and what the folder holds after each of the three models was written."""

    def __init__(self, writer, made):
        self.writer = writer
        self.out = Path(tempfile.mkdtemp(dir=made))
        self.actions = [writer.action(made, self.out, number) for number in writers.MODELS]
        self.whole = []
        for number in (*writers.MODELS[1:], 0):
            self.write(number)
            self.whole.append(content(self.out))
        self.whole.insert(0, self.whole.pop())
        assert self.values(0) != self.values(1) != self.values(2)

    def write(self, number):
        status, err = run(self.actions[number])
        assert status == 0, err
        assert not hidden(self.out)

    def restore(self):
        """Put the old files back without the writer, which is faster."""
        for path in self.out.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name, data in self.whole[0].items():
            (self.out / name).parent.mkdir(parents=True, exist_ok=True)
            (self.out / name).write_bytes(data)

    def values(self, number):
        return self.state(self.whole[number])

    def state(self, files):
        """Return what is compared: the bytes of the files, or of sets their numbers, since names of shards are random."""
        if not self.writer.is_set:
            return {name: data for name, data in files.items() if not name.endswith(TIMES)}
        if METADATA in files:
            return items(files)
        index = json.loads(files[next(name for name in files if name.endswith(".json"))])
        if "weight_map" in index:
            return [files[name] for name in sorted(set(index["weight_map"].values()))]
        if "weightsManifest" in index:
            return [files[name] for group in index["weightsManifest"] for name in group["paths"]]
        assert hashlib.sha256(files[index["data"]]).hexdigest() == index["sha256"]
        return [files[index["data"]]]

    def is_mixed(self, state, one, other):
        """Whether each file is that of one of two models, and not all are of the same, which only files that are apart may be."""
        if self.writer.is_set or not self.writer.is_apart:
            return False
        models = self.values(one), self.values(other)
        each = state.keys() == models[0].keys() and all(
            data in (models[0][name], models[1][name]) for name, data in state.items()
        )
        return each and state not in models

    def now(self):
        return self.state(content(self.out))

    def kills(self):
        """Kill the writer before each step; return how often the old and the new file were there."""
        self.write(0)
        names = steps_of(self.actions[1])
        replacements = [number for number, name in enumerate(names, 1) if name == "replace"]
        first, last = replacements[0], replacements[-1]
        seen, tidied = {"before": 0, "after": 0}, set()
        for step in chosen(names):
            self.restore()
            status, _ = forked(lambda step=step: self.killed_at(step))
            assert status == KILLED, (names, step, status)
            state, what = self.now(), f"killed at {step} of {names}"
            if step <= last and state == self.values(0):
                seen["before"] += 1
            elif self.is_mixed(state, 0, 1):
                assert first < step <= last, what
            else:
                assert step > first, what
                assert state == self.values(1), what
                seen["after"] += 1
            if hidden(self.out) and names[step - 1] not in tidied:
                tidied.add(names[step - 1])
                self.write(0)  # which leaves nothing hidden
        assert tidied
        return {**seen, "steps": len(names)}

    def killed_at(self, step):
        def at(number, half):
            if number == step:
                half()
                os._exit(KILLED)

        Stepping(at).install()
        return run(self.actions[1])

    def full(self):
        """Let the disk be full after so many bytes of each file; the old file stays, and one line says so."""
        self.write(0)
        before = content(self.out)
        largest, refused = max(map(len, self.whole[1].values())), 0
        for limit in sorted({0, largest // 1000, largest // 2, largest - 1}):

            def work(limit=limit):
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
                return run(self.actions[1])

            status, answer = forked(work)
            assert status == 0, status
            assert answer[0] == 2, (limit, answer)
            assert answer[1].startswith("error: "), answer
            assert answer[1].count("\n") == 1, answer
            assert content(self.out) == before, limit
            assert not hidden(self.out), hidden(self.out)
            refused += 1
        return {"refused": refused}

    def pairs(self):
        """Let a second process write the whole file at each step of the first; one of both files is there at the end."""
        self.write(0)
        names = steps_of(self.actions[1])
        seen = {"first": 0, "second": 0}
        for step in moments(names):
            self.restore()
            status, answer = forked(lambda step=step: self.disturbed_at(step))
            assert (status, answer) == (0, [0, 0]), (names, step, status, answer)
            assert not hidden(self.out), (names, step, hidden(self.out))
            state = self.now()
            assert state in (self.values(1), self.values(2)) or self.is_mixed(state, 1, 2), (names, step)
            seen["first" if state == self.values(1) else "second"] += 1
        return {**seen, "steps": len(names)}

    def disturbed_at(self, step):
        """Write, and let another process write at this step; to a set it can only then, since the first has the lock."""
        others = []

        def at(number, half):
            if number == step:
                other = os.fork()
                if not other:
                    os.closerange(3, 1024)  # with an open file the lock on it would be inherited
                    stepping.at = lambda number, half: None
                    os._exit(run(self.actions[2])[0])
                others.append(other)
                if not self.writer.is_set:
                    others[:] = [os.waitstatus_to_exitcode(os.waitpid(other, 0)[1])]

        stepping = Stepping(at)
        stepping.install()
        status, _ = run(self.actions[1])
        if self.writer.is_set:
            others[:] = [os.waitstatus_to_exitcode(os.waitpid(others[0], 0)[1])]
        return [status, *others]


def sweep():
    """Run every kind of accident over every writer; return what each saw, or its error, and the modules that it reached."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made, found = Path(folder), {}
        writers.make(made)
        writers.draw_quickly()
        for writer in writers.WRITERS:
            REACHED.clear()
            found[writer.name] = _swept(writer, made) | {"modules": sorted(REACHED)}
        return found


def _swept(writer, made):
    try:
        sweep = Sweep(writer, made)
        return {"kills": sweep.kills(), "full": sweep.full(), "pairs": sweep.pairs()}
    except Exception:
        return {"error": traceback.format_exc()[-2000:]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(sweep()))
