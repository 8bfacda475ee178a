"""Quantised programs compute in integers what their nets compute in floats, nearly."""

import numpy as np
import pytest
import torch
from integer_nets import NETS, build, examples
from torch import nn

from steelyard.device.int8 import quantized
from steelyard.device.int8.calibrating import calibrated, quantization_of
from steelyard.device.int8.report import errors_of
from steelyard.device.program import program_of
from steelyard.errors import ShapeError


@pytest.mark.parametrize("name", NETS)
def test_every_operation_stays_near_the_float_net(name):
    net, x = build(name)
    program = program_of(net, x)
    for rounding in ("single", "double"):
        made = quantized(program, [x], rounding=rounding)
        assert made.run(*made.codes(x)).dtype == np.int8
        with torch.no_grad():
            wanted = net(torch.from_numpy(x)).numpy()
        apart = made.predict(x) - wanted
        assert np.square(apart).sum() < np.square(wanted).sum() * 10**-2.7, name  # 27 dB
        for layer in errors_of(made, program, [x]).layers:
            assert layer.sqnr > 25, layer
            assert layer.max < 16 * layer.scale, layer


def test_integers_are_those_of_a_layer_written_out():
    net, x = build("dense")
    made = quantized(program_of(net, x), [x], rounding="single")
    (codes,) = made.codes(x[:3])
    values = made.values(codes)
    for step, given, found in zip(made.steps, values, values[1:], strict=False):
        (kernel, bias), zero, out = step.operation.operation, step.operation.input_zero, step.operation.requantization
        for example in range(3):
            for unit in range(len(kernel)):
                terms = zip(given[example].tolist(), kernel[unit].tolist(), strict=True)
                total = int(bias[unit]) + sum((code - zero) * weight for code, weight in terms)
                factor, shift = int(out.by.values[unit]), int(out.by.shifts[unit])
                code = ((total * factor + (1 << (30 - shift))) >> (31 - shift)) + out.zero_point
                assert found[example, unit] == min(max(code, out.lowest), out.highest)


def test_a_relu_is_the_range_of_the_layer_before_it():
    net, x = build("dense")
    made = quantized(program_of(net, x), [x], rounding="single")
    assert [type(step.operation).__name__ for step in made.steps] == ["Sums", "Sums"]
    assert made.steps[0].operation.requantization.lowest == made.steps[0].quantization.zero_point == -128
    six = quantized(program_of(net, x * 50), [x * 50], rounding="single")
    assert six.steps[0].quantization.scale > made.steps[0].quantization.scale


def test_tables_of_words_have_one_scale_and_their_inputs_stay_whole():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2)).eval()
    x = np.random.default_rng(0).integers(0, 9, (20, 3))
    made = quantized(program_of(net, x), [x], rounding="double")
    with torch.no_grad():
        wanted = net(torch.from_numpy(x)).numpy()
    assert np.abs(made.predict(x) - wanted).max() < 0.02
    assert made.input_quantizations == (None,)


def test_four_bits_are_further_off_than_eight():
    net, x = build("dense")
    program = program_of(net, x)
    eight, four = (errors_of(quantized(program, [x], rounding="single", bits=b), program, [x]).layers[-1].sqnr for b in (8, 4))
    assert eight > four + 10
    kernel = quantized(program, [x], rounding="single", bits=4).steps[0].operation.operation.kernel
    assert (kernel.min(), kernel.max()) == (-7, 7)


def test_a_number_that_is_far_off_widens_the_range_of_minmax_alone():
    net = nn.Sequential(nn.Linear(40, 2)).eval()
    x = np.random.default_rng(0).uniform(-1, 1, (3000, 40)).astype("float32")
    x[0, 0] = 2
    program = program_of(net, x[:4])
    known = {how: calibrated(program, [x], how)[0] for how in ("minmax", "percentile", "mse")}
    assert known["minmax"].scale == np.float32(x.max() - x.min()) / np.float32(255)
    assert known["percentile"].scale == pytest.approx(2 / 255, rel=0.01)
    errors = {how: np.square(each.numbers(each.codes(x)) - x).sum() for how, each in known.items()}
    assert errors["mse"] < min(errors["minmax"], errors["percentile"])


def test_zero_has_a_code_whatever_the_range_is():
    for ends in ((2.0, 5.0), (-7.0, -1.0), (-0.001, 3.0), (0.0, 0.0)):
        known = quantization_of(ends)
        assert known.numbers(known.codes(np.zeros(1))).item() == 0
    assert quantization_of((-2.54, 1.0), symmetric=True) == (np.float32(2.54) / np.float32(127), 0)


def test_the_rounding_must_be_given():
    net, x = build("dense")
    with pytest.raises(ShapeError, match='rounding="single" or rounding="double"'):
        quantized(program_of(net, x), [x], rounding="")


def test_layers_without_a_form_in_integers_are_refused_by_name():
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.states = nn.LSTM(3, 4, batch_first=True)

        def forward(self, x):
            return self.states(x)[0][:, -1]

    net, x = Tagger().eval(), examples(5, 3)
    with pytest.raises(ShapeError, match=r"'states' \(Recurrent\) has no form in integers yet"):
        quantized(program_of(net, x), [x], rounding="single")
    norm, x = nn.Sequential(nn.LayerNorm(6)).eval(), examples(6)
    with pytest.raises(ShapeError, match="'0' \\(LayerNorm\\)"):
        quantized(program_of(norm, x), [x], rounding="single")


def test_sums_that_may_leave_32_bits_are_refused_by_name():
    net = nn.Sequential(nn.Linear(70_000, 1, bias=False)).eval()
    nn.init.constant_(net[0].weight, 0.5)
    x = np.abs(examples(70_000, count=2))
    with pytest.raises(ShapeError, match=r"'0' \(Dense\) has sums up to .*, which may leave 32 bits"):
        quantized(program_of(net, x), [x], rounding="single")


def test_data_without_finite_numbers_are_refused():
    net, x = build("dense")
    program = program_of(net, x)
    with pytest.raises(ShapeError, match="NaN or Inf"):
        quantized(program, [np.where(x > 2, np.inf, x)], rounding="single")
    with pytest.raises(ShapeError, match="no examples"):
        quantized(program, [x[:0]], rounding="single")


def test_an_output_that_is_far_smaller_than_its_inputs_is_refused():
    class Difference(nn.Module):
        def __init__(self):
            super().__init__()
            self.same = nn.Linear(4, 4, bias=False)
            nn.init.eye_(self.same.weight)

        def forward(self, x):
            x = self.same(x)
            return x[:, :2] - x[:, 2:]

    x = examples(2, count=8) * 1000
    x = np.concatenate([x, x], axis=1)
    x[:, 2:] *= np.float32(1 + 2.0**-22)
    with pytest.raises(ShapeError, match="range is far smaller than those of its inputs"):
        quantized(program_of(Difference(), x), [x], rounding="single")
