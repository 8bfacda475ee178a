"""What is fuzzed: for each target the models that its mutants are made of.

A target is named after a format of Steelyard, or after one and a kind of its files. A seed is a model: its files, the path
that a command opens, and the set of files that it is made of.
"""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import math
import pickle
import struct
import tarfile
from dataclasses import dataclass
from functools import cache

import carried
import graph_seeds
import lz4.frame
import numpy as np
import zstandard

LARGEST = 1 << 16
"""Bytes of a file that is a seed: larger ones take longer, and reach no further."""


@dataclass(frozen=True)
class Seed:
    """A model: the content of its files by name, and the name that is opened, "" for the folder."""

    files: dict[str, bytes]
    opened: str


def _one(name, data):
    return Seed({name: data}, name)


@cache
def _hostile_cases():
    return json.loads((carried.folder("hostile") / "hostile.json").read_text())["cases"]


def hostile(*formats):
    """Yield the hostile models of these formats, those that must be read first."""
    for name, case in sorted(_hostile_cases().items(), key=lambda entry: entry[1]["expect"] != "read"):
        if case["format"] in formats:
            folder = carried.folder("hostile") / "files" / name
            paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
            files = {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.stat().st_size <= LARGEST}
            opened = case["path"].removeprefix(f"files/{name}").lstrip("/")
            if opened in files or (not opened and files):
                yield Seed(files, opened)


def golden(*names):
    """Yield the golden models in files of these names, which the frameworks themselves wrote."""
    for path in sorted(carried.folder("golden").rglob("*")):
        if path.name in names and path.stat().st_size <= LARGEST:
            yield _one(path.name, path.read_bytes())


def of_r(*folders):
    """Yield R's own files."""
    for folder in folders:
        for path in sorted((carried.folder("r") / folder).rglob("*"), key=lambda path: (not path.name.startswith("plain"), path)):
            if path.suffix in (".rds", ".pt", ".RData", ".rda") and 0 < path.stat().st_size <= LARGEST:
                yield _one(path.name, path.read_bytes())


def latest_hdf5():
    """Yield a file with each kind of index of chunks, a large group, and attributes in a heap."""
    import h5py

    for version in ("earliest", "latest"):
        buffer = io.BytesIO()
        with h5py.File(buffer, "w", libver=version) as file:
            for number in range(20):
                file[f"group/w{number}"] = float(number)
                file["group"].attrs[f"text {number}"] = "a" * number
            for name, largest in {"fixed": None, "one": (None, 6), "two": (None, None)}.items():
                file.create_dataset(name, data=np.ones((20, 6)), chunks=(3, 4), maxshape=largest, compression="gzip")
            file.create_dataset("checked", data=np.ones((5, 6), ">f4"), chunks=(5, 6), shuffle=True, fletcher32=True)
            file.create_dataset("lzf", data=np.zeros((50, 6), "i2"), chunks=(10, 6), compression="lzf")
            file.create_dataset("compact", data=np.array([b"text", b"more"]))
        yield _one("x.h5", buffer.getvalue())


def arrays():
    """Yield files of one array in several dtypes and orders, and an archive of them."""
    kinds = [
        np.arange(6.0).reshape(2, 3),
        np.ones((3, 2), ">i2"),
        np.asfortranarray(np.eye(3, dtype="f4")),
        np.zeros((0, 3), "?"),
    ]
    kinds += [np.array(1.5), np.array([1 + 2j]), np.array(["a", "bc"])]
    for array in kinds:
        buffer = io.BytesIO()
        np.save(buffer, array)
        yield _one("w.npy", buffer.getvalue())
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **{f"w{number}": array for number, array in enumerate(kinds)})
        yield _one("w.npz", buffer.getvalue())


def compressed(seeds):
    """Yield files in each of the compressed streams that joblib and gzip write."""
    packers = {
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
        ".lz4": lz4.frame.compress,
        ".zst": zstandard.compress,
    }
    for seed in list(seeds)[:6]:
        for suffix, pack in packers.items():
            yield _one(f"{seed.opened}{suffix}", pack(seed.files[seed.opened]))


