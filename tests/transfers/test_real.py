"""Published and fitted nets: scikit-learn estimators, nnet fits saved by R, and real files of one net in two formats."""

import json
from itertools import pairwise

import carried
import numpy as np
import pytest

import steelyard
from steelyard.errors import AmbiguityError
from steelyard.transfers.transfer import transfer

NNET = carried.folder("r") / "nnet"
MODELS = [path.stem for path in sorted(NNET.glob("*.json")) if "layers" in json.loads(path.read_text())]


def torch_mlp(widths, hidden, output, skip=False):
    """Build a PyTorch net of dense layers in float64, with other names and in another order."""
    import torch
    from torch import nn

    class MLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.over = nn.Linear(widths[0], widths[-1], bias=False) if skip else None
            steps = list(pairwise(widths))
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
    """Fit a perceptron on the digits: many classes, two, or two targets of a regression; two of its layers have one shape."""
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
    if (facts["input_names"] or [""])[0] == "(Intercept)":  # multinom: a column of ones, which is the bias in other frameworks
        x, widths[0] = x[:, 1:], widths[0] - 1
    output = "softmax" if facts["softmax"] else "sigmoid" if facts["nunits"] == facts["nsunits"] else "linear"
    model, predict = BUILDERS[target](widths, "sigmoid", output, skip="skip" in facts["layers"] and len(widths) == 3)
    probe = x[:5] if target == "torch" else {"source": [x[:5]], "into": [x[:5]]}
    made = transfer(NNET / f"{name}.rds", into=model, probe=probe)
    assert "cannot be run, so the outputs were not compared" in repr(made.proof)
    assert not made.plan.unused
    assert not made.plan.unchanged
    assert np.abs(predict(x) - wanted.reshape(len(x), -1)).max() < 1e-6 * max(1.0, np.abs(wanted).max())


def corpus(name):
    return carried.path_of(next(entry for entry in carried.real()["entries"] if entry["id"] == name))


def written(source, target, **options):
    """Put one file's numbers into another, and check that all written numbers are those that the other had already."""
    made = transfer(corpus(source), into=corpus(target), **options)
    known = steelyard.weights(corpus(target))
    assert all(np.array_equal(made.model[row.target].numpy(), known[row.target].numpy()) for row in made.plan.rows)
    return {row.target: row.sources for row in made.plan.rows}


def mtcnn(name):
    """Build a net of MTCNN in Keras as its authors did: two of the three transpose the image before they flatten it."""
    from keras import Input, Model, layers

    def conv(x, nth, out, size, pool=0, padding="same"):
        x = layers.PReLU(shared_axes=[1, 2], name=f"prelu{nth}")(layers.Conv2D(out, size)(x))
        return layers.MaxPooling2D(pool, 2, padding)(x) if pool else x

    def dense(x, out):
        x = layers.Flatten()(layers.Permute((2, 1, 3))(x))
        return layers.PReLU()(layers.Dense(out)(x))

    def net(size, steps, heads, wide=0):
        x = given = Input((*size, 3))
        for nth, step in enumerate(steps, start=1):
            x = conv(x, nth, *step)
        x = dense(x, wide) if wide else x
        return Model(given, [layers.Dense(out)(x) if wide else layers.Conv2D(out, 1)(x) for out in heads])

    if name == "pnet":
        return net((None, None), [(10, 3, 2), (16, 3), (32, 3)], [4, 2])
    if name == "rnet":
        return net((24, 24), [(28, 3, 3), (48, 3, 3, "valid"), (64, 2)], [4, 2], 128)
    return net((48, 48), [(32, 3, 3), (64, 3, 3, "valid"), (64, 3, 2), (128, 2)], [4, 10, 2], 256)


def listed(name):
    """Return the numbers of a net of MTCNN as its authors saved them: a list, in the order of Keras."""
    return [weight.numpy() for weight in steelyard.weights(corpus(f"mtcnn-{name}-lz4")).values()]


