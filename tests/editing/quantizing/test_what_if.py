"""What quantising would cost, before anything is written."""

import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.errors import ShapeError

RNG = np.random.default_rng(0)
PLAIN = {"fc.weight": RNG.normal(size=(32, 64)).astype("float32"), "fc.bias": np.zeros(32, "float32")}


def test_errors_are_those_of_numpy():
    found = steelyard.what_if(PLAIN, ["int8", {"kind": "int4", "group": 32}, {"kind": "mxfp4", "like": "gguf"}])
    for choice, (kind, options) in zip(
        found.choices, [("int8", {}), ("int4", {"group": 32}), ("mxfp4", {"like": "gguf"})], strict=True
    ):
        made = steelyard.quantize(PLAIN, kind, **options)
        error = np.abs(made.effective()["fc.weight"].numpy().astype("f8") - PLAIN["fc.weight"])
        (row,) = choice.errors
        assert (row.name, row.size, row.max) == ("fc.weight", 2048, error.max())
        np.testing.assert_allclose(row.rms, np.sqrt(np.square(error).mean()), rtol=1e-9)
        np.testing.assert_allclose(row.q95, np.quantile(error, 0.95), rtol=1 / 64)
        decibels = 10 * np.log10(np.square(PLAIN["fc.weight"], dtype="f8").sum() / np.square(error).sum())
        np.testing.assert_allclose([row.sqnr, choice.sqnr], decibels, rtol=1e-9)
        assert choice.nbytes == made.nbytes
    assert found.nbytes == 4 * (2048 + 32)


def test_a_probe_shows_the_change_of_the_outputs_and_the_net_has_its_own_numbers_again():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 8))
    x = torch.randn(5, 64)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = steelyard.what_if(net, ["int4", "int8"], probe=x)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    outputs = net(x).detach().numpy().astype("f8")
    changed = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 8))
    steelyard.weights(changed).assign(steelyard.quantize(net, "int4").effective())
    apart = np.linalg.norm(changed(x).detach().numpy() - outputs) / np.linalg.norm(outputs)
    np.testing.assert_allclose(found["int4"].change, apart, rtol=1e-5)
    assert found["int8"].change < found["int4"].change / 5
    with pytest.raises(ShapeError, match="a probe needs a live net that can be run"):
        steelyard.what_if(PLAIN, "int8", probe=x)


def test_the_table_has_bytes_a_bar_and_what_is_left():
    plain = {**PLAIN, "odd.weight": np.ones((3, 5), "float32"), "odd.bias": np.ones(3, "float32")}
    text = str(steelyard.what_if(plain, ["int8", "tq1_0", {"kind": "int4", "group": 32}]))
    lines = text.splitlines()
    assert lines[1].split()[:3] == ["as", "it", "is"]
    assert lines[2].startswith("int8 ")
    assert lines[2].endswith("###############")
    assert "left as they are, groups of 32 do not divide its 5 inputs: odd.weight" in lines
    assert "tq1_0: no weight can become tq1_0: fc.weight: its rows of 64 are not whole blocks of 256" in text


def test_a_way_that_quantise_does_not_know_is_refused():
    with pytest.raises(ShapeError, match="'bits' is not an argument of quantize"):
        steelyard.what_if(PLAIN, {"kind": "int8", "bits": 4})
    with pytest.raises(ShapeError, match="a mapping needs its 'kind'"):
        steelyard.what_if(PLAIN, {"group": 4})
    with pytest.raises(ShapeError, match="'int4' was not asked for; there are int8"):
        steelyard.what_if(PLAIN, "int8")["int4"]


def test_an_error_beyond_all_numbers_has_no_ratio():
    from steelyard.editing.quantizing.what_if import error_of

    before, after = (steelyard.weights({"w": np.full(3, number)})["w"] for number in (1.0, np.inf))
    assert error_of(before, after).sqnr == -np.inf
