"""PyTorch modules, tensors and optimizers, compared with PyTorch's own answers."""

import copy
import gc
import weakref

import numpy as np
import pytest
import torch
from outputs import assert_close
from torch import nn
from torch.nn.utils import prune

import steelyard
from steelyard.errors import NotFittedError, ShapeError, UnknownModelError, UnreadableError


class Tagger(nn.Module):
    """Every kind of layer once, the output layer tied to the embedding."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm1d(8)
        self.lstm = nn.LSTM(8, 4, bidirectional=True)
        self.gru = nn.GRUCell(8, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.layer_norm = nn.LayerNorm(8)
        self.slope = nn.PReLU()
        self.head = nn.Linear(8, 12, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("mask", torch.ones(3), persistent=False)

    def forward(self, tokens):
        x = self.embedding(tokens)
        x = self.norm(self.conv(x.transpose(1, 2))).transpose(1, 2)
        x, _ = self.lstm(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = torch.stack([self.gru(step) for step in x])
        return self.head(self.slope(self.layer_norm(x)))


def trained(seed=0):
    torch.manual_seed(seed)
    model, tokens = Tagger(), torch.randint(12, (4, 5))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens).transpose(1, 2), tokens).backward()
        optimizer.step()
    return model.eval(), optimizer, tokens


@pytest.fixture
def model():
    return trained()[0]


def test_names_order_shapes_and_numbers_are_those_of_state_dict(model):
    w, state = steelyard.weights(model), model.state_dict()
    assert list(w) == list(state)
    for name, tensor in state.items():
        assert w[name].shape == tuple(tensor.shape)
        assert w[name].dtype == str(tensor.dtype).removeprefix("torch.")
        assert np.array_equal(w[name].numpy(), tensor.numpy())


def test_each_weight_has_its_role_axes_layer_and_flags(model):
    w = steelyard.weights(model)
    said = {name: (str(x.role), x.axes, x.layer) for name, x in w.items()}
    assert said["embedding.weight"] == ("embedding", "vocab out", "embedding")
    assert said["conv.weight"] == ("kernel", "out in k", "conv")
    assert said["norm.weight"] == ("scale", "channel", "norm")
    assert said["norm.bias"] == ("offset", "channel", "norm")
    assert said["norm.running_var"] == ("variance", "channel", "norm")
    assert said["norm.num_batches_tracked"] == ("count", "", "norm")
    assert said["lstm.weight_hh_l0_reverse"] == ("recurrent kernel", "[ifgo]*out in", "lstm")
    assert said["gru.weight_ih"] == ("kernel", "[rzn]*out in", "gru")
    assert said["attention.in_proj_weight"] == ("kernel", "[qkv]*out in", "attention")
    assert said["attention.out_proj.bias"] == ("bias", "out", "attention.out_proj")
    assert said["slope.weight"] == ("other", "channel", "slope")
    assert w["conv.weight"].trainable is True
    assert w["norm.running_mean"].trainable is False
    assert w["head.weight"].tied == "embedding.weight"
    assert all(len(x.axes.split()) in (0, len(x.shape)) for x in w.values())


def test_the_vector_of_the_trainable_ones_is_parameters_to_vector(model):
    vector = steelyard.weights(model).select(trainable=True).to_vector()
    assert np.array_equal(vector, nn.utils.parameters_to_vector(model.parameters()).detach().numpy())


def test_after_assign_the_outputs_are_those_of_the_other_model(model):
    other, _, tokens = trained(seed=1)
    assert not torch.equal(model(tokens), other(tokens))
    vector = steelyard.weights(other).to_vector(dtype="float64")  # with the counter of the norm
    assert steelyard.weights(model).assign(vector) is model
    vector[:] = 0
    assert np.array_equal(*(steelyard.weights(each).to_vector(dtype="float64") for each in (model, other)))
    assert_close(model(tokens).detach(), other(tokens).detach())
    assert model.head.weight is model.embedding.weight


def test_assign_takes_the_tensors_of_a_state_dict(model):
    other, _, tokens = trained(seed=1)
    steelyard.weights(model).assign(other.state_dict())
    steelyard.weights(model).assign(dict(other.named_parameters()))
    assert_close(model(tokens).detach(), other(tokens).detach())


def test_an_optimizer_keeps_its_parameters():
    model, optimizer, tokens = trained()
    w = steelyard.weights(model)
    w = w.select(trainable=True)
    w.assign(w.to_vector() * 0.5)
    before = w.to_vector()
    nn.functional.cross_entropy(model(tokens).transpose(1, 2), tokens).backward()
    optimizer.step()
    assert not np.array_equal(w.to_vector(), before)


def test_weights_follow_training_and_a_copy_does_not(model):
    w = steelyard.weights(model)
    best = w.copy()
    with torch.no_grad():
        model.conv.weight.add_(1)
    assert np.allclose(w["conv.weight"].numpy(), best["conv.weight"].numpy() + 1)


def test_a_rebound_parameter_is_noticed(model):
    w = steelyard.weights(model).parameters
    for _ in range(3):
        w.to_vector()
    model.conv.weight.data = torch.full_like(model.conv.weight, 3.0)
    model.conv.bias = nn.Parameter(torch.full((8,), 5.0))
    vector = w.to_vector()
    assert np.array_equal(vector, steelyard.weights(model).parameters.to_vector())
    assert vector[w.to_vector() == 5].size == 8
    model.conv.bias = nn.Parameter(torch.zeros(9))
    with pytest.raises(ShapeError, match=r"conv\.bias has changed its shape"):
        w.to_vector()


DTYPES = [
    torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz,
    torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_read_and_written_bit_for_bit(dtype):
    source = torch.randint(0, 2, (3, 4)).to(dtype)
    w = steelyard.weights({"w": source})
    assert w["w"].dtype == str(dtype).removeprefix("torch.")
    assert w["w"].numpy().tobytes() == bytes(source.contiguous().view(torch.uint8).numpy())
    target = torch.zeros(3, 4).to(dtype)
    steelyard.weights({"w": target}).assign(w.to_vector())
    assert target.view(torch.uint8).equal(source.view(torch.uint8))


@pytest.mark.parametrize(
    "make",
    [
        lambda t: t.t(),
        lambda t: t[:, ::2],
        lambda t: t.expand(2, *t.shape),
        lambda t: t[1:],
        lambda t: t.flip(0),
        lambda t: t.permute(1, 0)[::3],
    ],
    ids=["transposed", "stepped", "expanded", "tail", "flipped", "permuted"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_strided_tensors_are_read_in_row_major_order(make, dtype):
    tensor = make(torch.arange(24.0).reshape(4, 6).to(dtype))
    w = steelyard.weights({"w": tensor})
    expected = tensor.contiguous().float().numpy()
    assert np.array_equal(w["w"].numpy().astype("f4"), expected)
    assert np.array_equal(np.concatenate(list(w["w"].blocks(5))).astype("f4"), expected.ravel())


def test_a_channels_last_kernel_is_written_in_place():
    layer = nn.Conv2d(2, 3, 2).to(memory_format=torch.channels_last)
    values = np.random.default_rng(0).normal(size=24 + 3)
    steelyard.weights(layer).assign(values)
    assert np.array_equal(layer.weight.detach().numpy().ravel(), values[:24].astype("f4"))
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)


def test_conjugated_and_negated_views_are_resolved():
    tensor = torch.tensor([1 + 2j, 3 - 1j])
    assert steelyard.weights(tensor.conj())[""].numpy().tolist() == [1 - 2j, 3 + 1j]
    assert steelyard.weights(tensor.conj().imag)[""].numpy().tolist() == [-2, 1]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_sparse_and_quantised_tensors_are_read_but_not_written():
    sparse = torch.eye(3).to_sparse()
    assert np.array_equal(steelyard.weights({"w": sparse})["w"].numpy(), np.eye(3))
    with pytest.raises(ShapeError, match="cannot be written to in place"):
        steelyard.weights({"w": sparse}).assign({"w": np.zeros((3, 3))})
    quantised = torch.quantize_per_tensor(torch.tensor([0.5, -0.25]), 0.25, 0, torch.qint8)
    w = steelyard.weights({"w": quantised})
    assert (w["w"].numpy().tolist(), w["w"].dtype, w["w"].encoding) == ([2, -1], "int8", "qint8")
    assert (w["w.scale"].numpy(), w["w.zero_point"].numpy()) == (0.25, 0)
    with pytest.raises(ShapeError, match="cannot be written to in place"):
        w.assign({"w": np.zeros(2, "i1")})


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
def test_parametrised_layers_list_the_tensors_of_state_dict_and_compute_with_them(norm):
    torch.manual_seed(0)
    one, two, x = norm(nn.Linear(4, 3)), norm(nn.Linear(4, 3)), torch.ones(2, 4)
    one.eval(), two.eval()
    w = steelyard.weights(one)
    assert list(w) == list(one.state_dict())
    assert list(w.select(role="kernel")) == [n for n in w if n.endswith(("original", "original1"))]
    assert all(weight.layer == "" for weight in w.values())
    steelyard.weights(two).assign(w)
    assert_close(one(x).detach(), two(x).detach())


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_older_norms_have_one_kernel_and_the_vectors_of_a_spectral_norm_are_none(tmp_path):
    older = nn.ModuleList([nn.utils.weight_norm(nn.Linear(4, 3)), nn.utils.spectral_norm(nn.Linear(4, 3))])
    torch.save(older.state_dict(), tmp_path / "net.pt")
    for w in (steelyard.weights(older), steelyard.weights(tmp_path / "net.pt")):
        assert {name: each.axes for name, each in w.select(role="kernel").items()} == {
            "0.weight_v": "out in",
            "1.weight_orig": "out in",
        }
    gates = steelyard.weights(nn.utils.weight_norm(nn.LSTM(2, 3), "weight_hh_l0"))
    assert (gates["weight_hh_l0_v"].role, gates["weight_hh_l0_v"].axes) == ("recurrent kernel", "[ifgo]*out in")
    assert gates["weight_hh_l0_g"].role == "scale"


def test_the_step_of_rounded_numbers_is_not_the_scale_of_a_norm():
    w = steelyard.weights(nn.ModuleDict({"stub": torch.ao.nn.quantized.Quantize(0.5, 3, torch.quint8)}))
    assert {name: str(each.role) for name, each in w.items()} == {"stub.scale": "other", "stub.zero_point": "other"}


def test_pruned_layers_show_the_kernel_before_its_mask():
    layer = nn.Linear(4, 3)
    prune.l1_unstructured(layer, "weight", 0.5)
    w = steelyard.weights(layer)
    assert list(w) == ["bias", "weight_orig", "weight_mask"]
    assert (str(w["weight_orig"].role), w["weight_orig"].axes) == ("kernel", "out in")


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")  # inside torch.compile
def test_wrappers_add_their_prefix_and_rename_removes_it(model):
    wrapped = nn.DataParallel(model)
    w = steelyard.weights(wrapped)
    assert list(w) == list(wrapped.state_dict())
    plain = w.rename(r"module\.(.*)", r"\1")
    assert list(plain) == list(model.state_dict())
    assert plain["head.weight"].tied == "embedding.weight"
    plain.assign({"conv.bias": np.zeros(8)})
    assert not model.conv.bias.any()
    compiled = steelyard.weights(torch.compile(model))
    assert list(compiled.rename(r"_orig_mod\.(.*)", r"\1")) == list(model.state_dict())


def test_the_error_for_a_lazy_module_suggests_a_batch():
    w = steelyard.weights(nn.Sequential(nn.LazyLinear(3), nn.Linear(2, 2)))
    assert list(w.unreadable) == ["0.weight", "0.bias"]
    with pytest.raises(NotFittedError, match="weight is lazy and has no shape yet; run one batch"):
        w["0.weight"].numpy()
    with pytest.raises(UnreadableError, match=r"0\.weight is lazy"):
        w.to_vector()
    assert w.select("1.*").size == w.size == 6


def test_a_meta_module_is_listed_but_has_no_numbers():
    w = steelyard.weights(nn.Linear(2, 3, device="meta"))
    assert w["weight"].shape == (3, 2)
    with pytest.raises(NotFittedError, match="on the meta device"):
        w["weight"].numpy()


def test_parameter_lists_and_dicts_are_named_as_state_dict_does():
    module = nn.Module()
    module.items_ = nn.ParameterList([torch.zeros(2), torch.ones(3)])
    module.named = nn.ParameterDict({"a": torch.zeros(1), "b": torch.ones(4)})
    assert list(steelyard.weights(module)) == list(module.state_dict()) == ["items_.0", "items_.1", "named.a", "named.b"]


def test_a_state_dict_and_a_bare_tensor_are_weights_too(model):
    state = model.state_dict()
    w = steelyard.weights(state)
    assert list(w) == list(state)
    assert w["head.weight"].tied == "embedding.weight"
    assert str(w["norm.bias"].role) == "offset"
    assert w["conv.weight"].layer == "conv"
    w.assign({"conv.bias": np.ones(8)})
    assert model.conv.bias.eq(1).all()
    assert steelyard.weights(nn.Parameter(torch.ones(2)))[""].trainable is True


def test_an_optimizer_and_its_state_dict_list_the_same_state():
    _, optimizer, _ = trained()
    live, dumped = steelyard.weights(optimizer), steelyard.weights(optimizer.state_dict())
    assert list(live) == list(dumped)
    assert "state.0.exp_avg" in live
    assert np.array_equal(live.to_vector(), dumped.to_vector())
    assert str(live["state.0.step"].role) == "count"
    live.assign(np.zeros(live.size))
    assert not optimizer.state[optimizer.param_groups[0]["params"][0]]["exp_avg"].any()


def test_one_module_under_two_names_is_tied():
    layer = nn.Linear(2, 2)
    w = steelyard.weights(nn.ModuleDict({"a": layer, "b": layer}))
    assert [x.tied for x in w.values()] == [None, None, "a.weight", "a.bias"]
    assert w.size == 6


def test_an_object_that_is_not_a_model_is_refused():
    with pytest.raises(UnknownModelError, match="a torch dtype has no weights"):
        steelyard.weights(torch.float32)


def test_a_deep_copy_and_its_source_do_not_differ(model):
    one, two = steelyard.weights(model), steelyard.weights(copy.deepcopy(model))
    assert np.array_equal(one.parameters.to_vector(), two.parameters.to_vector())
    assert np.array_equal(one.buffers.to_vector(dtype="float64"), two.buffers.to_vector(dtype="float64"))


class OwnParameters(nn.Module):
    """A module with parameters and children, such as the one on which R torch's order was measured."""

    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.arange(2.0))
        self.fc1 = nn.Linear(2, 3)
        self.bn = nn.BatchNorm1d(3)
        self.fc2 = nn.Linear(3, 1)
        self.fc3 = self.fc2
        self.beta = nn.Parameter(torch.ones(1), requires_grad=False)