def packs():
    """Yield packs of models of TensorFlow Lite, as zip and tar archives."""
    models = [seed.files["model.tflite"] for seed in golden("model.tflite")][:4]
    members = {"detector.tflite": models[0], "inner/net.tflite": models[1], "labels.txt": b"a\nb\n", "third.lite": models[2]}
    inner = graph_seeds.zipped({"deep.tflite": models[3]})
    yield _one("two.task", graph_seeds.zipped(members))
    yield _one("nested.task", graph_seeds.zipped({**members, "inner.task": inner}))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name if name[0] != "i" else "long/" * 30 + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    yield _one("two.tar", buffer.getvalue())


def _tensors(**arrays):
    from safetensors.numpy import save

    return save(arrays)


def all_dtypes():
    """Yield a file with each type of safetensors, scalars, empty arrays, NaN and infinite numbers, and long shapes."""
    sizes = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I16": 2, "U8": 1, "U64": 8, "BOOL": 1, "F8_E4M3": 1, "C64": 8}
    header, content = {}, b""
    for dtype, size in sizes.items():
        for shape in ([], [0, 3], [4], [2, 3, 1, 2], [1] * 20, [16, 16]):
            raw = bytes(number % 2 if dtype == "BOOL" else number * 37 % 256 for number in range(size * math.prod(shape)))
            name = f"{dtype}.{len(shape)}.weight"
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(content), len(content) + len(raw)]}
            content += raw
    raw = json.dumps(header).encode()
    yield _one("model.safetensors", len(raw).to_bytes(8, "little") + raw + content)


def hub_folders():
    """Yield folders of the Hub: shards with an index, a model with its config, packed weights."""
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 4, "tie_word_embeddings": True}
    parts = [_tensors(**{"h.0.attn.c_attn.weight": np.ones((4, 12), "f4")}), _tensors(**{"wte.weight": np.ones((5, 4), "f4")})]
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = {"metadata": {"total_size": 272}, "weight_map": {"h.0.attn.c_attn.weight": names[0], "wte.weight": names[1]}}
    files = dict(zip(names, parts, strict=True)) | {"config.json": json.dumps(config).encode()}
    yield Seed({**files, "model.safetensors.index.json": json.dumps(index).encode()}, "")
    yield Seed({**files, "model.safetensors.index.json": json.dumps(index).encode()}, "model.safetensors.index.json")
    yield Seed(files, names[0])
    yield Seed({"model.safetensors": parts[0], "config.json": files["config.json"]}, "")
    packed = {"l.qweight": np.ones((1, 8), "i4"), "l.qzeros": np.ones((1, 1), "i4"), "l.scales": np.ones((1, 8), "f2")}
    quantised = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 8}, **config}
    yield Seed({"model.safetensors": _tensors(**packed), "config.json": json.dumps(quantised).encode()}, "model.safetensors")


def keras_shards():
    """Yield the shards of a model of Keras, made of a whole file."""
    whole = next(seed.files["keras.weights.h5"] for seed in golden("keras.weights.h5"))
    for group in ("/layers/batch_normalization/vars", "layers/batch_normalization"):
        index = {"metadata": {"total_size": 100}, "weight_map": {group: ["model_00000.weights.h5"]}}
        yield Seed({"model_00000.weights.h5": whole, "model.weights.json": json.dumps(index).encode()}, "model.weights.json")


def pipelines():
    """Yield folders of several models, as diffusers and sentence-transformers write them."""
    one, two = _tensors(w=np.ones((2, 3), "f4")), _tensors(v=np.ones(3, "f4"), b=np.zeros(2, "f2"))
    index = {
        "_class_name": "P",
        "unet": ["diffusers", "U"],
        "vae": ["diffusers", "V"],
        "scheduler": ["diffusers", "S"],
        "none": [None, None],
    }
    files = {"unet/diffusion_pytorch_model.safetensors": one, "unet/config.json": b"{}", "vae/model.safetensors": two}
    files |= {"vae/config.json": b"{}", "scheduler/scheduler_config.json": b"{}", "model_index.json": json.dumps(index).encode()}
    yield Seed(files, "")
    yield Seed(files, "model_index.json")
    modules = [
        {"path": "", "type": "s.Transformer"},
        {"path": "1_Pooling", "type": "s.Pooling"},
        {"path": "2_Dense", "type": "s.Dense"},
    ]
    files = {"model.safetensors": one, "config.json": b'{"model_type": "bert"}', "2_Dense/model.safetensors": two}
    yield Seed({**files, "2_Dense/config.json": b"{}", "modules.json": json.dumps(modules).encode()}, "")


