"""skops files, read without skops and compared with the live objects."""

import json
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
import skops.io
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier

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


def test_a_search_over_a_pipeline_lists_the_best_net_s_weights(tmp_path, search):
    skops.io.dump(search, tmp_path / "a.skops")
    weights = steelyard.weights(tmp_path / "a.skops")
    best = search.best_estimator_[-1]
    assert list(weights) == ["net.coefs_.0", "net.intercepts_.0", "net.coefs_.1", "net.intercepts_.1"]
    for layer in (0, 1):
        assert weights[f"net.coefs_.{layer}"].numpy().tobytes() == best.coefs_[layer].tobytes()
        assert weights[f"net.intercepts_.{layer}"].numpy().tobytes() == best.intercepts_[layer].tobytes()
    assert weights.meta["format"] == "skops"
    everything = steelyard.weights(tmp_path / "a.skops", scope="all")
    assert everything["best_estimator_.steps.0.1.mean_"].numpy().tolist() == search.best_estimator_[0].mean_.tolist()


def test_sparse_coefficients_and_dicts_of_arrays_are_read(tmp_path, digits):
    x, y = digits
    model = SGDClassifier(penalty="l1", random_state=0).fit(x, y).sparsify()
    skops.io.dump({"model": model, "w": np.arange(3.0)}, tmp_path / "a.skops")
    weights = steelyard.weights(tmp_path / "a.skops")
    assert list(weights) == ["model.coef_", "model.intercept_", "w"]
    assert weights["model.coef_"].numpy().tolist() == model.coef_.toarray().tolist()


class Net(torch.nn.Module):
    def __init__(self, width=5):
        super().__init__()
        self.body, self.head = torch.nn.Linear(64, width), torch.nn.Linear(width, 10)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


def skorch_net(**settings):
    return NeuralNetClassifier(Net, criterion=torch.nn.CrossEntropyLoss, max_epochs=2, verbose=0, **settings)


@pytest.mark.parametrize("inside", ["nothing", "a pipeline", "a search"])
def test_a_skorch_net_lists_its_module_s_names(tmp_path, digits, inside):
    x, y = digits
    x, net = x.astype("float32"), skorch_net()
    steps = Pipeline([("scale", StandardScaler()), ("net", net)])
    search = GridSearchCV(steps, {"net__module__width": [3, 4]}, cv=2)
    whole = {"nothing": net, "a pipeline": steps, "a search": search}[inside].fit(x, y)
    fitted = {"nothing": lambda: whole, "a pipeline": lambda: whole[-1], "a search": lambda: whole.best_estimator_[-1]}[inside]()
    skops.io.dump(whole, tmp_path / "a.skops")
    weights = steelyard.weights(tmp_path / "a.skops")
    prefix = "" if inside == "nothing" else "net."
    assert list(weights) == [prefix + name for name in fitted.module_.state_dict()]
    for name, tensor in fitted.module_.state_dict().items():
        assert weights[prefix + name].numpy().tobytes() == tensor.numpy().tobytes()
    assert (weights[f"{prefix}body.weight"].role, weights[f"{prefix}body.weight"].axes) == ("kernel", "out in")
    strange = [finding.what for finding in weights.audit.findings if finding.severity != "info"]
    assert strange
    assert all(".Net" in what for what in strange), "the one class that is not known"


def test_pickles_inside_skops_are_never_run(tmp_path, digits):
    x, y = digits
    skops.io.dump(skorch_net().fit(x.astype("float32"), y), tmp_path / "a.skops")
    evil = b"\x80\x02cposix\nsystem\n(S'touch ran'\ntR."
    with zipfile.ZipFile(tmp_path / "a.skops") as old, zipfile.ZipFile(tmp_path / "b.skops", "w") as new:
        for member in old.namelist():
            new.writestr(member, evil if member.endswith(".bin") else old.read(member))
    found = steelyard.check(tmp_path / "b.skops")
    assert "posix.system('touch ran')" in str(found)
    code = f"import steelyard; steelyard.weights({str(tmp_path / 'b.skops')!r}, scope='all')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True)
    assert not (tmp_path / "ran").exists()


def test_an_uninitialised_net_is_refused_with_the_reason(tmp_path):
    skops.io.dump(skorch_net(), tmp_path / "a.skops")
    with pytest.raises(FormatError, match="uninitialised"):
        steelyard.weights(tmp_path / "a.skops")


def test_skops_itself_cannot_write_tensors_among_settings(tmp_path):
    """A net made with a module instead of its class keeps tensors among its settings, so no file contains such tensors."""
    given = NeuralNetClassifier(Net(), criterion=torch.nn.CrossEntropyLoss)
    for what in (given, Net(), Net().state_dict(), torch.zeros(3)):
        with pytest.raises(RuntimeError, match="Cannot directly construct TensorBase"):
            skops.io.dump(what, tmp_path / "a.skops")


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


def test_a_type_outside_scikit_learn_is_listed_as_code(tmp_path, digits):
    x, y = digits
    skops.io.dump(LogisticRegression(max_iter=5).fit(x, y), tmp_path / "a.skops")
    with zipfile.ZipFile(tmp_path / "a.skops") as old, zipfile.ZipFile(tmp_path / "b.skops", "w") as new:
        for member in old.namelist():
            new.writestr(
                member,
                old.read(member).replace(b'"LogisticRegression"', b'"system"').replace(b"sklearn.linear_model._logistic", b"os"),
            )
    assert [finding.what for finding in steelyard.weights(tmp_path / "b.skops").audit.findings] == ["would have run os.system"]


def test_a_schema_that_is_too_deep_or_invalid_is_refused(tmp_path):
    deep = '{"__loader__": "ListNode", "content": [' * 500 + "]}" * 500
    for content, message in (("[1]", "not a node"), ("{", "not JSON"), ("[" * 100_000, "not JSON"), (deep, "deep")):
        with zipfile.ZipFile(tmp_path / "a.skops", "w") as archive:
            archive.writestr("schema.json", content)
        with pytest.raises(FormatError, match=message):
            steelyard.weights(tmp_path / "a.skops")
