"""Make modules of PyTorch Mobile in FlatBuffers, and the numbers of their state dicts: python tests/data/make_mobile.py

PyTorch is needed; it packs quantised weights by its engine qnnpack.
"""

import io
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.ao import quantization


def plain():
    """Return a small net of images."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()


def quantised(scheme):
    """Return the net with quantised weights."""
    net = nn.Sequential(quantization.QuantStub(), *plain(), quantization.DeQuantStub()).eval()
    net.qconfig = quantization.get_default_qconfig(scheme)
    prepared = quantization.prepare(net)
    prepared(torch.rand(1, 3, 8, 8))
    return quantization.convert(prepared)


def main():
    """Write mobile.tar.xz."""
    torch.manual_seed(0)
    torch.backends.quantized.engine = "qnnpack"
    net, small = plain(), quantised("qnnpack")
    torch.backends.quantized.engine = "fbgemm"
    channels = quantised("fbgemm")
    scripted = {name: torch.jit.script(each) for name, each in (("plain", net), ("tensor", small), ("channel", channels))}
    scripted["frozen"] = torch.jit.freeze(scripted["plain"])
    numbers = {f"plain/{name}": value.numpy() for name, value in net.state_dict().items()}
    for word, each in (("tensor", small), ("channel", channels)):
        for place in (1, 4):
            weight = each[place].weight()
            numbers[f"{word}/{place}.weight"] = weight.int_repr().numpy()
            numbers[f"{word}/{place}.bias"] = each[place].bias().detach().numpy()
            is_channel = weight.qscheme() == torch.per_channel_affine
            numbers[f"{word}/{place}.scales"] = (
                weight.q_per_channel_scales().numpy() if is_channel else np.float64(weight.q_scale())
            )
    folder = Path(tempfile.mkdtemp())
    np.savez_compressed(folder / "numbers.npz", **numbers)
    for name, module in scripted.items():
        module._save_for_lite_interpreter(str(folder / f"{name}.ptl"), _use_flatbuffer=True)
    with tarfile.open(Path(__file__).parent / "mobile.tar.xz", "w:xz") as archive:
        for path in sorted(folder.iterdir()):
            entry = tarfile.TarInfo(path.name)
            entry.size = path.stat().st_size
            archive.addfile(entry, io.BytesIO(path.read_bytes()))


if __name__ == "__main__":
    main()
