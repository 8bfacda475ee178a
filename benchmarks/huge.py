"""Legitimate inputs that are large in count: 100,000 tensors, 400,000 of ONNX, 5,000 shards, 10,000 files, plain pickles.

python benchmarks/huge.py [PART ...]: tensors, formats, onnx, shards, files, permutation, pickle; all without arguments. Each
command runs in a process of its own, with its CPU time, which other programs disturb less than its time on the clock, and its
peak memory. One that takes longer than `PATIENCE` is ended.
"""

import gzip
import json
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from timing import report

import steelyard

PATIENCE = 600  # seconds
MEASURED = """
import os, resource, subprocess, sys, time
start = time.perf_counter()
try:
    null = subprocess.DEVNULL
    code = subprocess.run(sys.argv[2:], stdout=null, stderr=null, timeout=float(sys.argv[1])).returncode
except subprocess.TimeoutExpired:
    code = "ended"
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


def measured(what, seconds, megabytes, *arguments):
    """Report the CPU time and the peak memory of a command beside the figures asked for."""
    command = [sys.executable, "-c", MEASURED, str(PATIENCE), sys.executable, "-m", "steelyard", *map(str, arguments)]
    code, spent, cpu, memory = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    report(
        f"{what}{'' if code in '01' else f', exit status {code}'} ({float(spent):.1f} s on the clock)",
        float(cpu),
        seconds,
        "s",
        least=False,
    )
    report(f"{what}, resident", float(memory), megabytes, "MiB", least=False)


def many(count):
    chance = np.random.default_rng(0)
    layers = (f"model.layers.{nth // 500}.mlp.experts.{nth % 500}" for nth in range(count // 4))
    shapes = {"w1.weight": (4, 2), "w1.bias": (4,), "w2.weight": (2, 4), "norm.weight": (4,)}
    return {f"{layer}.{leaf}": chance.normal(size=shape).astype("f4") for layer in layers for leaf, shape in shapes.items()}


def dense(count):
    """Return dense layers, whose kind is known from their weights alone, as a transfer between files needs it."""
    chance = np.random.default_rng(0)
    layers = (f"model.layers.{nth // 500}.mlp.experts.{nth % 500}" for nth in range(count // 4))
    shapes = {"w1.weight": (4, 2), "w1.bias": (4,), "w2.weight": (2, 4), "w2.bias": (2,)}
    return {f"{layer}.{leaf}": chance.normal(size=shape).astype("f4") for layer in layers for leaf, shape in shapes.items()}


def apart(count):
    """Return matrices whose names do not fold: their numbers do not count up."""
    chance = np.random.default_rng(0)
    return {f"part.{nth * 7_919 % 100_003}.weight": chance.normal(size=(8, 4)).astype("f4") for nth in range(count)}


def tensors(folder, count=100_000):
    arrays = many(count)
    each = {name: value + np.float32(0.01) for name, value in arrays.items()}
    changed = {name: value + np.float32(0.01) * (nth % 7 == 0) for nth, (name, value) in enumerate(arrays.items())}
    for nth, name in enumerate(list(changed)[::1000]):  # some renamed, some removed
        value = changed.pop(name)
        changed |= {f"{name}x": value} if nth % 2 else {}
    names = ("one", "copy", "other", "apart", "moved", "plain", "net", "wrapped")
    one, copy, other, differing, moved, plain, net, wrapped = (folder / f"{name}.safetensors" for name in names)
    layers = dense(count)
    held_in = {one: arrays, copy: arrays, other: changed, differing: each, plain: apart(count), net: layers}
    held_in[wrapped] = {f"module.{name}": value for name, value in layers.items()}
    for path, held in held_in.items():
        steelyard.save(held, path)
    steelyard.save(arrays, folder / "one.npz")
    commands = {
        "ls": (one,),
        "ls of .npz": (folder / "one.npz",),
        "stats": (one,),
        "stats of plain names": (plain,),
        "check --health": (one,),
        "check --health of plain names": (plain,),
        "digest": (one,),
        "digest --layout canonical": (one,),
        "digest --layout canonical of plain names": (plain,),
        "diff with an equal copy": (one, copy),
        "diff with changes": (one, other),
        "diff with changes of each": (one, differing),
        "convert": (one, folder / "one.pt"),
        "transfer into an equal one": (net, "--into", net, "-o", moved),
        "transfer into a wrapped one": (net, "--into", wrapped, "-o", moved),
        "lineage": (net, wrapped),
        "average": (net, net, "-o", moved),
        "prune": (net, "--amount", "0.5", "-o", moved),
        "export": (net, "-o", folder / "net.c"),
        "report": (one, "-o", folder / "report.html"),
        "size": (one,),
        "layers": (one,),
        "grid": (one,),
        "show": (one, next(iter(arrays))),
        "spectra": (one,),
        "quantize": (one, "--to", "int8", "-o", moved),
        "plot": (one, "-o", folder / "overview.png"),
    }
    for words, paths in commands.items():
        what = words.partition(" with ")[0].partition(" of ")[0].partition(" into ")[0]
        measured(f"{words}, {count:,} tensors", 10, 500, *what.split(), *paths)


def formats(folder, count=100_000):
    arrays = dense(count)
    for suffix in (".h5", ".pt", ".npz", ".gguf", ".rds", ".msgpack", ".pkl"):
        path = folder / f"net{suffix}"
        if suffix == ".pkl":
            path.write_bytes(pickle.dumps(arrays, 4))
        else:
            steelyard.save(arrays, path)
        for word in ("ls", "stats"):
            measured(f"{word} of {suffix}, {count:,} tensors", 10, 500, word, path)
        path.unlink()


def onnx(folder, count=400_000):
    import onnx

    named = [onnx.helper.make_tensor(f"layers.{nth}.w", onnx.TensorProto.FLOAT, [2], [0.0, 1.0]) for nth in range(count)]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], named)), folder / "many.onnx")
    measured(f"ls, {count:,} tensors of ONNX", 6, 500, "ls", folder / "many.onnx")


def shards(folder, count=5_000):
    names = {f"layers.{nth}.weight": f"model-{nth + 1:05}-of-{count:05}.safetensors" for nth in range(count)}
    home = folder / "shards"
    home.mkdir()
    for nth, (name, shard) in enumerate(names.items()):
        save_file({name: np.full((2, 3), nth, "f4")}, home / shard)  # not ours, which waits for the disk
    (home / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most[1]))
    for words in (["ls"], ["digest"], ["check"]):
        measured(f"{words[0]}, {count:,} shards, 256 descriptors", 10, 100, *words, home)
    measured(f"convert, {count:,} shards, 256 descriptors", 10, 100, "convert", home, folder / "whole.safetensors")
    resource.setrlimit(resource.RLIMIT_NOFILE, most)


def files(folder, count=10_000):
    for nth in range(count):
        save_file({"fc.weight": np.full((2, 3), nth, "f4")}, folder / f"run{nth}.safetensors")
    measured(f"ls, a folder of {count:,} files", 10, 100, "ls", folder)


def permutation(folder):
    for units, asked in ((4_096, 60), (16_384, 5)):
        chance = np.random.default_rng(0)
        net = {
            "fc1.weight": chance.normal(size=(units, 784)).astype("f4"),
            "fc2.weight": chance.normal(size=(10, units)).astype("f4"),
        }
        order = chance.permutation(units)
        for name, held in (
            ("a", net),
            ("b", {"fc1.weight": net["fc1.weight"][order], "fc2.weight": net["fc2.weight"][:, order]}),
        ):
            steelyard.save(held, folder / f"{name}.safetensors")
        paths = folder / "a.safetensors", folder / "b.safetensors"
        measured(f"diff --align permutation, {units:,} hidden units", asked, 2500, "diff", "--align", "permutation", *paths)


def plain_pickles(folder, count=200_000):
    data = pickle.dumps([{"id": n, "name": f"n{n}", "tags": ["a", n % 7], "x": (n % 300, n / 3)} for n in range(count)], 4)
    for path, content, unpacked in (("a.pkl", data, bytes), ("a.pkl.gz", gzip.compress(data, 1), gzip.decompress)):
        (folder / path).write_bytes(content)
        start = time.process_time()
        pickle.loads(unpacked(content))
        theirs, start = time.process_time() - start, time.process_time()
        with steelyard.limits.allow(MEMORY=1 << 34):
            steelyard.weights(folder / path)
        report(
            f"listing a plain pickle {path}, of the time of pickle.loads",
            (time.process_time() - start) / theirs,
            2,
            "x",
            least=False,
        )


PARTS = {
    "tensors": tensors,
    "formats": formats,
    "onnx": onnx,
    "shards": shards,
    "files": files,
    "permutation": permutation,
    "pickle": plain_pickles,
}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        with tempfile.TemporaryDirectory() as made:
            PARTS[part](Path(made))
