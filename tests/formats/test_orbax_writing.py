"""Checkpoints that Steelyard writes and Orbax itself restores, as arrays of NumPy and of JAX, on one device and on several."""

import os
import subprocess
import sys
from functools import cache

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest

import steelyard
from steelyard.cli import main
from steelyard.errors import FormatError, ShapeError
from steelyard.storage import atomic_folder

TYPES = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16")
OTHERS = ("bfloat16", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
ARRAYS = {
    "params/Dense_0/kernel": np.arange(20, dtype="f4").reshape(5, 4),
    "params/Dense_0/bias": np.ones(4, ml_dtypes.bfloat16),
    "step": np.array(3, "i4"),
    "nothing": np.zeros((0, 3)),
    "fc1.weight": np.arange(7.0),
    **{f"types/{word}": np.arange(5).astype(word) for word in TYPES},
    **{f"types/{word}": np.arange(5).astype(getattr(ml_dtypes, word)) for word in OTHERS},
}
DIVIDED = """
import os, sys
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=3"
import jax, numpy as np, orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
parts = NamedSharding(Mesh(np.array(jax.devices()), ("x",)), PartitionSpec("x"))
target = {"w": jax.ShapeDtypeStruct((9, 4), np.float32, sharding=parts)}
found = ocp.StandardCheckpointer().restore(sys.argv[1], target)["w"]
print(len(found.addressable_shards), found.addressable_shards[1].data.shape, np.asarray(found).tobytes().hex())
"""


@pytest.fixture
def saved(tmp_path, request):
    steelyard.save(ARRAYS, tmp_path / "net.orbax", processes=request.param)
    return tmp_path / "net.orbax"


@cache
def checkpointer():
    return ocp.PyTreeCheckpointer()


def flat(tree):
    return {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


@pytest.mark.filterwarnings("ignore")  # Orbax warns that it is told no sharding
@pytest.mark.parametrize("saved", [None, 2, 3, 100], indirect=True)
def test_orbax_restores_every_type_from_any_number_of_chunks(saved):
    found = flat(checkpointer().restore(saved))
    assert {name: (array.dtype, array.shape) for name, array in found.items()} == {
        name: (array.dtype, array.shape) for name, array in ARRAYS.items()
    }
    assert all(found[name].tobytes() == array.tobytes() for name, array in ARRAYS.items())
    assert not ocp.utils.tmp_checkpoints(saved.parent)


@pytest.mark.parametrize("saved", [3], indirect=True)
def test_names_order_and_facts_are_read_back(saved, tmp_path):
    assert list(steelyard.weights(saved)) == list(ARRAYS)
    net = {"fc": {"weight": np.ones((3, 4), "f4"), "bias": np.ones(3, "f4")}}
    weights = steelyard.weights({**net, "same": net["fc"]["weight"]})
    steelyard.save(weights, tmp_path / "facts.orbax", processes=2)
    back = steelyard.weights(tmp_path / "facts.orbax")
    facts = [(each.name, each.role, each.axes, each.layer, each.tied) for each in weights.values()]
    assert [(each.name, each.role, each.axes, each.layer, each.tied) for each in back.values()] == facts
    assert facts[2][4] == "fc.weight"


def test_jax_restores_an_array_onto_several_devices(tmp_path):
    array = np.random.default_rng(0).normal(size=(9, 4)).astype("f4")
    steelyard.save({"w": array}, tmp_path / "net.orbax", processes=3)
    assert sorted(os.listdir(tmp_path / "net.orbax" / "w")) == [".zarray", "0.0", "1.0", "2.0"]
    ended = subprocess.run([sys.executable, "-c", DIVIDED, tmp_path / "net.orbax"], capture_output=True, text=True, check=False)
    assert ended.stdout.split("\n")[0] == f"3 (3, 4) {array.tobytes().hex()}", ended.stderr


def test_convert_divides_a_checkpoint_of_orbax_anew_without_jax(tmp_path, capsys):
    tree = {"params": {"w": np.arange(12, dtype="f4").reshape(4, 3)}}
    checkpointer().save(tmp_path / "net", tree)
    assert main(["convert", str(tmp_path / "net"), str(tmp_path / "parts.orbax"), "--processes", "4"]) == 0
    assert sorted(os.listdir(tmp_path / "parts.orbax" / "params.w")) == [".zarray", "0.0", "1.0", "2.0", "3.0"]
    assert main(["convert", str(tmp_path / "parts.orbax"), str(tmp_path / "parts.orbax"), "--processes", "1"]) == 0
    assert sorted(os.listdir(tmp_path / "parts.orbax" / "params.w")) == [".zarray", "0.0"]
    assert steelyard.digest(tmp_path / "parts.orbax") == steelyard.digest(tmp_path / "net")
    capsys.readouterr()
    look = (
        "import sys, steelyard; steelyard.save(sys.argv[1], sys.argv[2]); print({'jax', 'orbax', 'tensorstore'} & {*sys.modules})"
    )
    line = [sys.executable, "-c", look, tmp_path / "net", tmp_path / "other.orbax"]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a/b": np.ones(1), "a.b": np.ones(1)}, "'a.b' and 'a/b' would be in one folder, 'a.b'"),
        ({"_METADATA": np.ones(1)}, "'_METADATA' cannot be the name of an array of Orbax"),
        ({"..": np.ones(1)}, "'..' cannot be the name"),
        ({"/a": np.ones(1)}, "'/a' cannot be the name"),
        ({"2:softmax.W": np.ones(1)}, "'2:softmax.W' cannot be the name"),
        ({"a\\b": np.ones(1)}, "cannot be the name"),
        ({" ": np.ones(1)}, "cannot be the name"),
        ({"x" * 300: np.ones(1)}, "cannot be the name"),
        ({"w": np.ones(1, ml_dtypes.int4)}, "w is int4, which Orbax cannot hold"),
    ],
)
def test_what_cannot_be_read_back_is_refused_and_nothing_is_left(tmp_path, arrays, message):
    with pytest.raises(FormatError, match=message):
        steelyard.save(arrays, tmp_path / "net.orbax")
    assert not os.listdir(tmp_path)


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    steelyard.save({"w": np.ones(2)}, tmp_path / "net.orbax")
    (tmp_path / "net.orbax" / "notes.txt").write_text("mine")
    (tmp_path / "mine.orbax").mkdir()
    (tmp_path / "mine.orbax" / "a").write_text("mine")
    (tmp_path / "file.orbax").write_text("mine")
    for name, message in {
        "net": "such as 'notes.txt', which would be lost",
        "mine": "such as 'a'",
        "file": "is not a folder",
    }.items():
        with pytest.raises(FormatError, match=message):
            steelyard.save({"w": np.zeros(2)}, tmp_path / f"{name}.orbax")
    with pytest.raises(ShapeError, match="pass a number of processes in place of a size"):
        steelyard.save({"w": np.zeros(2)}, tmp_path / "x.orbax", shard_size=100)
    assert steelyard.weights(tmp_path / "net.orbax")["w"].numpy().tolist() == [1, 1]
    assert sorted(os.listdir(tmp_path)) == ["file.orbax", "mine.orbax", "net.orbax"]


