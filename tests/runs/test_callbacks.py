"""Recorders as callbacks of real frameworks, which train as they do without them."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline

import steelyard
from steelyard.errors import ShapeError, UnknownModelError
from steelyard.runs.store import open_run

X, Y = load_digits(return_X_y=True)
X, Y = (X[:300] / 16).astype("f4"), Y[:300]


def last(run):
    return steelyard.weights(run.snapshots()[run.steps[-1]])


def same(one, other):
    one, other = steelyard.weights(one), steelyard.weights(other)
    assert [weight.numpy().tobytes() for weight in one.values()] == [weight.numpy().tobytes() for weight in other.values()]


def net_of(**options):
    from skorch import NeuralNetClassifier

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10), torch.nn.Softmax(-1))
    return NeuralNetClassifier(module, max_epochs=2, lr=0.1, verbose=0, iterator_train__shuffle=False, **options)


def test_skorch_is_recorded_after_each_epoch_and_trains_as_without(tmp_path):
    with steelyard.record(tmp_path, snapshot="epoch") as rec:
        net = net_of(callbacks=[rec.skorch()]).fit(X, Y.astype("int64"))
    run = open_run(tmp_path)
    assert run.steps == [1, 2]
    assert [row.epoch for row in run.rows] == [1, 2]
    assert run.metric("train_loss").tolist() == [row["train_loss"] for row in net.history]
    assert run.metric("valid_acc").tolist() == [row["valid_acc"] for row in net.history]
    same(last(run), net)
    same(net, net_of().fit(X, Y.astype("int64")))


def test_skorch_is_recorded_after_each_batch_of_training(tmp_path):
    with steelyard.record(tmp_path) as rec:
        net = net_of(callbacks=[rec.skorch(each="batch")]).fit(X, Y.astype("int64"))
    batches = sum(row["train_batch_count"] for row in net.history)
    assert open_run(tmp_path).steps == list(range(1, batches + 1))
    assert np.isfinite(open_run(tmp_path).metric("train_loss")).all()


def test_a_search_records_each_fit_into_a_folder_of_its_own(tmp_path):
    with steelyard.record(tmp_path) as rec:
        search = GridSearchCV(
            net_of(callbacks=[rec.skorch()]), {"lr": [0.01, 0.1], "max_epochs": np.array([2])}, cv=2, refit=False
        )
        search.fit(X, Y.astype("int64"))
    runs = [open_run(folder) for folder in sorted(tmp_path.glob("fit-*"))]
    assert [run.steps for run in runs] == [[1, 2]] * 4
    assert len({run.metric("train_loss")[-1] for run in runs}) == 4
    assert [run.layout.settings["lr"] for run in runs] == [0.01, 0.01, 0.1, 0.1]
    assert {run.layout.settings["max_epochs"] for run in runs} == {2}
    assert not [key for run in runs for key in run.layout.settings if "callback" in key or "verbose" in key]
    said = str(steelyard.history(tmp_path / "fit-001").compare(tmp_path / "fit-002"))
    assert said.splitlines()[0] == "lr 0.01 and 0.1"


def test_a_search_by_two_processes_records_each_fit_into_a_folder_of_its_own(tmp_path):
    with steelyard.record(tmp_path, snapshot="epoch") as rec:
        net = net_of(callbacks=[rec.skorch()])
        search = GridSearchCV(net, {"lr": [0.01, 0.1]}, cv=2, n_jobs=2).fit(X, Y.astype("int64"))
    runs = [open_run(folder) for folder in sorted(tmp_path.glob("fit-*"))]
    assert [run.steps for run in runs] == [[1, 2]] * 5  # two candidates in two folds, and the best one on all data
    same(last(runs[-1]), search.best_estimator_)
    assert len({run.metric("train_loss")[-1] for run in runs}) == 5


def test_a_search_of_scikeras_records_each_fit_into_a_folder_of_its_own(tmp_path):
    from scikeras.wrappers import KerasClassifier

    with steelyard.record(tmp_path, snapshot="epoch") as rec:
        net = KerasClassifier(keras_net, epochs=2, verbose=0, callbacks=[rec.keras()])
        search = GridSearchCV(net, {"batch_size": [50, 150]}, cv=2).fit(X, Y)
    runs = [open_run(folder) for folder in sorted(tmp_path.glob("fit-*"))]
    assert [run.steps for run in runs] == [[1, 2]] * 5
    optimizers = [{run.layout.settings[key] for run in runs} for key in ("optimizer", "learning_rate", "epochs")]
    assert optimizers == [{"SGD"}, {float(np.float32(0.01))}, {2}]
    assert {run.layout.settings["steps"] for run in runs[:2]} != {run.layout.settings["steps"] for run in runs[2:4]}
    assert runs[-1].metric("loss").tolist() == search.best_estimator_.history_["loss"]
    same(last(runs[-1]), search.best_estimator_)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda callback: pickle.loads(pickle.dumps(callback))])
def test_a_copy_of_a_callback_has_the_options_of_its_recorder(tmp_path, again):
    with steelyard.record(tmp_path, snapshot=1, every=2) as rec:
        net_of(callbacks=[again(rec.skorch())]).fit(X, Y.astype("int64"))
    run = open_run(tmp_path / "fit-000")
    assert (run.steps, list(run.snapshots())) == ([2], [2])


def keras_net():
    import keras

    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((64,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(10, "softmax")])
    net.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return net


def test_keras_is_recorded_after_each_epoch_and_batch_and_trains_as_without(tmp_path):
    net, plain = keras_net(), keras_net()
    with steelyard.record(tmp_path / "epochs", snapshot="epoch") as rec, steelyard.record(tmp_path / "batches") as other:
        callbacks = [rec.keras(), other.keras(each="batch")]
        history = net.fit(X, Y, epochs=2, batch_size=100, verbose=0, shuffle=False, validation_split=0.2, callbacks=callbacks)
    run = open_run(tmp_path / "epochs")
    assert run.names == list(steelyard.weights(net))
    assert [row.epoch for row in run.rows] == [0, 1]
    assert run.metric("val_loss").tolist() == history.history["val_loss"]
    same(last(run), net)
    assert open_run(tmp_path / "batches").steps == [1, 2, 3, 4, 5, 6]
    plain.fit(X, Y, epochs=2, batch_size=100, verbose=0, shuffle=False, validation_split=0.2)
    same(net, plain)


def test_keras_2_is_recorded_after_each_epoch_and_batch(tmp_path):
    import tf_keras

    net = tf_keras.Sequential([tf_keras.Input((64,)), tf_keras.layers.Dense(10, "softmax")])
    net.compile("sgd", "sparse_categorical_crossentropy")
    with steelyard.record(tmp_path / "epochs", snapshot="epoch") as rec, steelyard.record(tmp_path / "batches") as other:
        callbacks = [rec.keras(), other.keras(each="batch")]
        history = net.fit(X, Y, epochs=2, batch_size=150, verbose=0, validation_split=0.5, callbacks=callbacks)
        run = open_run(tmp_path / "epochs")  # all is written when the fit ends
    assert run.metric("val_loss").tolist() == history.history["val_loss"]
    same(last(run), net)
    assert open_run(tmp_path / "batches").steps == [1, 2]


def mlp(**options):
    return MLPClassifier([8], max_iter=3, random_state=0, **options)


def fitted(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, Y)


@pytest.mark.parametrize("options", [{}, {"solver": "sgd"}, {"early_stopping": True}])
def test_a_watched_fit_is_that_without_to_the_last_bit(tmp_path, options):
    model = mlp(**options)
    before = set(vars(model))
    with steelyard.record(tmp_path, snapshot=1) as rec, rec.watch(model):
        fitted(model)
    run = open_run(tmp_path)
    assert run.steps == [1, 2, 3]
    assert run.metric("loss").tolist() == model.loss_curve_
    same(model, fitted(mlp(**options)))
    if "early_stopping" in options:
        assert run.metric("validation_score").tolist() == model.validation_scores_
    else:
        same(last(run), model)
    assert "_update_no_improvement_count" not in vars(model)
    assert before <= set(vars(model))


def test_estimators_without_epochs_are_refused_by_a_line_that_says_what_to_do(tmp_path):
    with steelyard.record(tmp_path) as rec:
        with pytest.raises(ShapeError, match=r'use "adam" or "sgd"'), rec.watch(mlp(solver="lbfgs")):
            pass
        for other in (LogisticRegression(), make_pipeline(mlp())):
            with pytest.raises(UnknownModelError, match="after each partial_fit"), rec.watch(other):
                pass


def test_a_loop_of_partial_fit_is_recorded(tmp_path):
    model = mlp()
    with steelyard.record(tmp_path, snapshot=1) as rec:
        for step in range(3):
            rec(step, model.partial_fit(X, Y, classes=np.arange(10)))
    same(last(open_run(tmp_path)), model)


def test_a_hook_of_an_optimizer_records_after_each_step_until_it_is_removed(tmp_path):
    net = torch.nn.Linear(3, 1)
    optimizer = torch.optim.Adam(net.parameters())
    with steelyard.record(tmp_path) as rec:
        handle = rec.torch_hook(optimizer, net)
        for _ in range(4):
            net(torch.ones(2, 3)).sum().backward()
            optimizer.step()
            if rec.next_step == 4:
                handle.remove()
        with pytest.raises(UnknownModelError, match="pass an optimizer"):
            rec.torch_hook(net, net)
    run = open_run(tmp_path)
    assert run.steps == [1, 2, 3]
    assert (run.column("update")[1:] > 0).all()


def test_a_loop_of_jax_is_recorded_although_each_step_makes_new_arrays(tmp_path):
    import jax
    import jax.numpy as jnp

    params = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}
    step = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0.5 + 1, tree), donate_argnums=0)
    with steelyard.record(tmp_path, snapshot=1) as rec:
        for nth in range(4):
            params = step(params)
            rec(nth, params)
    run = open_run(tmp_path)
    same(last(run), params)
    assert run.column("max")[:, run.names.index("w")].tolist() == [1.5, 1.75, 1.875, 1.9375]


def test_an_unknown_pace_is_refused(tmp_path):
    with steelyard.record(tmp_path) as rec, pytest.raises(ShapeError, match='must be "epoch" or "batch"'):
        rec.keras(each="step")
