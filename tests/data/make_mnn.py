"""Make nets of MNN and the state dict they were made from: python tests/data/make_mnn.py MNNCONVERT, with PyTorch and onnx.

MNNCONVERT is the path of the program of this name, which the package MNN brings.
"""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

KINDS = {"plain": [], "half": ["--fp16"], "eight": ["--weightQuantBits", "8"], "four": ["--weightQuantBits", "4"]}
APART = ["--saveExternalData"]


class Net(nn.Module):
    """A net with each kind of convolution, slopes and dense layers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, (3, 5))
        self.depth = nn.Conv2d(8, 8, 3, groups=8)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.slope = nn.PReLU(6)
        self.fc = nn.Linear(6, 5)
        self.fc2 = nn.Linear(5, 40)

    def forward(self, x):
        x = torch.relu(self.depth(torch.relu(self.conv(x))))
        return self.fc2(torch.relu(self.fc(self.slope(self.up(x)).mean((2, 3)))))


class Norms(nn.Module):
    """A net with a norm of each kind and a table, whose numbers a converter puts into a file of their own."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.layer = nn.LayerNorm(12)
        self.table = nn.Embedding(300, 12)
        for each in (
            self.norm.weight.data,
            self.norm.bias.data,
            self.norm.running_mean,
            self.norm.running_var,
            self.layer.weight.data,
        ):
            each.uniform_(0.5, 1)

    def forward(self, x, place):
        return self.layer(self.norm(torch.relu(x))), self.table(place)


def main():
    """Write mnn.tar.xz."""
    torch.manual_seed(5)
    net, folder = Net().eval(), Path(tempfile.mkdtemp())
    torch.onnx.export(net, (torch.rand(1, 3, 12, 12),), str(folder / "net.onnx"), dynamo=False)
    np.savez_compressed(folder / "net.npz", **{name: tensor.numpy() for name, tensor in net.state_dict().items()})
    norms = Norms().eval()
    torch.onnx.export(norms, (torch.rand(1, 3, 12, 12), torch.tensor([1])), str(folder / "norms.onnx"), dynamo=False)
    np.savez_compressed(folder / "norms.npz", **{name: tensor.numpy() for name, tensor in norms.state_dict().items()})
    made = {kind: ("net.onnx", options) for kind, options in KINDS.items()}
    made |= {f"{kind}-apart": ("net.onnx", [*options, *APART]) for kind, options in KINDS.items()}
    made["norms"] = ("norms.onnx", APART)
    for kind, (model, options) in made.items():
        command = [sys.argv[1], "-f", "ONNX", "--modelFile", model, "--MNNModel", f"{kind}.mnn", "--bizCode", "b", *options]
        subprocess.run(command, cwd=folder, check=True)
    with tarfile.open(Path(__file__).parent / "mnn.tar.xz", "w:xz") as archive:
        for name in sorted(path.name for path in folder.iterdir() if path.suffix != ".onnx"):
            archive.add(folder / name, name, filter=_anonymous)


def _anonymous(entry):
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