def offloaded():
    """Yield folders to which Accelerate offloaded a model."""
    index = {"fc.weight": {"dtype": "float32", "shape": [2, 3]}, "fc.bias": {"dtype": "bfloat16", "shape": []}}
    index |= {"head.weight": {"safetensors_file": "/tmp/model.safetensors", "weight_name": "w"}}
    files = {"fc.weight.dat": np.arange(6, dtype="<f4").tobytes(), "fc.bias.dat": b"\x80\x3f"}
    files |= {"model.safetensors": _tensors(w=np.ones((2, 3), "f4")), "index.json": json.dumps(index).encode()}
    yield Seed(files, "index.json")
    del files["model.safetensors"]
    yield Seed(files, "")


def raw_pairs():
    """Yield raw numbers with their manifest."""
    numbers = np.arange(9, dtype="<f4").tobytes() + np.ones(4, "<f2").tobytes()
    weights = [{"name": "fc.weight", "dtype": "float32", "shape": [3, 3], "offset": 0}]
    weights += [{"name": "fc.bias", "dtype": "bfloat16", "shape": [4], "offset": 36}]
    digest = hashlib.sha256(numbers).hexdigest()
    head = {"format": "steelyard raw", "version": 1, "data": "net.raw", "pending": ".net.raw-00.tmp", "byte order": "little"}
    facts = json.dumps({"fc.weight": {"role": "kernel", "axes": "out in"}, "tied": {"tied": "fc.bias"}})
    manifest = {**head, "bytes": len(numbers), "sha256": digest, "weights": weights, "facts": facts}
    files = {"net.raw": numbers, "net.raw.json": json.dumps(manifest).encode()}
    yield Seed(files, "net.raw.json")
    yield Seed(files, "net.raw")
    yield Seed({**files, ".net.raw-00.tmp": numbers}, "net.raw")


def checkpoints():
    """Yield a real checkpoint of TensorFlow with its object graph."""
    folder = carried.PACKAGES / "basic_pitch/saved_models/icassp_2022/nmp/variables"
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    yield Seed(files, "variables.index")
    yield Seed({f"variables/{name}": data for name, data in files.items()} | {"saved_model.pb": b"\x08\x01\x12\x00"}, "")


