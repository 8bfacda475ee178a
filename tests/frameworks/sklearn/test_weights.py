"""scikit-learn: the attributes of each estimator as weights, through searches, pipelines and ensembles."""

import copy
import warnings

import joblib
import numpy as np
import pytest
from outputs import assert_close
from scipy.sparse import issparse
from sklearn import linear_model as lm
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.covariance import GraphicalLassoCV
from sklearn.datasets import load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes HalvingGridSearchCV importable
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.neural_network import BernoulliRBM, MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC, LinearSVR
from sklearn.tree import DecisionTreeClassifier

import steelyard
from steelyard.errors import LossyError, NotFittedError, ShapeError, UnknownModelError
from steelyard.testing import check_model

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few steps on purpose


def mlp(**settings):
    return MLPClassifier(**{"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0} | settings)


def same(weight, array):
    """Whether two arrays are the same numbers in memory, not a copy."""
    assert np.array_equal(weight.numpy(), array)
    assert weight.dtype == np.asarray(array).dtype.name
    return np.shares_memory(weight.numpy(), array)


# Multilayer perceptrons


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_perceptron_is_listed_layer_by_layer(digits, kind, dtype):
    x, y = digits
    model = kind(hidden_layer_sizes=(8, 6), max_iter=3, random_state=0).fit(x.astype(dtype), y)
    w = steelyard.weights(model)
    assert list(w) == ["coefs_.0", "intercepts_.0", "coefs_.1", "intercepts_.1", "coefs_.2", "intercepts_.2"]
    assert list(w.layers) == ["0", "1", "2"]
    assert [(str(v.role), v.axes, v.trainable) for v in w.values()] == [("kernel", "in out", True), ("bias", "out", True)] * 3
    for layer in range(3):
        assert same(w[f"coefs_.{layer}"], model.coefs_[layer])
        assert same(w[f"intercepts_.{layer}"], model.intercepts_[layer])
    own = [a.ravel() for pair in zip(model.coefs_, model.intercepts_, strict=True) for a in pair]
    assert w.to_vector().dtype == dtype
    assert np.array_equal(w.to_vector(), np.concatenate(own))


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_perceptron_predicts_as_the_source_of_its_weights(digits, solver, dtype):
    x, y = digits[0].astype(dtype), digits[1]
    one, other = (mlp(solver=solver, random_state=seed).fit(x, y) for seed in (1, 2))
    assert not np.array_equal(one.predict_proba(x), other.predict_proba(x))
    arrays = other.coefs_
    vector = steelyard.weights(one).to_vector()
    assert steelyard.weights(other).assign(vector) is other
    assert other.coefs_ is arrays
    assert_close(one.predict_proba(x), other.predict_proba(x))
    assert not np.shares_memory(other.coefs_[0], vector)


def test_training_continues_from_the_assigned_weights(digits):
    x, y = digits
    classes = np.unique(y)
    one, other = (mlp(random_state=seed).partial_fit(x, y, classes=classes) for seed in (1, 2))
    listed = steelyard.weights(other)
    listed.assign(steelyard.weights(one).arrays())
    before = listed["coefs_.0"].numpy().copy()
    other.partial_fit(x, y)
    moved = np.abs(listed["coefs_.0"].numpy() - before)
    assert 0 < moved.max() < 0.05  # a step of Adam from there, not from its own old place
    assert np.array_equal(listed["coefs_.0"].numpy(), other.coefs_[0])


def test_the_list_follows_a_model_that_is_fitted_again(digits):
    x, y = digits
    model = mlp().fit(x, y)
    w = steelyard.weights(model)
    old = w.to_vector()
    model.set_params(random_state=5).fit(x, y)
    assert np.array_equal(w["coefs_.1"].numpy(), model.coefs_[1])
    assert not np.array_equal(w.to_vector(), old)
    w.assign(old)
    assert np.array_equal(model.coefs_[0].ravel(), old[: 64 * 8])


def test_a_model_fitted_to_another_shape_must_be_listed_again(digits):
    x, y = digits
    model = mlp().fit(x, y)
    w = steelyard.weights(model)
    vector = w.to_vector()
    model.set_params(hidden_layer_sizes=(9,)).fit(x, y)
    for use in (w["coefs_.0"].numpy, w.to_vector, lambda: w.assign(vector), lambda: w.assign({"coefs_.0": np.zeros((64, 8))})):
        with pytest.raises(ShapeError, match=r"coefs_.0 has changed its shape .* list the model's weights again"):
            use()
    ridge = lm.Ridge().fit(x, y)  # not all in one memory, so its framework writes
    w = steelyard.weights(ridge)
    ridge.fit(x[:, :9], y)
    with pytest.raises(
        ShapeError, match=r"coef_ of the Ridge is float32 of shape \(9,\) now, and was listed as float32 of shape \(64,\)"
    ):
        w.assign({"coef_": np.zeros(64), "intercept_": 1.0})


def test_assigning_some_weights_leaves_the_rest_unchanged(digits):
    x, y = digits
    model = mlp().fit(x, y)
    before = copy.deepcopy(model)
    kernels = steelyard.weights(model).select(role="kernel")
    kernels.assign({name: weight.numpy() * (np.abs(weight.numpy()) > 0.1) for name, weight in kernels.items()})
    assert (model.coefs_[0] == 0).sum() > (before.coefs_[0] == 0).sum()
    assert np.array_equal(model.intercepts_[0], before.intercepts_[0])


def test_arrays_that_do_not_fit_are_refused_and_nothing_is_written(digits):
    x, y = digits
    model = mlp().fit(x.astype("float32"), y)
    before = steelyard.weights(model).to_vector()
    w = steelyard.weights(model)
    with pytest.raises(ShapeError, match=r"coefs_.0 has shape \(64, 8\), the value has \(8, 64\)"):
        w.assign({"intercepts_.0": np.ones(8), "coefs_.0": np.zeros((8, 64))})
    with pytest.raises(LossyError, match=r"1e\+300 at \[3\] does not fit into float32"):
        w.assign({"coefs_.0": np.ones((64, 8)), "intercepts_.0": np.where(np.arange(8) == 3, 1e300, 0)})
    with pytest.raises(ShapeError, match=r"did you mean 'coefs_\.1'"):
        w.assign({"coefs_1": np.zeros((8, 10))})
    assert np.array_equal(w.to_vector(), before)


def test_a_model_loaded_as_a_read_only_memory_map_takes_new_weights(digits, tmp_path):
    x, y = digits
    trained, blank = mlp().fit(x, y), mlp(random_state=3).fit(x, y)
    joblib.dump(blank, tmp_path / "net.joblib")
    mapped = joblib.load(tmp_path / "net.joblib", mmap_mode="r")
    assert not mapped.coefs_[0].flags.writeable
    vector = steelyard.weights(trained).to_vector()
    steelyard.weights(mapped).assign(vector)
    assert np.array_equal(steelyard.weights(mapped).to_vector(), vector)
    assert_close(mapped.predict_proba(x), trained.predict_proba(x))


# Linear models


def deprecated(kind, **settings):
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        return kind(**settings)


CLASSIFIERS = [
    lm.SGDClassifier(max_iter=5, random_state=0),
    lm.SGDClassifier(max_iter=5, random_state=0, average=True),
    lm.Perceptron(max_iter=5),
    deprecated(lm.PassiveAggressiveClassifier, max_iter=5),
    lm.LogisticRegression(max_iter=5),
    lm.LogisticRegressionCV(max_iter=3, cv=2, Cs=2, l1_ratios=(0,), scoring="accuracy", use_legacy_attributes=False),
    lm.RidgeClassifier(),
    lm.RidgeClassifierCV(),
    LinearSVC(max_iter=10),
    LinearDiscriminantAnalysis(),
]
REGRESSORS = [
    lm.SGDRegressor(max_iter=5),
    deprecated(lm.PassiveAggressiveRegressor, max_iter=5),
    lm.LinearRegression(),
    lm.Ridge(),
    lm.RidgeCV(),
    lm.Lasso(alpha=0.1),
    lm.ElasticNet(alpha=0.1),
    lm.HuberRegressor(max_iter=5),
    lm.BayesianRidge(),
    LinearSVR(max_iter=10),
]


def kind_of(model):
    return type(model).__name__


def changed_and_back(model, x):
    """Zero the weights, assign them as a vector, and compare the predictions."""
    w = steelyard.weights(check_model(model))
    before, vector = getattr(model, "decision_function", model.predict)(x), w.to_vector()
    assert w.assign({name: np.zeros(weight.shape) for name, weight in w.items()}) is model
    assert not getattr(model, "decision_function", model.predict)(x).any()
    w.assign(vector)
    assert_close(getattr(model, "decision_function", model.predict)(x), before)


@pytest.mark.parametrize("model", CLASSIFIERS)
@pytest.mark.parametrize("classes", [2, 3])
def test_linear_classifiers_hold_one_row_a_class(digits, model, classes):
    x, y = digits[0][digits[1] < classes], digits[1][digits[1] < classes]
    model.fit(x[:, 2:6], y)
    w = steelyard.weights(model)
    assert list(w) == ["coef_", "intercept_"]
    assert (w["coef_"].role, w["coef_"].layer, w["intercept_"].role) == ("kernel", "", "bias")
    assert w["coef_"].axes == ("out in" if model.coef_.ndim == 2 else "in")
    assert w["intercept_"].axes == "out"
    same(w["coef_"], model.coef_)
    assert same(w["intercept_"], model.intercept_)
    assert np.array_equal(w.to_vector(), np.concatenate([model.coef_.ravel(), model.intercept_]))
    changed_and_back(model, x[:, 2:6])


@pytest.mark.parametrize("model", REGRESSORS, ids=kind_of)
def test_linear_regressors_hold_one_number_a_feature(digits, model):
    x, y = digits[0][:, 2:6].astype("float64"), digits[1].astype("float64")
    model.fit(x, y)
    w = steelyard.weights(model)
    assert (w["coef_"].shape, w["coef_"].axes) == ((4,), "in")
    assert same(w["coef_"], model.coef_)
    same(w["intercept_"], model.intercept_)
    assert w["intercept_"].shape == np.shape(model.intercept_)  # a single number, or an array of one
    assert w["intercept_"].axes == ("out" if np.ndim(model.intercept_) else "")
    assert np.array_equal(w.to_vector(), np.append(model.coef_, model.intercept_))
    kind = type(model.intercept_)
    changed_and_back(model, x)
    assert type(model.intercept_) is kind


@pytest.mark.parametrize("model", [lm.LinearRegression(), lm.Ridge(), lm.MultiTaskLasso(alpha=0.01)], ids=kind_of)
def test_several_targets_make_rows_in_either_memory_order(digits, model):
    x, y = digits[0][:, 2:6].astype("float64"), np.c_[digits[1], -digits[1] / 3.0]
    model.fit(x, y)
    w = steelyard.weights(model)
    assert (w["coef_"].shape, w["coef_"].axes) == ((2, 4), "out in")
    assert np.array_equal(w.to_vector(), np.concatenate([model.coef_.ravel(), model.intercept_]))
    assert np.array_equal(w["coef_"].read(2, 7), model.coef_.ravel()[2:7])
    changed_and_back(model, x)


@pytest.mark.parametrize(
    "model",
    [lm.LinearRegression(fit_intercept=False), lm.LogisticRegression(fit_intercept=False), LinearSVC(fit_intercept=False)],
    ids=kind_of,
)
def test_an_intercept_that_is_not_fitted_is_listed_but_not_trainable(digits, model):
    x, y = digits[0][:, 2:6].astype("float64"), digits[1]
    model.fit(x, y)
    w = steelyard.weights(model)
    assert w["intercept_"].shape == np.shape(model.intercept_)
    assert not w["intercept_"].numpy().any()
    assert list(w.select(trainable=True)) == ["coef_"]
    shifted = model.intercept_ + 1.5
    output = getattr(model, "decision_function", model.predict)
    before = output(x)
    w.assign({"intercept_": shifted})
    assert np.allclose(output(x), before + 1.5)  # the prediction adds it all the same


def test_the_offset_of_a_one_class_svm_is_not_a_bias(digits):
    x = digits[0]
    model = lm.SGDOneClassSVM(max_iter=5, random_state=0).fit(x)
    w = steelyard.weights(model)
    assert [(name, str(v.role), v.axes) for name, v in w.items()] == [("coef_", "kernel", "in"), ("offset_", "offset", "out")]
    assert np.allclose(x @ w["coef_"].numpy() - w["offset_"].numpy(), model.decision_function(x))
    changed_and_back(model, x)


@pytest.mark.parametrize("kind", [lm.LogisticRegression, lm.SGDClassifier, lm.SGDRegressor])
def test_sparse_coefficients_are_read_densely_and_stay_sparse(digits, kind):
    x, y = digits
    model = kind(max_iter=20, **({"penalty": "l1"} if kind is not lm.LogisticRegression else {})).fit(x, y)
    if kind is lm.LogisticRegression:
        model.coef_[np.abs(model.coef_) < 0.2] = 0
    dense = copy.deepcopy(model)
    model.sparsify()
    assert issparse(model.coef_)
    w = steelyard.weights(model)
    assert w["coef_"].shape == model.coef_.shape
    assert np.array_equal(w["coef_"].numpy(), np.reshape(dense.coef_, model.coef_.shape))
    assert np.array_equal(w["coef_"].read(70, 200), dense.coef_.ravel()[70:200])
    assert np.array_equal(w.to_vector(), steelyard.weights(dense).to_vector())
    check_model(model)
    before, held = model.predict(x), type(model.coef_)
    stored = model.coef_.nnz
    w.assign({"coef_": w["coef_"].numpy() * 2, "intercept_": w["intercept_"].numpy() * 2})
    assert (type(model.coef_), model.coef_.nnz) == (held, stored)
    assert np.array_equal(w["coef_"].numpy().ravel(), 2 * dense.coef_.ravel())
    assert np.allclose(model.predict(x), 2 * before if kind is lm.SGDRegressor else before)
    model.densify()
    with pytest.raises(ShapeError, match="coef_ has changed"):  # an array now, a sparse matrix when it was listed
        w["coef_"].numpy()


def test_a_boltzmann_machine_has_a_kernel_and_two_biases(digits):
    x, _ = digits
    one, other = (BernoulliRBM(n_components=5, n_iter=1, random_state=seed).fit(x) for seed in (1, 2))
    w = steelyard.weights(one)
    assert [(n, v.shape, str(v.role), v.axes) for n, v in w.items()] == [
        ("components_", (5, 64), "kernel", "out in"),
        ("intercept_hidden_", (5,), "bias", "out"),
        ("intercept_visible_", (64,), "bias", "in"),
    ]
    own = (one.components_, one.intercept_hidden_, one.intercept_visible_)
    assert np.array_equal(w.to_vector(), np.concatenate([a.ravel() for a in own]))
    steelyard.weights(other).assign(w.to_vector())
    assert_close(one.transform(x), other.transform(x))


# Wrappers of one estimator


@pytest.mark.parametrize(
    "search",
    [
        GridSearchCV(mlp(), {"hidden_layer_sizes": [(3,), (4,)]}, cv=2),
        RandomizedSearchCV(mlp(), {"hidden_layer_sizes": [(3,), (4,)]}, n_iter=1, cv=2, random_state=0),
        HalvingGridSearchCV(mlp(), {"alpha": [0.1, 0.001]}, cv=2, min_resources=200, max_resources=400),
    ],
    ids=kind_of,
)
def test_a_search_shows_its_best_estimator(digits, search):
    x, y = digits
    search.fit(x, y)
    w = steelyard.weights(search)
    assert list(w) == ["coefs_.0", "intercepts_.0", "coefs_.1", "intercepts_.1"]
    assert same(w["coefs_.1"], search.best_estimator_.coefs_[1])
    assert w.assign(np.zeros(w.size)) is search
    assert np.allclose(search.predict_proba(x), 0.1)


def test_the_best_estimator_is_the_refitted_one_and_not_the_search_s_template(digits):
    x, y = digits
    search = GridSearchCV(mlp().fit(x, y), {"hidden_layer_sizes": [(3,)]}, cv=2)
    with pytest.raises(NotFittedError, match="this GridSearchCV is not fitted"):
        steelyard.weights(search)  # its template is fitted, the search is not
    assert steelyard.weights(search.fit(x, y))["coefs_.0"].shape == (64, 3)


def test_the_error_for_a_search_without_refit_suggests_a_refit(digits):
    search = GridSearchCV(lm.RidgeClassifier(), {"alpha": [1, 2]}, cv=2, refit=False).fit(*digits)
    with pytest.raises(
        NotFittedError, match=r"this GridSearchCV was fitted with refit=False and kept no estimator; use refit=True"
    ):
        steelyard.weights(search)


@pytest.mark.parametrize(
    "model",
    [
        mlp(),
        lm.SGDClassifier(),
        BernoulliRBM(),
        GridSearchCV(mlp(), {"alpha": [1]}),
        GridSearchCV(mlp(), {"alpha": [1]}, refit=False),
        make_pipeline(StandardScaler(), mlp()),
        FeatureUnion([("rbm", BernoulliRBM())]),
        ColumnTransformer([("rbm", BernoulliRBM(), [0])]),
        VotingClassifier([("net", mlp())]),
        BaggingClassifier(mlp()),
        TransformedTargetRegressor(MLPRegressor()),
        FrozenEstimator(mlp()),
    ],
)
def test_the_error_before_fit_names_the_class_and_the_remedy(model):
    with pytest.raises(NotFittedError, match=rf"this {kind_of(model)} is not fitted; call .fit\(\) first"):
        steelyard.weights(model)


def test_a_member_that_is_not_fitted_is_named_by_its_place(digits):
    model = Pipeline([("rbm", BernoulliRBM()), ("net", mlp().fit(*digits))])
    with pytest.raises(NotFittedError, match="this BernoulliRBM at 'rbm' is not fitted"):
        steelyard.weights(model)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda net, x, y: FrozenEstimator(net.fit(x, y)),
        lambda net, x, y: SelectFromModel(net).fit(x, y),
        lambda net, x, y: RFE(net, n_features_to_select=60, step=4).fit(x, y),
        lambda net, x, y: FixedThresholdClassifier(net).fit(x, y > 4),
    ],
    ids=["frozen", "selector", "elimination", "threshold"],
)
def test_a_wrapper_of_one_adds_nothing_to_the_names(digits, wrap):
    x, y = digits
    model = wrap(lm.SGDClassifier(max_iter=5, random_state=0), x, y)
    inner = model
    while not hasattr(inner, "coef_") or "coef_" not in vars(inner):
        held = vars(inner)
        inner = held.get("best_estimator_", held.get("estimator_", held["estimator"]))
    w = steelyard.weights(model)
    assert list(w) == ["coef_", "intercept_"]
    assert same(w["coef_"], inner.coef_)
    w.assign(np.zeros(w.size))
    assert not inner.coef_.any()


