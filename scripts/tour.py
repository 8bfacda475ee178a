"""A tour: one small net of each family, really trained on the digits that scikit-learn ships.

For each it prints the table of weights, the first entries of the vector and what one entry is, and proves the
way back: other weights change the predictions, the old vector restores them bit for bit.
"""

import os
import time
import warnings

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS="cpu")
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402 - the settings above come first
from sklearn.datasets import load_digits  # noqa: E402

import steelyard  # noqa: E402

X, Y = load_digits(return_X_y=True)
X = (X / 16).astype("float32")


def show(title, model, predict):
    """Print what Steelyard shows of a trained model, and prove the round trip of its vector."""
    print(f"\n\033[1m{title}\033[0m" if os.isatty(1) else f"\n{title}")
    w = steelyard.weights(model)
    print(w)
    vector = w.to_vector()
    name, place = w.locate(len(vector) // 2)
    print(f"vector: {len(vector):,} entries of {vector.dtype}, beginning {np.array2string(vector[:4], precision=3)}")
    print(f"entry {len(vector) // 2:,} is {name}{list(place)}; accuracy {np.mean(predict(model) == Y):.3f}")
    before = predict(model)
    kernels = w.select(role="kernel")
    changed = kernels.assign(np.zeros(kernels.size, kernels.to_vector().dtype))
    zeroed = predict(changed)
    restored = steelyard.weights(changed).assign(vector)
    assert not np.array_equal(zeroed, before), "kernels of zero must change the outputs"
    assert np.array_equal(predict(restored), before), "the vector must bring every prediction back"
    print("round trip: zeroed kernels changed the predictions, the vector brought all of them back")


def torch_net():
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)
    )
    optimizer, x, y = torch.optim.Adam(net.parameters(), 0.01), torch.from_numpy(X), torch.from_numpy(Y)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    net.eval()
    show("PyTorch: a convolutional net with BatchNorm", net, lambda m: m(x).argmax(1).numpy())


def skorch_search():
    import torch
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from skorch import NeuralNetClassifier
    from torch import nn

    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    net = NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss, max_epochs=5, optimizer=torch.optim.Adam, verbose=0)
    search = GridSearchCV(make_pipeline(StandardScaler(), net), {"neuralnetclassifier__lr": [0.003, 0.01]}, cv=2)
    search.fit(X, Y)
    show("skorch, scaled in a Pipeline, the best of a GridSearchCV", search, lambda m: m.predict(X))


def sklearn_search():
    from sklearn.model_selection import GridSearchCV
    from sklearn.neural_network import MLPClassifier

    mlp = MLPClassifier((16,), max_iter=30, random_state=0)
    search = GridSearchCV(mlp, {"alpha": [1e-4, 1e-2]}, cv=2).fit(X, Y)
    show("scikit-learn: the best MLP of a GridSearchCV", search, lambda m: m.predict(X))


def sklearn_sgd():
    from sklearn.linear_model import SGDClassifier

    show("scikit-learn: a linear model after SGD", SGDClassifier(random_state=0).fit(X, Y), lambda m: m.predict(X))


def keras_net():
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [layers.Input((8, 8)), layers.LSTM(16), layers.BatchNormalization(), layers.Dense(10, activation="softmax")]
    )
    net.compile("adam", "sparse_categorical_crossentropy")
    net.fit(X.reshape(-1, 8, 8), Y, epochs=5, verbose=0)
    show("Keras: an LSTM that reads the rows", net, lambda m: m.predict(X.reshape(-1, 8, 8), verbose=0).argmax(1))


def scikeras_net():
    import keras
    from keras import layers
    from scikeras.wrappers import KerasClassifier

    def build():
        net = keras.Sequential([layers.Input((64,)), layers.Dense(24, "relu"), layers.Dense(10, "softmax")])
        net.compile("adam", "sparse_categorical_crossentropy")
        return net

    net = KerasClassifier(build, epochs=5, verbose=0, random_state=0).fit(X, Y)
    show("SciKeras: a Keras net that scikit-learn fits", net, lambda m: m.predict(X))


def flax_net():
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    import optax

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(10)(nn.relu(nn.Dense(24)(x)))

    net, optimizer = Net(), optax.adam(0.01)
    variables = net.init(jax.random.key(0), X[:1])
    state = optimizer.init(variables)

    @jax.jit
    def step(variables, state):
        def loss(v):
            return optax.softmax_cross_entropy_with_integer_labels(net.apply(v, X), jnp.asarray(Y)).mean()

        updates, state = optimizer.update(jax.grad(loss)(variables), state)
        return optax.apply_updates(variables, updates), state

    for _ in range(30):
        variables, state = step(variables, state)
    show(
        "JAX: the variables of a Flax net (immutable: assign returns new ones)",
        variables,
        lambda v: np.asarray(net.apply(v, X).argmax(1)),
    )


def main():
    start = time.time()
    for family in (torch_net, skorch_search, sklearn_search, sklearn_sgd, keras_net, scikeras_net, flax_net):
        family()
    print(f"\nEvery family of nets, one way: {time.time() - start:.0f} s.")


if __name__ == "__main__":
    main()