def ggufs():
    """Yield files with quantised tensors."""
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    for kind in (GGMLQuantizationType.Q4_0, GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q5_1):
        path = carried.folder("golden") / "seed.gguf"
        writer = GGUFWriter(path, "llama")
        writer.add_block_count(1)
        writer.add_token_list(["a", "b", "c"])
        writer.add_tensor("token_embd.weight", np.ones((3, 32), "f4"))
        writer.add_tensor("blk.0.attn_q.weight", quants.quantize(np.ones((4, 32), "f4"), kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        yield _one("x.gguf", path.read_bytes())
        path.unlink()


def ctranslate2():
    """Yield files of quantised and plain variables."""
    for kind in ("int8", "int16", "int8_float16"):
        yield _one("model.bin", (carried.folder("effective") / f"ctranslate2-{kind}" / "model.bin").read_bytes())


def tfjs():
    """Yield models of TensorFlow.js: its own, and a graph model."""
    for path in sorted(folder for folder in carried.folder("tfjs").iterdir() if folder.is_dir()):
        files = {file.name: file.read_bytes() for file in sorted(path.iterdir())}
        yield Seed(files, "model.json" if "model.json" in files else "weights_manifest.json")
        yield Seed(files, "")
    node = {"name": "y", "op": "MatMul", "input": ["x", "w"], "attr": {"transpose_b": {"b": True}}}
    weights = [{"name": "w", "shape": [2, 3], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1}}]
    weights += [{"name": "b", "shape": [2], "dtype": "string"}, {"name": "i", "shape": [], "dtype": "int32"}]
    manifest = [{"paths": ["a.bin", "b.bin"], "weights": weights}]
    model = {"format": "graph-model", "modelTopology": {"node": [node]}, "weightsManifest": manifest}
    numbers = {"a.bin": bytes(range(7)), "b.bin": b"\0\0\0\1\0\0\0a\7\0\0\0"}
    yield Seed({**numbers, "model.json": json.dumps(model).encode()}, "model.json")


def leaves():
    """Yield the leaves of a tree without names, also after a line of settings."""
    data = (carried.folder("effective") / "equinox-weight-norm" / "model.eqx").read_bytes()
    yield _one("net.eqx", data)
    yield _one("net.eqx", b'{"width": 4}\n' + data)


def wrapped():
    """Yield archives of one model: zip, tar, compressed, of stable-baselines3, and in each other."""
    model = next(golden("torch.pt")).files["torch.pt"]
    packed = graph_seeds.zipped({"a/model.pt": model, "a/notes.txt": b"a"})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in {"./model_config.yaml": b"a: 1", "./model_weights.ckpt": model}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    tar = buffer.getvalue()
    yield _one("net.zip", packed)
    yield _one("net.nemo", tar)
    yield _one("net.tar.gz", gzip.compress(tar))
    yield _one("net.tar.zst", zstandard.compress(tar))
    yield _one("net.pt.gz", gzip.compress(model))
    yield _one("deep.zip", graph_seeds.zipped({"net.zip": packed}))
    yield _one(
        "ppo.zip", graph_seeds.zipped({"policy.pth": model, "policy.optimizer.pth": model, "_stable_baselines3_version": b"1"})
    )
    yield Seed({"net.zip": packed}, "net.zip!/a/model.pt")
    for name in ("zarr/v2", "rllib/several"):
        folder = carried.folder(name.split("/")[0]) / name.split("/")[1]
        files = {f"a/{path.relative_to(folder)}": path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        yield _one("tree.zip", graph_seeds.zipped(files))
        yield Seed({"tree.zip": graph_seeds.zipped(files)}, "tree.zip!/a")


def distributed():
    """Yield checkpoints that several processes of torch saved, in each way to save them."""
    for name in ("zip2", "st2", "hf2", "zip1"):
        folder = carried.folder("dcp") / name
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        yield Seed(files, "")
    yield Seed(files, ".metadata")


def orbax():
    """Yield checkpoints of Orbax in each way to save them, a step with two items, and the hostile ones."""
    for name in ("ocdbt", "plain", "zarr3", "plain3", "items/3"):
        folder = carried.folder("orbax") / name
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        yield Seed({str(path.relative_to(folder)): path.read_bytes() for path in paths}, "")


def rllib():
    """Yield a module and two modules of RLlib, and a checkpoint from before 2.1."""
    for name in ("alone", "several"):
        folder = carried.folder("rllib") / name
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        yield Seed({str(path.relative_to(folder)): path.read_bytes() for path in paths}, "")
    worker = {"state": {"default_policy": {"weights": {"fc.weight": np.ones((2, 3), "f4")}, "global_timestep": 5}}}
    old = {"checkpoint-5": pickle.dumps({"worker": pickle.dumps(worker)}), "checkpoint-5.tune_metadata": b""}
    yield Seed(old, "")
    yield Seed(old, "checkpoint-5")


def zarr():
    """Yield groups of zarr of both versions, and a single array."""
    for name in ("v2", "v3", "alone"):
        folder = carried.folder("zarr") / name
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        yield Seed({str(path.relative_to(folder)): path.read_bytes() for path in paths}, "")


def elsewhere():
    """Yield checkpoints as T5X and old Orbax write them: a MessagePack that names arrays of zarr beside it."""
    import msgpack

    folder = carried.folder("zarr") / "v2"
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": "decoder/dense/kernel/"}, "dtype": "float32"}
    t5x = {"version": 3, "optimizer": {"state": {}, "target": {"dense": {"kernel": spec}}}}
    old = {"params": {"bias": "PLACEHOLDER://decoder/dense/bias", "steps": "PLACEHOLDER://steps"}}
    for tree in (t5x, old):
        yield Seed({"checkpoint": msgpack.packb(tree), **files}, "checkpoint")


def zero():
    """Yield folders of DeepSpeed, in which two processes have their shares of two parameters."""
    import torch

    def saved(value):
        buffer = io.BytesIO()
        torch.save(value, buffer)
        return buffer.getvalue()

    state = {"module": {"w": torch.ones(2, 3), "m": torch.ones(2)}, "buffer_names": ["m"], "shared_params": {"v": "w"}}
    state |= {"param_shapes": [{"w": torch.Size((2, 3)), "b": torch.Size((3,))}], "frozen_param_shapes": None}
    for stage, key, length in ((2, "single_partition_of_fp32_groups", 6), (3, "fp32_flat_groups", 5)):
        own = {"zero_stage": stage, "partition_count": 2, key: [torch.ones(length)]}
        files = {f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt": saved({"optimizer_state_dict": own}) for rank in (0, 1)}
        yield Seed({**files, "mp_rank_00_model_states.pt": saved(state)}, "")


def thinc():
    """Return a model of Thinc with a layer, and a wrapped model of PyTorch."""
    import msgpack

    array = {b"nd": True, b"type": "<f4", b"kind": b"", b"shape": (2, 3), b"data": bytes(24)}
    nodes = [{"index": place, "name": name, "dims": {"nO": 2}, "refs": {}} for place, name in enumerate(("linear", "tanh"))]
    shim = msgpack.packb({"config": {}, "state": next(golden("torch.pt")).files["torch.pt"]})
    content = {"nodes": nodes, "attrs": [{}, {}], "params": [{"W": array, "b": None}, {}], "shims": [[], [shim]]}
    return msgpack.packb(content)


def pipelines_of_spacy():
    """Yield a pipeline of one component, with word vectors."""
    meta = {"lang": "en", "name": "x", "pipeline": ["tagger"]}
    files = {"meta.json": json.dumps(meta).encode(), "config.cfg": b"[nlp]", "tagger/model": thinc()}
    yield Seed({**files, "vocab/vectors": next(arrays()).files["w.npy"]}, "")


def ggml():
    """Yield a model of whisper.cpp, and one of LLaMA with aligned numbers."""
    tokens = b"".join(struct.pack("<i", length) + bytes(length) for length in (0, 3, 5))
    tensor = struct.pack("<5i", 2, 4, 0, 3, 2) + b"fc.w" + bytes(24)
    blocks = struct.pack("<4i", 1, 1, 8, 32) + b"q" + bytes(34)
    settings = struct.pack("<11i", 3, 15, 8, 2, 1, 4, 8, 2, 1, 2, 2007)
    filters = struct.pack("<2i", 2, 3) + bytes(24)
    yield _one("ggml-tiny.bin", b"lmgg" + settings + filters + struct.pack("<i", 3) + tokens + tensor + blocks)
    head = b"tjgg" + struct.pack("<8i", 3, 3, 8, 256, 2, 1, 4, 2)
    head += b"".join(struct.pack("<i", length) + bytes(length + 4) for length in (0, 3, 5)) + tensor[:24]
    yield _one("ggml-model.bin", head + bytes(-len(head) % 32) + tensor[24:])


def mindspore():
    """Return a checkpoint of two parameters, one of them in two slices."""

    def held(number, content):
        return bytes([number << 3 | 2, len(content)]) + content

    def value(name, shape, data):
        dims = b"".join(bytes([8, length]) for length in shape)
        return held(1, held(1, name) + held(2, dims + held(2, b"Float32") + held(3, data)))

    return value(b"fc.weight", (2, 3), bytes(8)) + value(b"fc.weight", (2, 3), bytes(16)) + value(b"fc.bias", (2,), bytes(8))


def katago():
    """Return a net with a convolution, a norm and a product."""

    def layer(*lines, arrays):
        return b"".join(b"%s\n" % line for line in lines) + b"".join(b"@BIN@" + bytes(size) + b"\n" for size in arrays)

    net = layer(b"b1c2", b"8", b"22", b"19", b"trunk", b"conv", b"1", b"1", b"2", b"2", b"1", b"1", arrays=[16])
    return net + layer(b"norm", b"2", b"1e-20", b"1", b"1", arrays=[8] * 4) + layer(b"linear", b"2", b"3", arrays=[24])


def katago_text():
    """Return a net with a convolution, a norm and a product, as a text."""

    def layer(*lines):
        return b"".join(b"%s\n" % line for line in lines)

    net = layer(
        b"b1c2",
        b"8",
        b"22",
        b"19",
        b"trunk",
        b"1",
        b"2",
        b"2",
        b"conv",
        b"1",
        b"1",
        b"2",
        b"2",
        b"1",
        b"1",
        b"0.5 1e-05 -2.0 3.0",
    )
    return (
        net
        + layer(b"norm", b"2", b"1e-20", b"1", b"1", *[b"0.5 1.5"] * 4)
        + layer(b"linear", b"2", b"3", b"0.5 1.0 1.0", b"0.5 1.0 2.0")
    )


def rnnoise():
    """Return a text with the six layers of RNNoise."""
    gru = "1 1 2\n1 2 3\n4 5 6\n7 8 9\n"
    return ("rnnoise-nu model file version 1\n2 1 0\n-1 2\n3\n" + 3 * gru + 2 * "1 1 0\n5\n6\n").encode()


def nnue():
    """Return a net of Stockfish with packed arrays, which no net of these features can be smaller than."""

    def zeros(count):
        return b"COMPRESSED_LEB128" + struct.pack("<I", count) + bytes(count)

    mark, layers = 0x7F234CB8 ^ 32, 0x6333714E
    head = struct.pack("<3I", 0x7AF32F20, mark ^ layers, 4) + b"net " + struct.pack("<I", mark)
    stack = struct.pack("<I", layers) + bytes(16 * (4 + 32) + 32 * (4 + 32) + 4 + 32)
    return head + zeros(16) + zeros(22528 * 16) + zeros(22528 * 8) + 8 * stack


def burn():
    """Return a record with a list of modules, and parameters of several types."""
    import msgpack

    def leaf(word, length, *shape):
        return {"id": "1", "param": {"bytes": bytes(length), "shape": [*shape], "dtype": word}}

    item = {"layers": [{"weight": leaf("F32", 24, 2, 3), "bias": leaf("F16", 4, 2)}], "mask": leaf("Bool", 2, 2), "rate": 0.1}
    return msgpack.packb({"metadata": {"format": "burn_core::record", "version": "0.16.0"}, "item": item})


def dnnw():
    """Return a block of each type."""
    blocks = (struct.pack("<4s4i44s", b"DNNw", 0, kind, 8, 64, b"fc%d_bias" % kind) + bytes(64) for kind in range(4))
    return b"".join(blocks)


def words(*names):
    """Yield models of words, which their own libraries wrote."""
    for name in names:
        yield _one(name, (carried.folder("words") / name).read_bytes())


def matlab(version):
    """Yield files of MATLAB: plain arrays, and both kinds of nets of MatConvNet."""
    for name in (f"v{version}", f"chain-v{version}", f"graph-v{version}"):
        yield _one("net.mat", (carried.folder("matlab") / f"{name}.mat").read_bytes())


def graphs(kind):
    """Yield files of a format of graphs."""
    for files, opened in getattr(graph_seeds, kind)():
        yield Seed(files, opened)


TARGETS = {
    "burn": lambda: [_one("net.mpk", burn()), _one("net.mpk.gz", gzip.compress(burn()))],
    "caffe": lambda: [*graphs("caffe")],
    "coreml": lambda: [*graphs("coreml")],
    "ctranslate2": lambda: [*ctranslate2()],
    "darknet": lambda: [*graphs("darknet")],
    "dcp": lambda: [*distributed()],
    "deepspeed": lambda: [*zero()],
    "dnnw": lambda: [_one("weights_blob.bin", dnnw())],
    "dynet": lambda: [*words("dynet.model")],
    "eqx": lambda: [*golden("equinox.eqx"), *leaves()],
    "executorch": lambda: [*graphs("executorch")],
    "fasttext": lambda: [*words("labels.bin", "vectors.bin", "labels.ftz")],
    "flax": lambda: [*golden("flax_linen.msgpack", "flax_nnx.msgpack"), *hostile("flax")],
    "gguf": lambda: [*ggufs(), *hostile("gguf")],
    "graphdef": lambda: [*graphs("graphdef")],
    "flax-elsewhere": lambda: [*elsewhere()],
    "gguf-ggml": lambda: [*ggml()],
    "hdf5": lambda: [*golden("keras.weights.h5"), *latest_hdf5(), *hostile("keras-h5")],
    "katago": lambda: [_one("net.bin", katago()), _one("net.bin.gz", gzip.compress(katago()))],
    "katago-text": lambda: [_one("net.txt", katago_text()), _one("net.txt.gz", gzip.compress(katago_text()))],
    "keras": lambda: [*golden("keras.keras"), *hostile("keras")],
    "keras_shards": lambda: [*keras_shards()],
    "matlab": lambda: [*matlab(5), *matlab(7)],
    "matlab-hdf5": lambda: [*matlab(73)],
    "mindspore": lambda: [_one("m.ckpt", mindspore())],
    "mnn": lambda: [*graphs("mnn")],
    "mxnet": lambda: [*graphs("mxnet")],
    "ncnn": lambda: [*graphs("ncnn")],
    "nnue": lambda: [_one("net.nnue", nnue())],
    "numpy": lambda: [*arrays(), *golden("canonical.npz"), *hostile("npy", "npz")],
    "offloaded": lambda: [*offloaded()],
    "onnx": lambda: [*golden("model.onnx"), *hostile("onnx")],
    "openvino": lambda: [*graphs("openvino")],
    "orbax": lambda: [*orbax(), *hostile("orbax")],
    "ort": lambda: [*graphs("ort")],
    "packs": lambda: [*packs()],
    "paddle": lambda: [*graphs("paddle")],
    "pipeline": lambda: [*pipelines()],
    "pt2": lambda: [*graphs("exported_programs")],
    "ptl": lambda: [*graphs("mobile")],
    "raw": lambda: [*raw_pairs()],
    "rllib": lambda: [*rllib()],
    "rnnoise": lambda: [_one("voice.rnnn", rnnoise())],
    "r": lambda: [*of_r("nnet", "other", "keras_r"), *golden("r.rds"), *hostile("rds")],
    "r-types": lambda: [*of_r("types", "hostile")],
    "safetensors": lambda: [*all_dtypes(), *golden("torch.safetensors"), *hostile("safetensors")],
    "sharded": lambda: [*hub_folders(), *hostile("safetensors-index")],
    "sklearn": lambda: [*golden("sklearn.joblib"), *hostile("pickle", "joblib")],
    "sklearn-compressed": lambda: [*compressed(golden("sklearn.joblib"))],
    "skops": lambda: [*hostile("skops")],
    "spacy": lambda: [*pipelines_of_spacy()],
    "tensorflow": lambda: [*checkpoints(), *hostile("tf-checkpoint", "tf-savedmodel")],
    "tensorflow-v1": lambda: [*graphs("first_version")],
    "tfjs": lambda: [*tfjs()],
    "tflite": lambda: [*golden("model.tflite"), *hostile("tflite")],
    "thinc": lambda: [_one("model", thinc())],
    "torch": lambda: [*golden("torch.pt"), *of_r("rtorch"), *hostile("torch-zip")],
    "word2vec": lambda: [*words("w2v.bin", "w2v.txt")],
    "wrapped": lambda: [*wrapped()],
    "zarr": lambda: [*zarr()],
    "torch-legacy": lambda: [*hostile("torch-legacy", "torch-tar")],
}


@cache
def seeds(target):
    """Return the seeds of a target."""
    return TARGETS[target]()