def test_a_frozen_estimator_is_not_trained_by_fit(digits):
    frozen = FrozenEstimator(mlp().fit(*digits))
    w = steelyard.weights(make_pipeline(MinMaxScaler(), frozen).fit(*digits))
    assert [weight.trainable for weight in w.values()] == [False] * 4


def test_a_transformed_target_adds_nothing_to_the_regressor(digits):
    x, y = digits[0], digits[1].astype("float64")
    net = MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, random_state=0)
    model = TransformedTargetRegressor(net, transformer=StandardScaler()).fit(x, y)
    w = steelyard.weights(model)
    assert list(w) == ["coefs_.0", "intercepts_.0", "coefs_.1", "intercepts_.1"]
    assert same(w["coefs_.0"], model.regressor_.coefs_[0])
    w.assign({name: np.zeros(weight.shape) for name, weight in w.items()})
    assert np.allclose(model.predict(x), y.mean())


# Containers of many


def parts(model):
    """The layers' names: enough to see every prefix."""
    return list(steelyard.weights(model).layers)


def test_a_pipeline_lists_its_steps_and_skips_those_without_weights(digits):
    x, y = digits
    steps = [("scale", StandardScaler()), ("skip", "passthrough"), ("rbm", BernoulliRBM(5, n_iter=1)), ("net", mlp())]
    model = Pipeline(steps).fit(x, y)
    w = steelyard.weights(model)
    assert list(w) == [
        "rbm.components_",
        "rbm.intercept_hidden_",
        "rbm.intercept_visible_",
        "net.coefs_.0",
        "net.intercepts_.0",
        "net.coefs_.1",
        "net.intercepts_.1",
    ]
    assert list(w.layers) == ["rbm", "net.0", "net.1"]
    assert same(w["net.coefs_.0"], model["net"].coefs_[0])
    before, vector = model.predict_proba(x), w.to_vector()
    w.assign({"net.coefs_.1": np.zeros((8, 10))})
    assert not np.array_equal(model.predict_proba(x), before)
    w.assign(vector)
    assert_close(model.predict_proba(x), before)


