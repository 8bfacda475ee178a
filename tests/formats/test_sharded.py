"""Models in several files: indexes and folders in the Hub's layout, and written shards."""

import json
import os

import numpy as np
import pytest
import safetensors.numpy

import steelyard
from steelyard.errors import FormatError, LeftOutWarning, UnsafeFileError
from steelyard.formats import sharded
from steelyard.storage.source import open_path
from steelyard.testing import check_weights

ARRAYS = {f"layer.{place}.weight": np.full((4, 5), place, np.float32) for place in (10, 2, 1)}


def model(folder, suffix=".safetensors", stem="model"):
    """Three shards with one array each, and their index, in the alphabetical order of names, as the Hub's tools write them."""
    folder.mkdir(parents=True, exist_ok=True)
    index = {}
    for place, (name, array) in enumerate(ARRAYS.items(), 1):
        shard = f"{stem}-{place:05}-of-00003{suffix}"
        steelyard.save({name: array}, folder / shard)
        index[name] = shard
    path = folder / f"{stem}{suffix}.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 240}, "weight_map": dict(sorted(index.items()))}))
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_the_weights_of_an_index_are_those_of_its_shards_in_order(tmp_path, suffix):
    found = steelyard.weights(model(tmp_path, suffix))
    check_weights(found)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name].numpy(), array)
    assert found.meta["metadata"] == {"total_size": 240}
    assert len(found.meta["shards"]) == 3


def test_a_folder_of_the_hub_is_read_as_its_only_model(tmp_path):
    model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    assert list(steelyard.weights(tmp_path)) == list(ARRAYS)
    single = tmp_path / "single"
    single.mkdir()
    steelyard.save(ARRAYS, single / "model.safetensors")
    assert list(steelyard.weights(single)) == list(ARRAYS)


def test_shards_without_an_index_are_read_if_all_are_there(tmp_path):
    model(tmp_path).unlink()
    assert list(steelyard.weights(tmp_path)) == list(ARRAYS)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(FormatError, match="2 of 3 shards"):
        steelyard.weights(tmp_path)


def test_several_models_in_one_folder_are_refused_by_name(tmp_path):
    model(tmp_path)
    steelyard.save(ARRAYS, tmp_path / "consolidated.safetensors")
    with pytest.raises(FormatError, match=r"consolidated\.safetensors, model\.safetensors\.index\.json; choose the file"):
        steelyard.weights(tmp_path)


def test_a_tensor_in_two_shards_without_an_index_is_refused(tmp_path):
    path = model(tmp_path)
    steelyard.save({"layer.1.weight": np.zeros(2), "layer.2.weight": np.zeros(2)}, tmp_path / "model-00002-of-00003.safetensors")
    assert steelyard.weights(path)["layer.1.weight"].shape == (4, 5)
    path.unlink()
    with pytest.raises(FormatError, match=r"layer\.1\.weight is in model-00002-of-00003\.safetensors and in model-00003"):
        steelyard.weights(tmp_path)


def test_a_missing_shard_and_a_missing_tensor_are_named(tmp_path):
    path = model(tmp_path)
    index = json.loads(path.read_text())
    index["weight_map"]["ghost"] = "model-00001-of-00003.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(FormatError, match=r"ghost is not in model-00001-of-00003\.safetensors"):
        steelyard.weights(path)
    (tmp_path / "model-00003-of-00003.safetensors").unlink()
    with pytest.raises(FormatError, match=r"the shard model-00003-of-00003\.safetensors is missing"):
        steelyard.weights(path)


@pytest.mark.parametrize(
    ("index", "error", "what"),
    [
        ('{"weight_map": {"a": 1}}', FormatError, 'no "weight_map"'),
        ('{"weight_map": ["a"]}', FormatError, 'no "weight_map"'),
        ('{"weight_map": {"a": "x", "a": "y"}}', FormatError, "duplicate name"),
        ('{"weight_map": {"a": "../x.safetensors"}}', UnsafeFileError, "leads out"),
        ('{"weight_map": {"a": "/etc/passwd"}}', UnsafeFileError, "leads out"),
        ('{"weight_map": {"a": "model.safetensors.index.json"}}', FormatError, "another index"),
        ('{"weight_map": ', FormatError, "not JSON"),
    ],
)  # fmt: skip
def test_an_invalid_index_or_one_that_leaves_the_folder_is_refused(tmp_path, index, error, what):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(index)
    with pytest.raises(error, match=what):
        steelyard.weights(path)