def test_a_system_that_cannot_exchange_folders_replaces_none(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_folder.sys, "platform", "darwin")
    steelyard.save({"w": np.ones(2)}, tmp_path / "net.orbax")
    with pytest.raises(FormatError, match="cannot replace at once; choose another name"):
        steelyard.save({"w": np.zeros(2)}, tmp_path / "net.orbax")
    assert steelyard.weights(tmp_path / "net.orbax")["w"].numpy().tolist() == [1, 1]
    assert os.listdir(tmp_path) == ["net.orbax"]


def test_items_of_a_step_have_their_own_names_and_ties(tmp_path):
    weight = np.ones((3, 4), "f4")
    for item in ("one", "two"):
        (tmp_path / "7" / item).parent.mkdir(exist_ok=True)
        steelyard.save(steelyard.weights({"fc": {"weight": weight}, "same": weight}), tmp_path / "item.orbax")
        (tmp_path / "item.orbax").rename(tmp_path / "7" / item)
    (tmp_path / "7" / "_CHECKPOINT_METADATA").write_text("{}")
    found = steelyard.weights(tmp_path / "7")
    assert list(found) == ["one/fc.weight", "one/same", "two/fc.weight", "two/same"]
    assert [each.tied for each in found.values()] == [None, "one/fc.weight", None, "two/fc.weight"]


def test_a_missing_folder_is_named_and_not_the_hidden_one_in_it(tmp_path):
    with pytest.raises(FileNotFoundError) as missing:
        steelyard.save({"w": np.ones(2)}, tmp_path / "nowhere" / "net.orbax")
    assert str(missing.value).startswith(f"{tmp_path / 'nowhere'}: no such folder")


def test_an_error_of_the_exchange_is_raised_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError):
        atomic_folder._exchanged(os.fsencode(tmp_path / "a"), os.fsencode(tmp_path / "b"))


def test_the_mode_of_a_folder_that_is_replaced_is_kept(tmp_path):
    steelyard.save({"w": np.ones(2)}, tmp_path / "net.orbax")
    (tmp_path / "net.orbax").chmod(0o750)
    steelyard.save({"w": np.zeros(2)}, tmp_path / "net.orbax")
    assert (tmp_path / "net.orbax").stat().st_mode & 0o777 == 0o750
