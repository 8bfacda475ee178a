"""`steelyard.build`: a model with the predictions of the original, or an error that names the missing information."""

import subprocess
import sys

import joblib
import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from transfers import golden

import steelyard
from steelyard.errors import AmbiguityError, ShapeError

FRAMEWORKS = ("torch", "keras", "sklearn")


def answers(model, x):
    """Return the outputs of a built model, a column for each unit of the last layer."""
    if isinstance(model, nn.Module):
        with torch.no_grad():
            return model(torch.from_numpy(x.astype(str(next(model.parameters()).dtype).removeprefix("torch.")))).numpy()
    if isinstance(model, keras.layers.Layer):
        return np.asarray(model(x.astype(model.inputs[0].dtype), training=False))
    x = x.reshape(len(x), -1)
    found = model.predict_proba(x) if hasattr(model, "predict_proba") else model.predict(x)
    return found.reshape(len(x), -1)


def same(model, x, wanted, tolerance=2e-6):
    """Compare predictions; for two classes scikit-learn returns both probabilities, and a sigmoid only the second."""
    found, wanted = answers(model, x), np.asarray(wanted).reshape(len(x), -1)
    if found.shape[1] == 2 and wanted.shape[1] == 1:
        found = found[:, 1:]
    if found.shape[1] == 1 and wanted.shape[1] == 2:
        wanted = wanted[:, 1:]
    return found.shape == wanted.shape and np.abs(found - wanted).max() <= tolerance * max(np.abs(wanted).max(), 1)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 4))
    return x, np.digitize(x[:, 0] + x[:, 1], [-0.6, 0.6]), x @ rng.standard_normal((4, 2))


def fitted(table):
    """Fitted estimators of every kind that is a stack of dense layers."""
    x, classes, targets = table
    few = {"max_iter": 60, "random_state": 0, "early_stopping": False}
    return {
        "regressor": MLPRegressor(hidden_layer_sizes=(7, 5), activation="tanh", **few).fit(x, targets),
        "one target": MLPRegressor(hidden_layer_sizes=(6,), activation="logistic", **few).fit(x, targets[:, 0]),
        "classifier": MLPClassifier(hidden_layer_sizes=(6,), **few).fit(x, classes),
        "two classes": MLPClassifier(hidden_layer_sizes=(6,), activation="identity", **few).fit(x, classes > 0),
        "linear": LinearRegression().fit(x, targets),
        "linear, one": LinearRegression(fit_intercept=False).fit(x, targets[:, 0]),
        "logistic": LogisticRegression().fit(x, classes),
        "logistic, two": LogisticRegression().fit(x, classes > 0),
    }


def predicted(model, x):
    return model.predict_proba(x) if hasattr(model, "predict_proba") else model.predict(x)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_perceptron_and_linear_model_of_scikit_learn_live_or_in_a_file(framework, table, tmp_path):
    for name, model in fitted(table).items():
        joblib.dump(model, tmp_path / "net.joblib")
        for source in (model, tmp_path / "net.joblib"):
            built = steelyard.build(source, framework)
            assert same(built, table[0], predicted(model, table[0]), 1e-12), name


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning")
def test_a_file_of_skops_is_built_too(table, tmp_path):
    import skops.io

    model = fitted(table)["classifier"]
    skops.io.dump(model, tmp_path / "net.skops")
    assert same(steelyard.build(tmp_path / "net.skops", "torch"), table[0], predicted(model, table[0]), 1e-12)


R = ("r_nnet_linout", "r_nnet_2class", "r_nnet_softmax", "r_nnet_size0", "r_multinom2", "r_multinom3")


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("case", R)
def test_an_nnet_of_r_predicts_what_r_predicted(case, framework):
    (x,), wanted = golden.inputs(case, "keras")
    for file in golden.files(case, "r"):
        assert same(steelyard.build(file, framework), x, wanted, 1e-6)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("file", ["keras.keras", "model.onnx", "model.tflite"])
