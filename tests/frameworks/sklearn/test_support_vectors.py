"""The coefficients of a linear support vector machine are scikit-learn's own, and cannot be assigned."""

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
