"""Quantised tensors and layers of PyTorch, live and in files: the effective weight is what `dequantize` returns."""

import numpy as np
import pytest
import torch
import torch.ao.nn.quantized as quantized
from torch import nn
from torch.ao import quantization

import steelyard

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def assert_all(found, own):
    """The effective weights have these names, shapes and numbers."""
    assert list(found) == list(own)
    for name, tensor in own.items():
        real = tensor.dequantize() if tensor.is_quantized else tensor
        assert found[name].dtype == "float32"
        assert np.array_equal(found[name].numpy(), real.detach().numpy())


def everywhere(net, folder):
    """Yield the effective weights of a live net, of its files, and of a compiled net."""
    torch.save(net.state_dict(), folder / "state.pt")
    torch.save(net, folder / "net.pt")
    torch.jit.script(net).save(folder / "script.pt")
    for source in (net, folder / "state.pt", folder / "net.pt", folder / "script.pt", torch.jit.load(folder / "script.pt")):
        yield steelyard.effective(source)


def channels(real, axis, dtype, most=0):
    """Return a tensor with a scale for each place along an axis; zero points up to `most` are fractions."""
    length = real.shape[axis]
    zeros = torch.rand(length) * most if most else torch.randint(-9, 9, (length,))
    scales = torch.rand(length, dtype=torch.float32 if most else torch.float64) * 0.1 + 0.01
    return torch.quantize_per_channel(real, scales, zeros, axis, dtype)


TENSORS = {
    "qint8": lambda: torch.quantize_per_tensor(torch.randn(4, 6) * 3, 0.03, -7, torch.qint8),
    "quint8": lambda: torch.quantize_per_tensor(torch.randn(4, 6) * 3, 0.03, 117, torch.quint8),
    "qint32": lambda: torch.quantize_per_tensor(torch.randn(4, 6) * 3, 1e-7, 5, torch.qint32),
    "channels": lambda: channels(torch.randn(4, 6, 5), 1, torch.qint8),
    "fractions": lambda: channels(torch.randn(4, 6), 0, torch.quint8, 200),
    "bits": lambda: channels(torch.randn(3, 7), 0, torch.quint4x2, 15),
    "odd": lambda: channels(torch.randn(5, 1), 0, torch.quint4x2, 15),
    "even": lambda: channels(torch.randn(2, 8), 0, torch.quint4x2, 15),
}


@pytest.mark.parametrize("name", TENSORS)
def test_every_kind_of_quantised_tensor_is_dequantised_as_by_pytorch(name, tmp_path):
    tensor = TENSORS[name]()
    torch.save({name: tensor}, tmp_path / "w.pt")
    found = steelyard.effective(tmp_path / "w.pt")
    assert_all(found, {name: tensor})
    assert_all(steelyard.effective({name: tensor}), {name: tensor})
    whole = found[name].numpy().reshape(-1)
    assert all(found[name].read(at, at + 1) == whole[at] for at in range(len(whole)))


def test_packed_numbers_of_four_bits_are_listed_one_by_one(tmp_path):
    tensor = TENSORS["bits"]()
    torch.save({"w": tensor}, tmp_path / "w.pt")
    real = tensor.dequantize().numpy()
    codes = np.round(real / tensor.q_per_channel_scales()[:, None] + tensor.q_per_channel_zero_points()[:, None])
    for source in (tmp_path / "w.pt", {"w": tensor}):
        listed = steelyard.weights(source)["w"]
        assert (listed.dtype, listed.encoding) == ("uint8", "quint4x2 along axis 0")
        assert np.array_equal(listed.numpy(), codes)


def test_a_compiled_net_lists_what_its_file_lists_and_refuses_to_be_assigned(tmp_path):
    net = quantization.quantize_dynamic(nn.Sequential(nn.Linear(3, 2), nn.GRU(2, 3)), {nn.Linear, nn.GRU})
    torch.jit.script(net).save(tmp_path / "net.pt")
    live, stored = steelyard.weights(torch.jit.load(tmp_path / "net.pt")), steelyard.weights(tmp_path / "net.pt")
    outputs = {"0.scale", "0.zero_point"}  # which a live layer has as plain attributes
    assert sorted(live) == sorted(set(stored) - outputs)
    for name, weight in live.items():
        assert weight.encoding == stored[name].encoding
        assert np.array_equal(weight.numpy(), stored[name].numpy())
        with pytest.raises(steelyard.errors.ReadOnlyError):
            live.assign({name: weight.numpy() + 1})


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.conv, self.turned, self.fc = nn.Conv1d(1, 4, 3), nn.ConvTranspose1d(4, 2, 3), nn.Linear(16, 3)

    def forward(self, x):
        return self.dequant(self.fc(self.turned(self.conv(self.quant(x))).flatten(1)))