def test_the_links_of_the_hub_s_cache_are_followed(tmp_path):
    path = model(tmp_path / "models--me--net/snapshots/abc")
    blobs = tmp_path / "models--me--net/blobs"
    blobs.mkdir()
    for place, file in enumerate(sorted(path.parent.iterdir())):
        file.rename(blobs / str(place))
        file.symlink_to(f"../../blobs/{place}")
    assert list(steelyard.weights(path)) == list(ARRAYS)
    assert list(steelyard.weights(path.parent)) == list(ARRAYS)


@pytest.mark.parametrize("way", ["up", "absolute", "through a folder", "other cache"])
def test_a_shard_that_is_a_link_out_of_the_folder_is_refused(tmp_path, way):
    path = model(tmp_path / "models--me--net/snapshots/abc")
    shard = path.parent / "model-00001-of-00003.safetensors"
    outside = tmp_path / "models--you--net/blobs"
    outside.mkdir(parents=True)
    shard.rename(outside / "secret")
    if way == "through a folder":
        (path.parent / "inner").symlink_to(outside)
        index = json.loads(path.read_text())
        index["weight_map"] = {name: "inner/secret" if file == shard.name else file for name, file in index["weight_map"].items()}
        path.write_text(json.dumps(index))
    elif way == "up":
        shard.symlink_to("../../../models--you--net/blobs/secret")
    elif way == "absolute":
        shard.symlink_to(outside / "secret")
    else:
        (path.parent.parent.parent / "blobs").symlink_to(outside)
        shard.symlink_to("../../blobs/secret")
    with pytest.raises(UnsafeFileError, match="a link that leads out of the folder"):
        steelyard.weights(path)


def test_a_shard_may_be_a_link_inside_the_folder(tmp_path):
    path = model(tmp_path)
    shard = tmp_path / "model-00001-of-00003.safetensors"
    shard.rename(tmp_path / "first")
    shard.symlink_to("first")
    assert list(steelyard.weights(path)) == list(ARRAYS)


def test_a_model_is_written_in_shards_that_the_reference_reads(tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    sharded.write(steelyard.weights(ARRAYS), path, shard_size=170)
    names = sorted(os.listdir(tmp_path))
    assert names == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    index = json.loads(path.read_text())
    assert index["metadata"]["total_size"] == 240
    for name, shard in index["weight_map"].items():
        np.testing.assert_array_equal(safetensors.numpy.load_file(tmp_path / shard)[name], ARRAYS[name])
    assert list(steelyard.weights(path)) == list(ARRAYS)


def test_save_writes_an_index_and_keeps_the_facts_even_of_tied_weights(tmp_path):
    import torch

    net = torch.nn.Sequential(torch.nn.Embedding(6, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 6, bias=False))
    net[2].weight = net[0].weight
    live = steelyard.weights(net)
    steelyard.save(live, tmp_path / "net.safetensors.index.json")
    found = steelyard.weights(tmp_path / "net.safetensors.index.json")
    facts = [[(w.name, w.role, w.axes, w.layer, w.tied) for w in weights.values()] for weights in (live, found)]
    assert facts[0] == facts[1]
    np.testing.assert_array_equal(found.to_vector(), live.to_vector())


def test_an_older_model_stays_intact_until_the_new_index_replaces_its_index(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors.index.json"
    sharded.write(steelyard.weights(ARRAYS), path, shard_size=100)
    before = set(os.listdir(tmp_path))
    new = steelyard.weights({name: array + 1 for name, array in ARRAYS.items()})

    def failing(target):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(sharded, "replacing", failing)
        with pytest.raises(OSError, match="full"):
            sharded.write(new, path, shard_size=100)
    assert before <= set(os.listdir(tmp_path))
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(steelyard.weights(path)[name].numpy(), array)
    sharded.write(new, path, shard_size=100)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(steelyard.weights(path)[name].numpy(), array + 1)
    assert not before & set(os.listdir(tmp_path)) - {path.name}


def test_a_model_may_be_written_over_itself(tmp_path):
    path = model(tmp_path)
    steelyard.save(steelyard.weights(path), path)
    found = steelyard.weights(path)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name].numpy(), array)


