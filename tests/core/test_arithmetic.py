"""Arithmetic on weights as a whole, compared with NumPy's and PyTorch's own."""

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.errors import OperandError, ShapeError, SteelyardError


def both(dtype="float32"):
    rng = np.random.default_rng(1)
    arrays = [{"fc.weight": rng.normal(size=(4, 3)).astype(dtype), "fc.bias": rng.normal(size=4).astype(dtype)} for _ in range(2)]
    return *map(steelyard.weights, arrays), *arrays


def test_operators_give_the_numbers_of_numpy():
    a, b, x, y = both()
    for made, wanted in (
        (a + b, lambda n: x[n] + y[n]),
        (a - b, lambda n: x[n] - y[n]),
        (0.3 * a, lambda n: np.float32(0.3) * x[n]),
        (a * np.float32(0.3), lambda n: np.float32(0.3) * x[n]),
        (np.float64(2) * a, lambda n: 2 * x[n]),
        (a / 3, lambda n: x[n] / np.float32(3)),
        (-a, lambda n: -x[n]),
        (sum([a, b, a]), lambda n: x[n] + y[n] + x[n]),
    ):
        assert list(made) == list(a)
        for name, weight in made.items():
            assert weight.dtype == "float32"
            assert np.array_equal(weight.numpy(), wanted(name))


@pytest.mark.parametrize("one", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("other", ["float16", "bfloat16", "float32", "float64"])
def test_types_are_promoted_as_by_torch_and_a_difference_is_at_least_float32(one, other):
    a = steelyard.weights({"w": torch.ones(2, dtype=getattr(torch, one))})
    b = steelyard.weights({"w": torch.ones(2, dtype=getattr(torch, other))})
    promoted = str(torch.promote_types(getattr(torch, one), getattr(torch, other))).removeprefix("torch.")
    assert (a + b)["w"].dtype == promoted
    assert (a - b)["w"].dtype == (promoted if promoted == "float64" else "float32")


def test_the_difference_of_bfloat16_weights_is_exact():
    x, y = (np.array([value], ml_dtypes.bfloat16) for value in (1.0078125, 0.0001))
    made = steelyard.weights({"w": x}) - steelyard.weights({"w": y})
    assert made["w"].numpy() == x.astype(np.float32) - y.astype(np.float32)


def test_a_node_has_the_value_that_is_rounded_to_its_type():
    a, b = (steelyard.weights({"w": np.array([value], np.float16)}) for value in (2048, 1))
    assert ((a + b) - b)["w"].numpy() == 2047  # 2049 is 2048 in float16
    assert a.combine(lambda x, y: x + y - y, b)["w"].numpy() == 2048


def test_a_product_of_weights_is_refused_with_the_name_of_what_combines_them():
    a, b, *_ = both()
    for wrong in (lambda: a * b, lambda: a / b):
        with pytest.raises(OperandError, match="combine"):
            wrong()


def test_other_operands_are_refused():
    a, *_ = both()
    for wrong in (
        lambda: a + 1,
        lambda: a - {},
        lambda: 2 / a,
        lambda: a * "2",
        lambda: a * np.ones(2),
        lambda: a.combine(max, {}),
    ):
        with pytest.raises(OperandError):
            wrong()
    with pytest.raises(ZeroDivisionError):
        a / 0


def test_names_that_differ_are_an_error_that_names_both_sides():
    a, b = steelyard.weights({"x": np.ones(1), "y": np.ones(1)}), steelyard.weights({"y": np.ones(1), "z": np.ones(1)})
    with pytest.raises(ShapeError, match=r"the first alone has 'x' and number 2 alone has 'z'.*align=True"):
        a + b
    with pytest.raises(ShapeError, match=r"\[1\] in the first and \[2\] in number 2"):
        a + steelyard.weights({"x": np.ones(1), "y": np.ones(2)})


def test_integers_are_those_of_the_first_and_the_result_names_those_that_differ():
    a, b = (steelyard.weights({"w": np.ones(1), "n": np.array(n), "same": np.array(5)}) for n in (7, 9))
    made = (a - b) * 2
    assert made["n"].numpy() == 7
    assert (a + b).meta["notes"] == ["integers that differ are those of the first: 'n'"]
    assert "notes" not in (a + a).meta


def test_packed_weights_are_refused_with_what_dequantises_them():
    packed = steelyard.weights({"fc.weight": np.ones((2, 3), "int8"), "fc.SCB": np.ones(2, "float32")})
    with pytest.raises(ShapeError, match=r"bitsandbytes.*effective\(\)"):
        packed + packed
    assert (packed.effective() * 2)["fc.weight"].dtype.startswith("float")


def test_ties_roles_axes_and_layers_are_kept_and_a_tied_weight_is_computed_once():
    nets = [nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)) for _ in range(2)]
    for net in nets:
        net[1].weight = net[0].weight
    a, b = map(steelyard.weights, nets)
    made = a + b
    assert made["1.weight"].tied == "0.weight"
    assert made["1.weight"].read is made["0.weight"].read
    for name, weight in made.items():
        assert (weight.role, weight.axes, weight.layer) == (a[name].role, a[name].axes, a[name].layer)
    assert made.size == a.size
    assert made.graph is not None
    nets[1][1].weight = nn.Parameter(torch.zeros(3, 3))
    loose = a + steelyard.weights(nets[1])  # tied in one of them only
    assert loose["1.weight"].tied is None
    assert np.array_equal(loose["1.weight"].numpy(), a["1.weight"].numpy())


