"""Files of TensorFlow.js that are written: their bytes are those of its own writer, and the layers of a model stay.

`tests/data/make_tfjs.py` made the models with tensorflowjs. That TensorFlow.js loads what is written was tried by hand.
"""

import json
import shutil

import carried
import numpy as np
import pytest

import steelyard
from steelyard.cli import main
from steelyard.errors import FormatError, LossyError, ShapeError

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(carried.folder("tfjs"), tmp_path / "tfjs")


def manifest_of(path):
    content = json.loads(path.read_text())
    return content["weightsManifest"] if isinstance(content, dict) else content


def stored(path):
    """Return what the manifest says of each weight, and the bytes, as its own reader cuts them."""
    sizes = {"float32": 4, "int32": 4, "bool": 1, "complex64": 8, "float16": 2, "uint8": 1, "uint16": 2}
    found = {}
    for group in manifest_of(path):
        data = b"".join((path.parent / name).read_bytes() for name in group["paths"])
        for entry in group["weights"]:
            if entry["dtype"] == "string":
                size = 0
                for _ in range(int(np.prod(entry["shape"]))):
                    size += 4 + int.from_bytes(data[size : size + 4], "little")
            else:
                size = sizes[entry.get("quantization", entry)["dtype"]] * int(np.prod(entry["shape"]))
            found[entry["name"]] = (entry, data[:size])
            data = data[size:]
        assert not data
    return found


def graph_model(folder, kind):
    """Make a graph model of the weights of a kind, so that something has a topology."""
    path = folder / kind / "model.json"
    manifest = manifest_of(folder / kind / "weights_manifest.json")
    path.write_text(json.dumps({"format": "graph-model", "modelTopology": {"node": []}, "weightsManifest": manifest}))
    return path


def plain(folder, base):
    """Return the numbers that the converter quantised, but for those that a graph does not count as weights."""
    names = list(steelyard.weights(base))
    return steelyard.weights(folder / "plain").select(lambda weight: weight.name in names)


@pytest.mark.parametrize("name", ["model.json", "my-model.json", "weights_manifest.json"])
def test_weights_come_back_from_shards_of_four_mebibytes_in_the_published_names(tmp_path, name):
    saved = {"a/kernel": RNG.normal(size=(1100, 1000)).astype("f4"), "step": np.array(3, "i4"), "mask": np.array([True, False])}
    saved["phase"] = np.array([1 + 2j], "c8")
    steelyard.save(saved, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["group1-shard1of2.bin", "group1-shard2of2.bin", name])
    assert (tmp_path / "group1-shard1of2.bin").stat().st_size == 4 << 20
    assert stored(tmp_path / name)["a/kernel"] == (
        {"name": "a/kernel", "shape": [1100, 1000], "dtype": "float32"},
        saved["a/kernel"].tobytes(),
    )
    found = steelyard.weights(tmp_path / name)
    assert list(found) == list(saved)
    assert all(np.array_equal(found[key].numpy(), array) and found[key].dtype == array.dtype for key, array in saved.items())


def test_a_new_model_takes_the_place_of_the_old_one_and_of_its_shards(tmp_path, capsys):
    for fill in (1, 2, 3):
        assert main(["convert", np_file(tmp_path, fill), str(tmp_path / "out/model.json"), "--shard-size", "20"]) == 0
        assert steelyard.weights(tmp_path / "out")["w"].numpy().tolist() == [fill] * 12
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            *(f"group{2 - fill % 2}-shard{place}of3.bin" for place in (1, 2, 3)),
            "model.json",
        ]
    capsys.readouterr()


def np_file(folder, fill):
    (folder / "out").mkdir(exist_ok=True)
    np.savez(folder / "w.npz", w=np.full(12, fill, "f4"))
    return str(folder / "w.npz")


def test_shards_that_another_model_of_the_folder_names_stay(tmp_path):
    steelyard.save({"w": np.ones(3, "f4")}, tmp_path / "model.json")
    steelyard.save({"w": np.zeros(3, "f4")}, tmp_path / "other-model.json")
    shutil.copy(tmp_path / "model.json", tmp_path / "copy-model.json")
    steelyard.save({"w": np.full(3, 2, "f4")}, tmp_path / "model.json")
    values = [steelyard.weights(tmp_path / f"{name}model.json")["w"].numpy()[0] for name in ("", "other-", "copy-")]
    assert values == [2, 0, 1]


def test_float16_is_stored_as_tensorflow_js_stores_it_and_is_float16_again(tmp_path):
    halves = RNG.normal(size=(3, 4)).astype("f2")
    steelyard.save({"w": halves}, tmp_path / "model.json")
    quantization = {"dtype": "float16", "original_dtype": "float32"}
    entry = {"name": "w", "shape": [3, 4], "dtype": "float32", "quantization": quantization}
    assert stored(tmp_path / "model.json")["w"] == (entry, halves.tobytes())
    found = steelyard.weights(tmp_path / "model.json")["w"]
    assert (found.dtype, found.numpy().tobytes()) == ("float16", halves.tobytes())


def test_roles_axes_and_ties_of_a_model_without_layers_come_back(tmp_path):
    from torch import nn

    net = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Linear(4, 4), nn.Linear(4, 4))
    net[2].weight = net[1].weight
    steelyard.save(net, tmp_path / "model.json")
    before, after = steelyard.weights(net), steelyard.weights(tmp_path / "model.json")
    assert [(w.name, w.role, w.axes, w.tied) for w in before.values()] == [
        (w.name, w.role, w.axes, w.tied) for w in after.values()
    ]
    assert "2.weight" in stored(tmp_path / "model.json")