def test_nested_in_any_order(digits):
    x, y = digits
    features = ColumnTransformer(
        [
            ("left", make_pipeline(MinMaxScaler(), BernoulliRBM(3, n_iter=1, random_state=0)), slice(0, 32)),
            ("right", FeatureUnion([("rbm", BernoulliRBM(2, n_iter=1, random_state=0)), ("raw", "passthrough")]), slice(32, 64)),
            ("none", BernoulliRBM(), []),
            ("out", "drop", [0]),
        ],
        remainder="passthrough",
    )
    votes = VotingClassifier(
        [("one", GridSearchCV(mlp(hidden_layer_sizes=(3,)), {"alpha": [0.1, 1]}, cv=2)), ("tree", DecisionTreeClassifier())]
    )
    model = Pipeline([("features", features), ("votes", votes)])
    model = GridSearchCV(model, {"votes__voting": ["soft"]}, cv=2).fit(x, y)
    w = steelyard.weights(model)
    assert list(w.layers) == ["features.left.bernoullirbm", "features.right.rbm", "votes.one.0", "votes.one.1"]
    best = model.best_estimator_
    assert same(w["votes.one.coefs_.0"], best["votes"].named_estimators_["one"].best_estimator_.coefs_[0])
    held = best["features"].named_transformers_["left"]["bernoullirbm"].components_
    assert np.array_equal(w["features.left.bernoullirbm.components_"].numpy(), held)
    before, vector = model.predict_proba(x), w.to_vector()
    w.assign(vector[::-1].copy())
    assert not np.array_equal(model.predict_proba(x), before)
    w.assign(vector)
    assert_close(model.predict_proba(x), before)