@pytest.mark.parametrize("case", ["mlp_relu", "dense"])
def test_a_stack_of_dense_layers_in_a_file_that_has_a_graph(case, file, framework):
    (x,), wanted = golden.inputs(case, "keras")
    assert same(steelyard.build(golden.GOLDEN / case / file, framework), x, wanted)


def sequential(*activations):
    torch.manual_seed(0)
    widths, modules = [4, 6, 6, 3], []
    for nth, activation in enumerate(activations):
        modules += [nn.Linear(widths[nth], widths[nth + 1], bias=nth != 1, dtype=torch.float64), activation]
    return nn.Sequential(*modules).eval()


ACTIVATIONS = [
    (nn.ReLU(), nn.Tanh(), nn.Softmax(-1)),
    (nn.GELU(), nn.LeakyReLU(0.3), nn.Sigmoid()),
    (nn.SiLU(), nn.ELU(0.7), nn.Softplus()),
    (nn.SELU(), nn.Mish(), nn.LogSoftmax(1)),
    (nn.Hardsigmoid(), nn.Hardswish(), nn.Identity()),
    (nn.Softsign(), nn.ReLU6(), nn.LogSigmoid()),
    (nn.CELU(), nn.Hardtanh(), nn.Tanhshrink()),
]


@pytest.mark.parametrize("framework", ["torch", "keras"])
@pytest.mark.parametrize("activations", ACTIVATIONS, ids=lambda found: type(found[0]).__name__)
def test_every_activation_that_both_frameworks_have(activations, framework):
    net = sequential(*activations)
    x = np.random.default_rng(1).standard_normal((9, 4)) * 3
    assert same(steelyard.build(net, framework), x, answers(net, x), 1e-7)


def test_a_keras_net_on_images_is_flattened_in_torch_and_takes_rows_in_scikit_learn():
    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            keras.Input((3, 4)),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    x = np.random.default_rng(1).random((6, 3, 4), "f4")
    for framework in FRAMEWORKS:
        assert same(steelyard.build(net, framework), x, net(x, training=False))


def test_building_leaves_the_random_state_of_every_framework_alone():
    torch.manual_seed(3)
    np.random.seed(3)
    keras.utils.set_random_seed(3)
    wanted = torch.rand(2).tolist(), np.random.rand(), keras.random.normal((2,)).numpy().tolist()
    torch.manual_seed(3)
    np.random.seed(3)
    keras.utils.set_random_seed(3)
    for framework in FRAMEWORKS:
        steelyard.build(golden.GOLDEN / "mlp_relu/keras.keras", framework)
    assert wanted == (torch.rand(2).tolist(), np.random.rand(), keras.random.normal((2,)).numpy().tolist())


# missing information must be given


def test_a_state_dict_has_no_activations_and_takes_them_from_the_user():
    file = golden.GOLDEN / "mlp_relu/torch.safetensors"
    (x,), wanted = golden.inputs("mlp_relu", "torch")
    with pytest.raises(AmbiguityError, match=r"the activation between 0 and 2 is not in the source; pass activations=\[\.\.\.\], one word for each of 0, 2, 4"):  # fmt: skip
        steelyard.build(file, "keras")
    for framework in FRAMEWORKS:
        assert same(steelyard.build(file, framework, activations=["relu", "relu", "linear"]), x, wanted)
    assert not same(steelyard.build(file, "torch", activations=["tanh", "relu", "linear"]), x, wanted)


def test_layers_of_one_size_have_no_order_unless_a_dict_gives_it():
    rng = np.random.default_rng(0)
    one, two = rng.standard_normal((2, 3, 3))
    held = {"b.weight": one, "a.weight": two}
    with pytest.raises(AmbiguityError, match="the order of b, a"):
        steelyard.build(held, "torch", activations=["relu", "linear"])
    net = steelyard.build(held, "torch", activations={"a": "relu", "b": "linear"})
    x = rng.standard_normal((5, 3))
    assert same(net, x, np.maximum(x @ two.T, 0) @ one.T, 1e-12)


def test_twenty_equal_layers_are_ambiguous_at_once():
    held = {f"{n}.weight": np.zeros((8, 8)) for n in range(20)}
    with pytest.raises(AmbiguityError, match="the order of 0, 1, 2, 3, 4, 5, 6, 7 and 12 more"):
        steelyard.build(held, "torch")


