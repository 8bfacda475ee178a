"""What the R package calls: facts as lists, numbers as bytes by columns, and nothing else."""

import json
import struct
import types
import typing

import carried
import numpy as np
import pytest
import torch
from outputs import assert_close
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from torch import nn

import steelyard
from steelyard import rbridge
from steelyard.errors import FileMissingError, LossyError, ReadOnlyError, ShapeError, UnknownModelError

PLAIN = (str, int, float, list, dict, bytearray)


def plain(value):
    """Whether a value and all within it are of the types that every reticulate converts."""
    if type(value) is list:
        return all(map(plain, value))
    if type(value) is dict:
        return all(type(key) is str for key in value) and all(map(plain, value.values()))
    return type(value) in (str, int, float, bytearray)


def floats(raw):
    """Read the bytes as R's readBin does."""
    return list(struct.unpack(f"<{len(raw) // 8}d", raw))


def as_raw(array):
    return bytearray(struct.pack(f"<{array.size}d", *array.ravel(order="F").tolist())), [float(n) for n in array.shape]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2))


@pytest.fixture(scope="module")
def search():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    y = np.where(x[:, 0] + x[:, 1] * x[:, 2] > 0, "yes", "no")
    net = MLPClassifier((5,), solver="lbfgs", max_iter=2000, random_state=0)
    return GridSearchCV(net, {"alpha": [1e-2, 1e-1]}, cv=2).fit(x, y), x


def test_an_average_is_given_as_facts_and_numbers_or_written(net, tmp_path):
    other = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2))
    found = rbridge.average([net, other], [], [], "")
    assert plain(found)
    wanted = steelyard.average([net, other])
    assert found["name"] == list(wanted)
    assert floats(found["numbers"][0]) == wanted["0.weight"].numpy().ravel(order="F").tolist()
    assert found["notes"] == wanted.meta["notes"]
    written = rbridge.average([net, other], [], [0.5], str(tmp_path / "a.safetensors"))
    assert (written["name"], written["numbers"]) == ([], [])
    assert np.array_equal(
        steelyard.weights(tmp_path / "a.safetensors").to_vector(dtype="f8"),
        steelyard.ema([net, other], 0.5).to_vector(dtype="f8"),
    )
    with pytest.raises(ShapeError, match="exclude each other"):
        rbridge.average([net, other], [1.0, 2.0], [0.5], "")


def test_a_pruned_net_is_given_as_facts_and_numbers_or_written(net, tmp_path):
    found = rbridge.prune(net, 0.5, "layer", "", [], "")
    assert plain(found)
    wanted = steelyard.prune(net, 0.5, by="layer")
    assert found["name"] == list(wanted)
    assert floats(found["numbers"][0]) == wanted["0.weight"].numpy().ravel(order="F").tolist()
    assert found["notes"] == wanted.meta["notes"]
    written = rbridge.prune(net, 0.0, "global", "2:4", ["0.weight"], str(tmp_path / "p.safetensors"))
    assert (written["name"], written["numbers"]) == ([], [])
    assert (steelyard.weights(tmp_path / "p.safetensors")["0.weight"].numpy() == 0).sum() == 6


def test_the_facts_are_lists_of_one_value_a_weight(net):
    facts = rbridge.listing(net)
    assert facts["name"] == list(net.state_dict())
    assert facts["shape"][:2] == [[3.0, 4.0], [3.0]]
    assert facts["axes"][0] == "out in"
    assert facts["role"][0] == "kernel"
    assert facts["trainable"][0] == "yes"
    assert facts["trainable"][-3:] == ["no", "yes", "yes"]
    assert {len(column) for column in facts.values()} == {9}
    assert rbridge.listing(net, "3.*")["name"] == ["3.weight", "3.bias"]


def test_numbers_are_those_of_the_tensors_by_columns_widened_to_float64(net):
    for raw, tensor in zip(rbridge.numbers(net), net.state_dict().values(), strict=True):
        assert floats(raw) == tensor.double().numpy().ravel(order="F").tolist()


@pytest.mark.parametrize("order", ["F", "C"])
def test_the_vector_runs_by_columns_or_by_rows(net, order):
    expected = np.concatenate([tensor.double().numpy().ravel(order=order) for tensor in net.state_dict().values()])
    assert floats(rbridge.vector(net, order)) == expected.tolist()


def test_a_file_and_the_live_model_give_one_vector(net, tmp_path):
    steelyard.save(net, tmp_path / "net.safetensors")
    assert rbridge.vector(str(tmp_path / "net.safetensors")) == rbridge.vector(net)