def test_a_folder_without_weights_is_not_a_model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert not sharded.sniff(open_path(tmp_path))
    with pytest.raises(FormatError, match="a folder without weight files"):
        steelyard.weights(tmp_path)


@pytest.mark.parametrize("marked", [False, True])
def test_a_save_removes_no_file_that_it_did_not_write(tmp_path, marked):
    thesis = ["thesis-00001-of-00001.npz", "model-00001-of-00001.txt", "model-final-00001-of-00001.safetensors"]
    for name in thesis:
        (tmp_path / name).write_bytes(b"years of work")
    path = tmp_path / "model.safetensors.index.json"
    metadata = {"steelyard": "{}"} if marked else {}
    path.write_text(json.dumps({"metadata": metadata, "weight_map": {str(n): name for n, name in enumerate(thesis)}}))
    sharded.write(steelyard.weights(ARRAYS), path, shard_size=100)
    assert [(tmp_path / name).read_bytes() for name in thesis] == [b"years of work"] * 3


def test_a_save_over_the_shards_of_another_program_leaves_them(tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    sharded.write(steelyard.weights(ARRAYS), path, shard_size=100)
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {"metadata": {"total_size": 1}}))
    sharded.write(steelyard.weights(ARRAYS), path, shard_size=100)
    assert all((tmp_path / name).exists() for name in index["weight_map"].values())


def test_the_library_that_a_file_says_it_is_from_is_said_by_its_copies_shards_and_likenesses(tmp_path):
    safetensors.numpy.save_file(
        {"a": np.ones((4, 3), "f4"), "b": np.zeros(3, "f2")}, tmp_path / "mlx.safetensors", metadata={"format": "mlx"}
    )
    steelyard.save(tmp_path / "mlx.safetensors", tmp_path / "copy.safetensors")
    steelyard.save(tmp_path / "mlx.safetensors", tmp_path / "parts.safetensors", shard_size=50)
    steelyard.save({"a": np.zeros((4, 3), "f4")}, tmp_path / "like.safetensors", like=tmp_path / "mlx.safetensors")
    steelyard.save({"a": np.zeros((4, 3), "f4")}, tmp_path / "own.safetensors", shard_size=50)
    said = {}
    for path in tmp_path.glob("*.safetensors"):
        with safetensors.safe_open(path, "numpy") as file:
            said[path.name.partition("-")[0].partition(".")[0]] = file.metadata()["format"]
    assert said == {"mlx": "mlx", "copy": "mlx", "parts": "mlx", "like": "mlx", "own": "pt"}


def test_a_base_with_its_adapter_beside_it_is_the_model_and_a_warning_says_how_the_adapter_is_merged(tmp_path):
    steelyard.save({"fc.weight": np.ones((3, 4), "f4")}, tmp_path / "model.safetensors")
    parts = {
        "base_model.model.fc.lora_A.weight": np.ones((2, 4), "f4"),
        "base_model.model.fc.lora_B.weight": np.ones((3, 2), "f4"),
    }
    steelyard.save(parts, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2}))
    left = r"is model\.safetensors; left out adapter_model\.safetensors; --adapter or merge_adapter merges it"
    with pytest.warns(LeftOutWarning, match=left):
        base = steelyard.weights(tmp_path)
    assert list(base) == ["fc.weight"]
    merged = steelyard.merge_adapter(base, tmp_path / "adapter_model.safetensors")
    assert np.array_equal(merged["fc.weight"].numpy(), np.full((3, 4), 3, "f4"))
    (tmp_path / "model.safetensors").unlink()
    assert list(steelyard.weights(tmp_path)) == list(parts)
    steelyard.save({"fc.weight": np.ones((3, 4), "f4")}, tmp_path / "model.safetensors")
    steelyard.save({"fc.weight": np.ones((3, 4), "f4")}, tmp_path / "other.safetensors")
    with pytest.raises(FormatError, match="a folder with several models"):
        steelyard.weights(tmp_path)