def test_a_live_input_that_changes_is_an_error_and_a_copy_of_it_is_not():
    net, other = nn.Linear(3, 2), nn.Linear(3, 2)
    lazy, kept = (w - steelyard.weights(other) for w in (steelyard.weights(net), steelyard.weights(net).copy()))
    before = lazy["bias"].numpy()
    with torch.no_grad():
        net.bias += 1
    with pytest.raises(SteelyardError, match=r"bias has changed.*copy\(\)"):
        lazy["bias"].numpy()
    assert np.array_equal(kept["bias"].numpy(), before)
    lazy["weight"].numpy()


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "h5", "pt"])
def test_a_file_that_changes_is_an_error(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    a, b, *_ = both()
    steelyard.save(a, path)
    lazy = steelyard.weights(path) + b
    with path.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(SteelyardError):
        lazy.to_vector()


def test_map_calls_a_function_with_whole_weights_and_one_of_numpy_with_blocks(monkeypatch):
    a, _, x, _ = both("float16")
    made = a.map(lambda w: w / np.sqrt((w**2).sum()))
    whole = x["fc.weight"].astype(np.float32)
    assert np.array_equal(made["fc.weight"].numpy(), (whole / np.sqrt((whole**2).sum())).astype(np.float16))
    monkeypatch.setattr("steelyard.sizes.EDIT_BLOCK", 4)
    shapes = []
    a.map(lambda w: (shapes.append(w.shape), w)[1], elementwise=True)["fc.weight"].numpy()
    assert shapes == [(4,)] * 3
    assert np.array_equal(a.map(np.tanh)["fc.bias"].numpy(), np.tanh(x["fc.bias"].astype(np.float32)).astype(np.float16))
    with pytest.raises(ShapeError, match=r"returned shape \[3, 4\]"):
        a.map(np.transpose)["fc.weight"].numpy()


def test_a_whole_function_is_called_once_where_a_weight_is_read_in_parts(monkeypatch):
    calls = []
    made = both()[0].map(lambda w: (calls.append(1), w)[1])["fc.weight"]
    parts = np.concatenate([made.read(0, 5), made.read(5, 12)])
    assert np.array_equal(parts, both()[2]["fc.weight"].reshape(-1))
    assert len(calls) == 1


def test_combine_computes_in_float32_or_with_exact_in_float64_and_rounds_once():
    a, b = (steelyard.weights({"w": np.array([value], np.float16)}) for value in (1, 2**-11))
    seen = []
    made = a.combine(lambda x, y: (seen.append(x.dtype.name), x + y + y)[1], b)
    assert made["w"].numpy() == np.float16(1 + 2**-10)
    a.combine(lambda x, y: (seen.append(x.dtype.name), x)[1], b, exact=True)["w"].numpy()
    assert seen == ["float32", "float64"]


def test_numbers_do_not_depend_on_the_part_that_is_read(monkeypatch):
    monkeypatch.setattr("steelyard.sizes.EDIT_BLOCK", 5)
    a, b, x, y = both()
    made = (a + b)["fc.weight"]
    wanted = (x["fc.weight"] + y["fc.weight"]).reshape(-1)
    assert all(np.array_equal(made.read(i, j), wanted[i:j]) for i in range(12) for j in range(i, 13))


def test_a_result_is_saved_assigned_and_read_as_other_weights(tmp_path):
    nets = [nn.Linear(3, 2), nn.Linear(3, 2)]
    a, b = map(steelyard.weights, nets)
    made = (a + b) / 2
    steelyard.save(made, tmp_path / "mean.safetensors")
    vector = made.to_vector()
    assert np.array_equal(steelyard.weights(tmp_path / "mean.safetensors").to_vector(), vector)
    a.assign(made)  # an input of the result
    assert np.array_equal(a.to_vector(), vector)


def test_combine_aligns_weights_of_another_framework(tmp_path):
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 4)).eval()
    other = {f"encoder.{name}": np.array(w.numpy()) for name, w in steelyard.weights(net).items()}
    a, b = steelyard.weights(net), steelyard.weights(other)
    with pytest.raises(ShapeError, match="different names"):
        a.combine(np.subtract, b)
    assert not a.combine(np.subtract, b, align=True).to_vector().any()
    with pytest.raises(ShapeError, match="no partner"):
        a.combine(np.subtract, steelyard.weights({"x": np.ones(5)}), align=True)
