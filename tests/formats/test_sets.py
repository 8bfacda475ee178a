"""A set of files is read as one model, whichever file is opened; a part that is opened alone is reported."""

import json
import shutil
import subprocess
import sys
import warnings

import gguf
import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import steelyard
from steelyard.cli import main
from steelyard.errors import FormatError, IncompleteWarning, LeftOutWarning, UnsafeFileError


@pytest.fixture
def split(tmp_path):
    """A GGUF that is split into three files, each with one tensor."""
    for number in range(3):
        writer = gguf.GGUFWriter(tmp_path / f"net-{number + 1:05}-of-00003.gguf", "llama")
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 3)
        writer.add_int32("split.tensors.count", 3)
        writer.add_tensor(f"blk.{number}.attn_q.weight", np.full((2, 2), number, "f4"))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return tmp_path


def names_of(path):
    return list(steelyard.weights(path))


def test_every_part_of_a_split_gguf_and_its_folder_are_the_whole_model(split):
    wanted = [f"blk.{number}.attn_q.weight" for number in range(3)]
    for path in (*sorted(split.iterdir()), split):
        found = steelyard.weights(path)
        assert list(found) == wanted
        assert [found[name].numpy()[0, 0] for name in wanted] == [0, 1, 2]
        assert not any(key.startswith("split.") for key in found.meta["metadata"])


def test_a_split_gguf_names_the_parts_that_are_missing(split):
    (split / "net-00002-of-00003.gguf").unlink()
    with pytest.warns(IncompleteWarning, match=r"is part 1 of 3 of a model, and net-00002-of-00003\.gguf is missing"):
        assert names_of(split) == ["blk.0.attn_q.weight"]
    (split / "net-00001-of-00003.gguf").rename(split / "renamed.gguf")
    with pytest.warns(IncompleteWarning, match="is part 1 of 3 of a model by its metadata"):
        names_of(split / "renamed.gguf")


def test_parts_of_two_splits_are_refused(split, tmp_path):
    shutil.copy(split / "net-00001-of-00003.gguf", split / "net-00002-of-00003.gguf")
    with pytest.raises(FormatError, match=r"net-00002-of-00003\.gguf is not part 2 of 3 by its metadata"):
        steelyard.weights(split / "net-00001-of-00003.gguf")


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_a_shard_that_is_opened_alone_says_so_with_and_without_the_index(tmp_path, suffix):
    for number in (1, 2):
        path = tmp_path / f"model-0000{number}-of-00002{suffix}"
        save_file({f"w{number}": np.ones(2, "f4")}, path) if suffix == ".safetensors" else torch.save(
            {f"w{number}": torch.ones(2)}, path
        )
    first, second = (tmp_path / f"model-0000{number}-of-00002{suffix}" for number in (1, 2))
    with pytest.warns(IncompleteWarning, match="is part 1 of 2 of a model; open its folder for the whole"):
        assert names_of(first) == ["w1"]
    (tmp_path / f"model{suffix}.index.json").write_text(json.dumps({"weight_map": {"w1": first.name, "w2": second.name}}))
    with pytest.warns(IncompleteWarning, match=rf"is part 2 of 2 of a model; open model{suffix}\.index\.json for the whole"):
        names_of(second)
    assert names_of(tmp_path / f"model{suffix}.index.json") == ["w1", "w2"]
    second.unlink()
    with pytest.warns(IncompleteWarning, match=rf"and model-00002-of-00002{suffix} is missing"):
        names_of(first)


@pytest.fixture
def shards(tmp_path):
    """Two layers of a Keras model in two shards, in the layout that `save_weights(max_shard_size=...)` writes."""
    for number, layer in enumerate(("dense", "dense_1")):
        with h5py.File(tmp_path / f"net_{number:05}.weights.h5", "w") as file:
            file[f"layers/{layer}/vars/0"] = np.full((2, 3), number, "f4")
            file[f"layers/{layer}/vars"].attrs["name"] = f"fc{number}"
            file.create_group("vars").attrs["name"] = "net"
    groups = {"/layers/dense/vars": ["net_00000.weights.h5"], "/layers/dense_1/vars": ["net_00001.weights.h5"]}
    (tmp_path / "net.weights.json").write_text(json.dumps({"metadata": {"total_size": 48.0}, "weight_map": groups}))
    return tmp_path


def test_the_shards_of_keras_are_one_model_under_its_own_names(shards):
    found = steelyard.weights(shards / "net.weights.json")
    assert {name: weight.numpy()[0, 0] for name, weight in found.items()} == {"net/fc0/kernel": 0, "net/fc1/kernel": 1}
    with pytest.warns(IncompleteWarning, match=r"is part 2 of 2 of a model; open net\.weights\.json for the whole"):
        assert names_of(shards / "net_00001.weights.h5") == ["net/fc1/kernel"]


def test_a_quantised_kernel_in_a_shard_has_its_effective_numbers(shards):
    codes, scale = np.arange(-3, 3, dtype=np.int8).reshape(2, 3), np.array([1, 2, 4], "f4")
    with h5py.File(shards / "net_00001.weights.h5", "w") as file:
        for place, variable in enumerate((codes, np.zeros(3, "f4"), scale)):
            file[f"layers/dense_1/vars/{place}"] = variable
        file["layers/dense_1/vars"].attrs["name"] = "fc1"
        file.create_group("vars").attrs["name"] = "net"
    kernel = steelyard.effective(shards / "net.weights.json")["net/fc1/kernel"]
    assert kernel.derivation.scheme == "int8 of Keras"
    assert np.allclose(kernel.numpy(), codes / scale)