@pytest.mark.parametrize(
    ("activations", "said"),
    [
        (["relu"], "there are 1 activations for 3 dense layers, 0, 2, 4"),
        ({"0": "relu", "x": "relu", "4": "linear"}, "activations names 0, x, 4, the dense layers are 0, 2, 4"),
        (
            ["relu", "swirl", "linear"],
            "the activation of '2' is 'swirl', which torch does not have; it has linear, relu",
        ),
        ("relu", "activations is 'relu'; pass a list"),
    ],
)
def test_activations_that_fit_nothing_are_refused(activations, said):
    with pytest.raises(ShapeError, match=said):
        steelyard.build(golden.GOLDEN / "mlp_relu/torch.safetensors", "torch", activations=activations)


# other nets than stacks are refused


def shared_activation():
    act = nn.ReLU()
    hooked = nn.Sequential(nn.Linear(3, 3))
    hooked[0].register_forward_hook(lambda module, given, made: made * 2)
    layer = nn.Linear(3, 3)
    return nn.Sequential(nn.Linear(3, 3), act, nn.Linear(3, 3), act), nn.Sequential(layer, nn.ReLU(), layer), hooked


def test_a_module_that_occurs_twice_or_has_a_hook_is_not_a_plain_stack():
    """Built as listed, each would silently be another function."""
    for net in shared_activation():
        with pytest.raises((ShapeError, AmbiguityError)):
            steelyard.build(net, "keras")


@pytest.mark.parametrize("live", [True, False])
def test_branches_and_repeated_layers_of_keras_are_refused(live, tmp_path):
    x = keras.Input((3,))
    dense = keras.layers.Dense(3)
    for name, output in (("sum", dense(x) + x), ("twice", dense(keras.ops.relu(dense(x))))):
        net = keras.Model(x, output)
        net.save(tmp_path / f"{name}.keras")
        with pytest.raises((ShapeError, AmbiguityError)):
            steelyard.build(net if live else tmp_path / f"{name}.keras", "torch")


def test_an_nnet_with_a_skip_layer_and_a_net_with_a_convolution_are_refused():
    with pytest.raises(ShapeError, match="not a chain"):
        steelyard.build(golden.files("r_nnet_skip", "r")[0], "torch")
    with pytest.raises(ShapeError, match=r"'conv' is not a dense layer \(conv\); only stacks of dense layers"):
        steelyard.build(golden.GOLDEN / "conv_flatten_dense/keras.keras", "torch")


def test_a_pipeline_changes_its_inputs_so_that_its_net_alone_would_predict_something_else(table, tmp_path):
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table[0], table[1])
    joblib.dump(model, tmp_path / "net.joblib")
    for source in (model, tmp_path / "net.joblib"):
        with pytest.raises((ShapeError, AmbiguityError)):
            steelyard.build(source, "torch")
    assert same(steelyard.build(model[-1], "torch"), model[:-1].transform(table[0]), model.predict_proba(table[0]), 1e-12)


def test_settings_that_scikit_learn_does_not_have_are_named():
    net = sequential(nn.ReLU(), nn.Tanh(), nn.Softmax(-1))
    with pytest.raises(ShapeError, match="'0' has the activation relu and '2' tanh; a scikit-learn perceptron has one"):
        steelyard.build(net, "sklearn")
    with pytest.raises(ShapeError, match="framework is 'mxnet'; it must be one of keras, sklearn, torch"):
        steelyard.build(net, "mxnet")


def test_only_the_requested_framework_is_imported():
    script = (
        "import sys, steelyard; from pathlib import Path; "
        f"steelyard.build({str(golden.GOLDEN / 'r_nnet_2class/model.rds')!r}, 'sklearn'); "
        "print(sorted({'torch', 'keras', 'tensorflow', 'jax'} & set(sys.modules)), 'sklearn' in sys.modules)"
    )
    made = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert made.stdout == "[] True\n"


# the inputs of a net are part of its graph


