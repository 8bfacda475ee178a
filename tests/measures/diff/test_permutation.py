"""Alignment: copies with permuted hidden units are recovered exactly, and other nets are not."""

import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard import Role, Weights
from steelyard.cli import main
from steelyard.core.graph import Graph, Layer
from steelyard.errors import ShapeError
from steelyard.measures.diff import permutation


def cnn(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(8 * 4, 12), nn.ReLU(), nn.Linear(12, 10)),
    )


def permuted(net, seed=0):
    """The same function with the units of each hidden layer permuted by hand."""
    other, chance = cnn(), np.random.default_rng(seed)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    orders = {layer: chance.permutation(state[f"{layer}.weight"].shape[0]) for layer in (0, 3, 7)}
    for layer, order in orders.items():
        for leaf in ("weight", "bias"):
            state[f"{layer}.{leaf}"] = state[f"{layer}.{leaf}"][order]
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        state[f"1.{leaf}"] = state[f"1.{leaf}"][orders[0]]
    state["3.weight"] = state["3.weight"][:, orders[0]]
    state["7.weight"] = state["7.weight"].reshape(12, 8, 4)[:, orders[3]].reshape(12, 32)
    state["9.weight"] = state["9.weight"][:, orders[7]]
    other.load_state_dict(state)
    return other, orders


@pytest.fixture
def pair():
    net = cnn()
    net.train()
    net(torch.randn(32, 1, 8, 8))  # so that the running means are not zero
    net.eval()
    return net, *permuted(net)


def test_the_permuted_copy_of_the_tests_is_the_same_function(pair):
    x = torch.randn(4, 1, 8, 8)
    assert torch.allclose(pair[0](x), pair[1].eval()(x), atol=1e-6)


def test_a_permuted_copy_is_equal_bit_for_bit(pair):
    net, other, orders = pair
    assert not steelyard.diff(net, other).same
    found = steelyard.diff(net, other, align="permutation")
    assert found.same, found
    assert {row.kind for row in found.rows} == {"equal"}
    for layer, order in orders.items():
        assert list(order[found.permutations[str(layer)]]) == list(range(len(order)))


def test_permuted_copies_are_equal_across_files_of_two_frameworks(pair, tmp_path):
    import keras

    torch_net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 2))
    w = {name: value.detach().numpy() for name, value in torch_net.state_dict().items()}
    one, two = np.random.default_rng(0).permutation(7), np.random.default_rng(1).permutation(6)
    twin = keras.Sequential([keras.Input((5,)), keras.layers.Dense(7), keras.layers.Dense(6), keras.layers.Dense(2)])
    twin.set_weights(
        [
            w["0.weight"][one].T,
            w["0.bias"][one],
            w["2.weight"][two][:, one].T,
            w["2.bias"][two],
            w["4.weight"][:, two].T,
            w["4.bias"],
        ]
    )
    twin.save(tmp_path / "twin.keras")
    torch.save(torch_net.state_dict(), tmp_path / "net.pt")
    assert steelyard.diff(tmp_path / "net.pt", tmp_path / "twin.keras", align="permutation").same
    assert not steelyard.diff(tmp_path / "net.pt", tmp_path / "twin.keras").same


def test_a_permuted_copy_with_noise_differs_by_the_noise_only(pair):
    net, other, _ = pair
    with torch.no_grad():
        for value in other.parameters():
            value.add_(1e-4 * torch.randn_like(value))
    rows = steelyard.diff(net, other, align="permutation", verdicts=False).rows
    assert max(row.max_abs for row in rows) < 1e-3


def test_unrelated_nets_stay_different_and_do_not_move_apart():
    one, other = cnn(0), cnn(1)

    def distance(found):
        return sum((row.relative or 0) ** 2 for row in found.rows if row.name.endswith("weight"))

    plain, matched = steelyard.diff(one, other), steelyard.diff(one, other, align="permutation")
    assert not matched.same
    assert distance(matched) <= distance(plain)
    assert not [row for row in matched.rows if row.verdict]


def test_a_note_reports_that_the_layers_of_a_file_were_taken_as_a_chain(pair, tmp_path):
    for name, net in zip("ab", pair[:2], strict=True):
        torch.save(nn.Sequential(net[7], nn.ReLU(), net[9]).state_dict(), tmp_path / f"{name}.pt")
    found = steelyard.diff(tmp_path / "a.pt", tmp_path / "b.pt", align="permutation")
    assert any("chain" in note for note in found.notes)


