"""Programs of images in other sizes, pools that round up, and padding from the image, against PyTorch; and small whole nets."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steelyard.device.program import program_of


def agrees(net, x):
    """Whether the program has the outputs of the module in float64."""
    torch.manual_seed(0)
    for parameter in [*net.parameters(), *net.buffers()]:
        if parameter.dtype.is_floating_point:
            nn.init.uniform_(parameter, 0.1, 0.6)
    net.eval()
    program = program_of(net, x)
    answer = net.double()(torch.from_numpy(x if x.dtype.kind == "i" else x.astype("float64"))).detach().numpy()
    assert np.abs(program.run(x) - answer).max() <= 1e-6 * np.abs(answer).max()


IMAGE = np.random.default_rng(3).standard_normal((2, 2, 7, 5)).astype("float32")


@pytest.mark.parametrize("layer", [
    nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), nn.AvgPool2d(3, 2, ceil_mode=True),
    nn.AvgPool2d(4, 3, padding=1, ceil_mode=True), nn.AvgPool2d(4, 3, padding=1, ceil_mode=True, count_include_pad=False),
    nn.AdaptiveAvgPool2d((3, 2)), nn.ReflectionPad2d((1, 2, 3, 0)), nn.ReplicationPad2d(2), nn.CircularPad2d((1, 0, 2, 1)),
    nn.Upsample(scale_factor=2, mode="bilinear"), nn.Upsample(size=(11, 4), mode="bilinear", align_corners=True),
    nn.Upsample(scale_factor=1.7, mode="nearest"), nn.Upsample(scale_factor=(2, 3)), nn.Upsample(size=(9, 9), mode="bicubic"),
], ids=lambda layer: f"{layer} {getattr(layer, 'count_include_pad', '')}")  # fmt: skip
def test_a_layer_of_images_has_its_outputs(layer):
    agrees(nn.Sequential(nn.Conv2d(2, 2, 1), layer), IMAGE)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_a_convolution_pads_with_its_image(mode):
    one = nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(0, 2), padding_mode=mode)
    agrees(nn.Sequential(one, nn.Conv2d(3, 2, (2, 3), padding="same", dilation=(1, 2), padding_mode=mode)), IMAGE)


class Inverted(nn.Module):
    """A block of MobileNetV2: wider, depthwise, narrower, with a residual sum."""

    def __init__(self, channels, stride):
        super().__init__()
        self.stride = stride
        wide = 2 * channels
        self.block = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.Hardswish(),
            nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x):
        return x + self.block(x) if self.stride == 1 else self.block(x)


class Residual(nn.Module):
    """A block of a ResNet, and its head."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, 2, 1, bias=False), nn.Conv2d(4, 4, 3, 1, 1, bias=False)
        self.norm, self.norm2, self.skip = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.Conv2d(2, 4, 1, 2)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        h = F.relu(self.norm(self.first(x)))
        h = F.relu(self.norm2(self.second(h)) + self.skip(x))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(h, 1), 1))


class Gpt(nn.Module):
    """One block of a GPT with causal attention and a head that shares the table."""

    def __init__(self):
        super().__init__()
        self.table, self.places = nn.Embedding(11, 8), nn.Parameter(torch.zeros(1, 6, 8))
        self.norm, self.norm2, self.qkv, self.out = nn.LayerNorm(8), nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.up, self.down, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 11, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        h = self.table(tokens) + self.places
        q, k, v = self.qkv(self.norm(h)).split(8, dim=2)
        q, k, v = (each.view(-1, 6, 2, 4).transpose(1, 2) for each in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(-1, 6, 8)
        h = h + self.out(mixed)
        return self.head(h + self.down(F.gelu(self.up(self.norm2(h)))))


class Tagger(nn.Module):
    """A tagger: a table, an LSTM both ways, and a dense layer for each step."""

    def __init__(self):
        super().__init__()
        self.table, self.lstm = nn.Embedding(11, 4), nn.LSTM(4, 3, bidirectional=True, batch_first=True)
        self.head = nn.Linear(6, 5)

    def forward(self, tokens):
        return self.head(self.lstm(self.table(tokens))[0])


TOKENS = np.random.default_rng(4).integers(0, 11, (2, 6))


@pytest.mark.parametrize(("net", "x"), [
    (nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), Inverted(4, 1), Inverted(4, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
     IMAGE), (Residual(), IMAGE), (Gpt(), TOKENS), (Tagger(), TOKENS),
], ids=["MobileNet", "ResNet", "GPT", "tagger"])  # fmt: skip
def test_a_small_net_of_a_known_kind_has_its_outputs(net, x):
    agrees(net, x)
