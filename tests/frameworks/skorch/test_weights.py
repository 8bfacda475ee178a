"""skorch: the module's own names, under any wrapper of the net."""

import numpy as np
import pytest
import torch
from outputs import assert_close
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import EpochScoring
from skorch.helper import DataFrameTransformer
from torch import nn

import steelyard
from steelyard.errors import NotFittedError, ShapeError, UnknownModelError
from steelyard.testing import check_model


class Mlp(nn.Module):
    def __init__(self, width=6, outputs=10):
        super().__init__()
        self.fc1, self.norm, self.fc2 = nn.Linear(64, width), nn.BatchNorm1d(width), nn.Linear(width, outputs)

    def forward(self, x):
        return self.fc2(torch.relu(self.norm(self.fc1(x)))).squeeze(-1)


SETTINGS = {"max_epochs": 1, "verbose": 0, "train_split": None, "lr": 0.05}


def classifier(seed=0, **settings):
    torch.manual_seed(seed)
    return NeuralNetClassifier(Mlp, **SETTINGS | {"criterion": nn.CrossEntropyLoss} | settings)


def state(module):
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def equals(weights, arrays):
    assert list(weights) == list(arrays)
    for name, array in arrays.items():
        assert np.array_equal(weights[name].numpy(), array), name
        assert weights[name].dtype == array.dtype.name
    return True


@pytest.mark.parametrize(
    ("kind", "outputs", "settings"),
    [
        (NeuralNet, 10, {"criterion": nn.CrossEntropyLoss}),
        (NeuralNetClassifier, 10, {"criterion": nn.CrossEntropyLoss}),
        (NeuralNetBinaryClassifier, 1, {}),
        (NeuralNetRegressor, 1, {}),
    ],
)
def test_a_net_shows_its_module_by_the_names_of_the_state_dict(digits, kind, outputs, settings):
    x, y = digits
    target = {NeuralNetBinaryClassifier: y > 4, NeuralNetRegressor: y}.get(kind, y)
    net = kind(Mlp, module__outputs=outputs, **SETTINGS, **settings)
    net.fit(x, target if kind in (NeuralNet, NeuralNetClassifier) else target.astype("float32"))
    w = steelyard.weights(net)
    assert equals(w, state(net.module_))
    assert (w["fc1.weight"].role, w["fc1.weight"].axes, w["fc1.weight"].layer) == ("kernel", "out in", "fc1")
    assert w["norm.weight"].role == "scale"
    own = torch.nn.utils.parameters_to_vector(net.module_.parameters()).detach().numpy()
    assert np.array_equal(w.select(trainable=True).to_vector(), own)
    check_model(net)


def test_an_initialised_net_has_weights_too():
    net = classifier().initialize()
    assert equals(steelyard.weights(net), state(net.module_))


@pytest.mark.parametrize(
    "wrap", [lambda net: net, lambda net: make_pipeline(StandardScaler(), net)], ids=["alone", "in a pipeline"]
)
def test_the_error_before_fit_names_the_call_that_makes_a_module(wrap):
    with pytest.raises(NotFittedError) as caught:
        steelyard.weights(wrap(classifier()))
    assert str(caught.value) in (
        "this NeuralNetClassifier has no module yet; call .fit(), or .initialize() for untrained weights",
        "this Pipeline is not fitted; call .fit() first",
    )


def test_a_net_predicts_as_the_source_of_its_weights(digits):
    x, y = digits
    one, other = (classifier(seed).fit(x, y) for seed in (1, 2))
    assert not np.array_equal(one.predict_proba(x), other.predict_proba(x))
    vector = steelyard.weights(one).to_vector(dtype="float64")  # with the counter of its norm
    assert steelyard.weights(other).assign(vector) is other
    assert_close(one.predict_proba(x), other.predict_proba(x))


def test_the_optimizer_keeps_its_parameters(digits):
    x, y = digits
    one, other = (classifier(seed, optimizer=torch.optim.SGD).fit(x, y) for seed in (1, 2))
    parameter = other.module_.fc1.weight
    steelyard.weights(other).assign(steelyard.weights(one).arrays())
    assert other.module_.fc1.weight is parameter
    for net in (one, other):
        torch.manual_seed(3)
        net.partial_fit(x, y)
    assert_close(one.predict_proba(x), other.predict_proba(x))  # plain SGD: the same weights, the same step


def test_a_net_that_is_fitted_again_has_another_module_and_refuses_the_old_weights(digits):
    x, y = digits
    net = classifier().fit(x, y)
    w = steelyard.weights(net)
    vector = w.to_vector(dtype="float64")
    net.partial_fit(x, y)
    assert equals(w, state(net.module_))  # the same module, trained on
    net.fit(x, y)
    for use in (
        w["fc1.weight"].numpy,
        w.parameters.to_vector,
        lambda: w.assign(vector),
        lambda: w.assign({"fc1.bias": np.zeros(6)}),
    ):
        with pytest.raises(
            ShapeError, match="this NeuralNetClassifier was fitted again and has another module now; list it again"
        ):
            use()
    steelyard.weights(net).assign(vector)


