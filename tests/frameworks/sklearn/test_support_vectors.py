"""The coefficients of a linear support vector machine are scikit-learn's own, and cannot be assigned."""

import pickle

import joblib
import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR, NuSVC, OneClassSVM

import steelyard
from steelyard.errors import ReadOnlyError

X = np.random.default_rng(0).standard_normal((30, 4))
Y = np.arange(30) % 3
MACHINES = [SVC(kernel="linear"), NuSVC(kernel="linear", nu=0.1), SVR(kernel="linear"), OneClassSVM(kernel="linear")]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: type(machine).__name__)
@pytest.mark.parametrize("x", [X, csr_array(X)], ids=["dense", "sparse"])
def test_the_coefficients_are_those_of_scikit_learn_and_refuse_others_by_name(machine, x):
    machine.fit(x, Y)
    w = steelyard.weights(machine)
    own = machine.coef_.toarray() if hasattr(machine.coef_, "toarray") else machine.coef_
    assert list(w) == ["coef_", "intercept_"]
    assert np.array_equal(w["coef_"].numpy(), own)
    assert np.array_equal(w["intercept_"].numpy(), machine.intercept_)
    assert (w["coef_"].role, w["coef_"].axes, w["intercept_"].role) == ("kernel", "out in", "bias")
    before = machine.predict(x)
    with pytest.raises(ReadOnlyError, match="computes coef_ of its support vectors"):
        w.assign(w.to_vector() * 2)
    assert np.array_equal(machine.predict(x), before)


def test_a_machine_in_a_pipeline_is_listed_under_its_step():
    pipeline = make_pipeline(StandardScaler(), SVC(kernel="linear")).fit(X, Y)
    assert np.array_equal(steelyard.weights(pipeline)["svc.coef_"].numpy(), pipeline[-1].coef_)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: type(machine).__name__)
@pytest.mark.parametrize("x", [X, csr_array(X)], ids=["dense", "sparse"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_pickled_machine_has_the_coefficients_of_its_support_vectors(machine, x, classes, tmp_path):
    machine.fit(x, np.arange(30) % classes)
    joblib.dump(machine, tmp_path / "net.joblib")
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(machine))
    live = steelyard.weights(machine)
    for name in ("net.joblib", "net.pkl"):
        stored = steelyard.weights(tmp_path / name)
        assert {each: (w.role, w.axes) for each, w in stored.items()} == {each: (w.role, w.axes) for each, w in live.items()}
        assert np.allclose(stored["coef_"].numpy(), live["coef_"].numpy(), rtol=1e-9, atol=1e-12)  # sums of large numbers
        assert np.array_equal(stored["intercept_"].numpy(), machine.intercept_)


def test_a_damaged_machine_is_listed_and_refused(tmp_path):
    machine = SVC(kernel="linear").fit(X, Y)
    machine.__dict__["_n_support"] = machine.__dict__["_n_support"][:2]
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(machine))
    assert "the number of vectors of each of 3 classes" in steelyard.weights(tmp_path / "net.pkl").unreadable["coef_"]