def many_labels(y):
    return np.c_[y > 4, y % 2]


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        (BaggingClassifier(mlp(), n_estimators=2), ["estimators_.0.0", "estimators_.0.1", "estimators_.1.0", "estimators_.1.1"]),
        (AdaBoostClassifier(lm.SGDClassifier(max_iter=3), n_estimators=2), ["estimators_.0", "estimators_.1"]),
        (VotingClassifier([("a", lm.Perceptron(max_iter=3)), ("b", "drop"), ("c", RandomForestClassifier(3))]), ["a"]),
        (
            StackingClassifier(
                [("lda", LinearDiscriminantAnalysis()), ("forest", RandomForestClassifier(3))], mlp(), cv=2, passthrough=True
            ),
            ["lda", "final_estimator_.0", "final_estimator_.1"],
        ),
        (OneVsRestClassifier(lm.Perceptron(max_iter=3)), [f"estimators_.{i}" for i in range(10)]),
        (OneVsOneClassifier(lm.Perceptron(max_iter=3)), [f"estimators_.{i}" for i in range(45)]),
        (
            CalibratedClassifierCV(LinearSVC(max_iter=10), cv=2, ensemble=True),
            ["calibrated_classifiers_.0", "calibrated_classifiers_.1"],
        ),
        (CalibratedClassifierCV(LinearSVC(max_iter=10), cv=2, ensemble=False), ["calibrated_classifiers_.0"]),
    ],
)
def test_the_members_of_an_ensemble_have_their_names_or_indices(digits, model, layers):
    x, y = digits[0], digits[1]
    model.fit(x, y)
    assert parts(check_model(model)) == layers
    output = getattr(model, "predict_proba", model.predict)
    w, before = steelyard.weights(model), output(x)
    vector = w.to_vector()
    w.assign(vector[::-1].copy())
    assert not np.array_equal(output(x), before)
    w.assign(vector)
    assert_close(output(x), before)


