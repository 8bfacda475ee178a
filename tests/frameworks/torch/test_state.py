"""State that a module does not hold as plain tensors, and copies that hooks make, compared with PyTorch's own answers."""

import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.errors import ReadOnlyError, ShapeError, SteelyardError, UnknownModelError

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own, about its quantisation and TorchScript
    pytest.mark.filterwarnings("ignore:torch.quantize_per:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*TypedStorage:UserWarning"),
]


def quantised(*layers):
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(*layers), {nn.Linear, nn.LSTM, nn.GRUCell}, torch.qint8)


def test_packed_parameters_are_read_as_torch_unpacks_them_and_nothing_passes_over_them():
    one, two = quantised(nn.Linear(8, 4)), quantised(nn.Linear(8, 4))
    w, name = steelyard.weights(one), "0._packed_params._packed_params"
    kernel, bias = one.state_dict()[name]
    assert np.array_equal(w[f"{name}.0"].numpy(), kernel.int_repr().numpy())
    assert (w[f"{name}.0"].dtype, w[f"{name}.0"].encoding) == ("int8", "qint8")
    assert (w[f"{name}.0.scale"].numpy(), w[f"{name}.0.zero_point"].numpy()) == (kernel.q_scale(), kernel.q_zero_point())
    assert np.array_equal(w[f"{name}.1"].numpy(), bias.detach().numpy())
    assert not w.unreadable
    assert steelyard.digest(one) != steelyard.digest(two)
    assert not steelyard.diff(one, two).same
    with pytest.raises(SteelyardError):
        w.assign({f"{name}.0": np.zeros((4, 8), "i1")})
    assert np.array_equal(one[0].weight().int_repr(), kernel.int_repr())


@pytest.mark.parametrize("layer", [nn.Linear(8, 4), nn.LSTM(6, 5), nn.GRUCell(3, 2)], ids=lambda layer: type(layer).__name__)
def test_packed_parameters_are_those_of_the_file_that_torch_saves(layer, tmp_path):
    net = quantised(layer)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    live, stored = steelyard.weights(net), steelyard.weights(tmp_path / "net.pt")
    assert list(live) == list(stored)
    assert [w.layer for w in live.values()] == [w.layer for w in stored.values()]
    assert steelyard.diff(live, stored).same


def test_a_kernel_with_a_scale_for_each_channel_is_that_of_the_file(tmp_path):
    kernel = torch.quantize_per_channel(torch.randn(2, 3), torch.tensor([0.1, 0.2]), torch.zeros(2), 0, torch.qint8)
    net = nn.Module()
    net.register_buffer("kernel", kernel)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    w = steelyard.weights(net)
    assert list(w) == ["kernel", "kernel.scales", "kernel.zero_points"]
    assert w["kernel"].encoding == "qint8 along axis 0"
    assert steelyard.diff(w, tmp_path / "net.pt").same


class Stateful(nn.Module):
    """A layer whose extra state is given."""

    def __init__(self, state):
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.state = state

    def get_extra_state(self):
        return self.state

    def set_extra_state(self, state):
        self.state = state


def test_tensors_and_numbers_of_an_extra_state_are_read_and_refuse_other_numbers():
    model = Stateful({"table": torch.arange(5.0), "calls": 3, "name": "x"})
    w = steelyard.weights(model)
    assert w["_extra_state.table"].numpy().tolist() == [0, 1, 2, 3, 4]
    assert int(w["_extra_state.calls"].numpy()) == 3
    assert "_extra_state.name" not in w
    before = model.fc.weight.detach().clone()
    with pytest.raises(ReadOnlyError, match="get_extra_state of the Stateful computes it"):
        w.assign({"fc.weight": np.zeros((2, 3)), "_extra_state.table": np.ones(5)})
    assert torch.equal(model.fc.weight, before)
    w.assign({"fc.weight": np.zeros((2, 3)), "_extra_state.table": np.arange(5.0)})
    assert not model.fc.weight.any()


def test_extra_state_without_numbers_is_listed_as_unreadable():
    w = steelyard.weights(Stateful({"handle": object()}))
    assert list(w.unreadable) == ["_extra_state.handle"]
    assert "which has no known numbers" in w.unreadable["_extra_state.handle"]


def half(module, state, prefix, metadata):
    for name, tensor in state.items():
        state[name] = tensor.half()


def test_numbers_assigned_past_a_hook_that_casts_are_in_the_module_and_in_its_state():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    model.register_state_dict_post_hook(half)
    exact = model[1].weight.detach().clone()
    w = steelyard.weights(model)
    assert {weight.dtype for weight in w.values()} == {"float16"}
    assert all(weight.trainable for weight in w.values())
    w.assign({"0.weight": np.full((3, 4), 0.5), "1.weight": w["1.weight"].numpy()})
    assert model[0].weight.eq(0.5).all()
    assert model[0].weight.dtype is torch.float32
    assert torch.equal(model[1].weight, exact)  # unchanged numbers are not rounded
    with torch.no_grad():
        model[0].weight.add_(1)
    assert (w["0.weight"].numpy() == 1.5).all()


