"""Pickles and joblib files of scikit-learn and skorch, read without them and compared with the live objects."""

import gzip
import io
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Perceptron, Ridge, SGDClassifier, SGDOneClassSVM
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import BernoulliRBM, MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

import steelyard
from steelyard.errors import FormatError, UnsafeFileError


def mlp(**options):
    return MLPClassifier((6,), max_iter=3, random_state=0, **options)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(64, 5)
        self.head = nn.Linear(5, 10)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


def fitted(digits):
    """Trained estimators by name, with the arrays of their attributes by the names of weights."""
    x, y = digits
    x = x.astype("float64")

    def layers(model, prefix=""):
        return {
            f"{prefix}{attribute}.{i}": getattr(model, attribute)[i]
            for i in range(len(model.coefs_))
            for attribute in ("coefs_", "intercepts_")
        }

    def linear(model, prefix="", names=("coef_", "intercept_")):
        return {f"{prefix}{name}": np.asarray(getattr(model, name)) for name in names}

    plain, logistic, ridge = mlp().fit(x, y), LogisticRegression(max_iter=5).fit(x, y), Ridge().fit(x, y)
    rbm = BernoulliRBM(4, n_iter=1, random_state=0).fit(x)
    outliers = SGDOneClassSVM(max_iter=5, random_state=0).fit(x)
    search = GridSearchCV(Pipeline([("scale", StandardScaler()), ("net", mlp())]), {"net__alpha": [1e-3, 1e-2]}, cv=2).fit(x, y)
    bag = BaggingClassifier(LogisticRegression(max_iter=5), 2, random_state=0).fit(x, y)
    vote = VotingClassifier([("a", LogisticRegression(max_iter=5)), ("b", mlp())]).fit(x, y)
    stack = StackingClassifier([("a", LogisticRegression(max_iter=5)), ("b", mlp())], cv=2).fit(x, y)
    rest = OneVsRestClassifier(Perceptron(max_iter=3, random_state=0)).fit(x, y)
    calibrated = CalibratedClassifierCV(LogisticRegression(max_iter=5), cv=2).fit(x, y)
    target = TransformedTargetRegressor(MLPRegressor(hidden_layer_sizes=(4,), max_iter=2), transformer=StandardScaler()).fit(x, y)
    columns = Pipeline([("c", ColumnTransformer([("s", StandardScaler(), [0, 1])])), ("m", Ridge())]).fit(x, y)
    sparse = SGDClassifier(max_iter=5, penalty="l1", random_state=0).fit(x, y).sparsify()
    return {
        "mlp": (plain, layers(plain)),
        "logistic": (logistic, linear(logistic)),
        "ridge": (ridge, linear(ridge)),
        "rbm": (rbm, linear(rbm, names=("components_", "intercept_hidden_", "intercept_visible_"))),
        "outliers": (outliers, linear(outliers, names=("coef_", "offset_"))),
        "sparse": (sparse, {"coef_": sparse.coef_.toarray(), "intercept_": sparse.intercept_}),
        "search": (search, layers(search.best_estimator_[-1], "net.")),
        "bag": (bag, {k: v for i, e in enumerate(bag.estimators_) for k, v in linear(e, f"estimators_.{i}.").items()}),
        "vote": (vote, linear(vote.named_estimators_["a"], "a.") | layers(vote.named_estimators_["b"], "b.")),
        "stack": (
            stack,
            linear(stack.named_estimators_["a"], "a.")
            | layers(stack.named_estimators_["b"], "b.")
            | linear(stack.final_estimator_, "final_estimator_."),
        ),
        "rest": (rest, {k: v for i, e in enumerate(rest.estimators_) for k, v in linear(e, f"estimators_.{i}.").items()}),
        "calibrated": (
            calibrated,
            {
                k: v
                for i, e in enumerate(calibrated.calibrated_classifiers_)
                for k, v in linear(e.estimator, f"calibrated_classifiers_.{i}.").items()
            },
        ),
        "target": (target, layers(target.regressor_)),
        "columns": (columns, linear(columns[-1], "m.")),
        "dict": ({"net": plain, "w": np.arange(3.0)}, layers(plain, "net.") | {"w": np.arange(3.0)}),
        "list": ([ridge, plain], linear(ridge, "0.") | layers(plain, "1.")),
    }


@pytest.fixture(scope="module")
def models(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fitted(digits)


NAMES = [
    "mlp",
    "logistic",
    "ridge",
    "rbm",
    "outliers",
    "sparse",
    "search",
    "bag",
    "vote",
    "stack",
    "rest",
    "calibrated",
    "target",
    "columns",
    "dict",
    "list",
]


def assert_equal(weights, arrays):
    assert list(weights) == list(arrays)
    for name, array in arrays.items():
        assert weights[name].shape == array.shape
        assert weights[name].dtype == array.dtype.name
        assert weights[name].numpy().tobytes() == array.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_an_estimator_s_pickle_lists_its_arrays_under_its_own_names(tmp_path, models, name):
    model, arrays = models[name]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(model))
    weights = steelyard.weights(tmp_path / "a.pkl")
    assert_equal(weights, arrays)
    assert not weights.audit.findings


