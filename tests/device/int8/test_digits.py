"""Real digits: nets in int8 recognise nearly all that they recognise in float; kernels are as near as ONNX Runtime's."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from torch import nn

from steelyard.device.int8 import quantized
from steelyard.device.int8.kernels import coded
from steelyard.device.int8.report import errors_of
from steelyard.device.program import program_of

CALIBRATING, TESTED = slice(0, 200), slice(1300, 1600)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return data.images.astype("float32") / 16, data.target


@pytest.fixture(scope="module")
def dense(digits):
    images, targets = digits
    flat = images.reshape(-1, 64)
    return MLPClassifier((32,), tol=1e-3, random_state=0).fit(flat[:1300], targets[:1300]), flat


@pytest.fixture(scope="module")
def convolved(digits):
    """A small net of convolutions, trained on the first 1300 digits."""
    images, targets = (torch.from_numpy(each[:1300]) for each in digits)
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    steps = torch.optim.Adam(net.parameters(), 0.01)
    for step in range(120):
        batch = torch.arange(step * 100, step * 100 + 100) % 1300
        steps.zero_grad()
        nn.functional.cross_entropy(net(images[batch][:, None]), targets[batch]).backward()
        steps.step()
    return net.eval(), digits[0][:, None]


def accuracy(program, x, targets):
    return float((program(x).argmax(axis=1) == targets).mean())


@pytest.mark.parametrize("which", ["dense", "convolved"])
def test_nearly_all_digits_that_floats_recognise_are_recognised_in_int8(which, digits, request):
    net, x = request.getfixturevalue(which)
    program, targets = program_of(net, x[:8]), digits[1][TESTED]
    known = accuracy(program.run, x[TESTED], targets)
    assert known > 0.9
    for how in ("minmax", "percentile", "mse") if which == "dense" else ("minmax",):
        made = quantized(program, [x[CALIBRATING]], rounding="single", calibrate=how)
        assert accuracy(made.predict, x[TESTED], targets) > known - 0.01, how
    found = errors_of(made, program, [x[TESTED]])
    assert found.agreement > 0.98
    assert min(layer.sqnr for layer in found.layers) > 25
    four = quantized(program, [x[CALIBRATING]], rounding="single", bits=4)
    assert accuracy(four.predict, x[TESTED], targets) > known - 0.05


def test_kernels_lose_as_little_as_those_that_onnx_runtime_quantises(convolved):
    from onnxruntime.quantization.quant_utils import QuantType, quantize_data

    for layer in (0, 4, 7):
        rows = convolved[0][layer].weight.detach().numpy()
        rows = rows.reshape(len(rows), -1)
        codes, scales = coded(rows, None, 1.0, 8)
        theirs = []
        for row in rows:
            zero, scale, found = quantize_data(row, QuantType.QInt8.tensor_type, symmetric=True)
            theirs.append((found.astype(np.float64) - np.float64(zero)) * np.float64(scale))
        ours = codes * scales[:, None].astype(np.float64)
        assert abs(decibels(rows, ours) - decibels(rows, np.stack(theirs))) < 0.1


def decibels(numbers, found):
    return 10 * np.log10(np.square(numbers).sum() / np.square(found - numbers).sum())
