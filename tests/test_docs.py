"""What the README promises; the pages of the docs are run as doctests."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier
from torch import nn

import steelyard

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_readme_shows_code_in_its_first_twenty_lines_and_the_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    assert README[: README.index(code)].count("\n") < 20
    net = nn.Module()
    net.fc1 = nn.Linear(128, 10)
    before = net.fc1.bias.detach().numpy().copy()
    exec(code, {"net": net})
    assert np.array_equal(net.fc1.bias.detach().numpy(), before * 0.5)
    assert (tmp_path / "net.safetensors").exists()


def test_the_readme_holds_exactly_two_set_up_commands():
    assert re.findall(r"```sh\n(.*?)```", README, re.DOTALL) == ["scripts/tour\n", "scripts/test\n"]


ROWS = {row[0]: row for row in re.findall(r"^\| \[([^]]+)\]\(([^)]+)\)[^|]*\| (.+?) \| `(.+)` \|$", README, re.MULTILINE)}


def test_the_readme_has_a_row_for_each_of_the_five_questions_and_its_page_has_the_answer():
    assert list(ROWS) == [
        "skorch",
        "PyTorch, after SGD",
        "the best MLP of a grid search",
        "Keras in a grid search",
        "R: nnet, keras, torch",
    ]
    for _, page, _, answer in ROWS.values():
        assert answer.partition(").")[0] in (ROOT / page).read_text()


def test_the_answer_on_skorch_is_its_state_dict():
    net = NeuralNetClassifier(nn.Linear(4, 3)).initialize()
    _, _, today, answer = ROWS["skorch"]
    known = {"net": net, "steelyard": steelyard}
    state, found = eval(today.strip("`"), known), eval(answer, known)
    assert {name: weight.numpy().tolist() for name, weight in found.items()} == {
        name: value.tolist() for name, value in state.items()
    }


def test_the_answer_on_pytorch_is_the_vector_of_all_named_parameters():
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    wanted = torch.cat([each.detach().flatten() for _, each in net.named_parameters()])
    found = eval(ROWS["PyTorch, after SGD"][3], {"net": net, "steelyard": steelyard})
    assert np.array_equal(found, wanted.numpy())


def test_the_answer_on_a_grid_search_is_the_kernels_of_its_best_net():
    x, y = load_iris(return_X_y=True)
    fit = MLPClassifier((4,), solver="lbfgs", max_iter=500, random_state=0)
    search = GridSearchCV(fit, {"alpha": [1.0, 10.0]}, cv=2).fit(x / x.max(0), y)
    found = eval(ROWS["the best MLP of a grid search"][3], {"search": search, "steelyard": steelyard}).values()
    assert all(np.array_equal(one.numpy(), other) for one, other in zip(found, search.best_estimator_.coefs_, strict=True))


def test_the_answer_on_keras_in_a_grid_search_is_what_its_model_gives():
    import keras
    from scikeras.wrappers import KerasClassifier

    def built():
        net = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, "softmax")])
        net.compile("sgd", "sparse_categorical_crossentropy")
        return net

    x, y = load_iris(return_X_y=True)
    mixed = np.random.default_rng(0).permutation(len(x))  # each half has all classes
    search = GridSearchCV(KerasClassifier(built, epochs=1, verbose=0), {"batch_size": [50, 150]}, cv=2).fit(x[mixed], y[mixed])
    _, _, today, answer = ROWS["Keras in a grid search"]
    known = {"search": search, "steelyard": steelyard}
    theirs, ours = eval(today.strip("`"), known), eval(answer, known)
    assert [weight.numpy().tolist() for weight in ours.values()] == [array.tolist() for array in theirs]


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([\w/.-]+)\)", README))))
def test_what_the_readme_links_to_is_there(link):
    assert (ROOT / link).exists()


def test_the_figures_of_the_page_on_security_are_what_its_script_counts():
    script = runpy.run_path(str(ROOT / "scripts" / "security.py"))
    text = script["PAGE"].read_text()
    assert script["page"](text) == text, "run scripts/security"


def test_the_comparison_is_that_of_its_script():
    script = runpy.run_path(str(ROOT / "scripts" / "comparison.py"))
    text = script["PAGE"].read_text()
    assert script["page"](text) == text, "run python scripts/comparison.py"
    assert all(Path(ROOT, "benchmarks", name).exists() for name in re.findall(r"`benchmarks/(\w+\.py)`", text))


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "zensical.toml").read_text()
    assert not [page.name for page in (ROOT / "docs").glob("*.md") if f'"{page.name}"' not in navigation]
