"""`parameters` and `buffers` are what each framework itself calls so."""

import numpy as np

import steelyard


def split(model):
    weights = steelyard.weights(model)
    made = weights.rename("(.*)", r"net/\1").copy()
    assert [f"net/{name}" for name in weights.parameters] == list(made.parameters)
    return list(weights.parameters), list(weights.buffers)


def test_keras_says_which_variables_of_a_users_layer_are_made_to_be_trained_also_where_they_are_frozen():
    import keras

    class Counting(keras.layers.Layer):
        def build(self, shape):
            self.gain = self.add_weight(shape=(shape[-1],), name="gain")
            self.seen = self.add_weight(shape=(2,), name="seen", trainable=False)

        def call(self, x):
            return x * self.gain

    model = keras.Sequential(
        [
            keras.Input((4,)),
            Counting(),
            keras.layers.Dense(3),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=1),
        ]
    )
    trained = [variable.path for variable in model.trainable_variables]
    model.layers[0].trainable = model.layers[1].trainable = False
    parameters, buffers = split(model)
    assert parameters == trained
    assert [name.rpartition("/")[2] for name in buffers] == ["seen", "moving_mean", "moving_variance"]
    seed = steelyard.weights(model.layers[3].seed_generator.state)
    assert (list(seed.parameters), list(seed.buffers)) == ([], [""])


def test_linen_says_it_by_its_collections():
    import flax.linen as linen
    import jax

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            self.variable("seen", "kernel", lambda: np.zeros(3, "f4"))
            gain = self.param("gain", lambda key: jax.numpy.ones(4))
            return linen.BatchNorm(use_running_average=True)(linen.Dense(2)(x * gain))

    variables = Net().init(jax.random.key(0), np.zeros((1, 4), "f4"))
    trained = [name for name in steelyard.weights(variables) if name.startswith("params/")]
    for model in (variables, Net().bind(variables)):
        parameters, buffers = split(model)
        assert parameters == trained
        assert sorted(buffers) == ["batch_stats/BatchNorm_0/mean", "batch_stats/BatchNorm_0/var", "seen/kernel"]


def test_nnx_says_it_by_the_type_of_each_variable():
    from flax import nnx

    class Count(nnx.Variable):
        pass

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.norm = nnx.BatchNorm(3, rngs=rngs)
            self.gain = nnx.Param(np.ones(3, "f4"))
            self.kernel = nnx.BatchStat(np.ones(3, "f4"))
            self.seen = Count(np.zeros((), "i4"))

    net = Net(nnx.Rngs(0))
    trained = ["/".join(path) for path, _ in nnx.to_flat_state(nnx.state(net, nnx.Param))]
    parameters, buffers = split(net)
    assert parameters == trained
    assert sorted(buffers) == ["kernel", "norm/mean", "norm/var", "seen"]


def test_of_equinox_and_jax_what_gradients_reach_are_parameters():
    import equinox as eqx
    import jax

    class Net(eqx.Module):
        layer: eqx.nn.Linear
        gain: jax.Array
        steps: jax.Array

    net = Net(eqx.nn.Linear(2, 3, key=jax.random.key(0)), jax.numpy.ones(3), jax.numpy.arange(3))
    reached = eqx.filter(net, eqx.is_inexact_array)
    assert split(net) == (list(steelyard.weights(reached)), ["steps"])
    tree = {"gain": jax.numpy.ones(3), "nested": [jax.numpy.zeros(2)], "steps": jax.numpy.arange(3)}
    assert split(tree) == (["gain", "nested/0"], ["steps"])


def test_of_a_container_of_other_models_the_facts_of_each_weight_decide():
    weights = steelyard.weights({"fc.weight": np.ones((2, 3)), "fc.bias": np.ones(2), "bn.running_mean": np.ones(2)})
    assert list(weights.parameters) == ["fc.weight", "fc.bias"]
    assert list(weights.copy().buffers) == ["bn.running_mean"]
