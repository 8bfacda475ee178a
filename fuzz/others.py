"""Changed files that are no models: runs, packed runs, journals and catalogues. python fuzz/others.py [--mutants N] [KIND...]

Whatever is in one, a call returns or raises an error of Steelyard's in one line, and writes nothing but what it was asked for.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from forks import Tally, look
from mutators import mutate

import steelyard
from steelyard.errors import SteelyardError
from steelyard.runs.archives import pack_run, unpack_run


def nets(folder):
    """Write two nets, of which one is nearly the other."""
    numbers = np.arange(96, dtype="f4").reshape(12, 8)
    steelyard.save({"fc.weight": numbers, "fc.bias": np.ones(12, "f4")}, folder / "a.safetensors")
    steelyard.save({"fc.weight": numbers + np.float32(1e-3), "fc.bias": np.zeros(12, "f4")}, folder / "b.safetensors")


def make_run(folder):
    """Record four steps of two weights."""
    with steelyard.record(folder / "run", snapshot=2) as rec:
        for step in range(4):
            rec(step, {"fc": {"weight": np.full((4, 3), step + 1.0), "bias": np.ones(4)}}, metrics={"loss": 1 / (step + 1)})


def make_pack(folder):
    """Pack such a run."""
    make_run(folder)
    pack_run(str(folder / "run"), str(folder / "run.zip"))
    shutil.rmtree(folder / "run")


def make_journal(folder):
    """Keep what four measurements found."""
    nets(folder)
    _measured(folder)


def make_catalog(folder):
    """Write the catalogue of both nets."""
    nets(folder)
    steelyard.catalog(str(folder), str(folder / "c.parquet"))


def _measured(folder):
    one, other, journal = (str(folder / name) for name in ("a.safetensors", "b.safetensors", "journal"))
    calls = [
        lambda: steelyard.stats(one, resume=journal),
        lambda: steelyard.digest(one, resume=journal),
        lambda: steelyard.check(one, health=True, resume=journal),
        lambda: steelyard.diff(one, other, resume=journal),
    ]
    return [_shown(call) for call in calls]


def _shown(call):
    """Call, and print what is returned as a user would see it; return the error if there is one."""
    try:
        found = call()
        repr(found)
        json.dumps(getattr(found, "to_dict", dict)())
    except SteelyardError as error:
        if "\n" in str(error):
            raise AssertionError(f"an error of several lines: {error}") from error
        return str(error)
    except OSError as error:
        if not error.errno:
            raise
        return str(error)
    return ""


def read_run(folder):
    """Look at a run in all ways, and record into it."""
    path, said = folder / "run", []
    said.append(_shown(lambda: steelyard.history(str(path))))
    if not said[0]:
        history = steelyard.history(str(path))
        calls = [history.norms, history.updates, history.ratios, history.distances, history.pca, history.nonfinite, history.blame]
        calls += [history.jumps, history.frozen, history.alarms, history.units, history.directions, history.to_records]
        calls += [history.average, lambda: history.curve("median"), lambda: history.ridgeline(history.names[0])]
        calls += [lambda: history.best("loss"), lambda: history.compare(history), lambda: history.at(history.snapshots[0])]
        calls += [lambda: history.report(str(folder / "out.html")), lambda: history.to_zarr(str(folder / "zarr"))]
        calls += [lambda: history.to_tensorboard(str(folder / "board")), lambda: history.write(str(folder / "out.csv"))]
        said += [_shown(call) for call in calls if history.names and history.snapshots]
    said.append(_shown(lambda: pack_run(str(path), str(folder / "out.zip"))))
    said.append(_shown(lambda: _recorded(path)))
    return said


def _recorded(path):
    with steelyard.record(str(path)) as rec:
        rec(10**9, {"fc": {"weight": np.ones((4, 3)), "bias": np.ones(4)}})


def read_pack(folder):
    """Unpack, and look at the run."""
    error = _shown(lambda: unpack_run(str(folder / "run.zip"), str(folder / "run")))
    if error:
        left = sorted(os.listdir(folder))
        assert left == ["run.zip"], left
        return [error]
    return [error, *read_run(folder)]


def read_journal(folder):
    """Measure with the journal."""
    return _measured(folder)


def read_catalog(folder):
    """Open the catalogue, ask all questions, and update it."""
    path = str(folder / "c.parquet")
    said = [_shown(lambda: steelyard.catalog(path))]
    if not said[0]:
        found = steelyard.catalog(path)
        calls = [found.duplicates, found.nonfinite, found.formats, found.near, found.families]
        calls += [lambda: found.near(estimate=True), lambda: found.holders(np.ones(12, "f4"))]
        calls += [lambda: found.query("select * from weights"), lambda: found.query("select * from files")]
        said += [_shown(call) for call in calls]
    return [*said, _shown(lambda: steelyard.catalog(str(folder), path))]


KINDS = {
    "run": (make_run, read_run),
    "pack": (make_pack, read_pack),
    "journal": (make_journal, read_journal),
    "catalog": (make_catalog, read_catalog),
}
"""How each kind is made, and how it is read."""
LEFT_ALONE = (".safetensors",)
"""What is not changed: the nets that a journal and a catalogue are about."""


def changed(data, chance):
    """Return changed bytes; of lines of JSON one line is changed."""
    lines = data.split(b"\n")
    if len(lines) < 3 or not data.startswith(b"{") or not lines[0].endswith(b"}"):
        return mutate(data, chance)
    at = chance.randrange(len(lines) - 1)
    lines[at] = mutate(lines[at], chance)
    return b"\n".join(lines)


def ended(kind, folder, seed):
    """Change a file of a kind in a copy of its folder, read it, and return how it ended and what was wrong."""
    read = KINDS[kind][1]
    warnings.simplefilter("error")
    chance = random.Random(f"{kind} {seed}")
    copy = Path(tempfile.mkdtemp(dir=folder.parent))
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    left_alone = LEFT_ALONE if kind in ("journal", "catalog") else ()
    files = [path for path in sorted(copy.rglob("*")) if path.is_file() and not path.name.endswith(left_alone)]
    file = chance.choice([path for path in files if path.stat().st_size])
    file.write_bytes(changed(file.read_bytes(), chance))
    try:
        said = read(copy)
    finally:
        shutil.rmtree(copy)
    return ("refused" if said[0] else "in part" if any(said) else "read"), []


def run(kind, count, seed):
    """Read so many mutants of a kind, and return what was seen."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "sound"
        folder.mkdir()
        KINDS[kind][0](folder)
        sound = Path(home) / "copy"
        shutil.copytree(folder, sound)
        KINDS[kind][1](sound)  # imports what is needed
        seeds = [f"{seed} {number}" for number in range(count)]
        for name, seen in zip(seeds, look(seeds, lambda name: ended(kind, folder, name)), strict=True):
            tally.adds(f"{kind} {name}", seen)
    return tally.total()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=[*KINDS], metavar="KIND")
    parser.add_argument("--mutants", type=int, default=1000)
    parser.add_argument("--seed", default="0")
    args = parser.parse_args()
    totals = {kind: run(kind, args.mutants, args.seed) for kind in args.kinds}
    print(json.dumps(totals))
    return any(total["faults"] for total in totals.values())


if __name__ == "__main__":
    sys.exit(main())
