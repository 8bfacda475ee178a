"""Files of a test: arrays of a layer in a safetensors file, with a config beside it."""

import json

import numpy as np
from safetensors.numpy import save_file

import steelyard


def effective(folder, leaves, config=None, stem="fc", **files):
    """Write the arrays of a layer and a config, and return the effective weights."""
    save_file({f"{stem}.{leaf}" if stem else leaf: array for leaf, array in leaves.items()}, folder / "net.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps({"quantization_config": config}))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return steelyard.effective(folder / "net.safetensors")


def reason(folder, leaves, config=None, name="fc.weight", **files):
    """Return why a weight of such a layer is refused."""
    return effective(folder, leaves, config, **files)[name].unreadable or "it is not refused"


def stream(codes, bits):
    """Pack rows of codes into words of 32 bits, the lowest bits first."""
    one = (codes[..., None].astype(np.uint32) >> np.arange(bits, dtype=np.uint32) & 1).reshape(len(codes), -1).astype(np.uint8)
    padded = np.pad(one, ((0, 0), (0, -one.shape[1] % 32)))
    return np.ascontiguousarray(np.packbits(padded, axis=1, bitorder="little")).view("<u4").view("<i4")