@pytest.mark.parametrize(
    "model",
    [
        MultiOutputClassifier(lm.Perceptron(max_iter=3)),
        MultiOutputRegressor(lm.Ridge()),
        ClassifierChain(lm.Perceptron(max_iter=3)),
        RegressorChain(lm.Ridge()),
    ],
    ids=kind_of,
)
def test_several_outputs_have_one_member_each(digits, model):
    x, y = digits[0], many_labels(digits[1])
    model.fit(x, y)
    assert parts(model) == ["estimators_.0", "estimators_.1"]
    w = steelyard.weights(model)
    for place, member in enumerate(model.estimators_):
        assert np.array_equal(w[f"estimators_.{place}.coef_"].numpy(), member.coef_)
    w.assign({name: np.zeros(weight.shape) for name, weight in w.items()})
    assert not model.predict(x).any()


@pytest.mark.parametrize(
    "model",
    [
        BaggingClassifier(mlp(), n_estimators=2),
        GridSearchCV(mlp(), {"alpha": [1]}, cv=2),
        GridSearchCV(lm.RidgeClassifier(), {"alpha": [1]}, cv=2),
        make_pipeline(GridSearchCV(mlp(), {"alpha": [1]}, cv=2)),
    ],
    ids=["ensemble", "search", "search, strided arrays", "search in a pipeline"],
)
def test_a_container_that_is_fitted_again_has_other_members_and_refuses_the_old_weights(digits, model):
    model.fit(*digits)
    w = steelyard.weights(model)
    vector = w.to_vector()
    model.fit(*digits)
    for use in (w.to_vector, next(iter(w.values())).numpy):
        with pytest.raises(ShapeError, match="was fitted again and holds other estimators now; list its weights again"):
            use()
    steelyard.weights(model).assign(vector)