def test_a_static_net_has_the_weights_of_its_layers_and_no_scales_of_activations(tmp_path):
    torch.backends.quantized.engine = "x86"
    net = Net().eval()
    net.qconfig = quantization.get_default_qconfig("qnnpack")  # one scale for each kernel, which turned ones need
    net.fc.qconfig = quantization.get_default_qconfig("x86")
    prepared = quantization.prepare(net)
    prepared(torch.randn(2, 1, 8))
    net = quantization.convert(prepared)
    layers = {"conv": net.conv, "turned": net.turned, "fc": net.fc}
    own = {f"{key}.{word}": getattr(layer, word)() for key, layer in layers.items() for word in ("weight", "bias")}
    for found in everywhere(net, tmp_path):
        assert_all(found, own)
        assert found["fc.weight"].derivation.scheme == "torch.ao qint8 per channel"
        assert (found["fc.weight"].role, found["fc.weight"].axes) == ("kernel", "out in")


RECURRENT = {
    "two layers": lambda: nn.LSTM(3, 4, 2),
    "two directions": lambda: nn.GRU(3, 4, bidirectional=True),
    "both": lambda: nn.LSTM(4, 4, 2, bidirectional=True),
    "one": lambda: nn.LSTM(4, 4),
}


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
def test_recurrent_nets_have_the_names_of_plain_ones(kind, dtype, tmp_path):
    net = quantization.quantize_dynamic(nn.ModuleDict({"rnn": RECURRENT[kind]()}), {nn.LSTM, nn.GRU}, dtype=dtype)
    parts = {**net["rnn"].get_weight(), **net["rnn"].get_bias()}
    own = {f"rnn.{name}": parts[name] for name, _ in RECURRENT[kind]().named_parameters()}
    torch.save(net.state_dict(), tmp_path / "state.pt")
    torch.save(net, tmp_path / "net.pt")
    for source in (net, tmp_path / "state.pt", tmp_path / "net.pt"):
        found = steelyard.effective(source)
        assert sorted(found) == sorted(own)
        assert_all(found, {name: own[name] for name in found})


def test_a_second_matrix_that_may_be_a_layer_or_a_direction_is_refused(tmp_path):
    net = quantization.quantize_dynamic(nn.Sequential(nn.GRU(4, 4, bidirectional=True)), {nn.GRU})
    torch.save(net.state_dict(), tmp_path / "state.pt")
    found = steelyard.effective(tmp_path / "state.pt")
    assert "0.weight_ih_l0" in found
    assert "a second layer or of the reverse direction" in found["0._all_weight_values.1.param.4.0.0"].unreadable


def test_cells_and_embeddings(tmp_path):
    cells = quantization.quantize_dynamic(nn.ModuleDict({"cell": nn.LSTMCell(3, 4)}), {nn.LSTMCell})
    bag = nn.EmbeddingBag(5, 7)
    bag.qconfig = quantization.float_qparams_weight_only_qconfig_4bit
    cells["bag"] = quantized.EmbeddingBag.from_float(bag)
    cells["embedding"] = quantized.Embedding(6, 3)
    own = {**cells["cell"].get_weight(), **cells["cell"].get_bias()}
    names = ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
    own = {f"cell.{name}": own[name] for name in names} | {f"{key}.weight": cells[key].weight() for key in ("bag", "embedding")}
    for source in (cells, tmp_path / "state.pt", tmp_path / "net.pt"):
        if source is not cells:
            torch.save(cells if source.name == "net.pt" else cells.state_dict(), source)
        found = steelyard.effective(source)
        assert sorted(found) == sorted(own)
        assert_all(found, {name: own[name] for name in found})


Q = {"w": np.zeros((2, 3), "int8"), "w.scale": np.float64(0.5), "w.zero_point": np.int64(1)}
HOSTILE = {
    "channels": (Q | {"w.scales": np.ones(4), "w.zero_points": np.ones(4, int)}, "do not fit one axis of (2, 3)"),
    "square": ({"w": np.zeros((2, 2), "int8"), "w.scales": np.ones(2), "w.zero_points": np.ones(2, int)}, "do not fit one axis"),
    "several": (Q | {"w.scale": np.ones(2), "w.zero_point": np.ones(2, int)}, "it has several scales"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_scales_that_do_not_fit_are_refused_by_name(kind):
    arrays, reason = HOSTILE[kind]
    assert reason in steelyard.effective(arrays)["w"].unreadable


def test_the_axis_of_a_converted_file_is_the_only_one_that_fits():
    scales = np.array([0.5, 1.0, 2.0])
    found = steelyard.effective({"w": np.full((2, 3), 3, "int8"), "w.scales": scales, "w.zero_points": np.array([1, 2, 3])})
    assert found["w"].numpy().tolist() == [[1.0, 1.0, 0.0]] * 2
    assert "along axis 1" in found["w"].derivation.assumed[0]