def test_the_first_net_of_mtcnn_goes_from_a_pytorch_file_into_keras():
    model = mtcnn("pnet")
    made = transfer(corpus("facenet-pnet"), into=model)
    assert not made.plan.unchanged
    for found, known in zip(model.get_weights(), listed("pnet"), strict=True):
        assert np.array_equal(found, known)


@pytest.mark.shared
def test_the_first_net_of_mtcnn_goes_into_the_file_of_tensorflow_1_whose_images_are_transposed():
    made = transfer(corpus("facenet-pnet"), into=corpus("facenet-det1-npy"))
    known = steelyard.weights(corpus("facenet-det1-npy"))
    assert sorted(row.target for row in made.plan.rows) == sorted(known)
    for name, weight in known.items():
        array = weight.numpy()
        assert np.array_equal(made.model[name].numpy(), array.swapaxes(0, 1) if array.ndim == 4 else array)


@pytest.mark.parametrize("name", ["rnet", "onet"])
def test_the_other_nets_of_mtcnn_swap_the_sides_of_the_image_before_it_is_flattened_which_is_refused(name):
    """A PyTorch file does not show that its net does so too; except for that layer all numbers are the known ones."""
    model = mtcnn(name)
    with pytest.raises(AmbiguityError, match=r"the axes of the image at dense. .* are permuted where it is flattened"):
        transfer(corpus(f"facenet-{name}"), into=model)
    first = "dense4" if name == "rnet" else "dense5"
    theirs = next(layer.name for layer in model.layers if layer.__class__.__name__ == "Dense")
    made = transfer(corpus(f"facenet-{name}"), into=model, skip=[first, theirs])
    known = dict(zip([weight.path for weight in model.weights], listed(name), strict=True))
    assert sorted(made.plan.unchanged) == sorted(weight.path for weight in model.get_layer(theirs).weights)
    for weight in model.weights:
        assert weight.path in made.plan.unchanged or np.array_equal(np.asarray(weight), known[weight.path])


SILERO = ["silero-onnx-16k-op15", "silero-onnx-16k-sequence", "silero-onnx-openvino-16k"]
SIXTEEN = {"skip": ["*_8k*", "*stft*"]}
"""The files of silero have nets for two sampling rates, and the transform before them, which in some is not a layer."""


@pytest.mark.parametrize("target", SILERO)
@pytest.mark.parametrize("source", SILERO)
def test_silero_goes_from_one_onnx_file_into_another_with_equal_numbers(source, target):
    assert len(written(source, target)) >= 14


@pytest.mark.parametrize("target", SILERO)
def test_the_16_khz_net_of_the_torchscript_file_of_silero_goes_into_onnx_files(target):
    assert len(written("silero-jit", target, **SIXTEEN)) >= 13


def test_only_the_user_can_distinguish_the_two_equal_nets_of_silero():
    with pytest.raises(AmbiguityError, match="it is not known which of"):
        transfer(corpus("silero-jit"), into=corpus("silero-onnx"))
    rules = {r"_model\.(.*)": r"If_0_then_branch__Inline_0__\1", r"_model_8k\.(.*)": r"If_0_else_branch__Inline_0__\1"}
    assert len(written("silero-jit", "silero-onnx", rules=rules, skip=["*stft*"])) >= 26


def test_a_bias_that_a_converter_moved_does_not_distinguish_two_equal_branches():
    """The real and the imaginary kernels of basic-pitch: each file adds a bias to the other one of the two."""
    with pytest.raises(AmbiguityError, match="it is not known which of"):
        transfer(corpus("basic-pitch-tflite"), into=corpus("basic-pitch-onnx"))


def test_a_layer_after_a_branch_does_not_have_the_net_input_as_its_input():
    layers = {layer.name: layer for layer in steelyard.weights(corpus("silero-onnx-16k-op15")).graph.layers}
    assert layers["/model/decoder/decoder/1/Relu"].inputs is None
    assert layers["model.encoder.1.reparam_conv"].inputs == ("/model/encoder/0/activation/Relu",)
