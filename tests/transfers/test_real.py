"""Nets that others trained: estimators of scikit-learn, R's nnet as R saved it, and real files of one net in two formats."""

import json

import numpy as np
import pytest
from test_corpus import BY_ID, path_of
from transfers.golden import SHARED

import steelyard
from steelyard.errors import AmbiguityError
from steelyard.transfers.transferring import transfer

NNET = SHARED / "r/fixtures/nnet"
MODELS = [path.stem for path in sorted(NNET.glob("*.json")) if "layers" in json.loads(path.read_text())]


def torch_mlp(widths, hidden, output, skip=False):
    """Build a PyTorch net of dense layers in float64; its layers have other names, in another order."""
    import torch
    from torch import nn

    class MLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.over = nn.Linear(widths[0], widths[-1], bias=False) if skip else None
            steps = list(zip(widths[:-1], widths[1:], strict=True))
            self.rows = nn.ModuleList([nn.Linear(*step) for step in reversed(steps)])

        def forward(self, x):
            given = x
            for nth, row in enumerate(reversed(self.rows), start=1):
                x = getattr(torch, hidden)(row(x)) if nth < len(self.rows) else row(x)
            x = x + self.over(given) if skip else x
            return {"softmax": lambda: x.softmax(1), "sigmoid": x.sigmoid, "linear": lambda: x}[output]()

    torch.manual_seed(0)
    model = MLP().double()
    return model, lambda x: model(torch.from_numpy(x)).detach().numpy()


def keras_mlp(widths, hidden, output, skip=False):
    from keras import Input, Model, activations, layers

    given = x = Input((widths[0],), dtype="float64")
    for width in widths[1:-1]:
        x = layers.Dense(width, activation=hidden, dtype="float64")(x)
    x = layers.Dense(widths[-1], dtype="float64")(x)
    x = layers.add([x, layers.Dense(widths[-1], use_bias=False, dtype="float64")(given)]) if skip else x
    model = Model(given, layers.Activation(activations.get(output), dtype="float64")(x))
    return model, lambda x: np.asarray(model(x))


BUILDERS = {"torch": torch_mlp, "keras": keras_mlp}


