"""Programs of scikit-learn, skorch and files: the golden nets of the field, and what their graphs do not show."""

import json
import sys

import numpy as np
import pytest
import torch
from carried import SHARED
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, QuantileTransformer, RobustScaler, StandardScaler
from skorch import NeuralNetRegressor
from torch import nn

import steelyard
from steelyard.device.program import program_of, scalers_folded
from steelyard.device.program.linear import Affine
from steelyard.errors import ShapeError, UnknownModelError

GOLDEN = SHARED / "embedded" / "golden"
NETS = ["t01_mlp_tanh_softmax", "t02_mlp_relu_wide", "t03_conv_bn_pool", "t05_lstm3", "t06_gru_bi", "t07_conv1d", "t08_residual",
        "t09_embedding", "t10_tied", "t11_half"]  # fmt: skip
FILES = ["k01_conv_same_last.keras", "k02_depthwise.keras", "k04_gru_v1.keras", "k05_functional.keras", "k06_swish_gelu.keras",
         "s01_mlp_iris.joblib", "s03_reg.joblib", "s04_logreg.joblib"]  # fmt: skip


def apart(made, answer):
    answer = np.asarray(answer, np.float64)
    return float(np.abs(made.reshape(answer.shape) - answer).max() / np.abs(answer).max())


@pytest.fixture
def classes(monkeypatch):
    """The classes of the golden nets, which were pickled by their script."""
    monkeypatch.syspath_prepend(str(GOLDEN))
    yield
    sys.modules.pop("nets", None)


@pytest.mark.shared
@pytest.mark.parametrize("name", NETS)
@pytest.mark.usefixtures("classes")
def test_the_program_of_a_golden_net_has_its_outputs(name):
    known = np.load(GOLDEN / f"{name}.npz")
    program = program_of(torch.load(GOLDEN / f"{name}.whole.pt", weights_only=False), known["x"])
    for accumulate in ("float32", "float64"):
        assert apart(program.run(known["x"], accumulate=accumulate), known["y64"]) <= 1e-6


@pytest.mark.shared
def test_the_program_of_a_golden_net_in_bfloat16_has_its_outputs_on_inputs_that_it_can_hold():
    known = np.load(GOLDEN / "t12_bf16.npz")
    x = torch.from_numpy(known["x"]).bfloat16().float().numpy()
    program = program_of(torch.load(GOLDEN / "t12_bf16.whole.pt", weights_only=False), x)
    assert apart(program.run(x), known["y64"]) <= 1e-6


@pytest.mark.shared
@pytest.mark.parametrize("name", [*FILES, "t01_mlp_tanh_softmax.whole.pt", "t03_conv_bn_pool.whole.pt", "t07_conv1d.whole.pt"])
def test_the_program_of_a_golden_file_has_the_outputs_of_its_net(name):
    known = np.load(GOLDEN / f"{name.partition('.')[0]}.npz")
    program = program_of(GOLDEN / name, known["x"])
    assert apart(program.run(known["x"]), known["y64"] if "y64" in known else known["y"]) <= 1e-6


@pytest.mark.shared
@pytest.mark.parametrize("name", ["r01_nnet", "r02_nnet_skip"])
def test_the_program_of_a_fit_of_r_has_its_predictions(name):
    index = json.loads((GOLDEN / "index.json").read_text())[name]
    table = np.genfromtxt(GOLDEN / f"{name}.csv", delimiter=",", skip_header=1)
    inputs = int(index["table"].split(": ")[1].split()[0]) if "table" in index else 5
    program = program_of(GOLDEN / f"{name}.rds")
    assert apart(program.run(table[:, :inputs], dtype="float64"), table[:, inputs:]) <= 1e-14
    assert apart(program.run(table[:, :inputs]), table[:, inputs:]) <= 1e-6


@pytest.mark.shared
def test_codes_of_a_quantised_file_are_refused():
    with pytest.raises(ShapeError):
        program_of(GOLDEN / "q01_int8.tflite", np.zeros((1, 12, 12, 3), "float32"))


def data(classes):
    rng = np.random.default_rng(0)
    return rng.standard_normal((40, 5)), rng.integers(0, classes, 40)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("classes", [2, 3])
def test_the_program_of_a_fitted_model_has_its_probabilities(classes):
    x, y = data(classes)
    for model in (LogisticRegression(), MLPClassifier((4,), activation="logistic", max_iter=3)):
        program = program_of(model.fit(x, y))
        answer = model.predict_proba(x)[:, -classes if classes > 2 else 1 :]
        assert apart(program.run(x, dtype="float64"), answer) <= 1e-14
        assert apart(program.run(x), answer) <= 1e-6


