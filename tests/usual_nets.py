"""Whole nets of the usual kinds in PyTorch, small: images by residual or inverted residual blocks, text, tags. `USUAL` has them."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def conv_norm(ins, outs, size, *, stride=1, groups=1):
    """Return a convolution that keeps the size of an image, and its batch norm."""
    conv = nn.Conv2d(ins, outs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outs))


class Basic(nn.Module):
    """A block of ResNet-18, whose shortcut is a convolution where the shape changes."""

    def __init__(self, ins, outs, stride):
        super().__init__()
        self.first, self.second = conv_norm(ins, outs, 3, stride=stride), conv_norm(outs, outs, 3)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = conv_norm(ins, outs, 1, stride=stride) if ins != outs else nn.Identity()

    def forward(self, x):
        made = self.second(self.relu(self.first(x)))
        made += self.shortcut(x)
        return self.relu(made)


class Inverted(nn.Module):
    """A block of MobileNetV3: wide, depthwise, gated by the means of its channels, narrow."""

    def __init__(self, ins, wide, outs, stride):
        super().__init__()
        self.up, self.depthwise = conv_norm(ins, wide, 1), conv_norm(wide, wide, 5, stride=stride, groups=wide)
        self.squeeze, self.excite = nn.Conv2d(wide, 4, 1), nn.Conv2d(4, wide, 1)
        self.down, self.adds = conv_norm(wide, outs, 1), ins == outs and stride == 1

    def forward(self, x):
        made = functional.hardswish(self.depthwise(functional.hardswish(self.up(x))))
        gates = functional.hardsigmoid(self.excite(functional.relu(self.squeeze(functional.adaptive_avg_pool2d(made, 1)))))
        made = self.down(made * gates)
        return x + made if self.adds else made


def resnet():
    blocks = Basic(4, 4, 1), Basic(4, 8, 2), Basic(8, 8, 1)
    stem = conv_norm(3, 4, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def mobilenet():
    blocks = Inverted(4, 8, 4, 1), Inverted(4, 12, 6, 2), Inverted(6, 12, 6, 1)
    head = conv_norm(6, 16, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)
    return nn.Sequential(conv_norm(3, 4, 3, stride=2), nn.Hardswish(), *blocks, *head)


class Attending(nn.Module):
    """A block of GPT-2: masked attention with one projection for query, key and value, and two dense layers."""

    def __init__(self, dim, heads):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(dim), nn.LayerNorm(dim)])
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.down, self.heads = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim), heads

    def forward(self, x):
        count, steps, dim = x.shape
        parts = self.qkv(self.norms[0](x)).split(dim, dim=2)
        q, k, v = (each.view(count, steps, self.heads, dim // self.heads).transpose(1, 2) for each in parts)
        made = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(made.transpose(1, 2).contiguous().view(count, steps, dim))
        return x + self.down(functional.gelu(self.up(self.norms[1](x)), approximate="tanh"))


class Gpt(nn.Module):
    """Two blocks, a table of positions, and a head tied to the table of words."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(11, 8), nn.Embedding(6, 8)
        self.blocks, self.norm = nn.ModuleList([Attending(8, 2), Attending(8, 2)]), nn.LayerNorm(8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x):
        made = self.words(x) + self.places(torch.arange(x.shape[1]))
        for block in self.blocks:
            made = block(made)
        return self.head(self.norm(made))


class Tagger(nn.Module):
    """Words, an LSTM of two layers in both directions, and the logarithms of the shares of tags."""

    def __init__(self):
        super().__init__()
        self.words, self.rnn = nn.Embedding(11, 6), nn.LSTM(6, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 4)

    def forward(self, x):
        return functional.log_softmax(self.head(self.rnn(self.words(x))[0]), dim=-1)


class Dense(nn.Module):
    """Layers that each read what all before them made, joined, as DenseNet has them."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(ins, 4, 3, padding=1) for ins in (3, 7, 11)])
        self.head = nn.Linear(15, 3)

    def forward(self, x):
        for conv in self.convs:
            x = torch.cat([x, functional.relu(conv(x))], 1)
        return self.head(x.mean([2, 3]))


def filled(net):
    """Return a net with statistics of its batch norms that are not those of a new one."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    return net.eval()


IMAGES = np.random.default_rng(1).standard_normal((4, 3, 16, 16)).astype("float32")
WORDS = np.random.default_rng(1).integers(0, 11, (4, 6))
USUAL = {
    "resnet": (resnet, IMAGES),
    "mobilenet": (mobilenet, IMAGES),
    "densenet": (Dense, IMAGES),
    "gpt": (Gpt, WORDS),
    "tagger": (Tagger, WORDS),
}
"""How to make each net, and inputs."""
