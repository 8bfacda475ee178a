"""Small nets that have forms in integers, with examples: `build` makes one of `NETS`."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def examples(*shape, count=48):
    return np.random.default_rng(1).standard_normal((count, *shape)).astype("float32")


class Merged(nn.Module):
    """Sums, products, joins and gates of branches."""

    def __init__(self):
        super().__init__()
        self.conv, self.other = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(12, 3)

    def forward(self, x):
        first, second = functional.relu6(self.norm(self.conv(x))), torch.tanh(self.other(x))
        added = functional.relu(first + second)
        made = torch.cat([added, first * second, functional.pad(second, (0, 0, 0, 0)) - first], dim=1)
        return self.head(torch.sigmoid(made).mean([2, 3]))


def build(name):
    torch.manual_seed(0)
    nets = {
        "dense": (nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)), (6,)),
        "conv 1d": (nn.Sequential(nn.Conv1d(2, 4, 3, stride=2, dilation=2), nn.GELU(), nn.Flatten(), nn.Linear(12, 3)), (2, 10)),
        "conv, groups": (nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.Hardtanh(), nn.MaxPool2d(2)), (4, 6, 6)),
        "depthwise": (nn.Sequential(nn.Conv2d(3, 6, (3, 2), groups=3), nn.PReLU(6), nn.AvgPool2d(2, padding=1)), (3, 7, 6)),
        "transposed": (nn.Sequential(nn.ConvTranspose2d(2, 4, 3, 2, 1, groups=2), nn.LeakyReLU(0.2)), (2, 4, 4)),
        "pool": (nn.Sequential(nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.BatchNorm2d(2), nn.ELU()), (2, 6, 7)),
        "softmax": (nn.Sequential(nn.Linear(6, 5), nn.Softmax(dim=1)), (6,)),
        "upsample": (nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(2, 3, 2), nn.ReLU()), (2, 3, 4)),
        "merged": (Merged(), (3, 5, 5)),
    }
    net, shape = nets[name]
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    return net.eval(), examples(*shape)


NETS = ("dense", "conv 1d", "conv, groups", "depthwise", "transposed", "pool", "softmax", "upsample", "merged")
