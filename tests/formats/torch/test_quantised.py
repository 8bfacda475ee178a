"""Quantised and compiled models of PyTorch: nothing that their files hold is dropped, and all of it is what PyTorch reads."""

import pytest
import torch
from torch import nn

import steelyard

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


class Net(nn.Module):
    """A net whose quantisation needs a convolution and a dense layer."""

    def __init__(self):
        super().__init__()
        self.quant = torch.ao.quantization.QuantStub()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        self.dequant = torch.ao.quantization.DeQuantStub()

    def forward(self, x):
        return self.dequant(self.body(self.quant(x)))


@pytest.fixture(scope="module")
def static():
    """A statically quantised net: each layer has packed weights, and the scale and zero point of its outputs."""
    engines = torch.backends.quantized.supported_engines
    torch.backends.quantized.engine = "fbgemm" if "fbgemm" in engines else "qnnpack"
    torch.manual_seed(0)
    net = Net().eval()
    net.qconfig = torch.ao.quantization.get_default_qconfig(torch.backends.quantized.engine)
    prepared = torch.ao.quantization.prepare(net)
    prepared(torch.randn(2, 1, 8, 8))
    return torch.ao.quantization.convert(prepared)


def dynamic(seed=0):
    torch.manual_seed(seed)
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), {nn.Linear})


def tensors_of(state):
    """Every tensor of a state_dict by its name in files, the parts of packed ones by number."""
    for name, value in state.items():
        several = isinstance(value, tuple)
        for nth, tensor in enumerate(value if several else [value]):
            if isinstance(tensor, torch.Tensor):
                key = f"{name}.{nth}" if several else name
                yield key, tensor
                if tensor.is_quantized and tensor.qscheme() == torch.per_tensor_affine:
                    yield f"{key}.scale", torch.tensor(tensor.q_scale(), dtype=torch.float64)
                    yield f"{key}.zero_point", torch.tensor(tensor.q_zero_point())
                elif tensor.is_quantized:
                    yield f"{key}.scales", tensor.q_per_channel_scales()
                    yield f"{key}.zero_points", tensor.q_per_channel_zero_points()


def assert_holds(path, net):
    """The file has every tensor that PyTorch's own state_dict has, and no other."""
    found = steelyard.weights(path)
    wanted = dict(tensors_of(net.state_dict()))
    assert sorted(found) == sorted(wanted)
    assert not found.unreadable
    for name, tensor in wanted.items():
        stored = tensor.int_repr() if tensor.is_quantized else tensor.detach()
        assert found[name].numpy().tolist() == stored.numpy().tolist()


def save_state(net, path):
    torch.save(net.state_dict(), path)


def save_script(net, path):
    torch.jit.script(net).save(path)


@pytest.mark.parametrize("save", [save_state, torch.save, save_script])
def test_a_quantised_net_has_all_its_weights_in_every_kind_of_file(static, save, tmp_path):
    for nth, net in enumerate((static, dynamic())):
        save(net, tmp_path / f"{nth}.pt")
        assert_holds(tmp_path / f"{nth}.pt", net)


def test_a_quantised_convolution_in_a_pickled_module_has_its_role_and_axes(static, tmp_path):
    torch.save(static, tmp_path / "net.pt")
    found = steelyard.weights(tmp_path / "net.pt")
    assert (found["body.0.weight"].role, found["body.0.weight"].axes) == ("kernel", "out in kh kw")
    assert next(iter(found.layers["body.0"])) == "weight"
    assert all(name.startswith("weight.") for name in list(found.layers["body.0"])[1:3])


def test_two_different_quantised_nets_have_different_digests_and_differ(tmp_path):
    for seed in (0, 1):
        torch.save(dynamic(seed).state_dict(), tmp_path / f"{seed}.pt")
    one, other = (tmp_path / f"{seed}.pt" for seed in (0, 1))
    assert steelyard.digest(one) != steelyard.digest(other)
    assert not steelyard.diff(one, other).same


def test_a_changed_scale_is_a_difference_and_conversion_keeps_scales(tmp_path):
    for scale in (0.1, 0.2):
        values = torch.quantize_per_tensor(torch.tensor([1.0, -0.6]) * scale * 10, scale, 0, torch.qint8)
        torch.save({"w": values}, tmp_path / f"{scale}.pt")
    one, other = (tmp_path / f"{scale}.pt" for scale in (0.1, 0.2))
    rows = {row.name: row.kind for row in steelyard.diff(one, other).rows}
    assert rows == {"w": "equal", "w.scale": "changed", "w.zero_point": "equal"}
    for suffix in (".safetensors", ".npz", ".pt"):
        steelyard.save(one, tmp_path / f"back{suffix}")
        back = steelyard.weights(tmp_path / f"back{suffix}").arrays()
        real = (back["w"] - back["w.zero_point"]) * back["w.scale"]
        assert real.astype("float32").tolist() == torch.load(one)["w"].dequantize().tolist()


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x) * 2


def test_the_constants_of_a_frozen_module_are_its_weights(tmp_path):
    net = Scaled().eval()
    torch.jit.freeze(torch.jit.script(net)).save(tmp_path / "frozen.pt")
    found = steelyard.weights(tmp_path / "frozen.pt")
    assert sorted(weight.shape for weight in found.values()) == [(2,), (2, 3)]
    kernel = next(weight for weight in found.values() if weight.shape == (2, 3))
    assert kernel.numpy().tolist() == net.fc.weight.tolist()
    torch.jit.script(net).save(tmp_path / "compiled.pt")
    assert list(steelyard.weights(tmp_path / "compiled.pt")) == ["fc.weight", "fc.bias"]


def test_a_dynamically_quantised_lstm_lists_its_packed_weights(tmp_path):
    net = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.LSTM(3, 4)), {nn.LSTM})
    for nth, saved in enumerate((net, net.state_dict())):
        torch.save(saved, tmp_path / f"{nth}.pt")
        sizes = [weight.shape for weight in steelyard.weights(tmp_path / f"{nth}.pt").values()]
        assert {(16, 3), (16, 4)} <= set(sizes)