def test_nets_that_are_not_a_chain_are_refused():
    chance = np.random.default_rng(0)
    a = {"a.weight": chance.random((3, 4)), "b.weight": chance.random((2, 7))}
    with pytest.raises(ShapeError, match="do not form a chain"):
        steelyard.diff(a, a, align="permutation")
    with pytest.raises(ShapeError, match="align"):
        steelyard.diff(a, a, align="rotation")


def residual(sums):
    """d(a(x) + c(b(a(x)))), and its graph's inputs of the sum."""
    chance = np.random.default_rng(0)
    arrays = {f"{name}.weight": chance.standard_normal((6, 6)) for name in "abcd"}
    after = {"a": (), "b": ("a",), "c": ("b",), "add": ("a", "c"), "d": ("add",)} if sums else {}
    layers = [Layer(name, "merge" if name == "add" else "dense", inputs=after.get(name)) for name in ("a", "b", "c", "add", "d")]
    listed = [weight.replace(axes="out in", role=Role.KERNEL) for weight in steelyard.weights(arrays).values()]
    return Weights(listed, graph=lambda: Graph(layers))


def test_units_that_a_sum_connects_keep_their_order():
    net = residual(sums=True)
    found = steelyard.diff(net, net, align="permutation")
    assert list(found.permutations) == ["b"], "a and c are summed: permuting one of them would be another function"
    with pytest.raises(ShapeError, match="how data flows into add"):
        steelyard.diff(net, residual(sums=False), align="permutation")


def test_the_command_aligns_too(pair, tmp_path, capsys):
    for name, net in zip("ab", pair[:2], strict=True):
        steelyard.save(nn.Sequential(net[7], nn.ReLU(), net[9]), tmp_path / f"{name}.safetensors")
    files = [str(tmp_path / f"{name}.safetensors") for name in "ab"]
    assert main(["diff", *files]) == 1
    assert main(["diff", *files, "--align", "permutation"]) == 1, "the inputs of the first layer of the two parts differ"
    assert "hidden units" in capsys.readouterr().out


def wide(units):
    chance = np.random.default_rng(0)
    return {"fc1.weight": chance.normal(size=(units, 3)), "fc2.weight": chance.normal(size=(2, units))}


def test_a_search_that_needs_too_much_memory_is_refused_before_it_allocates_with_the_size_that_would_fit():
    net = {
        "fc1.weight": np.broadcast_to(np.float32(1), (1 << 14, 784)),
        "fc2.weight": np.broadcast_to(np.float32(1), (10, 1 << 14)),
    }
    tracemalloc.start()
    with pytest.raises(ShapeError, match=r"^fc1 has 16,384 hidden units, whose .* a layer of at most 13,\d\d\d units would fit$"):
        steelyard.diff(net, net, align="permutation")
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def test_the_gains_of_a_wide_layer_are_computed_in_bounded_blocks(monkeypatch):
    net = wide(50)
    order = np.random.default_rng(1).permutation(50)
    other = {"fc1.weight": net["fc1.weight"][order], "fc2.weight": net["fc2.weight"][:, order]}
    monkeypatch.setattr(permutation, "_ROWS", 7 * 50)
    assert steelyard.diff(net, other, align="permutation").same


def test_a_note_reports_that_a_long_search_was_ended_early(monkeypatch):
    chance = np.random.default_rng(2)
    other = {name: chance.normal(size=value.shape) for name, value in wide(9).items()}

    def is_noted():
        return any("ended before it settled" in note for note in steelyard.diff(wide(9), other, align="permutation").notes)

    assert not is_noted()
    monkeypatch.setattr(permutation, "PAIRS", 0)
    assert is_noted()


def test_a_net_with_a_layer_of_no_units_aligns_the_others():
    chance = np.random.default_rng(0)
    shapes = {"a.weight": (4, 3), "b.weight": (5, 4), "c.weight": (0, 5), "d.weight": (6, 0)}
    net = {name: chance.normal(size=shape) for name, shape in shapes.items()}
    difference = steelyard.diff(net, net, align="permutation")
    assert difference.permutations["a"] == [0, 1, 2, 3]
    assert "c" not in difference.permutations