def test_several_modules_are_named_by_their_attributes(digits):
    x, y = digits

    class TwoParts(NeuralNetClassifier):
        def __init__(self, *args, module2=nn.Linear, **kwargs):
            self.module2 = module2
            super().__init__(*args, **kwargs)

        def initialize_module(self):
            super().initialize_module()
            self.module2_ = self.initialized_instance(self.module2, self.get_params_for("module2"))
            return self

        def infer(self, x, **fit_params):
            return self.module2_(super().infer(x, **fit_params))

    net = TwoParts(
        Mlp, module__outputs=5, module2__in_features=5, module2__out_features=10, criterion=nn.CrossEntropyLoss, **SETTINGS
    )
    with pytest.raises(NotFittedError, match=r"this TwoParts has no module yet; call .fit\(\), or .initialize\(\)"):
        steelyard.weights(net)
    net.fit(x, y)
    w = steelyard.weights(net)
    assert list(w.layers) == ["module_.fc1", "module_.norm", "module_.fc2", "module2_"]
    first = {f"module_.{name}": array for name, array in state(net.module_).items()}
    assert equals(w, first | {f"module2_.{name}": array for name, array in state(net.module2_).items()})
    check_model(net)
    w.assign({"module2_.weight": np.zeros((10, 5)), "module2_.bias": np.zeros(10)})
    assert not net.forward(x).numpy().any()


class Centres(nn.Module):
    """Cross entropy of distances to centres that are learned along."""

    def __init__(self, width=10):
        super().__init__()
        self.centres = nn.Parameter(torch.eye(width))

    def forward(self, predicted, target):
        return nn.functional.cross_entropy(predicted @ self.centres, target)


def test_a_criterion_that_is_trained_is_listed_after_the_module(digits):
    net = classifier(criterion=Centres, max_epochs=2).fit(*digits)
    w = steelyard.weights(net)
    assert list(w.layers) == ["module_.fc1", "module_.norm", "module_.fc2", "criterion_"]
    assert not np.array_equal(w["criterion_.centres"].numpy(), np.eye(10))
    assert np.array_equal(w["criterion_.centres"].numpy(), net.criterion_.centres.detach().numpy())
    check_model(net)


def test_a_criterion_with_only_class_weights_is_not_listed():
    net = classifier(criterion__weight=torch.arange(10.0)).initialize()
    assert "weight" in net.criterion_.state_dict()
    assert equals(steelyard.weights(net), state(net.module_))


def test_a_criterion_is_listed_alone_if_the_module_has_no_weights():
    net = classifier(criterion=Centres)
    net.set_params(module=nn.Flatten).initialize()
    assert list(steelyard.weights(net)) == ["centres"]


def test_a_criterion_that_holds_the_module_adds_no_weights():
    class Regularised(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    class Net(NeuralNetClassifier):
        def initialize_criterion(self):
            self.criterion_ = Regularised(self.module_)
            return self

    net = Net(Mlp, **SETTINGS).initialize()
    assert equals(steelyard.weights(net), state(net.module_))


def test_a_module_without_weights_is_an_empty_list():
    class Untrained(NeuralNet):
        def initialize_optimizer(self, *args, **kwargs):
            return self  # torch's own refuse an empty list of parameters

    net = Untrained(nn.Flatten, nn.MSELoss, verbose=0).initialize()
    assert len(steelyard.weights(net)) == 0
    assert steelyard.weights(net).assign({}) is net


@pytest.mark.parametrize("turn", ["search of pipeline", "pipeline of search"])
def test_the_best_net_of_a_search(digits, turn):
    x, y = digits
    if turn == "search of pipeline":
        model = GridSearchCV(make_pipeline(StandardScaler(), classifier()), {"neuralnetclassifier__lr": [0.1, 0.01]}, cv=2)
        net = model.fit(x, y).best_estimator_[-1]
    else:
        model = make_pipeline(StandardScaler(), GridSearchCV(classifier(), {"module__width": [3, 4]}, cv=2))
        net = model.fit(x, y)[-1].best_estimator_
    w = steelyard.weights(model)
    prefix = "neuralnetclassifier" if turn == "search of pipeline" else "gridsearchcv"
    assert equals(w, {f"{prefix}.{name}": array for name, array in state(net.module_).items()})
    before, vector = model.predict_proba(x), w.to_vector(dtype="float64")
    w.assign(np.zeros(w.size))
    assert np.allclose(model.predict_proba(x), 0.1)
    assert w.assign(vector) is model
    assert_close(model.predict_proba(x), before)


def test_a_net_and_a_linear_model_in_one_container(digits):
    x, y = digits
    model = Pipeline([("scale", StandardScaler()), ("net", RidgeClassifier())]).fit(x, y)
    both = {"net": classifier().fit(x, y), "model": model}
    w = steelyard.weights(both)
    assert list(w)[-3:] == ["net.fc2.bias", "model.net.coef_", "model.net.intercept_"]
    w.assign({"net.fc2.bias": np.ones(10), "model.net.intercept_": np.ones(10)})
    assert (both["net"].module_.fc2.bias == 1).all()
    assert (model["net"].intercept_ == 1).all()


def test_arrays_that_do_not_fit_are_refused_by_name_and_write_nothing(digits):
    net = classifier().fit(*digits)
    before = steelyard.weights(net).parameters.to_vector()
    with pytest.raises(ShapeError, match=r"fc1.weight has shape \(6, 64\), the value has \(64, 6\)"):
        steelyard.weights(net).assign({"fc1.bias": np.zeros(6), "fc1.weight": np.zeros((64, 6))})
    assert np.array_equal(steelyard.weights(net).parameters.to_vector(), before)


def test_objects_of_skorch_other_than_nets_have_no_weights(digits):
    with pytest.raises(UnknownModelError, match="a skorch EpochScoring has no weights; pass the net itself"):
        steelyard.weights(EpochScoring("accuracy"))
    model = Pipeline([("frame", DataFrameTransformer()), ("net", RidgeClassifier().fit(*digits))])
    assert list(steelyard.weights(model)) == ["net.coef_", "net.intercept_"]