class Cloned(nn.Module):
    """A wrapper whose state is of clones, as those of offloading and averaging wrappers are."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def state_dict(self, *args, **kwargs):
        return {name: tensor.detach().clone() for name, tensor in super().state_dict(*args, **kwargs).items()}


def test_numbers_assigned_past_clones_are_in_the_module():
    model = Cloned()
    steelyard.weights(model).assign(np.ones(8))
    assert model.fc.weight.eq(1).all()
    assert model.fc.bias.eq(1).all()


class Doubled(Cloned):
    """A state of other numbers than those that the module holds."""

    def state_dict(self, *args, **kwargs):
        return {name: 2 * tensor for name, tensor in super().state_dict(*args, **kwargs).items()}


def test_numbers_that_cannot_reach_the_module_are_refused_and_the_override_is_named():
    model = Doubled()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(ReadOnlyError, match=r"fc\.weight cannot be assigned: Doubled\.state_dict returns other numbers"):
        steelyard.weights(model).assign(np.ones(8))
    assert all(torch.equal(one, two) for one, two in zip(before, model.parameters(), strict=True))


class Rounding(nn.Module):
    """A state whose numbers are rounded, so that a fraction does not come back."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(2))
        self.register_state_dict_post_hook(lambda module, state, prefix, _: state.update(w=state[f"{prefix}w"].round()))


def test_numbers_that_the_state_does_not_give_back_are_undone():
    model = Rounding()
    with pytest.raises(ReadOnlyError, match="returns other numbers than were written"):
        steelyard.weights(model).assign({"w": [0.4, 1.0]})
    assert model.w.tolist() == [1.0, 1.0]


class Fused(nn.Module):
    """An embedding whose state has a shorter name."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.register_state_dict_post_hook(self.renamed)

    @staticmethod
    def renamed(module, state, prefix, metadata):
        state[f"{prefix}weight"] = state.pop(f"{prefix}embedding.weight")


def test_a_tensor_that_a_hook_renamed_is_read_and_written_in_the_module():
    model = nn.Sequential(Fused(), nn.Linear(3, 2))
    w = steelyard.weights(model)
    assert list(w) == list(model.state_dict())
    assert str(w["0.weight"].role) == "embedding"
    assert w.parameters.size == sum(p.numel() for p in model.parameters())
    w.assign({"0.weight": np.ones((5, 3))})
    assert model[0].embedding.weight.eq(1).all()


class NoArguments(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def state_dict(self):
        return {"net": self.fc.state_dict(), "step": 3}


def test_a_state_without_keep_vars_is_listed_by_its_names():
    class Plain(NoArguments):
        def state_dict(self, full=False):
            return nn.Module.state_dict(self)

    w = steelyard.weights(Plain())
    assert [(n, str(x.role), x.trainable) for n, x in w.items()] == [("fc.weight", "kernel", True), ("fc.bias", "bias", True)]
    model = NoArguments()
    w = steelyard.weights(model)
    assert list(w) == ["net.weight", "net.bias", "step"]
    assert np.array_equal(w["net.weight"].numpy(), model.fc.weight.detach().numpy())


def test_a_state_dict_that_fails_is_our_own_error():
    class Broken(nn.Linear):
        def state_dict(self, *args, **kwargs):
            raise RuntimeError("sharded")

    with pytest.raises(UnknownModelError, match=r"state_dict\(\) of the Broken raised RuntimeError: sharded"):
        steelyard.weights(Broken(1, 1))


def with_buffer(tensor):
    module = nn.Module()
    module.fc = nn.Linear(3, 2)
    module.register_buffer("t", tensor)
    return module


def test_the_numbers_of_four_bit_tensors_are_shown_and_not_their_bytes():
    packed = torch.quantize_per_channel(torch.tensor([[1.0, 2], [3, 4]]), torch.ones(2), torch.zeros(2), 0, torch.quint4x2)
    w = steelyard.weights(with_buffer(packed))
    assert (w["t"].shape, w["t"].dtype, list(w.unreadable)) == ((2, 2), "uint8", [])
    assert w["t"].numpy().tolist() == [[1, 2], [3, 4]]


class Wrapper(torch.Tensor):
    """A wrapper around another tensor, without memory of its own."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return Wrapper(args[0].inner)


def test_a_tensor_that_does_not_give_its_numbers_is_unreadable():
    w = steelyard.weights(with_buffer(Wrapper(torch.arange(4.0))))
    assert list(w.unreadable) == ["t"]
    assert "is a Wrapper, which does not give its numbers" in w.unreadable["t"]


