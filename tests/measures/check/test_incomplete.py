"""A check finds a model that lacks one byte, member, side file, shard or parameter, and finds nothing in its intact twin."""

import json
import os
import pickle
import shutil
import zipfile
from contextlib import suppress

import gguf
import h5py
import joblib
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

import steelyard
from steelyard.cli import main
from steelyard.errors import SteelyardError

KERNEL, BIAS = np.arange(24, dtype="f4").reshape(4, 6), np.ones(6, "f4")


def without_last_byte(path):
    path.write_bytes(path.read_bytes()[:-1])


def without_member(path, wanted):
    """Write a zip archive again without the members that `wanted` names."""
    with zipfile.ZipFile(path) as old:
        kept = {name: old.read(name) for name in old.namelist() if not wanted(name)}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in kept.items():
            new.writestr(name, content)


def torch_storage(folder):
    path = folder / "net.pt"
    torch.save({"fc.weight": torch.ones(4, 6), "fc.bias": torch.ones(4)}, path)
    return path, lambda: without_member(path, lambda name: name.endswith("data/1"))


def safetensors_byte(folder):
    path = folder / "net.safetensors"
    save_file({"w": KERNEL, "b": BIAS}, path)
    return path, lambda: without_last_byte(path)


def npy_byte(folder):
    path = folder / "w.npy"
    np.save(path, KERNEL)
    return path, lambda: without_last_byte(path)


def npz_member_byte(folder):
    path = folder / "net.npz"
    np.savez(path, w=KERNEL, b=BIAS)

    def cut():
        with zipfile.ZipFile(path) as old:
            members = {name: old.read(name) for name in old.namelist()}
        with zipfile.ZipFile(path, "w") as new:
            for name, content in members.items():
                new.writestr(name, content[:-1] if name == "w.npy" else content)

    return path, cut


def hdf5_link(folder):
    path = folder / "net.h5"
    with h5py.File(path, "w") as file:
        file["w"] = KERNEL

    def replace():
        with h5py.File(path, "a") as file:
            file["b"] = h5py.ExternalLink("other.h5", "b")

    return path, replace


def legacy_keras_weight(folder):
    path = folder / "net.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"fc"]
        group = file.create_group("fc")
        group.attrs["weight_names"] = [b"fc/kernel:0", b"fc/bias:0"]
        group["fc/kernel:0"], group["fc/bias:0"] = KERNEL, BIAS

    def remove():
        with h5py.File(path, "a") as file:
            del file["fc/fc/bias:0"]

    return path, remove


def keras_group(path, variables, layer="dense"):
    with h5py.File(path, "a") as file:
        for number, array in variables.items():
            file[f"layers/{layer}/vars/{number}"] = array
        file[f"layers/{layer}/vars"].attrs["name"] = layer
        file.require_group("vars").attrs["name"] = "net"


def keras_variable(folder):
    path = folder / "net.weights.h5"
    keras_group(path, {0: KERNEL, 1: BIAS})

    def remove():
        with h5py.File(path, "a") as file:
            del file["layers/dense/vars/0"]

    return path, remove


def keras_parameter(folder):
    path = folder / "net.keras"
    dense = {"module": "keras.layers", "class_name": "Dense", "config": {"name": "dense", "units": 6, "use_bias": True}}
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "net", "layers": [dense]}}

    def made(variables):
        keras_group(folder / "model.weights.h5", variables)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("metadata.json", '{"keras_version": "3.12.0"}')
            archive.write(folder / "model.weights.h5", "model.weights.h5")
        (folder / "model.weights.h5").unlink()

    made({0: KERNEL, 1: BIAS})
    return path, lambda: made({0: KERNEL})


def keras_shard(folder):
    for number, name in enumerate(("dense", "dense_1")):
        keras_group(folder / f"net_{number:05}.weights.h5", {0: KERNEL, 1: BIAS}, name)
    groups = {f"/layers/{name}/vars": [f"net_{number:05}.weights.h5"] for number, name in enumerate(("dense", "dense_1"))}
    (folder / "net.weights.json").write_text(json.dumps({"metadata": {}, "weight_map": groups}))
    return folder / "net.weights.json", (folder / "net_00001.weights.h5").unlink


def gguf_file(path, tensors, **split):
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in split.items():
        add = writer.add_int32 if key == "tensors_count" else writer.add_uint16
        add(f"split.{key.replace('_', '.')}", value)
    for name, array in tensors.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_bytes(folder):
    path = folder / "net.gguf"
    gguf_file(path, {"w": KERNEL})
    return path, lambda: path.write_bytes(path.read_bytes()[: -1 - 32 + KERNEL.nbytes % 32])


def gguf_split(folder):
    for number, tensors in enumerate(({"w": KERNEL}, {"b": BIAS})):
        gguf_file(folder / f"net-{number + 1:05}-of-00002.gguf", tensors, no=number, count=2, tensors_count=2)
    return folder / "net-00001-of-00002.gguf", (folder / "net-00002-of-00002.gguf").unlink


def onnx_model(initializers):
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="gemm")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in (("x", 4), ("y", 6))]
    return helper.make_model(helper.make_graph([node], "net", ends[:1], ends[1:], initializers))


def onnx_data(folder):
    path = folder / "net.onnx"
    model = onnx_model([numpy_helper.from_array(KERNEL, "w"), numpy_helper.from_array(BIAS, "b")])
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    return path, (folder / "net.data").unlink