def perceptron(kind, digits, activation):
    """Fit a perceptron on the digits: many classes, two, or two numbers to be told; two of its layers are of one shape."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    x, y = digits
    made = MLPRegressor if kind == "numbers" else MLPClassifier
    wanted = {"classes": y, "two classes": y % 2, "numbers": np.stack([y, y % 3], 1)}[kind]
    model = made(hidden_layer_sizes=(12, 12, 12), activation=activation, solver="lbfgs", max_iter=15, random_state=0)
    return model.fit(x.astype(float), wanted), x.astype(float)


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")  # a few steps are enough here
@pytest.mark.parametrize("target", BUILDERS)
@pytest.mark.parametrize(("kind", "activation"), [("classes", "relu"), ("two classes", "logistic"), ("numbers", "tanh")])
def test_a_perceptron_of_scikit_learn_predicts_the_same_in_another_framework(kind, activation, target, digits):
    origin, x = perceptron(kind, digits, activation)
    output, width = {"classes": ("softmax", 10), "two classes": ("sigmoid", 1), "numbers": ("linear", 2)}[kind]
    hidden = {"logistic": "sigmoid"}.get(activation, activation)
    model, predict = BUILDERS[target]([64, 12, 12, 12, width], hidden, output)
    made = transfer(origin, into=model, probe=x[:20])
    assert made.proof.max_rel < 1e-12
    found, wanted = predict(x), origin.predict(x)
    if kind == "numbers":
        assert np.abs(found - wanted).max() < 1e-11 * np.abs(wanted).max()
    else:
        chances = origin.predict_proba(x)
        assert np.abs(found - chances[:, -width:]).max() < 1e-12
        assert (found.argmax(1) if width > 1 else found[:, 0] > 0.5).astype(int).tolist() == wanted.tolist()


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize("source", BUILDERS)
def test_a_net_goes_back_into_a_perceptron_of_scikit_learn(source, digits):
    target, x = perceptron("classes", digits, "relu")
    origin, predict = BUILDERS[source]([64, 12, 12, 12, 10], "relu", "softmax")
    fresh = target.predict_proba(x)
    made = transfer(origin, into=target, probe=x[:20])
    assert made.proof.proven
    assert np.abs(target.predict_proba(x) - predict(x)).max() < 1e-12
    assert np.abs(target.predict_proba(x) - fresh).max() > 0.1


@pytest.mark.parametrize("target", BUILDERS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_nnet_predicts_in_another_framework_what_it_predicted_in_r(name, target):
    facts = json.loads((NNET / f"{name}.json").read_text())
    x, wanted = np.array(facts["inputs"], float), np.array(facts["raw"], float)
    widths = [width for width in facts["n"] if width]
    if (facts["input_names"] or [""])[0] == "(Intercept)":  # multinom: a column of ones, which other frameworks have as the bias
        x, widths[0] = x[:, 1:], widths[0] - 1
    output = "softmax" if facts["softmax"] else "sigmoid" if facts["nunits"] == facts["nsunits"] else "linear"
    model, predict = BUILDERS[target](widths, "sigmoid", output, skip="skip" in facts["layers"] and len(widths) == 3)
    probe = x[:5] if target == "torch" else {"source": [x[:5]], "into": [x[:5]]}
    made = transfer(NNET / f"{name}.rds", into=model, probe=probe)
    assert "cannot be run, so the outputs were not compared" in repr(made.proof)
    assert not made.plan.left
    assert not made.plan.untouched
    assert np.abs(predict(x) - wanted.reshape(len(x), -1)).max() < 1e-6 * max(1.0, np.abs(wanted).max())


def corpus(name):
    return path_of(BY_ID[name])


def written(source, target, **options):
    """Put one file's numbers into another, and check that all that is written is what the other had already."""
    made = transfer(corpus(source), into=corpus(target), **options)
    known = steelyard.weights(corpus(target))
    assert all(np.array_equal(made.model[row.target].numpy(), known[row.target].numpy()) for row in made.plan.rows)
    return {row.target: row.sources for row in made.plan.rows}


SILERO = ["silero-onnx-16k-op15", "silero-onnx-16k-sequence", "silero-onnx-openvino-16k"]
SIXTEEN = {"skip": ["*_8k*", "*stft*"]}
"""The files of silero hold nets for two rates of sampling, and the transform in front, which some keep without a layer."""


@pytest.mark.parametrize("target", SILERO)
@pytest.mark.parametrize("source", SILERO)
def test_silero_goes_from_one_onnx_file_into_another_with_equal_numbers(source, target):
    assert len(written(source, target)) >= 14


@pytest.mark.parametrize("target", SILERO)
def test_the_16_khz_net_of_the_torchscript_file_of_silero_goes_into_onnx_files(target):
    assert len(written("silero-jit", target, **SIXTEEN)) >= 13


def test_the_two_equal_nets_of_silero_are_told_apart_only_by_whoever_knows():
    with pytest.raises(AmbiguityError, match="nothing tells which of"):
        transfer(corpus("silero-jit"), into=corpus("silero-onnx"))
    rules = {r"_model\.(.*)": r"If_0_then_branch__Inline_0__\1", r"_model_8k\.(.*)": r"If_0_else_branch__Inline_0__\1"}
    assert len(written("silero-jit", "silero-onnx", rules=rules, skip=["*stft*"])) >= 26


def test_two_equal_branches_are_not_told_apart_by_where_a_converter_left_a_bias():
    """The real and the imaginary kernels of basic-pitch: each file adds a bias to the other one of the two."""
    with pytest.raises(AmbiguityError, match="nothing tells which of"):
        transfer(corpus("basic-pitch-tflite"), into=corpus("basic-pitch-onnx"))