def test_an_expanded_tensor_is_read_and_refuses_other_numbers():
    model = with_buffer(torch.arange(3.0).expand(2, 3))
    w = steelyard.weights(model)
    assert w["t"].numpy().tolist() == [[0, 1, 2], [0, 1, 2]]
    before = model.fc.weight.detach().clone()
    with pytest.raises(ShapeError, match="t is expanded"):
        w.assign(np.arange(w.size))
    assert torch.equal(model.fc.weight, before)


def test_a_torchscript_module_is_listed_and_written_as_its_source():
    source = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    scripted = torch.jit.script(source)
    w = steelyard.weights(scripted)
    assert list(w) == list(source.state_dict())
    w.parameters.assign(np.arange(w.parameters.size))
    assert np.array_equal(scripted.state_dict()["0.weight"].numpy().ravel(), np.arange(6.0))
    frozen = steelyard.weights(torch.jit.freeze(torch.jit.script(nn.Linear(2, 3)).eval()))
    assert frozen["weight"].shape == (3, 2)


def test_tensors_in_lists_of_an_optimizer_s_state_are_listed_and_written():
    model = nn.Linear(4, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(2, 4)).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    w, state = steelyard.weights(optimizer), optimizer.state_dict()["state"][0]
    assert np.array_equal(w["state.0.old_dirs.0"].numpy(), state["old_dirs"][0].numpy())
    w.assign({"state.0.old_dirs.0": np.zeros(5)})
    assert not state["old_dirs"][0].any()


def test_numbers_assigned_to_an_averaged_model_are_in_it_and_not_in_the_trained_one():
    model = nn.Linear(2, 1)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    w = steelyard.weights(averaged)
    assert "n_averaged" in w
    before = model.weight.detach().clone()
    w.assign({"module.weight": np.full((1, 2), 7.0)})
    assert averaged.module.weight.eq(7).all()
    assert torch.equal(model.weight, before)


class Tied(nn.Module):
    def __init__(self, tensor, two=None):
        super().__init__()
        self.a = nn.Parameter(tensor)
        self.b = self.a if two is None else nn.Parameter(two)


LAYOUTS = {
    "channels_last": lambda: torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
    "transposed": lambda: torch.randn(4, 6).t(),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "meta": lambda: torch.empty(3, 4, device="meta"),
    "bfloat16": lambda: torch.randn(3).bfloat16(),
    "empty": lambda: torch.zeros(0, 4),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR:UserWarning")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_tie_is_a_fact_of_identity_in_any_layout(layout):
    tied, apart = Tied(LAYOUTS[layout]()), Tied(LAYOUTS[layout](), LAYOUTS[layout]())
    assert steelyard.weights(tied)["b"].tied == "a"
    assert steelyard.weights(tied).size == sum(p.numel() for p in tied.parameters())
    assert steelyard.weights(apart)["b"].tied is None


def test_tied_weights_in_another_layout_refuse_values_that_differ():
    model = Tied(torch.randn(4, 6).t())
    before = model.a.detach().clone()
    with pytest.raises(ShapeError, match="share one memory, but the values differ"):
        steelyard.weights(model).assign({"a": np.ones((6, 4)), "b": np.zeros((6, 4))})
    assert torch.equal(model.a, before)
    steelyard.weights(model).assign({"b": np.ones((6, 4))})
    assert model.a.eq(1).all()


def test_a_view_of_another_weight_overlaps_it_and_values_must_agree():
    base = torch.arange(6.0).reshape(2, 3)
    w = steelyard.weights({"base": base, "transposed": base.t(), "row": base[1], "odd": base.view(-1)[1::2]})
    assert {name: weight.overlaps for name, weight in w.items()} == {
        "base": None,
        "transposed": "base",
        "row": "base",
        "odd": "base",
    }
    with pytest.raises(ShapeError, match="overlap in memory"):
        w.assign({"base": np.zeros((2, 3)), "transposed": np.ones((3, 2))})
    assert base.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    w.assign({"base": np.ones((2, 3)), "transposed": np.ones((3, 2))})
    assert base.eq(1).all()


def test_views_that_share_no_element_do_not_overlap():
    base = torch.arange(6.0)
    w = steelyard.weights({"even": base[::2], "odd": base[1::2], "rest": torch.zeros(2)})
    assert [weight.overlaps for weight in w.values()] == [None, None, None]


def test_an_error_in_the_middle_leaves_the_model_as_it_was():
    class Picky(nn.Linear):
        def state_dict(self, *args, **kwargs):
            state = super().state_dict(*args, **kwargs)
            if self.weight.flatten()[0] == 7:
                raise RuntimeError("seven")
            return {name: tensor.clone() for name, tensor in state.items()}

    model = Picky(2, 2)
    before = model.weight.detach().clone()
    with pytest.raises(SteelyardError):
        steelyard.weights(model).assign(np.full(6, 7.0))
    assert torch.equal(model.weight, before)
