"""Programs of whole nets of the usual kinds in PyTorch: images with shortcuts and gates, text with attention, tags."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from steelyard.device.program import folded, program_of


class Block(nn.Module):
    """A residual block as torchvision has it: one ReLU in place, used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        made = self.norms[1](self.second(self.relu(self.norms[0](self.first(x)))))
        made += x
        return self.head(torch.flatten(functional.adaptive_avg_pool2d(self.relu(made), 1), 1))


class Gated(nn.Module):
    """A depthwise convolution whose channels are gated by their means."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 3, 3, groups=3), nn.AdaptiveAvgPool2d(1)
        self.down, self.up = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 3, 1)

    def forward(self, x):
        x = functional.hardswish(self.conv(x))
        return (x * functional.hardsigmoid(self.up(functional.relu(self.down(self.pool(x)))))).mean([2, 3])


class Text(nn.Module):
    """A small GPT: a table of positions, one projection for query, key and value, a head tied to the table of words."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(7, 4), nn.Embedding(5, 4)
        self.norms = nn.ModuleList([nn.LayerNorm(4), nn.LayerNorm(4)])
        self.qkv, self.out, self.up, self.down = nn.Linear(4, 12), nn.Linear(4, 4), nn.Linear(4, 8), nn.Linear(8, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x):
        made = self.words(x) + self.places(torch.arange(x.shape[1]))
        parts = (each.view(*each.shape[:2], 2, 2).transpose(1, 2) for each in self.qkv(self.norms[0](made)).split(4, dim=2))
        attended = functional.scaled_dot_product_attention(*parts, is_causal=True)
        made = made + self.out(attended.transpose(1, 2).contiguous().view(*x.shape, 4))
        return self.head(made + self.down(functional.gelu(self.up(self.norms[1](made)))))


class Tags(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.rnn, self.head = nn.Embedding(7, 3), nn.LSTM(3, 2, batch_first=True, bidirectional=True), nn.Linear(4, 3)

    def forward(self, x):
        return functional.log_softmax(self.head(self.rnn(self.words(x))[0]), dim=-1)


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        x = self.layer(x)
        (one, two), (three, four) = x.chunk(2, -1), x.unbind(1)
        return torch.cat([two * one.sigmoid(), (three - four).unsqueeze(1).chunk(2, 2)[1]], 1)


class Scaled(nn.Module):
    """Weights that functions take: a shift of all places, and a factor of each channel."""

    def __init__(self):
        super().__init__()
        self.shift, self.layer = nn.Parameter(torch.zeros(1, 2, 4)), nn.Linear(4, 4)
        self.register_buffer("factor", torch.zeros(4))

    def forward(self, x):
        return self.layer(x + self.shift) * self.factor


@pytest.mark.parametrize("net", [Block(), Gated(), Text(), Tags(), Parts(), Scaled()], ids=lambda net: type(net).__name__)
def test_the_program_of_a_net_has_its_outputs(net):
    rng = np.random.default_rng(0)
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.is_floating_point():
            tensor.data.copy_(torch.from_numpy(rng.uniform(0.1, 0.9, tensor.shape)))
    words = isinstance(net, (Text, Tags))
    x = (
        rng.integers(0, 7, (2, 5))
        if words
        else rng.standard_normal((2, 2, 4) if isinstance(net, (Parts, Scaled)) else (2, 3, 6, 6))
    )
    x = x if words else x.astype("float32")
    program = program_of(net.eval(), x)
    answer = net.double()(torch.from_numpy(x if words else x.astype("float64"))).detach().numpy()
    for made in (program.run(x), folded(program).run(x)):
        assert float(np.abs(made - answer).max() / np.abs(answer).max()) <= 1e-6


def test_a_head_that_is_tied_to_a_table_is_one_array():
    steps = {step.name: step.operation for step in program_of(Text(), np.zeros((1, 5), "int64")).steps}
    assert steps["head"].kernel is steps["words"].table
