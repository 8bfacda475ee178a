"""Sets of shards: the index names the old ones or the new ones, whatever happens."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from writing.samples import ENV, content, weights

import steelyard
from steelyard.errors import FormatError, ShapeError

SWEEP = """
import os, shutil, sys, numpy as np, steelyard
from pathlib import Path
from steelyard.formats import sharded, safetensors

folder, first = Path(sys.argv[1]), sys.argv[2] == "first"
index = folder / "net.safetensors.index.json"
FOREIGN = ["net-deadbeef-00001-of-00002.safetensors", "net-00007-of-00009.safetensors", "config.json", ".net.safetensors.index.json-notes.tmp"]
STEPS = ["link", "rename", "replace", "unlink", "mkdir", "rmdir", "fsync", "listdir", "urandom"]

def save(fill):
    made = steelyard.weights({f"w{n}": np.full(64, fill, "f4") for n in range(3)})
    sharded.write(made, index, shard_size=256)

def killed_at(step, fill):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    count = 0
    def wrapped(real):
        def call(*args, **options):
            nonlocal count
            count += 1
            if count == step:
                os._exit(9)
            return real(*args, **options)
        return call
    for name in STEPS:
        setattr(os, name, wrapped(getattr(os, name)))
    save(fill)
    os._exit(0)

def value(path):
    (found,) = set(np.unique(steelyard.weights(path).to_vector()).tolist())
    return found

def clean():
    named = set(steelyard.weights(index).meta["shards"])
    assert set(os.listdir(folder)) == named | {index.name, *FOREIGN}, sorted(os.listdir(folder))
    assert len(named) == 3
    for name in FOREIGN:
        assert (folder / name).read_bytes() == b"foreign"

for name in FOREIGN:
    (folder / name).write_bytes(b"foreign")
step, seen = 0, set()
while True:
    step += 1
    if first:
        for name in set(os.listdir(folder)) - set(FOREIGN):
            assert not name.startswith("."), name
            os.unlink(folder / name)
    else:
        save(0.0)
        clean()
    killed = killed_at(step, 1.0)
    if first and not index.exists():
        seen.add("none")
    else:
        seen |= {value(index), value(folder)}  # by its index, and as the one model of its folder
    save(2.0)
    assert value(index) == 2.0
    clean()
    if not killed:
        break
assert seen == ({"none", 1.0} if first else {0.0, 1.0}), seen
print(step)
"""


@pytest.mark.parametrize("before", ["first", "old"])
@pytest.mark.parametrize("links", ["links", "no links"])
def test_a_kill_at_any_step_leaves_the_old_shards_or_the_new_ones_and_the_next_save_tidies_up(tmp_path, before, links):
    """Whatever system call a save of shards is killed before; what others put there is never touched."""
    script = SWEEP
    if links == "no links":  # as on a file system that has none
        script = script.replace(
            "FOREIGN = [", "def link(*args): raise PermissionError('no links')\nos.link = link\nFOREIGN = [", 1
        )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), before], env=ENV, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 30, "steps are missed"


def test_a_journal_that_somebody_else_wrote_removes_nothing_that_it_does_not_know(tmp_path):
    """A folder from elsewhere may hold one: names that lead out, and files of the right name but not the same file."""
    path = tmp_path / "model" / "net.safetensors.index.json"
    aside = path.parent / ".net.safetensors.index.json-0123456789abcdef.tmp"
    aside.mkdir(parents=True)
    outside, beside = tmp_path / "outside.safetensors", path.parent / "net-00008-of-00009.safetensors"
    for file in (outside, beside):
        file.write_bytes(b"foreign")
    known = os.lstat(outside)
    stamps = {
        "../outside.safetensors": [known.st_ino, known.st_size, known.st_mtime_ns],
        beside.name: [1, 7, 2],
        "x": None,
        "y": 3,
    }
    (aside / "journal.json").write_text(json.dumps(stamps))
    steelyard.save(weights(1.0, 64), path)
    assert outside.exists()
    assert beside.exists()
    assert not aside.exists()
    for text in ("{", "[]", '{"a": []}', "[" * 10_000):
        aside.mkdir()
        (aside / "journal.json").write_text(text)
        steelyard.save(weights(2.0, 64), path)
        assert content(path) == 2.0
        assert not aside.exists()


def test_shards_that_another_index_names_are_kept(tmp_path):
    path = tmp_path / "net.safetensors.index.json"
    steelyard.save(weights(1.0, 64), path)
    (tmp_path / "kept.safetensors.index.json").write_bytes(path.read_bytes())
    steelyard.save(weights(2.0, 64), path)
    assert content(path) == 2.0
    assert content(tmp_path / "kept.safetensors.index.json") == 1.0


def test_shards_of_a_size_come_with_their_index(tmp_path):
    net = {f"w{nth}": np.full(10, nth, "f4") for nth in range(5)}
    steelyard.save(net, tmp_path / "net.safetensors", shard_size=80)
    index = tmp_path / "net.safetensors.index.json"
    assert sorted(set(json.loads(index.read_text())["weight_map"].values())) == [
        f"net-{nth:05}-of-00003.safetensors" for nth in (1, 2, 3)
    ]
    assert np.array_equal(steelyard.weights(index).to_vector(), steelyard.weights(net).to_vector())
    with pytest.raises(ShapeError, match="shard_size is 0; it must be at least 1 byte"):
        steelyard.save(net, tmp_path / "net.safetensors", shard_size=0)


def test_one_of_several_files_that_are_read_is_not_written_over(tmp_path):
    steelyard.save({"a": np.zeros(4), "b": np.ones(4)}, tmp_path / "net.safetensors", shard_size=32)
    shard = tmp_path / "net-00001-of-00002.safetensors"
    before = shard.read_bytes()
    with pytest.raises(FormatError, match="is one of the files that are read, and the others need it"):
        steelyard.save(tmp_path / "net.safetensors.index.json", shard)
    assert shard.read_bytes() == before
