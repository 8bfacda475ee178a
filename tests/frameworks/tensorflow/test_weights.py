"""TensorFlow: attribute paths of modules and checkpoints, variables and tensors."""

import os

from outputs import assert_close

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
import tensorflow as tf

import steelyard
from steelyard.core.plugins import framework_of
from steelyard.errors import ShapeError, UnknownModelError


class Dense(tf.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.kernel = tf.Variable(tf.random.normal((inputs, outputs)), name="same")
        self.bias = tf.Variable(tf.zeros((outputs,)), name="same")
        self.scale = tf.Variable(tf.ones((outputs,)), trainable=False)

    def __call__(self, x):
        return tf.nn.tanh(x @ self.kernel + self.bias) * self.scale


class Net(tf.Module):
    def __init__(self):
        super().__init__()
        self.layers = [Dense(3, 4)] + [Dense(4, 4) for _ in range(10)]
        self.table = {"head": Dense(4, 2)}
        self.tied = self.layers[0]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.table["head"](x)


def names_in(checkpoint):
    ending = "/.ATTRIBUTES/VARIABLE_VALUE"
    return {name.removesuffix(ending) for name, _ in tf.train.list_variables(checkpoint) if name.endswith(ending)}


@pytest.fixture(scope="module")
def trained():
    tf.random.set_seed(0)
    net, x = Net(), tf.random.normal((8, 3))
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((net(x) - 1) ** 2)
        for variable, slope in zip(net.trainable_variables, tape.gradient(loss, net.trainable_variables), strict=True):
            variable.assign_sub(0.1 * slope)
    return net, x


def test_a_module_lists_its_variables_in_their_order_by_the_names_of_a_checkpoint(trained, tmp_path):
    net, _ = trained
    w = steelyard.weights(net)
    once = [weight for weight in w.values() if weight.tied is None]
    assert [x.trainable for x in once] == [v.trainable for v in net.variables]
    for mine, theirs in zip(once, net.variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
        assert not mine.numpy().flags.writeable
    saved = tf.train.Checkpoint(layers=net.layers, table=net.table).write(str(tmp_path / "c"))
    assert {weight.name for weight in once} <= names_in(saved)
    assert list(w)[:3] == ["layers/0/bias", "layers/0/kernel", "layers/0/scale"]
    assert list(w).index("layers/2/kernel") < list(w).index("layers/10/kernel")
    assert w["tied/kernel"].tied == "layers/0/kernel"
    assert {str(w[f"layers/0/{part}"].role) for part in ("kernel", "scale")} == {"kernel", "scale"}
    assert w["layers/0/kernel"].layer == "layers/0"


def test_the_vector_goes_into_another_module_whose_outputs_are_then_equal(trained):
    net, x = trained
    vector = steelyard.weights(net).to_vector()
    np.testing.assert_array_equal(vector, np.concatenate([v.numpy().ravel() for v in net.variables]))
    other = Net()
    w = steelyard.weights(other)
    variable = other.layers[0].kernel
    assert w.assign(vector) is other
    vector[:] = np.nan
    assert other.layers[0].kernel is variable
    np.testing.assert_array_equal(w.to_vector(), steelyard.weights(net).to_vector())
    assert_close(other(x), net(x))
    variable.assign(variable * 2)
    np.testing.assert_array_equal(w["layers/0/kernel"].numpy(), variable.numpy())


def test_a_variable_is_read_in_blocks(trained):
    variable = tf.Variable(np.arange(24.0).reshape(2, 3, 4))
    w = steelyard.weights(variable)
    assert [b.tolist() for b in w[""].blocks(5)] == [list(map(float, range(i, min(i + 5, 24)))) for i in range(0, 24, 5)]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8", "int64", "bool", "float8_e4m3fn", "complex64"])
@pytest.mark.parametrize("shape", [(), (4, 3), (0, 2)])
def test_every_type_comes_back_bit_for_bit(dtype, shape):
    variable = tf.Variable(tf.cast(tf.ones(shape), dtype))
    w = steelyard.weights(variable)
    assert (w[""].dtype, w[""].shape) == (dtype, shape)
    assert w[""].numpy().tobytes() == variable.numpy().tobytes()
    w.assign({"": np.zeros(shape).astype(w[""].numpy().dtype)})
    assert not variable.numpy().astype(bool).any()
    rows = [w[""].read(i, i + 1) for i in range(w[""].size)]
    assert b"".join(r.tobytes() for r in rows) == variable.numpy().tobytes()


def test_assign_returns_a_new_tensor_and_leaves_the_old_one():
    tensor = tf.constant([1.0, 2.0])
    new = steelyard.weights(tensor).assign({"": [3.0, 4.0]})
    assert isinstance(new, tf.Tensor)
    assert (tensor.numpy().tolist(), new.numpy().tolist()) == ([1, 2], [3, 4])


def test_objects_that_a_checkpoint_or_a_loaded_model_tracks_are_listed(trained, tmp_path):
    net, _ = trained
    checkpoint = tf.train.Checkpoint(net=net, step=tf.Variable(3))
    w = steelyard.weights(checkpoint)
    assert set(w) == names_in(checkpoint.write(str(tmp_path / "c")))
    assert w["step"].role == "count"
    net.predict = tf.function(net.__call__, input_signature=[tf.TensorSpec((None, 3))])
    tf.saved_model.save(net, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    read = steelyard.weights(loaded)
    assert set(read) == names_in(str(tmp_path / "saved" / "variables" / "variables"))
    for name, weight in read.items():
        if name.startswith("layers/"):
            np.testing.assert_array_equal(weight.numpy(), steelyard.weights(net)[name].numpy())
    assert read.size == steelyard.weights(net).size


def test_containers_of_variables_name_them_by_place():
    w = steelyard.weights({"a": [tf.Variable([1.0]), tf.Variable([2.0])]})
    assert list(w) == ["a.0", "a.1"]
    w.assign({"a.1": tf.constant([5.0])})
    assert w.to_vector().tolist() == [1, 5]


def test_objects_without_numbers_are_refused_with_a_reason():
    @tf.function(autograph=False)
    def traced(x):
        steelyard.weights(x)
        return x

    with pytest.raises(UnknownModelError, match=r"outside of tf\.function"):
        traced(tf.ones(2))
    with pytest.raises(UnknownModelError, match="string"):
        steelyard.weights(tf.constant("text"))
    with pytest.raises(UnknownModelError, match="SparseTensor"):
        steelyard.weights(tf.sparse.from_dense([[0.0, 1.0]]))
    with pytest.raises(ShapeError, match=r"\(2,\)"):
        steelyard.weights(tf.Variable([1.0, 2.0])).assign({"": [1.0]})
    assert framework_of(Net()).__name__ == "steelyard.frameworks.tensorflow"


def test_a_module_whose_framework_has_an_order_of_its_own_is_refused_by_name():
    class Backwards(Net):
        @property
        def variables(self):
            return tuple(reversed(super().variables))

    class Alike(Net):
        @property
        def variables(self):
            return super().variables

    with pytest.raises(UnknownModelError, match=r"a .*Backwards is a tf\.Module of a framework that Steelyard does not know"):
        steelyard.weights(Backwards())
    assert steelyard.weights(Alike()).size == steelyard.weights(Net()).size


def test_one_variable_in_two_places_of_a_container_is_tied():
    shared = tf.Variable([1.0, 2.0])
    w = steelyard.weights([shared, {"again": shared}, tf.Variable([1.0, 2.0])])
    assert [weight.tied for weight in w.values()] == [None, "0", None]
    w.assign([3.0, 4.0, 5.0, 6.0])
    assert shared.numpy().tolist() == [3, 4]


def test_a_variable_that_a_module_replaced_is_neither_read_nor_written():
    class Net(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(np.ones((2, 3), "f4"))
            self.l = [tf.Variable([1.0, 2.0])]
            self.d = {"items": tf.Variable([4.0])}

    net = Net()
    w = steelyard.weights(net)
    vector = w.to_vector()
    assert np.array_equal(w.assign(vector * 2).w.numpy(), np.full((2, 3), 2.0))
    net.w = tf.Variable(np.zeros((2, 3), "f4"))
    for use in (w["w"].numpy, w.to_vector, lambda: w.assign(vector)):
        with pytest.raises(ShapeError, match="the model holds another w now than was listed"):
            use()
    assert (w["l/0"].numpy().tolist(), w["d/items"].numpy().tolist()) == ([2.0, 4.0], [8.0])
    assert not net.w.numpy().any()


def policy(keras):
    """A module with a Keras net in two places, a list of layers, a lone variable and one of its own."""

    class Policy(tf.Module):
        def __init__(self):
            super().__init__()
            layers = [keras.layers.Dense(4, name="dense"), keras.layers.BatchNormalization(name="norm")]
            self.net = keras.Sequential([keras.Input((3,)), *layers], name="net")
            self.table = {"again": self.net}
            self.heads = [keras.layers.Dense(2, name="head")]
            self.heads[0].build((None, 4))
            self.free = keras.Variable([2.0])
            self.own = tf.Variable([1.0])

    return Policy()


def test_what_keras_holds_in_a_module_is_listed_by_the_names_of_keras():
    keras = pytest.importorskip("keras")
    model = policy(keras)
    w = steelyard.weights(model)
    held = {"heads/0": model.heads[0], "net": model.net, "table/again": model.net}
    theirs = {f"{path}/{each.path}": each for path, part in held.items() for each in part.weights}
    assert [*w] == sorted(["free", *theirs, "own"], key=lambda name: name.split("/")[0])
    for name, variable in theirs.items():
        np.testing.assert_array_equal(w[name].numpy(), keras.ops.convert_to_numpy(variable))
        assert w[name].trainable == variable.trainable
    assert (w["heads/0/head/kernel"].axes, w["net/net/norm/moving_mean"].role) == ("in out", "mean")
    assert w["table/again/net/dense/kernel"].tied == "net/net/dense/kernel"
    assert w.size == model.net.count_params() + model.heads[0].count_params() + 2
    vector = w.to_vector()
    assert w.assign(vector * 2) is model
    np.testing.assert_array_equal(steelyard.weights(model).to_vector(), vector * 2)
    np.testing.assert_array_equal(model.net.get_weights()[0].ravel(), w["net/net/dense/kernel"].numpy().ravel())
    model.net = policy(keras).net
    with pytest.raises(ShapeError, match="the model holds another net/net/dense/kernel now than was listed"):
        w["net/net/dense/kernel"].numpy()


def test_a_checkpoint_of_a_keras_model_and_its_optimizer_lists_all_that_it_would_save(tmp_path):
    keras = pytest.importorskip("keras")
    model = policy(keras).net
    optimizer = keras.optimizers.SGD(momentum=0.9)
    optimizer.build(model.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, step=tf.Variable(3))
    w = steelyard.weights(checkpoint)
    assert w.size == sum(
        np.prod(shape) for name, shape in tf.train.list_variables(checkpoint.write(str(tmp_path / "c"))) if "VALUE" in name
    )
    theirs = {"model": model.weights, "optimizer": optimizer.variables}
    assert {*w} == {"step", *(f"{path}/{each.path}" for path, variables in theirs.items() for each in variables)}


def test_a_function_is_refused_since_its_variables_are_those_of_a_module():
    traced = tf.function(lambda x: 2 * x)
    for function in (traced, traced.get_concrete_function(tf.ones(2))):
        with pytest.raises(
            UnknownModelError, match="has no variables of its own; pass the module, or the variables that it uses"
        ):
            steelyard.weights(function)
