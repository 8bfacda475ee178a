"""Live nets that torchao and bitsandbytes quantised: effective weights, files and verdicts are those of the libraries."""

import copy

import pytest
import torch
from torch import nn

import steelyard
from steelyard.errors import LeftOutWarning
from steelyard.frameworks.torch.runs import untouched

LAYERS = ("0.weight", "2.weight")


def net(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 64, bias=False)).to(dtype)


def configs():
    from torchao import quantization as q

    return {
        "int8": q.Int8WeightOnlyConfig(),
        "int8 dynamic": q.Int8DynamicActivationInt8WeightConfig(),
        "8da4w": q.Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=q.PerGroup(32)),
        "int3": q.IntxWeightOnlyConfig(weight_dtype=torch.int3, granularity=q.PerAxis(0)),
        "float8": q.Float8WeightOnlyConfig(),
    }


def verdict(model, path):
    with pytest.warns(LeftOutWarning):
        return str(steelyard.diff(model, path, skip_unreadable=True)).partition("\n")[0]


@pytest.fixture(scope="module", params=["int8", "int8 dynamic", "8da4w", "int3", "float8"])
def by_torchao(request):
    from torchao.quantization import quantize_

    made = {dtype: net(dtype) for dtype in (torch.float32, torch.bfloat16)}
    for each in made.values():
        quantize_(each, configs()[request.param])
    return made


def net_of_bitsandbytes():
    import bitsandbytes as bnb

    torch.manual_seed(0)
    layers = (
        bnb.nn.Linear4bit(64, 32, quant_type="nf4"),
        bnb.nn.Linear8bitLt(32, 64, has_fp16_weights=False),
        bnb.nn.Linear4bit(64, 16, quant_type="fp4", compress_statistics=False),
    )
    made = nn.Sequential(*layers).to("cpu")
    made(torch.randn(1, 64))  # this packs the weights of 8 bits
    return made


@pytest.fixture(scope="module")
def by_bitsandbytes():
    return net_of_bitsandbytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_of_torchao_are_dequantised_as_kernels_of_their_layers(by_torchao, dtype):
    model = by_torchao[dtype]
    found = steelyard.effective(model)
    for name in LAYERS:
        held = model.get_parameter(name)
        assert found[name].to_torch().equal(getattr(held, "original_weight_tensor", held).dequantize())
        assert (found[name].role, found[name].axes, found[name].dtype) == ("kernel", "out in", str(dtype).removeprefix("torch."))
        assert found[name].derivation.scheme.startswith("torchao ")
    assert found["0.bias"].to_torch().equal(model.get_parameter("0.bias"))


def test_files_of_torchao_have_the_numbers_of_the_live_net_and_load(by_torchao, tmp_path):
    model = by_torchao[torch.float32]
    torch.save(model.state_dict(), tmp_path / "net.pt")
    assert steelyard.diff(model, tmp_path / "net.pt", effective=True).same
    assert verdict(model, tmp_path / "net.pt") == "loads: yes"
    reason = steelyard.weights(model).unreadable["0.weight"]
    assert reason.endswith("does not give its numbers; its effective weights have those it computes with")


def test_a_file_of_another_layout_of_torchao_does_not_load(by_torchao, tmp_path):
    other = {**net().state_dict(), "0.weight.codes": torch.zeros(3)}
    del other["0.weight"]
    torch.save(other, tmp_path / "other.pt")
    assert verdict(by_torchao[torch.float32], tmp_path / "other.pt") == "loads: partly: 1 missing, 1 unexpected"