@pytest.mark.parametrize("name", NAMES)
def test_a_joblib_file_lists_the_same(tmp_path, models, name):
    model, arrays = models[name]
    joblib.dump(model, tmp_path / "a.joblib")
    assert_equal(steelyard.weights(tmp_path / "a.joblib"), arrays)


@pytest.mark.parametrize("protocol", range(6))
def test_every_pickle_protocol_is_read(tmp_path, models, protocol):
    model, arrays = models["search"]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(model, protocol=protocol))
    assert_equal(steelyard.weights(tmp_path / "a.pkl"), arrays)


@pytest.mark.parametrize("method", ["zlib", "gzip", "bz2", "lzma", "xz", "lz4"])
def test_every_compression_of_joblib_is_read(tmp_path, models, method):
    model, arrays = models["mlp"]
    joblib.dump(model, tmp_path / "a.joblib", compress=(method, 3))
    assert_equal(steelyard.weights(tmp_path / "a.joblib"), arrays)


def test_roles_axes_and_layers_are_those_of_the_estimator(tmp_path, models):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(models["search"][0]))
    facts = [(w.name, w.layer, str(w.role), w.axes) for w in steelyard.weights(tmp_path / "a.pkl").values()]
    assert facts[:2] == [("net.coefs_.0", "net.0", "kernel", "in out"), ("net.intercepts_.0", "net.0", "bias", "out")]


def test_reading_does_not_import_scikit_learn_or_numpy(tmp_path, models):
    joblib.dump(models["search"][0], tmp_path / "a.joblib")
    script = f"import sys, steelyard; steelyard.weights({str(tmp_path / 'a.joblib')!r}); print({{'sklearn', 'joblib', 'numpy', 'scipy'}} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_scope_all_lists_every_array(tmp_path, models):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(models["search"][0]))
    everything = steelyard.weights(tmp_path / "a.pkl", scope="all")
    scaler = models["search"][0].best_estimator_[0]
    assert everything["best_estimator_.steps.0.1.mean_"].numpy().tolist() == scaler.mean_.tolist()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_without_network_weights_are_refused_by_name(tmp_path, digits):
    x, y = digits
    for model, message in (
        (
            RandomForestClassifier(3, random_state=0).fit(x, y),
            "RandomForestClassifier of DecisionTreeClassifier has no network weights: it holds trees",
        ),
        (CountVectorizer().fit(["some words"]), "CountVectorizer has no network weights: it holds a vocabulary"),
        (Pipeline([("s", StandardScaler())]).fit(x), "Pipeline of StandardScaler has no network weights"),
        (GridSearchCV(mlp(), {"alpha": [0.1]}, cv=2, refit=False).fit(x, y), "refit=False"),
    ):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(model))
        with pytest.raises(FormatError, match=message):
            steelyard.weights(tmp_path / "a.pkl")


@pytest.fixture(scope="module")
def net(digits):
    x, y = digits
    return NeuralNetClassifier(Net, criterion=nn.CrossEntropyLoss, max_epochs=1, verbose=0).fit(x, y)


@pytest.mark.parametrize("way", ["pickle", "joblib", "params"])
def test_a_skorch_net_lists_its_module_s_names(tmp_path, net, way):
    path = tmp_path / {"pickle": "a.pkl", "joblib": "a.joblib", "params": "a.pt"}[way]
    if way == "pickle":
        path.write_bytes(pickle.dumps(net))
    elif way == "joblib":
        joblib.dump(net, path)
    else:
        net.save_params(f_params=path)
    weights = steelyard.weights(path)
    assert_equal(weights, {name: tensor.numpy() for name, tensor in net.module_.state_dict().items()})
    if way != "params":
        assert weights["body.weight"].axes == "out in"
        assert [finding for finding in weights.audit.findings if "Net" in finding.what]


def test_a_search_over_skorch_nets_lists_the_best_one(tmp_path, digits, net):
    x, y = digits
    search = GridSearchCV(net, {"lr": [0.01]}, cv=2).fit(x, y)
    joblib.dump(search, tmp_path / "a.joblib")
    expected = {name: tensor.numpy() for name, tensor in search.best_estimator_.module_.state_dict().items()}
    assert_equal(steelyard.weights(tmp_path / "a.joblib"), expected)


def test_a_pickled_module_is_read_like_a_saved_one(tmp_path, net):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(net.module_))
    weights = steelyard.weights(tmp_path / "a.pkl")
    assert_equal(weights, {name: tensor.numpy() for name, tensor in net.module_.state_dict().items()})