def skipped():
    """A net whose input is added to the output of its first layer."""
    keras.utils.set_random_seed(0)
    x = keras.Input((8,), name="x")
    h = keras.layers.Dense(8, activation="relu", name="h")(x)
    return keras.Model(x, keras.layers.Dense(2, name="head")(keras.layers.Add(name="add")([x, h])))


@pytest.mark.parametrize("activations", [None, ["relu", "linear"], {"h": "relu", "head": "linear"}])
def test_a_skip_from_the_input_of_a_net_is_never_dropped(activations, tmp_path):
    net = skipped()
    net.save(tmp_path / "net.keras")
    for source in (net, tmp_path / "net.keras"):
        with pytest.raises(ShapeError, match="'add'") as refused:
            steelyard.build(source, "torch", activations=activations)
        assert "Add" in str(refused.value) or "takes" in str(refused.value)


class Functional(nn.Module):
    """Two dense layers with functions of PyTorch between them."""

    def __init__(self, between):
        super().__init__()
        torch.manual_seed(0)
        self.second, self.first = nn.Linear(8, 2), nn.Linear(8, 8)
        self.between = between

    def forward(self, x):
        return self.second(self.between(self.first(x), x))


def test_functions_of_a_live_net_are_its_activations_or_are_refused():
    x = np.random.default_rng(0).standard_normal((5, 8))
    net = Functional(lambda h, _: torch.tanh(h))
    for framework in ("torch", "keras", "sklearn"):
        assert same(steelyard.build(net, framework), x, answers(net, x), 1e-6)
    for between, named in (
        (lambda h, x: torch.relu(h) + x, "'add'"),
        (lambda h, _: torch.relu(h) * 2, "'mul'"),
        (lambda h, _: torch.cat([h[:, :4], h[:, 4:]], 1), "'getitem'"),
    ):
        for activations in (["relu", "linear"], {"first": "relu", "second": "linear"}):
            with pytest.raises(ShapeError, match=named):
                steelyard.build(Functional(between), "torch", activations=activations)


def test_a_module_that_was_saved_whole_is_built_as_it_runs(tmp_path):
    net = sequential(nn.GELU(), nn.LeakyReLU(0.3), nn.Softmax(-1))
    torch.save(net, tmp_path / "net.pt")
    x = np.random.default_rng(1).standard_normal((9, 4))
    for framework in ("torch", "keras"):
        assert same(steelyard.build(tmp_path / "net.pt", framework), x, answers(net, x), 1e-7)
    for other in shared_activation()[:2]:
        torch.save(other, tmp_path / "other.pt")
        with pytest.raises((ShapeError, AmbiguityError)):
            steelyard.build(tmp_path / "other.pt", "torch")


PARTS = [
    *(nn.ReLU, nn.Tanh, nn.GELU, nn.Softplus, lambda: nn.LeakyReLU(0.2), lambda: nn.ELU(0.5), lambda: nn.Hardtanh(-2, 2)),
    *(lambda: nn.Linear(4, 4), lambda: nn.Linear(4, 4, bias=False), lambda: nn.BatchNorm1d(4), nn.Dropout, nn.Identity),
    *(nn.Flatten, lambda: nn.Sequential(nn.Linear(4, 4), nn.SiLU()), lambda: nn.Conv1d(4, 4, 1), lambda: nn.Softmax(-1)),
]


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.sampled_from(PARTS), max_size=6), shared=st.booleans(), as_file=st.booleans(), seed=st.integers(0, 99))
def test_a_random_sequence_is_built_with_the_same_outputs_or_refused(parts, shared, as_file, seed, tmp_path_factory):
    torch.manual_seed(seed)
    made = [part() for part in parts]
    net = nn.Sequential(nn.Linear(4, 4), *made, *(made[-1:] if shared else ())).eval()
    source = net
    if as_file:
        source = tmp_path_factory.mktemp("net") / "net.pt"
        torch.save(net, source)
    x = torch.randn(5, 4)
    try:
        built = steelyard.build(source, "torch")
    except (ShapeError, AmbiguityError):
        return
    with torch.no_grad():
        assert torch.equal(built(x), net(x))