@pytest.mark.parametrize("order", ["F", "C"])
def test_assign_puts_a_vector_into_the_very_model(net, order):
    parameter, old = net[0].weight, rbridge.vector(net, order)
    doubled = [2 * number for number in floats(old)]
    assert rbridge.assign(net, bytearray(struct.pack(f"<{len(doubled)}d", *doubled)), order) == len(doubled)
    assert floats(rbridge.vector(net, order)) == doubled
    assert net[0].weight is parameter


def test_assign_refuses_what_does_not_fit_and_what_cannot_be_changed(net, tmp_path):
    vector = rbridge.vector(net)
    with pytest.raises(ShapeError):
        rbridge.assign(net, vector[:-8])
    with pytest.raises(LossyError):
        rbridge.assign(net, bytearray(struct.pack("<d", 1e300)) * (len(vector) // 8))
    steelyard.save(net, tmp_path / "net.safetensors")
    with pytest.raises(ReadOnlyError):
        rbridge.assign(str(tmp_path / "net.safetensors"), vector)
    with pytest.raises(ReadOnlyError):
        rbridge.assign(steelyard.weights(net), vector)
    assert rbridge.vector(net) == vector


def test_a_tree_of_jax_cannot_be_changed_in_place_and_is_not():
    import jax.numpy as jnp

    tree = {"kernel": jnp.ones((2, 3))}
    with pytest.raises(ReadOnlyError, match="in place"):
        rbridge.assign(tree, bytearray(48))
    assert floats(rbridge.vector(tree)) == [1.0] * 6


def test_numbers_that_r_cannot_hold_are_refused():
    with pytest.raises(LossyError):
        rbridge.vector({"count": np.array([2**53 + 1])})
    with pytest.raises(LossyError):
        rbridge.numbers({"phase": np.array([1 + 2j])})
    assert floats(rbridge.vector({"count": np.array([2**53])})) == [2.0**53]


def test_the_missing_value_of_r_keeps_its_bits():
    missing = bytes.fromhex("a2070000 0000f07f")
    model = {"w": np.frombuffer(missing + missing, "<f8").reshape(1, 2)}
    assert rbridge.vector(model) == missing + missing
    assert rbridge.numbers(model) == [missing + missing]


def test_positions_say_where_in_the_vector_each_number_is(net, fits):
    for source in (net, bytearray((fits / "nnet" / "nnet_skip_softmax.rds").read_bytes())):
        vector = floats(rbridge.vector(source))
        for raw, places in zip(rbridge.numbers(source), rbridge.positions(source), strict=True):
            assert floats(raw) == [vector[int(place) - 1] for place in floats(places)]
    sparse = bytearray((fits / "hostile" / "nnet_sparse_conn.rds").read_bytes())
    places = [place for raw in rbridge.positions(sparse) for place in floats(raw)]
    assert 0.0 in places
    assert sorted(set(places) - {0.0}) == [place + 1.0 for place in range(len(rbridge.vector(sparse)) // 8)]


def test_totals_count_tied_weights_once():
    tied = nn.ModuleDict({"one": nn.Linear(2, 2, bias=False)})
    tied["two"] = tied["one"]
    assert rbridge.total(tied) == [4.0, 0.0, 0.0, 16.0]


def test_totals_count_parameters_and_buffers_apart():
    norm = nn.BatchNorm1d(3)
    assert rbridge.total(norm) == [6.0, 7.0, 0.0, 56.0]
    assert rbridge.amount(norm) == "6 parameters, 7 in buffers, 56 bytes"


def test_a_module_predicts_in_evaluation_mode_and_is_left_as_it_was(net):
    x = np.random.default_rng(1).normal(size=(5, 4))
    net[0].eval()
    modes = [part.training for part in net.modules()]
    answer = rbridge.predict(net, *as_raw(x))
    assert [part.training for part in net.modules()] == modes
    assert int(net[1].num_batches_tracked) == 0
    with torch.no_grad():
        expected = net.eval()(torch.tensor(x, dtype=torch.float32)).double().numpy()
    assert_close(floats(answer.pop("values")), expected.ravel(order="F"), "float32")
    assert answer == {"shape": [5.0, 2.0], "classes": []}


def test_a_module_is_run_as_its_framework_runs_it_so_that_buffers_random_state_and_hooks_stay():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.fc = nn.Linear(2, 1)

        def forward(self, x):
            self.calls += 1
            return self.fc(x) + torch.rand(1) * 0

    net, state = Counting(), torch.random.get_rng_state()
    hook = net.fc.register_forward_hook(lambda *_: None)
    rbridge.predict(net, *as_raw(np.ones((3, 2))))
    assert float(net.calls) == 0
    assert torch.equal(torch.random.get_rng_state(), state)
    assert list(net.fc._forward_hooks) == [hook.id]


def test_a_module_of_any_framework_that_runs_can_predict():
    from flax import nnx

    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    x = np.arange(8.0).reshape(4, 2)
    answer = rbridge.predict(model, *as_raw(x))
    assert_close(floats(answer["values"]), (x @ model.kernel[...] + model.bias[...]).ravel(order="F"), "float32")


def test_a_search_predicts_probabilities_and_labels(search):
    model, x = search
    answer = rbridge.predict(model, *as_raw(x))
    assert_close(floats(answer["values"]), model.predict_proba(x).ravel(order="F"))
    assert answer["classes"] == ["no", "yes"]
    assert rbridge.labels(model, *as_raw(x)) == model.predict(x).tolist()


def test_a_regression_predicts_numbers_and_names_no_classes():
    x = np.arange(8.0).reshape(4, 2) ** 2
    model = LinearRegression().fit(x, x[:, 0])
    assert_close(floats(rbridge.predict(model, *as_raw(x))["values"]), model.predict(x))
    assert rbridge.labels(model, *as_raw(x)) == []


def test_a_skorch_net_is_given_the_type_of_its_own_weights():
    from skorch import NeuralNetRegressor

    model = NeuralNetRegressor(nn.Linear(2, 1)).initialize()
    x = np.arange(8.0).reshape(4, 2)
    answer = floats(rbridge.predict(model, *as_raw(x))["values"])
    assert_close(answer, model.predict(x.astype("float32")).ravel(), "float32")


def test_keras_predicts_without_a_bar_of_progress(capfd):
    import keras

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])
    x = np.random.default_rng(0).normal(size=(4, 3))
    answer = rbridge.predict(model, *as_raw(x))
    assert_close(floats(answer["values"]), model.predict(x, verbose=0).ravel(order="F"), "float32")
    assert capfd.readouterr().out == ""


def test_what_cannot_predict_is_refused():
    class Twins(nn.Module):
        def __init__(self):
            super().__init__()
            self.only = nn.Linear(1, 1)

        def forward(self, x):
            return self.only(x), x

    for model, words in (({"w": np.ones(2)}, "cannot predict"), (Twins(), "2 outputs")):
        with pytest.raises(UnknownModelError, match=words):
            rbridge.predict(model, bytearray(8), [1.0, 1.0])


@pytest.fixture
def fits():
    return carried.folder("r")


def test_a_serialized_r_object_is_split_into_kernels_and_biases_and_keeps_its_own_vector(fits):
    serialized = bytearray((fits / "nnet" / "nnet_skip_softmax.rds").read_bytes())
    facts = json.loads((fits / "nnet" / "nnet_skip_softmax.json").read_text())
    assert floats(rbridge.vector(serialized)) == facts["wts"]
    parts = dict(zip(rbridge.listing(serialized)["name"], rbridge.numbers(serialized), strict=True))
    assert list(parts) == ["hidden.kernel", "hidden.bias", "output.kernel", "output.bias", "output.skip"]
    assert floats(parts["output.skip"]) == np.array(facts["layers"]["skip"]["kernel"]).ravel(order="F").tolist()
    assert floats(parts["hidden.bias"]) == facts["layers"]["hidden"]["bias"]
    assert rbridge.listing(serialized, "*.bias")["name"] == ["hidden.bias", "output.bias"]
    with pytest.raises(ReadOnlyError):
        rbridge.assign(serialized, rbridge.vector(serialized))


def test_what_a_network_computes_is_told_in_plain_words(fits):
    def told(name):
        return rbridge.network(str(fits / "other" / f"{name}.rds"))

    assert rbridge.network(str(fits / "nnet" / "nnet_skip_softmax.rds")) == {
        "package": "nnet", "hidden": "logistic", "output": "softmax", "cut": 15.0,
        "inputs": ["x1", "x2", "x3"], "outputs": ["low", "mid", "high"],
    }  # fmt: skip
    assert len(told("caret_nnet")["center"]) == len(told("caret_nnet")["scale"]) == 2
    assert len(told("monmlp_1hidden")["target_scale"]) == 2
    assert told("monmlp_monotone")["unusual"] == "monotone weights"
    assert told("caret_avnnet") == {"several": 3.0}
    assert told("neuralnet_reps") == {"several": 3.0}
    assert rbridge.network({"w": np.ones(3)}) == {}


def test_notes_say_that_a_file_holds_training_data(fits):
    assert any("training data" in note for note in rbridge.notes(str(fits / "nnet" / "nnet_softmax.rds")))
    assert rbridge.notes({"w": np.ones(3)}) == []


def test_what_is_no_r_object_and_no_file_is_said():
    with pytest.raises(FileMissingError):
        rbridge.listing("no such file.rds")


def returned(net, search, fits, folder):
    """Call every public function of the bridge, on models of two frameworks and on files of R."""
    model, x = search
    yield "listing", rbridge.listing(net)
    yield "numbers", rbridge.numbers(net)
    yield "vector", rbridge.vector(net)
    yield "total", rbridge.total(net)
    yield "amount", rbridge.amount(net)
    yield "network", rbridge.network(str(fits / "nnet" / "nnet_skip_softmax.rds"))
    yield "network", rbridge.network(str(fits / "other" / "caret_avnnet.rds"))
    yield "network", rbridge.network(str(fits / "other" / "monmlp_1hidden.rds"))
    yield "notes", rbridge.notes(str(fits / "other" / "rsnns_mlp_lin.rds"))
    yield "positions", rbridge.positions(net)
    yield "assign", rbridge.assign(net, rbridge.vector(net))
    yield "predict", rbridge.predict(net, *as_raw(x))
    yield "predict", rbridge.predict(model, *as_raw(x))
    yield "labels", rbridge.labels(model, *as_raw(x))
    yield "average", rbridge.average([net, net], [], [], "")
    yield "prune", rbridge.prune(net, 0.5, "global", "", [], "")
    rec = rbridge.recorder(str(folder / "run"), {})
    yield "recorded", rbridge.recorded(rec, net, [], [], {}, False)
    yield "past", rbridge.past(str(folder / "run"))
    rec.close()
    yield "export", rbridge.export(net, str(folder / "net.h"), False, [], {"align": 16.0})


def test_nothing_that_the_bridge_returns_is_an_array(net, search, fits, tmp_path):
    """reticulate 1.28 hands arrays of NumPy 2 over unconverted, and raises nothing."""
    called = set()
    for name, value in returned(net, search, fits, tmp_path):
        called.add(name)
        assert plain(value), f"{name} returns what reticulate may not convert"
    public = {name for name, f in vars(rbridge).items() if isinstance(f, types.FunctionType) and f.__module__ == rbridge.__name__ and name[0] != "_"}  # fmt: skip
    assert called == public - {"recorder", "callback"}, "a function is missing above"  # these return what R hands on as it is


def test_the_test_above_can_fail():
    for value in (np.ones(2), np.float64(1), [np.float32(1)], {"values": np.ones(2)}, (1, 2), b"bytes", None, True):
        assert not plain(value)


def test_every_function_is_declared_to_return_plain_types():
    words = {kind.__name__ for kind in PLAIN} | {"Any", "|"}
    for name, function in vars(rbridge).items():
        if isinstance(function, types.FunctionType) and function.__module__ == rbridge.__name__ and name[0] != "_":
            kind = typing.cast("str", function.__annotations__["return"])
            assert set(kind.replace("[", " ").replace("]", " ").replace(",", " ").split()) <= words, name


def test_a_run_is_recorded_and_its_table_has_columns_of_plain_values(net, tmp_path):
    rec = rbridge.recorder(str(tmp_path), {"every": 1.0, "snapshot": 2.0})
    for step in range(3):
        assert rbridge.recorded(rec, net, [float(step)], [step / 2], {"loss": 1.0 / (step + 1)}, False) == step
        table = rbridge.past(str(tmp_path))  # written already, though the recorder is open
    assert rbridge.recorded(rec, net, [], [], {}, True) == 3
    assert plain(table)
    assert table["weight"] == [name for _ in range(3) for name in steelyard.weights(net)]
    assert floats(table["metric loss"])[:: len(steelyard.weights(net))] == [1.0, 1 / 2, 1 / 3]
    assert floats(table["l2"])[0] == pytest.approx(net[0].weight.norm().item())
    rows = len(table["weight"])
    assert all(len(column) == (rows if type(column) is list else 8 * rows) for column in table.values())
    rec.close()
    assert steelyard.history(tmp_path).snapshots == [0, 2, 3]
    assert rbridge.callback(rec, "batch").model is None
