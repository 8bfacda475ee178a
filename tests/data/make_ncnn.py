"""Make the nets of ncnn and the state dicts that they were made from: python make_ncnn.py PNNX, with PyTorch and the program pnnx.

PNNX is the path of the program, which the package of this name brings. One net has its numbers as float32, one as float16.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    """A net of most kinds of layers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, (3, 5), padding=(1, 2))
        self.depth = nn.Conv2d(8, 8, 3, groups=8, padding=1, bias=False)
        self.group = nn.Conv2d(8, 4, 3, groups=2, padding=1)
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2)
        self.norm = nn.BatchNorm2d(6)
        self.gn = nn.GroupNorm(2, 6)
        self.slope = nn.PReLU(6)
        self.line = nn.Conv1d(6, 5, 3)
        self.ln = nn.LayerNorm(14)
        self.lstm = nn.LSTM(14, 4, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(8, 4, batch_first=True)
        self.mha = nn.MultiheadAttention(4, 2, batch_first=True)
        self.fc = nn.Linear(4, 7)
        for tensor in (*self.norm.parameters(), *self.gn.parameters(), *self.ln.parameters()):
            nn.init.uniform_(tensor, 0.5, 1.5)
        self.norm.running_mean.uniform_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = torch.relu(self.group(torch.relu(self.depth(torch.relu(self.conv(x))))))
        x = self.slope(self.gn(self.norm(torch.relu(self.up(x)))))
        x = self.gru(self.lstm(self.ln(self.line(x.mean(2))))[0])[0]
        return self.fc(self.mha(x, x, x, need_weights=False)[0])


class Words(nn.Module):
    """An embedding and a plain recurrent layer."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(9, 4)
        self.rnn = nn.RNN(4, 3, batch_first=True)
        self.out = nn.Linear(3, 2)

    def forward(self, places):
        return self.out(self.rnn(self.emb(places))[0])


def main():
    """Write ncnn.tar.xz."""
    torch.manual_seed(3)
    torch.backends.mha.set_fastpath_enabled(False)
    folder = Path(tempfile.mkdtemp())
    cases = (("net", Net(), torch.rand(1, 3, 8, 8), "[1,3,8,8]", 0), ("words", Words(), torch.tensor([[1, 2, 3]]), "[1,3]i64", 1))
    with tarfile.open(Path(__file__).parent / "ncnn.tar.xz", "w:xz") as archive:
        for name, net, given, shape, half in cases:
            torch.jit.trace(net.eval(), given, check_trace=False).save(folder / f"{name}.pt")
            subprocess.run([sys.argv[1], f"{name}.pt", f"inputshape={shape}", f"fp16={half}"], cwd=folder, check=True)
            buffer = io.BytesIO()
            np.savez(buffer, **{key: tensor.numpy() for key, tensor in net.state_dict().items()})
            (folder / f"{name}.npz").write_bytes(buffer.getvalue())
            for end in ("npz", "ncnn.param", "ncnn.bin"):
                data = (folder / f"{name}.{end}").read_bytes()
                entry = tarfile.TarInfo(f"{name}.{end}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    main()
