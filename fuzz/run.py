"""Fuzz targets with whole commands: python fuzz/run.py [--mutants N] [--seconds S] [--seed N] [--found FOLDER] [TARGET...]

Time is CPU time, so that a busy machine finds as much as an idle one. A mutant that ends as no other before becomes a seed.
"""

import argparse
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import trial
from mutators import mutate
from targets import TARGETS, Seed, seeds

OPENED = 0.6
"""The share of changes of the file that is opened, where a model has several files."""
SOUND = 0.3
"""The share of mutants of the first few seeds, which are sound."""
SAVED = 3
"""Mutants of each kind of fault that are saved."""
KEPT = 500
"""Mutants that become seeds."""
INTERVAL = 60
"""Seconds between two lines on how far a target is."""


def mutants(name, seed, keep=()):
    """Yield mutants of a target without end; the caller appends to `keep` those that become seeds."""
    chance = random.Random(f"{name} {seed}")
    original = seeds(name)
    while True:
        sound = chance.random() < SOUND
        parent = chance.choice(keep) if keep and chance.random() < 0.4 else chance.choice(original[: 5 if sound else None])
        changed = parent.opened if parent.opened in parent.files and chance.random() < OPENED else chance.choice([*parent.files])
        files = {**parent.files, changed: mutate(parent.files[changed], chance)}
        if len(files) > 1 and chance.random() < 0.05:
            del files[chance.choice([name for name in files if name != parent.opened])]
        yield Seed(files, parent.opened), chance


def written(model, folder):
    """Write the files of a model into a folder, and return the path that is opened."""
    for name, data in model.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return str(folder / model.opened)


def sample(name, folder):
    """Write a sound model of a target, and return its path."""
    return written(seeds(name)[0], folder)


def fuzz(name, *, count=None, seconds=None, seed=0):
    """Fuzz one target for so many mutants or seconds; yield each (mutant, `Trial`) with a fault, and return their number.

    The commands run on a sound model first, and before a long search on some of every kind, to show what they import.
    """
    begun, keep, known, done, shown = _used(), [], set(), 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        other = sample(name, Path(folder))
        trial.warm(other)
        for turn in range(0 if count else len(trial.WRITTEN)):
            each = seeds(name)[turn % len(seeds(name))]
            trial.preload(trial.attempt(each.files, each.opened, other, turn).modules)
        for mutant, chance in mutants(name, seed, keep):
            if done == count or (seconds and _used() - begun > seconds):
                return done
            if time.monotonic() - shown > INTERVAL:
                shown = time.monotonic()
                print(f"{name}: {done:,} mutants in {(_used() - begun) / 60:.1f} CPU minutes so far", flush=True)
            done += 1
            ended = trial.attempt(mutant.files, mutant.opened, other, chance.randrange(1000))
            if ended.signature not in known and len(keep) < KEPT:
                known.add(ended.signature)
                keep.append(mutant)
            if ended.wrong:
                yield mutant, ended
    return done


def _used():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def save(mutant, wrong, folder):
    """Keep a mutant with the faults that it showed."""
    shutil.rmtree(folder, ignore_errors=True)
    written(mutant, folder)
    (folder / "wrong.json").write_text(json.dumps({"opened": mutant.opened, "wrong": wrong}, indent=1))


def again(folder):
    """Run all commands on the findings in a folder; yield the name of each, and its faults."""
    with tempfile.TemporaryDirectory() as other:
        path = sample("numpy", Path(other))
        for name, facts in json.loads((folder / "findings.json").read_text()).items():
            files = {
                str(file.relative_to(folder / name)): file.read_bytes() for file in (folder / name).rglob("*") if file.is_file()
            }
            for turn in facts.get("turns", [0]):
                yield name, trial.attempt(files, facts["opened"], path, turn).wrong


def fuzz_and_save(name, args):
    """Fuzz a target, save and print the first mutants of each kind of fault, and return the number of kinds."""
    begun, kinds = _used(), Counter()
    found = fuzz(name, count=args.mutants, seconds=None if args.mutants else args.seconds, seed=args.seed)
    while True:
        try:
            mutant, ended = next(found)
        except StopIteration as end:
            done = end.value
            break
        kind = trial.kind(ended.wrong[0])
        kinds[kind] += 1
        if kinds[kind] <= SAVED:
            save(mutant, ended.wrong, args.found / f"{name}-{len(kinds)}-{kinds[kind]}")
        if kinds[kind] == 1:
            print(f"{name}: {ended.wrong[0]}", flush=True)
    print(f"{name}: {done:,} mutants, {(_used() - begun) / 60:.1f} CPU minutes, {len(kinds)} findings", flush=True)
    return len(kinds)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", default=[*TARGETS], metavar="TARGET")
    parser.add_argument("--mutants", type=int, help="so many of each target, which depend on the seed alone")
    parser.add_argument("--seconds", type=float, default=60, help="CPU time for each target")
    parser.add_argument("--seed", type=int, default=time.time_ns())
    parser.add_argument("--found", type=Path, default=Path("fuzz/found"), help="the folder for files that break a command")
    parser.add_argument("--again", type=Path, help="run only the findings in this folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trial.warm(sample("numpy", Path(folder)), *trial.WRITTEN)
    if args.again:
        wrong = [f"{name}: {fault}" for name, faults in again(args.again) for fault in faults]
        print(*wrong, sep="\n")
        return len(wrong) > 0
    return sum(fuzz_and_save(name, args) for name in args.targets) > 0


if __name__ == "__main__":
    sys.exit(main())