def test_a_pipeline_that_is_fitted_again_keeps_its_steps(digits):
    x, y = digits
    model = make_pipeline(StandardScaler(), mlp()).fit(x, y)
    w = steelyard.weights(model)
    model.set_params(mlpclassifier__random_state=4).fit(x, y)
    assert np.array_equal(w["mlpclassifier.coefs_.0"].numpy(), model[-1].coefs_[0])


def test_one_estimator_in_two_places_is_tied_and_counts_once(digits):
    x, y = digits[0], digits[1].astype("float64")
    ridge = lm.Ridge().fit(x, y)
    model = Pipeline([("a", SelectFromModel(ridge, prefit=True)), ("b", FrozenEstimator(ridge))])
    model["a"].estimator_ = ridge
    w = steelyard.weights(model)
    assert [v.tied for v in w.values()] == [None, None, "a.coef_", "a.intercept_"]
    assert w.size == 65
    w.assign({"b.intercept_": 7.0})
    assert ridge.intercept_ == 7.0


def test_names_of_steps_may_hold_dots(digits):
    x, y = digits
    model = VotingClassifier([("a", lm.Perceptron(max_iter=3)), ("a.coef_", lm.Perceptron(max_iter=4, alpha=0.1))]).fit(x, y)
    w = steelyard.weights(model)
    assert list(w) == ["a.coef_", "a.intercept_", "a.coef_.coef_", "a.coef_.intercept_"]
    w.assign({"a.coef_.coef_": np.ones((10, 64)), "a.intercept_": np.full(10, 3.0)})
    assert (model.estimators_[1].coef_ == 1).all()
    assert (model.estimators_[0].intercept_ == 3).all()