def test_a_model_that_is_written_like_itself_has_the_same_bytes_and_the_same_layers(folder, tmp_path):
    base, out = folder / "layers/model.json", tmp_path / "out/model.json"
    out.parent.mkdir()
    assert main(["convert", str(base), str(out), "--like", str(base)]) == 0
    assert stored(out) == stored(base)
    before, after = json.loads(base.read_text()), json.loads(out.read_text())
    assert list(after) == list(before)
    assert all(after[key] == before[key] for key in before if key != "weightsManifest")


def test_the_numbers_of_a_layers_model_are_replaced_and_those_that_are_not_given_stay(folder, tmp_path):
    base, out = folder / "layers/model.json", tmp_path / "model.json"
    kernel = RNG.normal(size=(2, 2, 2, 3)).astype("f4")
    steelyard.save({"conv/kernel": kernel}, out, like=base)
    before, after = stored(base), stored(out)
    assert after.pop("conv/kernel")[1] == kernel.tobytes() != before.pop("conv/kernel")[1]
    assert after == before
    assert [layer.kind for layer in steelyard.weights(out).graph.layers] == ["conv", "batch norm", "flatten", "dense"]


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float16"])
def test_numbers_are_quantised_like_the_model_as_its_own_converter_does(folder, tmp_path, kind):
    base = graph_model(folder, kind)
    steelyard.save(plain(folder, base), tmp_path / "model.json", like=base)
    assert stored(tmp_path / "model.json") == stored(folder / kind / "weights_manifest.json")
    assert "words" in stored(tmp_path / "model.json"), "texts are a part of the graph"


def test_the_type_that_is_asked_for_takes_the_place_of_that_of_the_model(folder, tmp_path):
    base = graph_model(folder, "uint8")
    steelyard.save(plain(folder, base), tmp_path / "model.json", like=base, dtype="float32")
    found = stored(tmp_path / "model.json")
    assert found["dense/kernel"][1] == plain(folder, base)["dense/kernel"].numpy().tobytes()
    assert "quantization" not in found["dense/kernel"][0]


def test_without_like_decoded_numbers_are_written_as_they_are(folder, tmp_path):
    found = steelyard.weights(graph_model(folder, "uint8"))
    steelyard.save(found, tmp_path / "model.json")
    assert stored(tmp_path / "model.json")["dense/kernel"][1] == np.load(folder / "uint8.npz")["dense/kernel"].tobytes()


@pytest.mark.parametrize("dtype", ["f8", "i8", "u1", "i2"])
def test_a_type_that_tensorflow_js_does_not_have_is_refused_and_nothing_is_written(tmp_path, dtype):
    with pytest.raises(FormatError, match=r"w is \w+; TensorFlow\.js holds float32, int32, bool, complex64, float16; convert it"):
        steelyard.save({"w": np.ones(3, dtype)}, tmp_path / "model.json")
    assert not list(tmp_path.iterdir())


def test_other_names_shapes_and_numbers_than_the_model_can_have_are_refused(folder, tmp_path):
    base = folder / "layers/model.json"
    with pytest.raises(ShapeError, match="the model has other names"):
        steelyard.save({"x": np.ones(3, "f4")}, tmp_path / "model.json", like=base)
    with pytest.raises(FormatError, match=r"the layers of the original model have no weight called 'a\.conv/kernel'"):
        steelyard.save(steelyard.weights(base).rename("(.*)", r"a.\1"), tmp_path / "model.json")
    wide = {"dense/kernel": np.full((5, 7), 1e9, "f4")}
    with pytest.raises(LossyError, match="does not fit into float16"):
        steelyard.save(wide, tmp_path / "model.json", like=graph_model(folder, "float16"))
    wide["dense/kernel"][0, 0] = np.nan
    with pytest.warns(steelyard.errors.NonFiniteWarning), pytest.raises(FormatError, match="holds NaN or Inf, which no uint8"):
        steelyard.save(wide, tmp_path / "model.json", like=graph_model(folder, "uint8"))
    assert not list(tmp_path.glob("*.bin"))


def test_a_model_that_lacks_a_shard_is_not_written_again(folder, tmp_path):
    base = folder / "layers/model.json"
    (folder / "layers/group1-shard2of2.bin").unlink()
    with pytest.warns(steelyard.errors.IncompleteWarning):
        found = steelyard.weights(base).select("conv/*")
    with pytest.raises(
        FormatError, match=r"lacks the file 'group1-shard2of2\.bin' of its numbers, so it cannot be written again"
    ):
        steelyard.save(found, tmp_path / "model.json")


def test_an_index_of_shards_and_shards_beyond_the_limit_are_refused(tmp_path):
    with pytest.raises(FormatError, match="has shards of its own, which need no index"):
        steelyard.save({"w": np.ones(3, "f4")}, tmp_path / "model.json.index.json")
    with steelyard.limits.allow(SHARDS=2), pytest.raises(FormatError, match="would have 3 shards, more than 2"):
        steelyard.save({"w": np.ones(3, "f4")}, tmp_path / "model.json", shard_size=4)
    assert not list(tmp_path.iterdir())
