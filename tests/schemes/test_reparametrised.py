"""Reparametrised weights of PyTorch's files: the effective weight is the one that the layer of PyTorch itself has."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

import steelyard

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def saved(net, folder):
    torch.save(net.state_dict(), folder / "net.pt")
    return steelyard.effective(folder / "net.pt")


def assert_equal(found, layer, name="0.weight"):
    """The effective weight of a file is the attribute of the layer, to a rounding of its type."""
    own = getattr(layer, name.rpartition(".")[2]).detach()
    assert found[name].shape == tuple(own.shape)
    assert found[name].dtype == str(own.dtype).removeprefix("torch.")
    error = np.abs(found[name].numpy().astype("float64") - own.double().numpy()).max()
    assert error <= 2 * torch.finfo(own.dtype).eps * own.abs().max().double().item()


@pytest.mark.parametrize("dim", [0, 1, 2, None])
@pytest.mark.parametrize("normed", [weight_norm, parametrizations.weight_norm], ids=["old", "new"])
def test_weight_norm_along_any_axis(normed, dim, tmp_path):
    layer = normed(nn.Conv1d(3, 4, 5), dim=dim)
    for parameter in layer.parameters():
        parameter.data.mul_(torch.rand_like(parameter) + 0.5)
    layer(torch.zeros(1, 3, 9))
    assert_equal(saved(nn.Sequential(layer), tmp_path), layer)


@pytest.mark.parametrize(("inputs", "outputs", "dim"), [(1, 1, 0), (5, 1, 0), (1, 5, 1), (5, 1, 1)])
def test_weight_norm_with_one_length(inputs, outputs, dim, tmp_path):
    layer = weight_norm(nn.Linear(inputs, outputs), dim=dim)
    assert_equal(saved(nn.Sequential(layer), tmp_path), layer)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_weight_norm_in_other_types(dtype, tmp_path):
    layer = weight_norm(nn.Linear(7, 3).to(dtype))
    assert_equal(saved(nn.Sequential(layer), tmp_path), layer)


def test_weight_norm_of_any_name_is_assumed(tmp_path):
    net = nn.Sequential(nn.Bilinear(2, 3, 4))
    net[0].factor = nn.Parameter(torch.randn(4, 3))
    weight_norm(net[0], "factor")
    found = saved(net, tmp_path)
    assert_equal(found, net[0], "0.factor")
    assert "factor_g and factor_v" in found["0.factor"].derivation.assumed[0]


def test_other_weights_that_end_in_g_and_v_stay_as_they_are():
    gates = {"cell.w_g": np.ones((4, 4)), "cell.w_v": np.ones((4, 3)), "cell.b_g": np.ones(4), "cell.b_v": np.ones(4)}
    assert list(steelyard.effective(gates)) == list(gates)


@pytest.mark.parametrize("end", ["v", "g"])
def test_a_layer_with_weight_norm_is_pruned_by_its_parts(end, tmp_path):
    layer = weight_norm(nn.Linear(5, 4))
    prune.l1_unstructured(layer, f"weight_{end}", amount=0.4)
    for _ in range(2):  # its hooks run in the order of the calls, so the first batch still has the old mask
        layer(torch.zeros(1, 5))
    found = saved(nn.Sequential(layer), tmp_path)
    assert_equal(found, layer)
    assert found["0.weight"].derivation.scheme == "pruning, then weight norm of PyTorch"
    assert list(found) == ["0.bias", "0.weight"]


def test_a_pruned_original_of_a_parametrization(tmp_path):
    layer = parametrizations.weight_norm(nn.Linear(5, 4))
    prune.l1_unstructured(layer.parametrizations.weight, "original1", amount=0.4)
    assert_equal(saved(nn.Sequential(layer), tmp_path), layer)


LAYERS = {
    "linear": lambda: nn.Linear(4, 4),
    "convolution": lambda: nn.Conv2d(3, 3, 3),
    "transposed": lambda: nn.ConvTranspose2d(3, 3, 3),
    "wide": lambda: nn.Conv1d(2, 6, 3),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("normed", [spectral_norm, parametrizations.spectral_norm], ids=["old", "new"])
def test_the_axis_of_spectral_norm_shows_in_its_vectors(normed, kind, tmp_path):
    layer = normed(LAYERS[kind](), n_power_iterations=5)
    layer(torch.randn(1, layer.weight.shape[1 if kind != "transposed" else 0], *(9,) * (layer.weight.ndim - 2)))
    layer.eval()
    layer(torch.randn(1, layer.weight.shape[1 if kind != "transposed" else 0], *(9,) * (layer.weight.ndim - 2)))
    assert_equal(saved(nn.Sequential(layer), tmp_path), layer)


def test_without_agreement_the_axis_is_a_guess_for_linear_layers_and_refused_for_others(tmp_path):
    net = nn.Sequential(spectral_norm(nn.Linear(4, 4)), spectral_norm(nn.Conv1d(3, 3, 2)))
    for layer in net:
        layer.weight_u.copy_(torch.tensor([1.0, *[0.0] * (len(layer.weight_u) - 1)]))
        layer.weight_v.copy_(torch.linalg.svd(layer.weight_orig.flatten(1).detach())[2][-1])  # at right angles to most of it
    found = saved(net, tmp_path)
    assert "axis 0 first, as PyTorch has it" in found["0.weight"].derivation.assumed[0]
    assert "may have axis 0 or 1 first" in found["1.weight"].unreadable


def test_a_module_that_was_pickled_whole_names_the_axis(tmp_path):
    net = nn.Sequential(spectral_norm(nn.Linear(4, 4), dim=1), weight_norm(nn.Linear(3, 3), dim=1))
    net[0].weight_v.copy_(torch.ones(4))
    net[0].eval()(torch.zeros(1, 4))
    torch.save(net, tmp_path / "net.pt")
    for scope in ("model", "all"):
        found = steelyard.weights(tmp_path / "net.pt", scope=scope).effective()
        assert_equal(found, net[0])
        assert_equal(found, net[1], "1.weight")
        assert not found["0.weight"].derivation.assumed


def test_a_chain_of_parametrizations_runs_in_order(tmp_path):
    layer = nn.Linear(5, 4)
    parametrizations.weight_norm(layer)
    parametrizations.spectral_norm(layer)
    parametrizations.spectral_norm(layer, dim=1)
    layer.eval()
    found = saved(nn.Sequential(layer), tmp_path)
    assert_equal(found, layer)
    assert found["0.weight"].derivation.scheme == "weight norm, then spectral norm, then spectral norm of PyTorch"


class Shifted(nn.Module):
    def __init__(self, *, counted):
        super().__init__()
        if counted:
            self.register_buffer("shift", torch.ones(()))

    def forward(self, x):
        return x + 1


def unnamed(layer, counted, then):
    parametrize.register_parametrization(layer, "weight", Shifted(counted=counted))
    return then(layer)


REFUSED = {
    "alone": (lambda layer: unnamed(layer, False, lambda x: x), "does not name its function"),
    "counted": (lambda layer: unnamed(layer, True, lambda x: x), "its step 0 has the numbers shift"),
    "first": (lambda layer: unnamed(layer, False, parametrizations.spectral_norm), "its step 0 has no numbers"),
    "last": (lambda layer: unnamed(parametrizations.weight_norm(layer), True, lambda x: x), "its step 1 has the numbers shift"),
    "orthogonal": (parametrizations.orthogonal, "which of its three maps"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_function_that_the_file_does_not_name_is_refused_and_the_bias_is_not(kind, tmp_path):
    layer = nn.Linear(5, 4)
    REFUSED[kind][0](layer)
    found = saved(nn.Sequential(layer), tmp_path)
    assert list(found) == ["0.bias", "0.weight"]
    assert REFUSED[kind][1] in found["0.weight"].unreadable
    assert found["0.bias"].unreadable is None


HOSTILE = {
    "no mask": ({"a.weight_orig": np.ones((2, 3))}, "weight_mask is missing"),
    "mask": ({"a.weight_orig": np.ones((2, 3)), "a.weight_mask": np.ones((3, 2))}, "its mask has shape (3, 2)"),
    "lengths": ({"a.weight_g": np.ones((3, 1)), "a.weight_v": np.ones((2, 3))}, "lengths of shape (3, 1) do not fit"),
    "no right vector": ({"a.weight_orig": np.ones((2, 3)), "a.weight_u": np.ones(2)}, "weight_v is missing"),
    "vectors": (
        {"a.weight_orig": np.ones((2, 3)), "a.weight_u": np.ones(2), "a.weight_v": np.ones(4)},
        "vectors of shapes (2,) and (4,) do not fit",
    ),
    "originals": (
        {"a.parametrizations.weight.original0": np.ones((4, 2)), "a.parametrizations.weight.original1": np.ones((2, 3))},
        "which weight norm does not make",
    ),
    "far step": (
        {"a.parametrizations.weight.original": np.ones((2, 3)), "a.parametrizations.weight.999.x": np.ones(2)},
        "its step 0 has no numbers",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_pieces_that_do_not_fit_are_refused_by_name(kind):
    arrays, reason = HOSTILE[kind]
    found = steelyard.effective(arrays)
    assert list(found) == ["a.weight"]
    assert reason in found["a.weight"].unreadable


def test_zero_sizes_zero_norms_and_many_hooks_raise_nothing():
    names = ["w" + "_orig" * n for n in range(1, 9)]
    arrays = {name: np.ones(2) for name in names} | {f"{name.removesuffix('_orig')}_mask": np.ones(2) for name in names}
    steelyard.effective(arrays)
    empty = {"a.weight_g": np.ones((0, 1)), "a.weight_v": np.ones((0, 3)), "b.weight_g": np.ones((2, 1))}
    found = steelyard.effective(empty | {"b.weight_v": np.zeros((2, 3))})
    assert found["a.weight"].numpy().shape == (0, 3)
    assert np.isnan(found["b.weight"].numpy()).all()


@pytest.mark.parametrize("shape", [(5, 3, 4), (3, 5, 1), (1, 40)])
def test_norms_are_the_same_in_blocks_of_any_size(shape, small_sizes):
    drawn = np.random.default_rng(0)
    direction = drawn.normal(size=shape).astype("float32")
    for axis in range(len(shape)):
        length = drawn.normal(size=[n if at == axis else 1 for at, n in enumerate(shape)]).astype("float32")
        weight = steelyard.effective({"w.weight_g": length, "w.weight_v": direction})["w.weight"]
        own = torch._weight_norm(torch.tensor(direction), torch.tensor(length), axis).numpy()
        assert np.allclose(weight.numpy(), own, rtol=1e-6)
        pieces = [weight.read(at, min(at + 4, weight.size)) for at in range(0, weight.size, 4)]
        assert np.concatenate(pieces).tobytes() == weight.numpy().tobytes()
