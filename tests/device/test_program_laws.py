"""Programs of random nets of PyTorch have the outputs of the nets in float64."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from steelyard.device.program import program_of


def pooled(draw, channels, length):
    size = draw(st.integers(1, min(3, length)))
    word = draw(st.sampled_from([nn.MaxPool1d, nn.AvgPool1d]))
    made = word(size, draw(st.integers(1, 3)), ceil_mode=draw(st.booleans()))
    return made, channels


def convolved(draw, channels, length):
    groups = draw(st.sampled_from([each for each in (1, 2, channels) if channels % each == 0]))
    made, size = groups * draw(st.integers(1, 2)), draw(st.integers(1, min(3, length)))
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, min(2, length - 1)))
    return nn.Conv1d(channels, made, size, stride, padding, 1, groups, draw(st.booleans()), mode), made


def normed(draw, channels, _):
    groups = draw(st.sampled_from([each for each in (1, 2, channels) if channels % each == 0]))
    return draw(st.sampled_from([nn.BatchNorm1d(channels), nn.GroupNorm(groups, channels), nn.PReLU(channels)])), channels


def activated(draw, channels, _):
    words = [nn.ReLU(), nn.GELU(), nn.Hardswish(), nn.ELU(0.7), nn.Softmax(1), nn.Upsample(scale_factor=2), nn.GELU("tanh")]
    return draw(st.sampled_from(words)), channels


@st.composite
def nets(draw):
    channels, length = draw(st.integers(1, 4)), draw(st.integers(3, 8))
    x, layers, width = torch.zeros(1, channels, length), [], channels
    for _ in range(draw(st.integers(1, 5))):
        layer, width = draw(st.sampled_from([pooled, convolved, normed, activated]))(draw, width, x.shape[2])
        layers.append(layer)
        x = layer.eval()(x)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(x[0].numel(), 3)), (channels, length)


@settings(max_examples=20, derandomize=True, deadline=None)
@given(nets())
def test_the_program_of_a_random_net_has_its_outputs(drawn):
    net, shape = drawn
    rng = np.random.default_rng(0)
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.is_floating_point():
            tensor.data.copy_(torch.from_numpy(rng.uniform(0.1, 0.9, tensor.shape)))
    x = rng.standard_normal((3, *shape)).astype("float32")
    program = program_of(net.eval(), x)
    answer = net.double()(torch.from_numpy(x).double()).detach().numpy()
    assert np.abs(program.run(x, dtype="float64") - answer).max() <= 1e-9 * np.abs(answer).max()
