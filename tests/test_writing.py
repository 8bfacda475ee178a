"""Writing is all or nothing: whatever happens, a file is the old one or the whole new one."""

import json
import os
import random
import stat
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from waiting import until

import steelyard
from steelyard.cli import main
from steelyard.core import plugins
from steelyard.errors import FormatError, LossyError, ShapeError
from steelyard.storage.atomic import replacing

ROOT = Path(__file__).parents[1]
ENV = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
"""A process that may write little must not leave cut bytecode behind."""
ROUNDS = 50
"""Times that a process is killed while it writes, over all formats together."""
NEEDS_A_MODEL = {"onnx", "keras"}
"""Formats that write only into the layout of a model that is there; their own tests do this with it."""


@cache
def suffixes():
    """Return the first suffix of each format that writes any weights."""
    modules = {name: plugins.load("formats", name) for name in plugins.names("formats") if name not in NEEDS_A_MODEL}
    return sorted(module.SUFFIXES[0] for module in modules.values() if hasattr(module, "write"))


def target(folder, suffix):
    return folder / (f"net.safetensors{suffix}" if suffix == ".index.json" else f"net{suffix}")


def weights(fill, size=1 << 21):
    """Weights of 8 MiB, all of one value."""
    return {"layer.weight": np.full((4, size // 4), fill, "f4"), "layer.bias": np.full(7, fill, "f4")}


def content(path):
    """Return the one value that all numbers of a file have; a mixture fails."""
    values = set(np.unique(steelyard.weights(path).to_vector()).tolist())
    assert len(values) == 1, values
    return values.pop()


def leftovers(folder):
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


SAVING = """
import os, sys, numpy as np, steelyard
path, size = sys.argv[1], 1 << 21
make = lambda fill: {"layer.weight": np.full((4, size // 4), fill, "f4"), "layer.bias": np.full(7, fill, "f4")}
made = [steelyard.weights(make(1.0)), steelyard.weights(make(2.0))]
steelyard.save(made[0], os.path.join(os.path.dirname(path), "warm-" + os.path.basename(path)))  # all that is needed is imported now
print("ready", flush=True)
for turn in range(10**6):
    steelyard.save(made[turn % 2], path)
"""


def saving(path):
    """Start a process that saves again and again."""
    process = subprocess.Popen([sys.executable, "-c", SAVING, str(path)], stdout=subprocess.PIPE, env=ENV)
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return process


@pytest.mark.parametrize("suffix", suffixes())
def test_a_kill_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path, suffix):
    path = target(tmp_path, suffix)
    steelyard.save(weights(0.0), path)
    seen, moments = set(), random.Random(suffix)
    most = 2 if suffix == ".index.json" else 1  # of a set the folder of new files, and the new index that was to name them
    for _ in range(-(-ROUNDS // len(suffixes()))):
        process = saving(path)
        with pytest.raises(subprocess.TimeoutExpired):  # it saves on and on
            process.wait(moments.uniform(0, 0.08))
        process.kill()
        process.wait()
        seen.add(content(path))
        assert seen <= {0.0, 1.0, 2.0}
        assert len(leftovers(tmp_path)) <= most
    steelyard.save(weights(3.0), path)
    assert content(path) == 3.0
    assert not leftovers(tmp_path)


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


def limited(path, suffix, limit):
    """Save in a process that may not write a file beyond `limit` bytes, as on a full disk; return its status and stderr."""
    source = path.with_name("source.npz")
    limit = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    convert = f"sys.exit(main(['convert', {str(source)!r}, {str(path)!r}]))"
    code = f"import resource, sys; from steelyard.cli import main; {limit}; {convert}"
    return subprocess.run(
        [sys.executable, "-c", code],
        env=ENV,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("suffix", suffixes())
def test_a_full_disk_leaves_the_old_file_and_says_so_in_a_line(tmp_path, suffix, part):
    path = target(tmp_path, suffix)
    steelyard.save(weights(0.0, 1 << 18), path)
    steelyard.save(weights(1.0, 1 << 18), tmp_path / "source.npz")
    before = sorted(os.listdir(tmp_path))
    run = limited(path, suffix, int(part * 4 * (1 << 18)))
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
    assert len(run.stderr.splitlines()) == 1
    assert content(path) == 0.0
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("suffix", suffixes())
def test_two_processes_that_save_to_one_path_leave_one_whole_file(tmp_path, suffix):
    path = target(tmp_path, suffix)
    processes = [saving(path) for _ in range(2)]
    saved = set()

    def count():
        saved.add(path.stat().st_mtime_ns if path.exists() else 0)
        return len(saved)

    until(lambda: count() > 20)
    until(lambda: len(leftovers(tmp_path)) > 1)  # both write at this moment
    assert [process.poll() for process in processes] == [None, None], "one stopped because of the other"
    for process in processes:
        process.kill()
        process.wait()
    assert content(path) in (1.0, 2.0)
    steelyard.save(weights(3.0), path)
    assert not leftovers(tmp_path)


def test_a_temporary_file_that_is_being_written_is_left_alone(tmp_path):
    with replacing(tmp_path / "a.bin") as file:
        (held,) = leftovers(tmp_path)
        file.write(b"first")
        with replacing(tmp_path / "a.bin") as other:
            other.write(b"second")
        assert leftovers(tmp_path) == [held]
    assert (tmp_path / "a.bin").read_bytes() == b"first"  # the last that is complete wins
    assert not leftovers(tmp_path)


def test_only_abandoned_files_of_the_same_target_are_removed(tmp_path):
    names = [".a.bin.0123456789abcdef.tmp", ".b.bin.0123456789abcdef.tmp", ".a.bin.notes.tmp", "a.bin.tmp"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    with replacing(tmp_path / "a.bin") as file:
        file.write(b"new")
    assert sorted(os.listdir(tmp_path)) == sorted([*names[1:], "a.bin"])


FORBIDDEN = """
import os, sys, tempfile, numpy as np, steelyard
made = steelyard.weights({"w": np.zeros(3)})
with tempfile.TemporaryDirectory() as folder:
    steelyard.save(made, f"{folder}/a.safetensors")  # all that is needed is imported now
if os.geteuid() == 0:
    os.setuid(65534)  # nothing is read-only for root
try:
    steelyard.save(made, sys.argv[1])
except PermissionError as error:
    print("refused")
"""


def test_a_read_only_folder_is_one_error_and_changes_nothing():
    with tempfile.TemporaryDirectory() as folder:  # not in tmp_path, which others may not enter
        os.chmod(folder, 0o555)
        command = [sys.executable, "-c", FORBIDDEN, f"{folder}/a.safetensors"]
        run = subprocess.run(command, env=ENV, capture_output=True, text=True, check=True)
        assert run.stdout == "refused\n"
        assert not os.listdir(folder)
        os.chmod(folder, 0o755)


def test_a_folder_that_takes_no_files_is_one_line(tmp_path):
    steelyard.save(weights(1.0), tmp_path / "a.npz")
    code = f"from steelyard.cli import main; raise SystemExit(main(['convert', {str(tmp_path / 'a.npz')!r}, '/proc/self/a.npz']))"
    run = subprocess.run([sys.executable, "-c", code], env=ENV, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_the_mode_of_an_old_file_is_kept_and_a_new_one_follows_the_umask(tmp_path, mode):
    path = tmp_path / "a.npz"
    old = os.umask(0o027)
    try:
        steelyard.save(weights(0.0), path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(mode)
        steelyard.save(weights(1.0), path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_link_is_written_through_and_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    steelyard.save(weights(0.0), tmp_path / "real" / "a.npz")
    (tmp_path / "link.npz").symlink_to("real/a.npz")
    steelyard.save(weights(1.0), tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink()
    assert content(tmp_path / "real" / "a.npz") == 1.0


@pytest.mark.parametrize("suffix", suffixes())
def test_saving_over_the_file_that_is_read_keeps_every_number(tmp_path, suffix):
    path = target(tmp_path, suffix)
    steelyard.save(weights(5.0), path)
    lazy = steelyard.weights(path)
    steelyard.save(lazy, path)
    assert content(path) == 5.0
    assert np.unique(lazy.to_vector()).tolist() == [5.0]  # what was opened before still reads the old content


def test_a_folder_that_is_not_there_is_named_and_no_temporary_file(tmp_path, capsys):
    steelyard.save({"w": np.zeros(2)}, tmp_path / "a.npz")
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "none" / "b.npz")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'none'}: No such file or directory\n"


def test_a_folder_in_the_place_of_a_file_is_named_and_no_temporary_file(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError) as error, replacing(tmp_path / "taken") as file:
        file.write(b"new")
    assert (error.value.filename, error.value.filename2) == (str(tmp_path / "taken"), None)
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


def test_floats_are_cast_and_integers_stay(tmp_path):
    net = {"w": np.array([1.0, 1 / 3]), "steps": np.array([7])}
    steelyard.save(net, tmp_path / "half.safetensors", dtype="float16")
    saved = steelyard.weights(tmp_path / "half.safetensors")
    assert [(weight.dtype, weight.numpy().tolist()) for weight in saved.values()] == [
        ("float16", np.array([1.0, 1 / 3], "f2").tolist()),
        ("int64", [7]),
    ]
    for word, error in (("int8", ShapeError), ("float8_e5m2", LossyError)):
        with pytest.raises(error):
            steelyard.save({"w": np.array([1e6])}, tmp_path / "none.npz", dtype=word)
    assert not (tmp_path / "none.npz").exists()


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


def test_a_graph_of_onnx_is_written_again_with_other_numbers_in_its_own_types(tmp_path):
    onnx = pytest.importorskip("onnx")
    tensor = onnx.numpy_helper.from_array(np.zeros((2, 2), "f4"), "w")
    shape = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", shape[:1], shape[1:], [tensor])), tmp_path / "net.onnx")
    steelyard.save({"w": np.eye(2)}, tmp_path / "new.onnx", like=tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "new.onnx")
    assert onnx.numpy_helper.to_array(model.graph.initializer[0]).tolist() == np.eye(2, dtype="f4").tolist()
    with pytest.raises(ShapeError, match=r"no weight is called 'v'; .*rename the weights first"):
        steelyard.save({"v": np.eye(2)}, tmp_path / "new.onnx", like=tmp_path / "net.onnx")
