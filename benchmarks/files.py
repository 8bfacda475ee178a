"""Weight files of 2 GB: listing, converting, digesting, and the memory it takes: python benchmarks/files.py [PEERS]

The files are made in memory where there is room, else in a temporary folder, which needs 6 GB. PEERS is a folder for
the environment in which ztensor is installed; without it a new one is made each time.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from timing import best, peak_memory, process, ready, report

LIST = "import torch, sys; [(k, v.shape) for k, v in torch.load(sys.argv[1], mmap=True, weights_only=True).items()]"
CONVERT = "import torch, sys; from safetensors.torch import save_file; save_file(torch.load(sys.argv[1], mmap=True), sys.argv[2])"


NAMES = "import sys, steelyard; [(w.name, w.shape) for w in steelyard.weights(sys.argv[1]).values()]"
ZTENSOR = "import sys, ztensor; [(t.name, t.shape) for t in ztensor.index([sys.argv[1]]).values()]"


MEMORY = "/dev/shm" if shutil.disk_usage("/dev/shm").free > 10e9 else None
"""The files are in memory where there is room; otherwise a throttled disk would dominate the measurement."""


def big_state(gigabytes=2.0, blocks=48):
    """A state dict of a GPT's shape, 4 tensors a block, of so many gigabytes in float32."""
    width = int((gigabytes * 1e9 / 4 / blocks / 12) ** 0.5)
    shapes = {"attn.c_attn": (3 * width, width), "attn.c_proj": (width, width), "mlp.c_fc": (4 * width, width)}
    shapes |= {"mlp.c_proj": (width, 4 * width)}
    return {f"h.{i}.{name}.weight": torch.randn(shape) for i in range(blocks) for name, shape in shapes.items()}


def many_state(count=10_000):
    return {f"model.layers.{i // 8}.block.{i % 8}.weight": torch.zeros(32, 32) for i in range(count)}


def steelyard(*arguments):
    return process("-m", "steelyard", *map(str, arguments))


def environment(folder):
    """Return the Python of an environment of its own in which ztensor is installed, made where it is not there yet."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "ztensor>=2.1"], check=True)
    return python


def beside_ztensor(folder, python):
    """Names and shapes of 10,000 tensors in a process of their own, read with us and with ztensor."""
    for suffix in (".pt", ".safetensors"):
        many = folder / f"many{suffix}"
        ours, theirs, bare = process("-c", NAMES, many), process("-c", ZTENSOR, many, python=python), process("-c", "")
        spent = best({"ours": ours, "ls": steelyard("ls", many), "ztensor": theirs, "bare": bare}, rounds=15)
        print("      " + ", ".join(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in spent.items()))
        for name, what in (("ours", "listing"), ("ls", "the whole command ls of")):
            ratio = spent[name] / spent["ztensor"]
            report(f"{what} 10,000 tensors in {suffix}, of the time of ztensor", ratio, 1, "x", least=False)


def listing(folder):
    """What a user waits for: the whole command, over Python that does nothing."""
    pt, st, many_pt, many_st = (folder / name for name in ("big.pt", "big.safetensors", "many.pt", "many.safetensors"))
    spent = best(
        {
            "python": process("-c", ""),
            **{path.name: steelyard("ls", path) for path in (pt, st, many_pt, many_st)},
        },
        rounds=11,
    )
    over = {name: seconds - spent["python"] for name, seconds in spent.items()}
    for path, many in ((pt, many_pt), (st, many_st)):
        report(f"ls of 2 GB {path.suffix}, over bare Python", over[path.name] * 1e3, 25, "ms", least=False)
        report(f"ls of 2 GB {path.suffix}, resident", peak_memory("-m", "steelyard", "ls", str(path)), 20, "MiB", least=False)
        each = (over[many.name] - over[path.name]) / 10_000
        report(f"ls of 10,000 tensors in {path.suffix}, each", each * 1e6, 8, "us", least=False)
    peer = best({"torch": process("-c", LIST, str(pt))}, rounds=3)
    report("ls of 2 GB .pt, times as fast as torch.load(mmap=True)", peer["torch"] / spent["big.pt"], 25, "x")


def parsing(folder, count=2_000):
    """In one process: listing against the format's own library, or a bare walk over the headers."""
    import gguf
    import h5py
    import numpy as np
    import onnx

    import steelyard

    arrays = {f"layers.{i}.weight": np.zeros((4, 4), "f4") for i in range(count)}
    for suffix in ("npz", "h5", "gguf"):
        steelyard.save(arrays, folder / f"many.{suffix}")
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], tensors)), folder / "many.onnx")

    def npz():
        with np.load(folder / "many.npz") as archive:
            for member in archive.zip.namelist():
                with archive.zip.open(member) as file:
                    np.lib.format.read_magic(file)
                    np.lib.format.read_array_header_1_0(file)

    def h5():
        with h5py.File(folder / "many.h5") as file:
            seen = []
            file.visititems(lambda _, node: seen.append((node.shape, node.dtype)))

    bare = {
        "npz": npz,
        "h5": h5,
        "gguf": lambda: gguf.GGUFReader(folder / "many.gguf"),
        "onnx": lambda: onnx.load(folder / "many.onnx"),
    }
    for suffix, walk in bare.items():
        spent = best({"ours": ready(lambda s=suffix: steelyard.weights(folder / f"many.{s}")), "bare": ready(walk)}, rounds=5)
        report(
            f"listing {count:,} tensors in .{suffix}, of the time of its own library",
            spent["ours"] / spent["bare"],
            2,
            "x",
            least=False,
        )