ARRAYS = {
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big": np.arange(4, dtype=">f4"),
    "bool": np.array([True, False]),
    "half": np.arange(3, dtype="float16"),
    "complex": np.array([1 + 2j]),
    "empty": np.zeros((0, 3)),
    "scalar": np.array(2.5),
    "number": np.float32(1.5),
    "long": np.arange(10_000),
    "objects": np.array([np.zeros(2), None, "x", np.ones((2, 2))], dtype=object),
}


@pytest.mark.parametrize("how", ["pickle 0", "pickle 2", "pickle 5", "joblib", "joblib xz"])
def test_arrays_of_every_kind_are_found_in_a_dict(tmp_path, how):
    path = tmp_path / "a.pkl"
    if how.startswith("pickle"):
        path.write_bytes(pickle.dumps(ARRAYS, protocol=int(how[-1])))
    else:
        joblib.dump(ARRAYS, path, compress=("xz", 1) if how.endswith("xz") else 0)
    weights = steelyard.weights(path)
    expected = {name: np.asarray(array) for name, array in ARRAYS.items() if name != "objects"}
    expected |= {"objects.0": np.zeros(2), "objects.3": np.ones((2, 2))}
    assert list(weights) == list(expected)
    for name, array in expected.items():
        assert weights[name].shape == array.shape
        assert weights[name].numpy().tobytes() == np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes(), (
            name
        )


def test_two_jax_arrays_in_a_pickle_are_tied_only_if_they_are_one(tmp_path):
    import jax.numpy as jnp

    one = jnp.ones(3)
    tree = {"layer": {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2), "again": jnp.zeros(2)}, "one": one, "same": one}
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(tree))
    found = steelyard.weights(tmp_path / "net.pkl")
    assert {name: weight.tied for name, weight in found.items() if weight.tied} == {"same": "one"}


def test_ml_dtypes_and_jax_arrays_in_pickles_are_read(tmp_path):
    import jax.numpy as jnp
    import ml_dtypes

    values = {"w": np.arange(4).astype(ml_dtypes.bfloat16), "j": jnp.arange(3.0), "b": jnp.arange(3, dtype=jnp.bfloat16)}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(values))
    weights = steelyard.weights(tmp_path / "a.pkl")
    assert [(w.name, w.dtype) for w in weights.values()] == [("w", "bfloat16"), ("j", "float32"), ("b", "bfloat16")]
    for name, array in values.items():
        assert weights[name].numpy().tobytes() == np.asarray(array).tobytes()


def test_an_uncompressed_array_is_read_on_request(tmp_path):
    joblib.dump({"w": np.zeros(1 << 24)}, tmp_path / "a.joblib")
    script = f"import steelyard; w = steelyard.weights({str(tmp_path / 'a.joblib')!r}); print(w.nbytes, *[l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    size, resident = map(int, run.stdout.split())
    assert size == 1 << 27
    assert resident < 40_000


def test_a_compressed_bomb_is_refused(tmp_path):
    with gzip.open(tmp_path / "a.pkl", "wb") as file:
        file.write(pickle.dumps(bytes(100 << 20)))
    with pytest.raises(FormatError, match="inflates"):
        steelyard.weights(tmp_path / "a.pkl")


def test_a_pickle_of_only_a_call_is_refused_and_the_call_is_shown(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("never",)

    class Worse:
        def __reduce__(self):
            import os

            return os.system, (f"touch {tmp_path}/ran",)

    (tmp_path / "a.pkl").write_bytes(pickle.dumps([Evil(), Worse()]))
    with pytest.raises(UnsafeFileError, match=r"would have run posix.system\('touch"):
        steelyard.weights(tmp_path / "a.pkl")
    assert not (tmp_path / "ran").exists()


def test_plain_data_has_no_weights(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"n": [1, 2.5, "x", None]}))
    assert dict(steelyard.weights(tmp_path / "a.pkl")) == {}


def test_a_sparse_matrix_with_coordinates_outside_its_shape_is_refused(tmp_path):
    model = SGDClassifier()
    model.coef_ = scipy.sparse.csr_matrix(np.eye(3))
    model.coef_.indices = np.array([0, 1, 9], dtype="int32")
    model.intercept_ = np.zeros(1)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(model))
    with pytest.raises(FormatError, match="outside"):
        steelyard.weights(tmp_path / "a.pkl")["coef_"].numpy()


def test_a_cut_file_is_refused(tmp_path, models):
    buffer = io.BytesIO()
    joblib.dump(models["mlp"][0], buffer)
    data = buffer.getvalue()
    for end in range(10, len(data), 701):
        (tmp_path / "a.joblib").write_bytes(data[:end])
        with pytest.raises(FormatError):
            steelyard.weights(tmp_path / "a.joblib")