def test_the_named_members_of_a_container_are_listed_without_it(digits):
    model = make_pipeline(StandardScaler(), mlp()).fit(*digits)
    assert list(steelyard.weights(model.named_steps)) == list(steelyard.weights(model))
    with pytest.raises(UnknownModelError, match="Bunch has no known weights"):
        steelyard.weights(load_iris())


# What is not known


@pytest.mark.parametrize("model", [StandardScaler(), DecisionTreeClassifier(), SVC()], ids=kind_of)
def test_an_estimator_without_weights_is_refused_as_such(digits, model):
    with pytest.raises(UnknownModelError, match=f"{kind_of(model)} has no known weights; supported are multilayer perceptrons"):
        steelyard.weights(model.fit(*digits))


@pytest.mark.parametrize(
    ("model", "inside"),
    [
        (RandomForestClassifier(3), "DecisionTreeClassifier"),
        (GradientBoostingClassifier(n_estimators=1), "DecisionTreeRegressor"),
        (make_pipeline(StandardScaler(), SVC()), "SVC, StandardScaler"),
        (GridSearchCV(DecisionTreeClassifier(), {"max_depth": [2]}, cv=2), "DecisionTreeClassifier"),
    ],
)
def test_the_error_for_a_container_without_weights_lists_its_members(digits, model, inside):
    with pytest.raises(UnknownModelError, match=f"{kind_of(model)} holds only {inside}, which have no known weights"):
        steelyard.weights(model.fit(*digits))


def test_cross_validation_results_alone_do_not_make_a_search(digits):
    with pytest.raises(UnknownModelError, match="GraphicalLassoCV has no known weights"):
        steelyard.weights(GraphicalLassoCV(alphas=2, cv=2, max_iter=20).fit(digits[0][:, 2:6]))