def test_the_order_of_r_torch_has_children_first_and_each_parameter_once():
    model = OwnParameters()
    weights = steelyard.weights(model)
    order = ["fc1.weight", "fc1.bias", "bn.weight", "bn.bias", "fc2.weight", "fc2.bias", "alpha", "beta"]
    tensors = dict(model.named_parameters())
    vector = weights.in_order("r-torch").to_vector(order="F")
    assert vector.tolist() == np.concatenate([tensors[name].detach().numpy().ravel("F") for name in order]).tolist()
    assert weights.in_order("r-torch").locate(7, order="F") == ("fc1.bias", (1,))
    assert weights.select("*bias").in_order("r-torch").to_vector().size == 3 + 3 + 1


def test_a_vector_in_the_order_of_r_torch_is_assigned_and_buffers_are_unchanged():
    model = OwnParameters()
    weights = steelyard.weights(model)
    vector = weights.in_order("r-torch").to_vector(order="F")
    detached = weights.in_order("r-torch").from_vector(vector + 1, order="F")
    weights.in_order("r-torch").assign(vector + 1, order="F")
    assert np.array_equal(weights.in_order("r-torch").to_vector(order="F"), vector + 1)
    assert model.alpha.tolist() == [1.0, 2.0]
    assert model.bn.running_var.tolist() == [1.0, 1.0, 1.0]
    assert np.array_equal(detached.to_vector(order="F"), vector + 1)
    weights.in_order("r-torch").assign(vector)
    assert np.array_equal(weights.in_order("r-torch").to_vector(), vector)
    with pytest.raises(ShapeError, match="the vector has shape"):
        weights.in_order("r-torch").assign(vector[1:])


def test_a_copy_keeps_the_order_of_r_torch_and_not_the_model():
    model = OwnParameters()
    gone, order = weakref.ref(model), list(steelyard.weights(model).in_order("r-torch"))
    weights = steelyard.weights(model).copy()
    del model
    gc.collect()
    assert gone() is None
    assert list(weights.in_order("r-torch")) == order


def test_parameters_and_buffers_are_those_of_the_module():
    model = OwnParameters()
    model.register_buffer("mask", torch.ones(2))
    weights = steelyard.weights(model)
    named = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    assert set(weights.parameters) == named
    assert set(weights.buffers) == {name for name, _ in model.named_buffers()}
    assert weights.parameters.size == sum(parameter.numel() for parameter in model.parameters())
    assert list(weights.in_order("parameters")) == [name for name, _ in model.named_parameters()]
    weights.parameters.assign({"alpha": [5, 6]})
    assert model.alpha.tolist() == [5, 6]
