"""The graphs of skorch nets and SciKeras wrappers: those of the models inside, by the names of their weights."""

import numpy as np
import pytest
import torch
from outputs import assert_close
from torch import nn

import steelyard
from steelyard.errors import NotFittedError, UnknownModelError
from steelyard.frameworks import scikeras as of_scikeras
from steelyard.frameworks import skorch as of_skorch
from steelyard.frameworks import torch as of_torch


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 10)
        self.body = nn.Linear(64, 5)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


class Centred(nn.Module):
    """A loss with weights of its own."""

    def __init__(self):
        super().__init__()
        self.centre = nn.Linear(10, 1)

    def forward(self, y, target):
        return self.centre(y).square().mean()


def fitted(digits, **facts):
    from skorch import NeuralNetClassifier

    x, y = digits
    torch.manual_seed(0)
    return NeuralNetClassifier(Net, max_epochs=2, verbose=0, train_split=None, **facts).fit(x, y)


def test_a_skorch_net_has_the_graph_of_its_module_and_predicts_the_same_afterwards(digits):
    net, (x, _) = fitted(digits, criterion=nn.CrossEntropyLoss), digits
    before = net.forward(x[:9]).numpy()
    found = of_skorch.graph(net, [x[:9]])
    assert [layer.name for layer in found.layers] == ["body", "relu", "head"]
    assert set(steelyard.weights(net).layers) == {"body", "head"}
    ran = of_skorch.run(net, [x[:9]])
    assert ran.outputs[0].dtype == np.float64
    assert np.allclose(ran.outputs[0], before, atol=1e-5)
    assert_close(net.forward(x[:9]), before)
    assert repr(found) == repr(of_torch.graph(net.module_, [x[:9]]))


def test_layers_of_a_skorch_net_with_several_parts_have_the_names_of_their_weights(digits):
    net, (x, _) = fitted(digits, criterion=Centred), digits
    found = of_skorch.graph(net, [x[:3]])
    assert [layer.name for layer in found.layers] == ["module_.body", "module_.relu", "module_.head", "criterion_.centre"]
    assert found.layers[-1].settings == {"unused": True}
    assert {layer.name for layer in found.layers} - {"module_.relu"} == set(steelyard.weights(net).layers)
    assert list(of_skorch.run(net, [x[:3]]).layers) == ["module_.body", "module_.relu", "module_.head"]


def test_an_uninitialised_skorch_net_or_another_object_is_refused():
    from skorch import NeuralNetClassifier
    from skorch.callbacks import EpochScoring

    with pytest.raises(NotFittedError, match=r"call .fit\(\)"):
        of_skorch.graph(NeuralNetClassifier(Net), None)
    with pytest.raises(UnknownModelError, match="pass the net itself"):
        of_skorch.run(EpochScoring("accuracy"), [])


def test_a_scikeras_wrapper_has_the_graph_of_its_model(digits):
    import keras
    from scikeras.wrappers import KerasClassifier

    def build():
        return keras.Sequential(
            [
                keras.Input((64,)),
                keras.layers.Dense(5, activation="relu", name="fc"),
                keras.layers.Dense(10, activation="softmax", name="out"),
            ],
            name="net",
        )

    x, y = digits
    wrapper = KerasClassifier(build, loss="sparse_categorical_crossentropy", epochs=1, verbose=0).fit(x, y)
    found = of_scikeras.graph(wrapper, None)
    assert [(layer.name, layer.settings) for layer in found.layers] == [
        ("net/fc", {"activation": "relu"}),
        ("net/out", {"activation": "softmax"}),
    ]
    assert np.allclose(of_scikeras.run(wrapper, [x[:7]]).outputs[0], wrapper.predict_proba(x[:7]), atol=1e-6)
    with pytest.raises(NotFittedError, match="has not built its model yet"):
        of_scikeras.graph(KerasClassifier(build), None)
