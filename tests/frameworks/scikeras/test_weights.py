"""SciKeras: the Keras model's own names, alone, in pipelines and in searches."""

import pickle

import joblib
import keras
import numpy as np
import pytest
from outputs import assert_close
from scikeras.wrappers import KerasClassifier, KerasRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

import steelyard
from steelyard.errors import FormatError, NotFittedError, ShapeError
from steelyard.testing import check_model


def build(meta, width=5):
    outputs = 10 if meta["target_type_"] == "multiclass" and "n_classes_" in meta else 1
    return keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(width, activation="relu", name="hidden"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(outputs, activation="softmax" if outputs > 1 else None, name="head"),
        ]
    )


def classifier(seed=0, **settings):
    keras.utils.set_random_seed(seed)  # the wrapper's own random_state makes TensorFlow refuse later random steps
    settings = {"epochs": 1, "batch_size": 100, "verbose": 0, "width": 5} | settings
    return KerasClassifier(build, loss="sparse_categorical_crossentropy", optimizer="sgd", **settings)


def equals(weights, model, prefix=""):
    assert list(weights) == [prefix + variable.path for variable in model.weights]
    for variable in model.weights:
        assert np.array_equal(weights[prefix + variable.path].numpy(), keras.ops.convert_to_numpy(variable.value))
    own = np.concatenate([array.ravel() for array in model.get_weights()])
    assert np.array_equal(weights.to_vector(), own)
    return True


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_a_wrapper_shows_the_keras_model(digits, kind):
    x, y = digits
    regressor = KerasRegressor(build, loss="mse", optimizer="sgd", epochs=1, verbose=0, batch_size=100)
    wrapper = classifier().fit(x, y) if kind == "classifier" else regressor.fit(x, y.astype("float32"))
    w = steelyard.weights(wrapper)
    assert equals(w, wrapper.model_)
    kernel = next(weight for name, weight in w.items() if name.endswith("hidden/kernel"))
    assert (kernel.shape, kernel.role, kernel.axes) == ((64, 5), "kernel", "in out")
    assert check_model(wrapper) is wrapper


def test_a_wrapper_predicts_as_the_source_of_its_weights(digits):
    x, y = digits
    one, other = (classifier(seed).fit(x, y) for seed in (1, 2))
    assert not np.array_equal(one.predict_proba(x), other.predict_proba(x))
    assert steelyard.weights(other).assign(steelyard.weights(one).to_vector()) is other
    assert_close(one.predict_proba(x), other.predict_proba(x))
    with pytest.raises(ShapeError, match=r"the vector has shape \(3,\), these 8 weights take \(405,\)"):
        steelyard.weights(other).assign(np.zeros(3))


def test_training_continues_from_the_assigned_weights(digits):
    x, y = digits
    one, other = (classifier(seed, fit__shuffle=False).fit(x, y) for seed in (1, 2))
    steelyard.weights(other).assign(steelyard.weights(one).to_vector())
    for wrapper in (one, other):
        wrapper.partial_fit(x, y)
    assert np.allclose(one.predict_proba(x), other.predict_proba(x), atol=1e-6)


def test_a_wrapper_that_is_fitted_again_has_another_model_and_refuses_the_old_weights(digits):
    wrapper = classifier().fit(*digits)
    w = steelyard.weights(wrapper)
    vector = w.to_vector()
    wrapper.fit(*digits)
    for use in (w.to_vector, lambda: next(iter(w.values())).numpy()):
        with pytest.raises(ShapeError, match="this KerasClassifier was fitted again and has another model now; list it again"):
            use()
    steelyard.weights(wrapper).assign(vector)


def test_the_error_before_fit_names_the_required_call(digits):
    with pytest.raises(
        NotFittedError, match=r"this KerasClassifier has not built its model yet; call .fit\(\), or .initialize\(X, y\)"
    ):
        steelyard.weights(classifier())
    with pytest.raises(NotFittedError, match="this GridSearchCV is not fitted"):
        steelyard.weights(GridSearchCV(classifier(), {"width": [3]}))
    with pytest.raises(NotFittedError, match="this Pipeline is not fitted"):
        steelyard.weights(make_pipeline(StandardScaler(), classifier()))


def test_an_initialised_wrapper_has_weights_too(digits):
    wrapper = classifier()
    wrapper.initialize(*digits)
    assert equals(steelyard.weights(wrapper), wrapper.model_)


def test_the_best_wrapper_of_a_search_through_a_pipeline(digits):
    x, y = digits
    search = GridSearchCV(make_pipeline(StandardScaler(), classifier()), {"kerasclassifier__width": [3]}, cv=2).fit(x, y)
    model = search.best_estimator_[-1].model_
    w = steelyard.weights(search)
    assert equals(w, model, "kerasclassifier.")
    assert w.assign(np.zeros(w.size)) is search
    assert np.allclose(search.predict_proba(x), 0.1)


def test_a_wrapper_and_a_search_are_saved_for_keras_to_load(tmp_path, digits):
    x, y = digits
    wrapper = classifier(1).fit(x, y)
    steps = make_pipeline(StandardScaler(), classifier())
    search = GridSearchCV(steps, {"kerasclassifier__width": [5]}, cv=2).fit(x, y)
    bare = GridSearchCV(classifier(), {"width": [5]}, cv=2).fit(x, y)
    for trained, model in ((wrapper, wrapper), (search, search.best_estimator_[-1]), (bare, bare.best_estimator_)):
        steelyard.save(trained, tmp_path / "net.weights.h5")
        other = build({"target_type_": "multiclass", "n_classes_": 10})
        other.load_weights(tmp_path / "net.weights.h5")
        data = x.astype("float32")
        assert_close(other.predict(data, verbose=0), model.model_.predict(data, verbose=0))


def test_two_models_in_one_container_have_no_layout_of_their_own(tmp_path, digits):
    x, y = digits
    two = FeatureUnion([("a", classifier(1).fit(x, y)), ("b", classifier(2).fit(x, y))])
    with pytest.raises(FormatError, match="layout"):
        steelyard.save(two, tmp_path / "net.weights.h5")


def test_pickles_and_joblib_files_have_the_names_and_numbers_of_the_live_wrapper(tmp_path, digits):
    wrapper = classifier().fit(*digits)
    search = GridSearchCV(make_pipeline(StandardScaler(), classifier()), {"kerasclassifier__width": [3]}, cv=2)
    search.cv_results_, search.best_estimator_ = {}, make_pipeline(StandardScaler(), wrapper)
    search.best_estimator_[0].fit(digits[0])
    for name, model in {"net": wrapper, "search": search}.items():
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(model))
        joblib.dump(model, tmp_path / f"{name}.joblib", compress=3)
        live = steelyard.weights(model)
        for suffix in (".pkl", ".joblib"):
            w = steelyard.weights(tmp_path / f"{name}{suffix}")
            assert list(w) == list(live)
            assert w.to_vector().tobytes() == live.to_vector().tobytes()
            assert [each.role for each in w.values()] == [each.role for each in live.values()]
