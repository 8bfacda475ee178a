"""CPU time and memory of `convert --effective` by scheme: python benchmarks/effective.py [GIGABYTES] [SCHEME ...]

Each packed file, of 0.25 GB where no size is given, is converted as it is, then with the weights that the net computes with, in
float32 and in the type of its scales. The time is that of the processor, since a clock shows how busy the disk is. It is stated
over the plain convert of the packed file, as asked, and over a process that only writes as many bytes as the result has: four
bits become thirty-two, so nothing can be faster than that.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ml_dtypes import bfloat16, float8_e4m3fn
from timing import report

from steelyard import save

INPUTS, OUTPUTS, GROUP = 4096, 11008, 128
MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""
WRITE = """
import os, sys
count, block = int(sys.argv[2]), bytearray(os.urandom(1 << 20))
with open(sys.argv[1], "wb", buffering=0) as file:
    for at in range(0, count, len(block)):
        file.write(memoryview(block)[:count - at])
    os.fsync(file.fileno())
"""
chance = np.random.default_rng(0)


def words(*shape):
    return np.frombuffer(chance.bytes(4 * shape[0] * shape[1]), np.int32).reshape(shape)


def scales(*shape, dtype=np.float16):
    return (chance.random(shape) / 64).astype(dtype)


def gptq(order=None):
    groups = INPUTS // GROUP
    layer = {"qweight": words(INPUTS // 8, OUTPUTS), "qzeros": words(groups, OUTPUTS // 8), "scales": scales(groups, OUTPUTS)}
    index = np.arange(INPUTS, dtype=np.int32) // GROUP
    return layer | {"g_idx": index if order is None else index[order]}


def awq():
    groups = INPUTS // GROUP
    return {"qweight": words(INPUTS, OUTPUTS // 8), "qzeros": words(groups, OUTPUTS // 8), "scales": scales(groups, OUTPUTS)}


def fp8():
    codes = (words(OUTPUTS, INPUTS // 4).view(np.uint8) & 0xBF).view(float8_e4m3fn)  # which is finite
    return {"weight": codes, "weight_scale_inv": scales(OUTPUTS // 128, INPUTS // 128, dtype=np.float32)}


def nf4():
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [OUTPUTS, INPUTS]}
    return {
        "weight": words(OUTPUTS * INPUTS // 8, 1).view(np.uint8).reshape(-1, 1),
        "weight.absmax": chance.random(OUTPUTS * INPUTS // 64).astype(np.float32),
        "weight.quant_map": np.linspace(-1, 1, 16, dtype=np.float32),
        "weight.quant_state.bitsandbytes__nf4": np.frombuffer(json.dumps(state).encode(), np.uint8),
    }


def compressed():
    return {
        "weight_packed": words(OUTPUTS, INPUTS // 8),
        "weight_scale": scales(OUTPUTS, INPUTS // GROUP, dtype=bfloat16),
        "weight_shape": np.array([OUTPUTS, INPUTS]),
    }


def mlx():
    return {
        "weight": words(OUTPUTS, INPUTS // 8).view(np.uint32),
        "scales": scales(OUTPUTS, INPUTS // 64),
        "biases": scales(OUTPUTS, INPUTS // 64),
    }


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "checkpoint_format": "gptq_v2", "sym": False, "desc_act": False}
PACKED = {"num_bits": 4, "type": "int", "symmetric": True, "group_size": GROUP, "strategy": "group"}
GROUPS = {"group_0": {"weights": PACKED, "targets": ["Linear"]}}
SCHEMES = {
    "gptq": (gptq, GPTQ),
    "gptq-act-order": (lambda: gptq(chance.permutation(INPUTS)), GPTQ | {"desc_act": True}),
    "awq": (awq, {"quant_method": "awq", "version": "gemm", "bits": 4, "group_size": GROUP}),
    "fp8": (fp8, {"quant_method": "fp8", "weight_block_size": [128, 128]}),
    "nf4": (nf4, {"quant_method": "bitsandbytes", "load_in_4bit": True}),
    "compressed-tensors": (
        compressed,
        {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": GROUPS},
    ),
    "mlx": (mlx, {}),
}


def packed(folder, name, gigabytes):
    """Write a file with layers of a scheme, of about so many gigabytes, and return its path."""
    make, config = SCHEMES[name]
    layer = make()
    count = max(round(gigabytes * 1e9 / sum(array.nbytes for array in layer.values())), 1)
    path = folder / f"{name}.safetensors"
    # copies, since arrays in the same memory would be tied, and written once
    save({f"layers.{nth}.fc.{leaf}": array.copy() for nth in range(count) for leaf, array in layer.items()}, path)
    known = {"quantization": {"group_size": 64, "bits": 4}} if name == "mlx" else {"quantization_config": config}
    (folder / "config.json").write_text(json.dumps(known))
    return path


def cost(*arguments):
    """Return the seconds of the processor of a Python process, and its peak memory in MiB."""
    run = subprocess.run([sys.executable, "-c", MEASURED, sys.executable, *map(str, arguments)], check=True, capture_output=True)
    spent, memory = run.stdout.split()
    return float(spent), float(memory)


def least(*arguments, rounds=2):
    spent, memory = zip(*(cost(*arguments) for _ in range(rounds)), strict=True)
    return min(spent), max(memory)


def measured(folder, name, gigabytes):
    """Report a scheme's figures; the time in which Python and NumPy start is not counted."""
    path, out = packed(folder, name, gigabytes), folder / "out.safetensors"
    convert = ("-m", "steelyard", "convert", path, out)
    start, _ = least("-c", "import numpy, steelyard.io, steelyard.commands.convert")
    plain = least(*convert)[0] - start
    for what, option in WAYS.items():
        spent, memory = least(*convert, *option)
        spent, count = spent - start, out.stat().st_size
        writing = least("-c", WRITE, out, count)[0] - least("-c", "pass")[0]
        over = f"of writing as many bytes, {count / path.stat().st_size:.1f} times those of the file"
        report(f"{name} {what}: of a plain convert (CPU {spent:.1f} s)", spent / plain, 3, "x", least=False)
        report(f"{name} {what}: {over}", spent / writing, 3, "x", least=False)
        report(f"{name} {what}: resident", memory, 300, "MiB", least=False)
    path.unlink()


WAYS = {"float32": ["--effective"], "as its scales": ["--dtype", "scales"]}
MEMORY = "/dev/shm" if shutil.disk_usage("/dev/shm").free > 10e9 else None
"""The files are in memory where there is room, since the system's share of writing to a disk varies."""


def main():
    gigabytes = float(sys.argv[1]) if sys.argv[1:] else 0.25
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        for name in sys.argv[2:] or SCHEMES:
            measured(Path(folder), name, gigabytes)


if __name__ == "__main__":
    main()