def converting(folder):
    """From .pt to .safetensors, against cp of the same bytes to a new file on the same disk."""
    pt, out, copy = folder / "big.pt", folder / "out.safetensors", folder / "copy.pt"

    def settled(function):
        def prepared():
            out.unlink(missing_ok=True)
            copy.unlink(missing_ok=True)
            os.sync()
            return function

        return prepared

    spent = best(
        {
            "cp": settled(lambda: subprocess.run(["cp", pt, copy], check=True)),
            "cp, synced": settled(lambda: subprocess.run(f"cp {pt} {copy} && sync {copy}", shell=True, check=True)),
            "convert": settled(steelyard("convert", pt, out)()),
            "not synced": settled(steelyard("convert", pt, out, "--no-sync")()),
        },
        rounds=9,
    )
    report("convert of 2 GB, of the time of cp", spent["convert"] / spent["cp"], 1.2, "x", least=False)
    report("convert --no-sync of 2 GB, of the time of cp", spent["not synced"] / spent["cp"], 1.2, "x", least=False)
    synced = spent["convert"] / spent["cp, synced"]
    report("convert of 2 GB, of the time of cp that is synced, as ours is", synced, 1.2, "x", least=False)
    report("convert of 2 GB, resident", peak_memory("-m", "steelyard", "convert", str(pt), str(out)), 32, "MiB", least=False)
    peer = best({"torch": settled(process("-c", CONVERT, str(pt), str(out))())}, rounds=2)
    report("convert of 2 GB, times as fast as torch.load(mmap=True) and save_file", peer["torch"] / spent["convert"], 3, "x")


def digesting(folder):
    """Digests of all bytes, against reading the file into one buffer that is used again and again."""
    from steelyard.measures.digest import digest

    st = folder / "big.safetensors"
    buffer = bytearray(1 << 20)

    def read():
        handle = os.open(st, os.O_RDONLY)
        at = 0
        while count := os.preadv(handle, [buffer], at):
            at += count
        os.close(handle)

    spent = best(
        {"read": ready(read), **{name: ready(lambda name=name: digest(st, name)) for name in ("xxh3", "blake3")}},
        rounds=9,
    )
    size = st.stat().st_size / 1e9
    print(f"      reading {size / spent['read']:.1f} GB/s, blake3 {size / spent['blake3']:.1f} GB/s")
    report("digest by xxh3, of the read bandwidth", spent["read"] / spent["xxh3"], 0.9)
    for command in (["digest"], ["digest", "-a", "xxh3"], ["check"], ["ls", "--stats"]):
        words = " ".join(command)
        report(f"{words} of 2 GB, resident", peak_memory("-m", "steelyard", *command, str(st)), 100, "MiB", least=False)


def main():
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, files in {MEMORY or 'the temporary folder'}\n")
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name)
        state = big_state()
        torch.save(state, folder / "big.pt")
        save_file(state, folder / "big.safetensors")
        del state
        torch.save(many_state(), folder / "many.pt")
        save_file(many_state(), folder / "many.safetensors")
        listing(folder)
        beside_ztensor(folder, environment(Path(sys.argv[1]) if len(sys.argv) > 1 else folder / "ztensor"))
        parsing(folder)
        converting(folder)
        digesting(folder)


if __name__ == "__main__":
    main()