def onnx_parameter(folder):
    path = folder / "net.onnx"
    tensors = [numpy_helper.from_array(KERNEL, "w"), numpy_helper.from_array(BIAS, "b")]
    onnx.save(onnx_model(tensors), path)
    return path, lambda: onnx.save(onnx_model(tensors[:1]), path)


def tflite_byte(folder):
    path = folder / "net.tflite"

    class Net(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])
        def __call__(self, x):
            return tf.linalg.matmul(x, KERNEL)

    net = Net()
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([net.__call__.get_concrete_function()], net).convert())
    place = path.read_bytes().index(KERNEL.T.tobytes()) - 4  # the length of the buffer, in bytes

    def shorten():
        data = bytearray(path.read_bytes())
        data[place : place + 4] = (KERNEL.nbytes - 1).to_bytes(4, "little")
        path.write_bytes(data)

    return path, shorten


def checkpoint(folder):
    prefix = tf.train.Checkpoint(w=tf.Variable(KERNEL), b=tf.Variable(BIAS)).write(str(folder / "net"))
    return folder / "net.index", prefix


def checkpoint_numbers(folder):
    path, prefix = checkpoint(folder)
    return path, lambda: os.unlink(f"{prefix}.data-00000-of-00001")


def checkpoint_parameter(folder):
    path, prefix = checkpoint(folder)
    reader = tf.train.load_checkpoint(prefix)

    def rewrite():
        names = [name for name in reader.get_variable_to_shape_map() if not name.startswith("b/")]
        tensors = [reader.get_tensor(name) for name in names]
        tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)

    return path, rewrite


def r_byte(folder):
    path = folder / "net.rds"
    steelyard.save({"w": KERNEL.astype("f8")}, path)
    return path, lambda: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def joblib_byte(folder):
    path = folder / "net.joblib"
    joblib.dump({"w": KERNEL, "b": BIAS}, path)
    return path, lambda: path.write_bytes(path.read_bytes()[: -BIAS.nbytes])


def joblib_side_file(folder):
    from joblib.numpy_pickle_compat import NDArrayWrapper

    path = folder / "net.pkl"
    np.save(folder / "net.pkl_01.npy", KERNEL)
    path.write_bytes(pickle.dumps({"w": NDArrayWrapper("net.pkl_01.npy", np.ndarray)}))
    return path, (folder / "net.pkl_01.npy").unlink


def msgpack_byte(folder):
    path = folder / "net.msgpack"
    steelyard.save({"w": KERNEL}, path)
    return path, lambda: without_last_byte(path)


def hub_shard(folder):
    steelyard.save({"w": KERNEL, "b": BIAS}, folder / "model.safetensors", shard_size=1)
    return folder, (folder / "model-00002-of-00002.safetensors").unlink


def diffusers_module(folder):
    entries = {"_class_name": "Pipe", "unet": ["diffusers", "UNet"], "vae": ["diffusers", "VAE"], "off": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(entries | {"scheduler": ["diffusers", "PNDMScheduler"]}))
    (folder / "scheduler").mkdir()
    for name in ("unet", "vae"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
        save_file({"w": KERNEL}, folder / name / "diffusion_pytorch_model.safetensors")
    return folder, (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink


def sentence_module(folder):
    types = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in types.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    for path in ("1_Pooling", "2_Dense"):
        (folder / path).mkdir()
    save_file({"w": KERNEL}, folder / "model.safetensors")
    save_file({"linear.weight": KERNEL}, folder / "2_Dense" / "model.safetensors")
    return folder, lambda: shutil.rmtree(folder / "2_Dense")


def split_alone(folder):
    """The part of a model in shards, as if it were one."""
    path = folder / "net.safetensors"
    save_file({"w": KERNEL}, path)
    return path, lambda: path.rename(folder / "model-00001-of-00002.safetensors")


MODELS = (
    torch_storage,
    safetensors_byte,
    npy_byte,
    npz_member_byte,
    hdf5_link,
    legacy_keras_weight,
    keras_variable,
    keras_parameter,
    keras_shard,
    gguf_bytes,
    gguf_split,
    onnx_data,
    onnx_parameter,
    tflite_byte,
    checkpoint_numbers,
    checkpoint_parameter,
    r_byte,
    joblib_byte,
    joblib_side_file,
    msgpack_byte,
    hub_shard,
    diffusers_module,
    sentence_module,
    split_alone,
)


@pytest.mark.parametrize("made", MODELS, ids=lambda made: made.__name__)
def test_a_check_finds_what_is_missing_and_nothing_in_the_intact_model(made, tmp_path, capsys):
    path, harm = made(tmp_path)
    intact = steelyard.check(path)
    assert intact.ok
    assert {finding.kind for finding in intact.findings} <= {"text"}
    harm()
    path = path if path.exists() else next(tmp_path.glob("*.safetensors"))
    with suppress(SteelyardError):  # where nothing of it can be read
        found = steelyard.check(path)
        assert {finding.kind for finding in found.at_least("error")} & {"incomplete", "missing shard", "unreadable", "damaged"}
    assert main(["check", str(path)]) in ((3,) if made is hdf5_link else (1, 2))  # a link that leads out of the file
    assert "readable, complete, finite" not in capsys.readouterr().out