class OwnNet(ClassifierMixin, BaseEstimator):
    """Keeps its weights in an unknown place."""

    def fit(self, x, y):
        self.classes_, self.kernel_ = np.unique(y), np.zeros((x.shape[1], 10))
        return self

    def predict(self, x):
        return self.classes_[(x @ self.kernel_).argmax(1)]


class OwnLinear(OwnNet):
    """Keeps them as scikit-learn does."""

    def fit(self, x, y):
        self.classes_, self.coef_ = np.unique(y), np.zeros((10, x.shape[1]), "float32")
        return self


class OwnStep(TransformerMixin, BaseEstimator):
    def fit(self, x, y=None):
        self.seen_ = len(x)
        return self

    def transform(self, x):
        return x


class BareStep:
    """Looks like a transformer, but is of an unknown class."""

    fit = OwnStep.fit
    fit_transform = lambda self, x, y=None: x  # noqa: E731
    transform = OwnStep.transform


def test_a_member_with_an_unknown_predict_is_not_skipped(digits):
    x, y = digits
    model = VotingClassifier([("net", mlp()), ("own", OwnNet())]).fit(x, y)
    with pytest.raises(UnknownModelError, match="the weights of the OwnNet at 'own' are in an unknown place"):
        steelyard.weights(model)
    with pytest.raises(UnknownModelError, match="the weights of the OwnNet are in an unknown place"):
        steelyard.weights(GridSearchCV(OwnNet(), {}, cv=2).fit(x, y))


@pytest.mark.parametrize("step", [OwnStep(), BareStep()], ids=kind_of)
def test_a_user_s_transformer_is_skipped(digits, step):
    model = Pipeline([("own", step), ("net", lm.Perceptron(max_iter=3))]).fit(*digits)
    assert list(steelyard.weights(model)) == ["net.coef_", "net.intercept_"]


def test_a_user_s_estimator_with_the_usual_attributes_is_known(digits):
    w = steelyard.weights(OwnLinear().fit(*digits))
    assert [(name, v.dtype, v.axes) for name, v in w.items()] == [("coef_", "float32", "out in")]


@pytest.mark.parametrize("average", [True, 5])
@pytest.mark.parametrize("classes", [2, 3])
def test_an_averaged_descent_goes_on_from_the_assigned_numbers(average, classes):
    from sklearn.linear_model import SGDClassifier

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 4)), np.arange(90) % classes
    still = {"learning_rate": "constant", "eta0": 1e-12, "random_state": 0}  # so that training moves nothing visible
    model = SGDClassifier(average=average, **still).fit(x, y)
    w = steelyard.weights(model)
    target = np.arange(w.size) * 10.0
    w.assign(target)
    assert np.array_equal(steelyard.weights(model).to_vector(), target)
    for _ in range(5):
        model.partial_fit(x, y)
    start = {"coef_init": w["coef_"].numpy().copy(), "intercept_init": w["intercept_"].numpy().copy()}
    expected = SGDClassifier(**still).fit(x, y, **start)
    assert np.allclose(model.coef_, expected.coef_, atol=1e-6)
    assert np.allclose(model.intercept_, expected.intercept_, atol=1e-6)
    assert np.allclose(steelyard.weights(model).to_vector(), target, atol=1e-6)


def test_an_averaged_one_class_machine_goes_on_from_the_assigned_numbers():
    from sklearn.linear_model import SGDOneClassSVM

    x = np.random.default_rng(0).normal(size=(50, 3))
    model = SGDOneClassSVM(average=True, learning_rate="constant", eta0=1e-12, random_state=0).fit(x)
    w = steelyard.weights(model)
    w.assign({"coef_": [1.0, 2.0, 3.0], "offset_": [5.0]})
    model.partial_fit(x)
    assert np.allclose(model.coef_, [1, 2, 3], atol=1e-6)
    assert np.allclose(model.offset_, [5], atol=1e-6)


def test_a_perceptron_goes_on_from_the_assigned_numbers():
    from sklearn.neural_network import MLPClassifier

    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    model = MLPClassifier((4,), max_iter=1, learning_rate_init=1e-12, random_state=0).partial_fit(x, y, classes=[0, 1])
    w = steelyard.weights(model)
    target = np.arange(w.size) / 10
    w.assign(target)
    model.partial_fit(x, y)
    assert np.allclose(steelyard.weights(model).to_vector(), target, atol=1e-6)
