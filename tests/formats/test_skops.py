"""skops files, read without skops and compared with the live objects."""

import json
import warnings
import zipfile

import numpy as np
import pytest
import skops.io
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import steelyard
from steelyard.errors import FormatError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def search(digits):
    x, y = digits
    steps = [("scale", StandardScaler()), ("net", MLPClassifier((6,), max_iter=3, random_state=0))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GridSearchCV(Pipeline(steps), {"net__alpha": [1e-3, 1e-2]}, cv=2).fit(x, y)


def test_a_search_over_a_pipeline_gives_the_best_net_s_weights(tmp_path, search):
    skops.io.dump(search, tmp_path / "a.skops")
    weights = steelyard.weights(tmp_path / "a.skops")
    best = search.best_estimator_[-1]
    assert list(weights) == ["net.coefs_.0", "net.intercepts_.0", "net.coefs_.1", "net.intercepts_.1"]
    for layer in (0, 1):
        assert weights[f"net.coefs_.{layer}"].numpy().tobytes() == best.coefs_[layer].tobytes()
        assert weights[f"net.intercepts_.{layer}"].numpy().tobytes() == best.intercepts_[layer].tobytes()
    assert weights.meta["format"] == "skops"
    everything = steelyard.weights(tmp_path / "a.skops", part="all")
    assert everything["best_estimator_.steps.0.1.mean_"].numpy().tolist() == search.best_estimator_[0].mean_.tolist()


def test_sparse_coefficients_and_dicts_of_arrays_are_read(tmp_path, digits):
    x, y = digits
    model = SGDClassifier(penalty="l1", random_state=0).fit(x, y).sparsify()
    skops.io.dump({"model": model, "w": np.arange(3.0)}, tmp_path / "a.skops")
    weights = steelyard.weights(tmp_path / "a.skops")
    assert list(weights) == ["model.coef_", "model.intercept_", "w"]
    assert weights["model.coef_"].numpy().tolist() == model.coef_.toarray().tolist()


def test_a_missing_or_foreign_member_is_refused_and_the_others_read(tmp_path, digits):
    x, y = digits
    model = LogisticRegression(max_iter=5).fit(x, y)
    skops.io.dump(model, tmp_path / "a.skops")
    for name in ("missing.npy", "../../etc/passwd", "/etc/passwd"):
        with zipfile.ZipFile(tmp_path / "a.skops") as old, zipfile.ZipFile(tmp_path / "b.skops", "w") as new:
            for member in old.namelist():
                content = old.read(member)
                if member == "schema.json":
                    schema = json.loads(content)
                    schema["content"]["content"]["coef_"]["file"] = name
                    content = json.dumps(schema)
                new.writestr(member, content)
        weights = steelyard.weights(tmp_path / "b.skops")
        with pytest.raises(FormatError, match="is missing"):
            weights["coef_"].numpy()
        assert weights["intercept_"].numpy().tolist() == model.intercept_.tolist()


def test_a_type_that_is_not_scikit_learn_s_is_told(tmp_path, digits):
    x, y = digits
    skops.io.dump(LogisticRegression(max_iter=5).fit(x, y), tmp_path / "a.skops")
    with zipfile.ZipFile(tmp_path / "a.skops") as old, zipfile.ZipFile(tmp_path / "b.skops", "w") as new:
        for member in old.namelist():
            new.writestr(
                member,
                old.read(member).replace(b'"LogisticRegression"', b'"system"').replace(b"sklearn.linear_model._logistic", b"os"),
            )
    assert steelyard.weights(tmp_path / "b.skops").meta["code"] == ["os.system"]


def test_a_schema_that_is_deep_or_no_schema_is_refused(tmp_path):
    deep = '{"__loader__": "ListNode", "content": [' * 500 + "]}" * 500
    for content, told in (("[1]", "no node"), ("{", "no JSON"), ("[" * 100_000, "no JSON"), (deep, "deep")):
        with zipfile.ZipFile(tmp_path / "a.skops", "w") as archive:
            archive.writestr("schema.json", content)
        with pytest.raises(FormatError, match=told):
            steelyard.weights(tmp_path / "a.skops")