def test_weights_of_bitsandbytes_are_dequantised_as_the_library_does(by_bitsandbytes, tmp_path):
    from bitsandbytes import functional

    found = steelyard.effective(by_bitsandbytes)
    assert {name: each.shape for name, each in found.items() if each.role == "kernel"} == {
        "0.weight": (32, 64),
        "1.weight": (64, 32),
        "2.weight": (16, 64),
    }
    for name in ("0", "2"):
        held = by_bitsandbytes.get_submodule(name).weight
        assert found[f"{name}.weight"].to_torch().equal(functional.dequantize_4bit(held.data, held.quant_state))
    state = by_bitsandbytes.state_dict()
    known = functional.int8_vectorwise_dequant(state["1.weight"], state["1.SCB"])
    torch.testing.assert_close(found["1.weight"].to_torch(), known, rtol=2e-7, atol=0)
    torch.save(state, tmp_path / "net.pt")
    assert steelyard.diff(by_bitsandbytes, tmp_path / "net.pt", effective=True).same
    assert str(steelyard.diff(by_bitsandbytes, tmp_path / "net.pt")).startswith("loads: yes\n")


@pytest.fixture(params=[False, True], ids=["scales", "codes of scales"])
def net_that_ran(request):
    """A net, its codes before it ran on a CPU with instructions for bfloat16, and its weights with scales in bfloat16."""
    import bitsandbytes as bnb
    from bitsandbytes import functional

    torch.manual_seed(0)
    layer = bnb.nn.Linear4bit(256, 64, bias=False, quant_type="nf4", compress_statistics=request.param)
    made = nn.Sequential(layer).to("cpu").eval()
    codes, state = layer.weight.data, layer.weight.quant_state
    absmax = functional.dequantize_blockwise(state.absmax, state.state2) + state.offset if request.param else state.absmax
    rounded = copy.copy(state)
    rounded.absmax, rounded.nested = absmax.bfloat16().float(), False
    known = functional.dequantize_4bit(codes, rounded)
    layer.weight.data, _ = functional._convert_weight_packed_for_cpu(codes, state)  # what `forward` does on such a CPU
    return made, codes.numpy().copy(), known


def test_a_layer_of_bitsandbytes_that_is_packed_for_a_cpu_is_listed_as_it_was_and_stays_packed(net_that_ran, tmp_path):
    model, codes, known = net_that_ran
    layer, x = model[0], torch.randn(2, 256)
    data, facts = layer.weight.data, dict(vars(layer.weight.quant_state))
    found = steelyard.weights(model)
    assert (found["0.weight"].numpy() == codes).all()
    assert found["0.weight"].trainable is False
    assert steelyard.effective(model)["0.weight"].to_torch().equal(known)
    steelyard.save(model, tmp_path / "net.safetensors")
    assert steelyard.effective(tmp_path / "net.safetensors")["0.weight"].to_torch().equal(known)
    assert layer.weight.data.data_ptr() == data.data_ptr()
    assert vars(layer.weight.quant_state) == facts
    if layer.support_avx512bf16_for_cpu:
        with torch.no_grad():
            torch.testing.assert_close(model(x), x @ known.T, rtol=1e-2, atol=0.5)


def test_a_run_leaves_a_layer_of_bitsandbytes_as_it_was():
    import bitsandbytes as bnb

    model = nn.Sequential(bnb.nn.Linear4bit(256, 64, compress_statistics=False)).to("cpu").eval()
    weight, x = model[0].weight, torch.randn(2, 256)
    data, facts = weight.data, dict(vars(weight.quant_state))
    with untouched(model):
        model(x)
        if not model[0].support_avx512bf16_for_cpu:  # what `forward` does on a CPU with bfloat16
            weight.data, _ = bnb.functional._convert_weight_packed_for_cpu(weight.data, weight.quant_state)
    assert weight.data.data_ptr() == data.data_ptr()
    assert vars(weight.quant_state) == facts


def test_a_file_of_a_net_that_ran_on_a_cpu_has_scales_in_another_order_and_is_refused(net_that_ran, tmp_path):
    model, _, _ = net_that_ran
    model[0].weight.quant_state.original_nested = False  # else the library makes codes of scales again
    torch.save(model.state_dict(), tmp_path / "net.pt")
    with pytest.raises(steelyard.SteelyardError, match=r"absmax has the shape \(4, 64\): .* save the net before it runs"):
        steelyard.effective(tmp_path / "net.pt")["0.weight"].numpy()