def test_the_program_of_a_regression_has_the_inverse_of_its_link():
    x, y = data(4)
    model = PoissonRegressor().fit(x, y)
    assert apart(program_of(model).run(x), model.predict(x)) <= 1e-6


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("scalers", [
    [StandardScaler()], [StandardScaler(with_mean=False), MinMaxScaler((-1, 2))], [RobustScaler(), "passthrough"],
    [MaxAbsScaler()], [PCA(3)], [StandardScaler(), PCA(3, whiten=True)], [TruncatedSVD(3)],
], ids=str)  # fmt: skip
def test_a_pipeline_scales_the_inputs_of_its_net(scalers):
    x, y = data(3)
    x = x * [1, 20, 0.1, 3, 1] + [100, 0, 0, -2, 0]
    for model in (LogisticRegression(), MLPClassifier((4,), max_iter=3)):
        pipeline = make_pipeline(*scalers, model).fit(x, y)
        program = program_of(pipeline, x)
        assert apart(program.run(x, dtype="float64"), pipeline.predict_proba(x)) <= 1e-12
        assert apart(program.run(x), pipeline.predict_proba(x)) <= 1e-5  # a centre of 100 costs digits in float32
        short = scalers_folded(program)
        assert len(short.steps) < len(program.steps)
        assert not any(isinstance(step.operation, Affine) for step in short.steps)
        assert apart(short.run(x, dtype="float64"), pipeline.predict_proba(x)) <= 1e-12
        assert apart(short.run(x), pipeline.predict_proba(x)) <= 2e-5


def test_a_search_over_pipelines_is_its_best_one():
    x, y = data(2)
    search = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1]}, cv=2)
    assert apart(program_of(search.fit(x, y)).run(x), search.predict_proba(x)[:, 1:]) <= 1e-6


@pytest.mark.parametrize("scaler", [QuantileTransformer(n_quantiles=5), MinMaxScaler(clip=True)])
def test_a_pipeline_with_a_step_that_is_not_linear_is_refused_by_its_name(scaler):
    x, y = data(2)
    with pytest.raises(UnknownModelError, match=type(scaler).__name__.lower()):
        program_of(make_pipeline(scaler, LogisticRegression()).fit(x, y))


def test_the_program_of_a_net_of_skorch_is_that_of_its_module():
    torch.manual_seed(0)
    net = NeuralNetRegressor(
        nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 1)), max_epochs=1, train_split=None, verbose=0
    )
    x = data(2)[0].astype("float32")
    net.fit(x, x[:, :1])
    assert apart(program_of(net, x).run(x), net.predict(x)) <= 1e-6


class Perceptron(nn.Module):
    """A net of skorch, whose size a search chooses."""

    def __init__(self, units=3):
        super().__init__()
        self.first, self.second = nn.Linear(5, units), nn.Linear(units, 1)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


def test_a_search_over_nets_of_skorch_is_its_best_one():
    torch.manual_seed(0)
    x = data(2)[0].astype("float32")
    net = NeuralNetRegressor(Perceptron, max_epochs=1, train_split=None, verbose=0)
    search = GridSearchCV(net, {"module__units": [2]}, cv=2).fit(x, x[:, :1])
    assert apart(program_of(search, x).run(x), search.predict(x)) <= 1e-6


def test_a_file_of_a_whole_module_is_the_program_of_its_convolutions(tmp_path):
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.GELU()), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    ).eval()  # fmt: skip
    torch.save(net, tmp_path / "net.pt")
    x = np.random.default_rng(0).standard_normal((2, 2, 8, 8)).astype("float32")
    answer = net.double()(torch.from_numpy(x).double()).detach().numpy()
    assert apart(program_of(tmp_path / "net.pt", x).run(x, dtype="float64"), answer) <= 1e-9


def test_a_file_of_weights_alone_has_no_program(tmp_path):
    steelyard.save(nn.Linear(3, 2), tmp_path / "net.safetensors")
    with pytest.raises(ShapeError, match="needs the graph of the net"):
        program_of(tmp_path / "net.safetensors", np.zeros((1, 3), "float32"))


def test_a_net_whose_shapes_are_not_known_asks_for_an_example():
    with pytest.raises(ShapeError, match="pass an example as probe="):
        program_of(nn.Sequential(nn.Conv2d(1, 2, 3)))


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.AvgPool2d(2, divisor_override=3), "divisor=3"),
        (nn.AdaptiveMaxPool2d(2), "whose windows differ in size"),
        (nn.LPPool2d(2, 2), "a pool of the kind 'l2'"),
        (nn.Upsample(scale_factor=2, mode="nearest-exact"), "interpolates by 'nearest-exact'"),
        (nn.BatchNorm2d(2, track_running_stats=False), "has statistics=batch"),
        (nn.GroupNorm(2, 2, affine=False), "only a run proves it"),
        (nn.Softmin(1), "a softmin"),
        (nn.Flatten(0), "works along axis 0"),
        (nn.PixelShuffle(2), "is not known"),
    ],
    ids=str,
)
def test_a_file_with_a_setting_that_is_not_known_is_refused_by_the_layer(layer, why, tmp_path):
    torch.save(nn.Sequential(nn.Conv2d(1, 2, 1), layer), tmp_path / "net.pt")
    with pytest.raises(ShapeError) as error:
        program_of(tmp_path / "net.pt", np.zeros((1, 1, 5, 5), "float32"))
    assert why in str(error.value)
    assert "'1'" in str(error.value)