@pytest.mark.parametrize("name", ["../net_00001.weights.h5", "/etc/passwd", "a\\b"])
def test_an_index_of_keras_cannot_leave_its_folder(shards, name):
    (shards / "net.weights.json").write_text(json.dumps({"weight_map": {"/layers/dense/vars": [name]}}))
    with pytest.raises(UnsafeFileError, match="leads out of the folder"):
        steelyard.weights(shards / "net.weights.json")


def test_a_group_that_no_shard_has_is_refused(shards):
    index = json.loads((shards / "net.weights.json").read_text())
    index["weight_map"]["/layers/ghost/vars"] = ["net_00000.weights.h5"]
    (shards / "net.weights.json").write_text(json.dumps(index))
    with pytest.raises(FormatError, match="no shard has the group /layers/ghost/vars"):
        steelyard.weights(shards / "net.weights.json")


def test_the_modules_of_a_pipeline_have_the_names_of_their_folders(tmp_path):
    entries = {"_class_name": "P", "unet": ["diffusers", "U"], "vae": ["diffusers", "V"], "safety_checker": [None, None]}
    (tmp_path / "model_index.json").write_text(json.dumps(entries))
    for name in ("unet", "vae", "safety_checker"):
        (tmp_path / name).mkdir()
        save_file({"fc.weight": np.ones((2, 3), "f4")}, tmp_path / name / "diffusion_pytorch_model.safetensors")
        save_file({"fc.weight": np.ones((2, 3), "f2")}, tmp_path / name / "diffusion_pytorch_model.fp16.safetensors")
    for path in (tmp_path, tmp_path / "model_index.json"):
        found = steelyard.weights(path)
        assert {name: weight.layer for name, weight in found.items()} == {"unet/fc.weight": "unet/fc", "vae/fc.weight": "vae/fc"}
        assert {weight.dtype for weight in found.values()} == {"float32"}
    shutil.rmtree(tmp_path / "vae")
    with pytest.warns(IncompleteWarning, match="lacks the weights of the module in vae"):
        assert names_of(tmp_path) == ["unet/fc.weight"]


def test_a_module_of_a_pipeline_cannot_be_outside_of_its_folder(tmp_path):
    (tmp_path / "modules.json").write_text(json.dumps([{"path": "../other", "type": "Dense"}]))
    with pytest.raises(UnsafeFileError, match="leads out of the folder"):
        steelyard.weights(tmp_path)


def test_the_arrays_that_gensim_keeps_beside_its_pickle_belong_to_it(tmp_path):
    """The pickle is made by a process with classes of gensim's names, since only these and the lists of attributes count."""
    code = """if True:
        import pickle, sys, types
        module = types.ModuleType("gensim.models.word2vec")
        class Word2Vec: pass
        class KeyedVectors: pass
        for made in (Word2Vec, KeyedVectors):
            made.__module__, made.__qualname__ = module.__name__, made.__name__
            setattr(module, made.__name__, made)
        sys.modules |= {"gensim": types.ModuleType("gensim"), "gensim.models": types.ModuleType("gensim.models"), module.__name__: module}
        model = Word2Vec()
        model.wv = KeyedVectors()
        model.wv.__dict__["__numpys"] = ["vectors"]
        model.__dict__.update({"__numpys": ["syn1neg"], "__recursive_saveloads": ["wv"]})
        pickle.dump(model, open(sys.argv[1], "wb"))
    """
    path, vectors = tmp_path / "words.model", np.arange(6, dtype="f4").reshape(2, 3)
    subprocess.run([sys.executable, "-c", code, path], check=True)
    np.save(tmp_path / "words.model.wv.vectors.npy", vectors)
    np.save(tmp_path / "words.model.syn1neg.npy", vectors + 1)
    found = steelyard.weights(path)
    assert {name: weight.numpy().tolist() for name, weight in found.items()} == {
        "wv.vectors": vectors.tolist(),
        "syn1neg": (vectors + 1).tolist(),
    }
    (tmp_path / "words.model.syn1neg.npy").unlink()
    with pytest.warns(IncompleteWarning, match=r"lacks the file 'words\.model\.syn1neg\.npy', into which gensim wrote an array"):
        assert [*steelyard.weights(path).unreadable] == ["syn1neg"]
    with pytest.warns(IncompleteWarning, match=r"is one array of words\.model"):
        steelyard.weights(tmp_path / "words.model.wv.vectors.npy")


def test_a_distributed_checkpoint_without_its_metadata_is_refused_by_name(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "__0_0.distcp")
    for path, what in (
        (tmp_path / "__0_0.distcp", "is a part of a PyTorch distributed checkpoint"),
        (tmp_path, "is a distributed checkpoint without"),
    ):
        with pytest.raises(FormatError, match=what):
            steelyard.weights(path)


def test_a_folder_says_which_weight_files_it_leaves_out(tmp_path, capsys):
    steelyard.save({"w": np.ones(2, "f4")}, tmp_path / "model.safetensors")
    (tmp_path / "optimizer.pt").write_bytes(b"")  # it belongs to the training of this model
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steelyard.weights(tmp_path)
    for name in ("other.npz", "x.pkl"):
        (tmp_path / name).write_bytes(b"")
    what = "the model of this folder is model.safetensors; left out other.npz, x.pkl; pass a file to choose it"
    with pytest.warns(LeftOutWarning, match=what):
        assert [*steelyard.weights(tmp_path)] == ["w"]
    for command in ("ls",), ("report", "-o", f"{tmp_path}/out.html"), ("convert", f"{tmp_path}/out.txt.npz"):
        assert main([command[0], str(tmp_path), *command[1:]]) == 0
        assert capsys.readouterr().err == f"warning: {tmp_path}: {what}\n"
