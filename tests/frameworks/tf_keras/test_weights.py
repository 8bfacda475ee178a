"""Keras 2 (`tf_keras`): names, order, vectors, flags, files and outputs are its own."""

import os
import subprocess
import sys
import textwrap

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_keras import layers

import steelyard
from steelyard import rbridge
from steelyard.core.plugins import framework_of
from steelyard.errors import LeftOutWarning, NotFittedError, ShapeError, UnknownModelError, UnreadableError

pytestmark = pytest.mark.filterwarnings(
    "ignore:You are saving your model as an HDF5 file",  # what these tests read
)


def image_net():
    return tf_keras.Sequential(
        [
            layers.Conv2D(4, (2, 3), input_shape=(8, 8, 3)),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D((2, 2), depth_multiplier=2),
            layers.SeparableConv2D(5, (2, 2)),
            layers.Dropout(0.1),
            layers.Conv2DTranspose(6, (2, 3)),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )


def sequence_net():
    inputs = tf_keras.Input((5,))
    x = layers.Embedding(11, 4)(inputs)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.GRU(4, return_sequences=True)(x)
    x = layers.GRU(4, reset_after=False, return_sequences=True)(x)
    x = layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True)(x)
    x = layers.TimeDistributed(layers.Dense(6))(x)
    x = layers.MultiHeadAttention(2, 3)(x, x)
    x = layers.LayerNormalization()(x)
    return tf_keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


class Subclassed(tf_keras.Model):
    """Its layers run in another order than they are defined, and one is never called."""

    def __init__(self):
        super().__init__()
        self.last, self.first, self.norm = layers.Dense(2), layers.Dense(3, activation="relu"), layers.BatchNormalization()
        self.never = layers.Dense(2)
        self.never.build((None, 3))

    def call(self, x, training=False):
        return self.last(self.norm(self.first(x), training=training))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 4), "float32"))
    return model


NETS = {
    image_net: lambda rng: rng.normal(size=(4, 8, 8, 3)).astype("float32"),
    sequence_net: lambda rng: rng.integers(0, 11, (4, 5)),
    subclassed: lambda rng: rng.normal(size=(4, 4)).astype("float32"),
}


@pytest.fixture(params=NETS)
def trained(request):
    """Return a model whose numbers all differ, and inputs for it."""
    model, rng = request.param(), np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1, array.shape).astype(array.dtype) for array in model.get_weights()])
    return model, NETS[request.param](rng)


def flat(model, order="C"):
    return np.concatenate([array.ravel(order) for array in model.get_weights()])


def facts(weights):
    return [(w.name, w.layer, w.role, w.axes, w.shape) for w in weights.values()]


def test_names_order_values_and_flags_are_those_of_weights(trained):
    model, _ = trained
    listed = steelyard.weights(model)
    trainable = {id(variable) for variable in model.trainable_weights}
    for weight, variable, array in zip(listed.values(), model.weights, model.get_weights(), strict=True):
        assert weight.name.rpartition("/")[2] == variable.name.removesuffix(":0").rpartition("/")[2]
        assert weight.trainable == (id(variable) in trainable)
        np.testing.assert_array_equal(weight.numpy(), array)
    np.testing.assert_array_equal(listed.to_vector(), flat(model))
    np.testing.assert_array_equal(listed.to_vector("F"), flat(model, "F"))
    assert listed.counts.parameters == sum(v.shape.num_elements() for v in model.trainable_weights)


def test_assigning_the_vector_of_get_weights_or_its_list_leaves_the_output_as_it_was(trained):
    model, x = trained
    before, arrays, vector = model(x).numpy(), model.get_weights(), flat(model)
    for values in (vector, arrays, tuple(arrays)):
        steelyard.weights(model).assign(np.zeros_like(vector))
        assert not np.array_equal(model(x).numpy(), before)
        steelyard.weights(model).assign(values)
        np.testing.assert_array_equal(model(x).numpy(), before)
    reversed_vector = np.concatenate([array.ravel() for array in reversed(arrays)])
    steelyard.weights(model).assign(reversed_vector)
    assert not np.allclose(model(x).numpy(), before), "the order of the vector matters to this net"


def test_a_live_model_and_its_file_agree_in_names_roles_axes_and_layers(trained, tmp_path):
    model, _ = trained
    if isinstance(model, Subclassed):
        model.save_weights(tmp_path / "m.h5")
        assert list(steelyard.weights(tmp_path / "m.h5")) == list(steelyard.weights(model))
        return
    model.save(tmp_path / "m.h5")
    live, read = steelyard.weights(model), steelyard.weights(tmp_path / "m.h5")
    assert facts(read) == facts(live)
    assert [repr(layer) for layer in read.graph.layers] == [repr(layer) for layer in live.graph.layers]
    assert steelyard.diff(model, tmp_path / "m.h5").same


def test_a_saved_file_is_laid_out_as_keras_2_does_it_and_loads_into_a_new_model(trained, tmp_path):
    model, x = trained
    ours, own = tmp_path / "ours.weights.h5", tmp_path / "own.weights.h5"
    steelyard.save(model, ours)
    model.save_weights(own)
    found = []
    for path in (ours, own):
        with h5py.File(path) as file:
            paths = []
            file.visititems(lambda path, item, paths=paths: paths.append(path) if isinstance(item, h5py.Dataset) else None)
            found.append({path: file[path][()].tolist() for path in paths})
    assert found[0] == found[1]
    fresh = Subclassed() if isinstance(model, Subclassed) else tf_keras.models.clone_model(model)
    fresh(x)
    fresh.load_weights(ours)
    np.testing.assert_array_equal(fresh(x).numpy(), model(x).numpy())


def test_a_run_gives_the_output_of_every_layer_and_leaves_the_model_as_it_was(trained):
    model, x = trained
    before = flat(model)
    framework = framework_of(model)
    done, listed = framework.run(model, [x]), framework.graph(model, [x])
    np.testing.assert_allclose(done.outputs[0], model(x, training=False).numpy(), rtol=1e-6)
    np.testing.assert_array_equal(flat(model), before)
    assert listed.is_execution_order
    named = {layer.name: layer for layer in listed.layers}
    assert set(done.layers) <= set(named)
    for name, output in done.layers.items():
        assert named[name].output_shape in (None, output.shape[1:]), name
    if isinstance(model, Subclassed):
        words = [layer.name.rpartition("/")[2].rstrip("_0123456789") for layer in listed.layers]
        assert words == ["dense", "batch_normalization", "dense", "dense"]
        assert [layer.name for layer in listed.layers if layer.settings.get("unused")] == [model.never.name]


def test_a_transfer_from_keras_2_to_keras_3_and_back_keeps_the_outputs():
    old = tf_keras.Sequential(
        [layers.Conv2D(4, 3, input_shape=(6, 6, 1)), layers.BatchNormalization(), layers.Flatten(), layers.Dense(3)]
    )
    old.set_weights([np.random.default_rng(0).uniform(0.1, 1, a.shape) for a in old.get_weights()])
    new = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 1)).astype("float32")
    steelyard.transfer(old, into=new, probe=x)
    np.testing.assert_allclose(np.asarray(new(x)), old(x).numpy(), rtol=1e-5)
    kept = old(x).numpy()
    old.set_weights([array * 0 for array in old.get_weights()])
    steelyard.transfer(new, into=old, probe=x)
    np.testing.assert_allclose(old(x).numpy(), kept, rtol=1e-5)


def test_a_frozen_layer_changes_neither_order_nor_parameters():
    model = image_net()
    names = list(steelyard.weights(model))
    model.layers[0].trainable = False
    listed = steelyard.weights(model)
    assert list(listed) == names
    assert [weight.trainable for weight in listed.values()][:3] == [False, False, True]
    np.testing.assert_array_equal(listed.to_vector(), flat(model))
    assert names[0] in listed.parameters


def test_layers_of_one_name_are_named_as_in_a_file(tmp_path):
    inner = tf_keras.Sequential([layers.Dense(3, input_shape=(3,), name="a")], name="inner")
    model = tf_keras.Sequential([layers.Dense(3, input_shape=(4,), name="a"), inner])
    assert list(steelyard.weights(model)) == ["a/kernel", "a/bias", "inner/a/kernel", "inner/a/bias"]
    model.save(tmp_path / "m.h5")
    assert list(steelyard.weights(tmp_path / "m.h5")) == list(steelyard.weights(model))


def test_a_layer_held_twice_is_tied_and_counts_once():
    model = tf_keras.Sequential([layers.Dense(3, input_shape=(4,)), layers.Dense(2)])
    held = steelyard.weights({"whole": model, "first": model.layers[0]})
    assert held.size == model.count_params()
    assert [weight.tied for weight in held.values()][-2:] == list(held)[:2]
    with pytest.raises(ShapeError, match="share one memory"):
        held.assign({next(iter(held)): np.zeros((4, 3)), list(held)[-2]: np.ones((4, 3))})


def test_variables_of_mixed_precision_keep_their_full_precision():
    policy = tf_keras.mixed_precision.Policy("mixed_float16")
    model = tf_keras.Sequential([layers.Dense(3, input_shape=(4,), dtype=policy), layers.Dense(2, dtype="float32")])
    values = np.random.default_rng(0).normal(size=23).astype("float32")
    listed = steelyard.weights(model)
    assert {weight.dtype for weight in listed.values()} == {"float32"}
    listed.assign(values)
    np.testing.assert_array_equal(flat(model), values)
    assert steelyard.weights(model.layers[0].kernel)[""].dtype == "float32"


def test_an_optimizer_lists_its_state_and_its_averages_start_again_from_what_was_assigned():
    model = tf_keras.Sequential([layers.Dense(1, input_shape=(3,))])
    model.compile(tf_keras.optimizers.SGD(0.0, use_ema=True, ema_momentum=0.9), "mse")
    x, y = np.ones((2, 3)), np.zeros((2, 1))
    model.fit(x, y, verbose=0)
    assert [weight.size for weight in steelyard.weights(model.optimizer).values()] == [
        v.shape.num_elements() for v in model.optimizer.variables
    ]
    wanted = np.full(4, 7, "float32")
    steelyard.weights(model).assign(wanted)
    model.fit(x, y, verbose=0)  # at its end the averages go into the model
    np.testing.assert_allclose(flat(model), wanted, rtol=1e-6)


def test_a_vocabulary_is_listed_with_the_reason_why_it_has_no_numbers():
    model = tf_keras.Sequential([layers.TextVectorization(output_sequence_length=3), layers.Embedding(9, 2)])
    model.layers[0].adapt(["a b c"])
    model(tf.constant([["a b"]]))
    listed = steelyard.weights(model)
    (name,) = listed.unreadable
    assert "of text, not of numbers" in listed.unreadable[name]
    with pytest.raises(UnreadableError, match="of text"):
        listed.to_vector()
    with pytest.warns(LeftOutWarning):
        np.testing.assert_array_equal(listed.to_vector(skip_unreadable=True), model.layers[1].get_weights()[0].ravel())


def test_what_is_not_built_or_has_no_weights_is_refused():
    with pytest.raises(NotFittedError, match="is not built"):
        steelyard.weights(tf_keras.Sequential([layers.Dense(2)]))
    with pytest.raises(NotFittedError, match="is not built"):
        steelyard.weights(layers.Dense(2))
    with pytest.raises(UnknownModelError, match="a Keras 2 MeanSquaredError has no weights"):
        steelyard.weights(tf_keras.losses.MeanSquaredError())


def test_tensorflow_s_own_copy_of_keras_2_is_read_as_keras_2_is():
    import tensorflow.python.keras as old

    model = old.Sequential([old.layers.Dense(3, input_shape=(4,), name="z"), old.layers.Dense(2, name="a")])
    listed = steelyard.weights(model)
    assert list(listed) == ["z/kernel", "z/bias", "a/kernel", "a/bias"]
    np.testing.assert_array_equal(listed.to_vector(), flat(model))
    assert [layer.name for layer in listed.graph.layers] == ["z", "a"]


def test_r_gets_the_vector_of_its_own_snippet_and_predictions_after_assigning_it():
    model = tf_keras.Sequential([layers.Dense(5, "relu", input_shape=(3,)), layers.Dense(2, "softmax")])
    x = np.random.default_rng(0).normal(size=(4, 3))
    before, snippet = model(x).numpy(), flat(model, "F").astype("float64")
    assert rbridge.vector(model) == bytearray(snippet.tobytes())
    rbridge.assign(model, bytearray(np.zeros_like(snippet).tobytes()))
    rbridge.assign(model, bytearray(snippet.tobytes()))
    np.testing.assert_array_equal(model(x).numpy(), before)
    found = rbridge.predict(model, bytearray(x.tobytes(order="F")), [4.0, 3.0])
    np.testing.assert_allclose(np.frombuffer(found["values"]).reshape(4, 2, order="F"), before, rtol=1e-5)


def test_keras_2_is_imported_only_by_the_user():
    script = """
        import sys, tensorflow as tf, steelyard
        class Dense(tf.Module):
            __module__ = "tf_keras.src.layers"
        try:
            print(list(steelyard.weights(Dense())))
        finally:
            print("tf_keras" in sys.modules)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\nFalse\n"


def test_a_variable_that_a_layer_or_a_layer_that_the_model_replaced_is_neither_read_nor_written():
    net = tf_keras.Sequential([tf_keras.layers.Dense(3, input_shape=(2,), name="a"), tf_keras.layers.Dense(2, name="b")])
    w = steelyard.weights(net)
    vector = w.to_vector()
    net.layers[0].kernel = net.layers[0].add_weight(name="other", shape=(2, 3))
    for use in (w["a/kernel"].numpy, w.to_vector, lambda: w.assign(vector)):
        with pytest.raises(ShapeError, match="the model holds another a/kernel now than was listed"):
            use()
    assert w["b/bias"].numpy().tolist() == [0, 0]
    net.pop()
    with pytest.raises(ShapeError, match="the model holds another b/bias now than was listed"):
        w["b/bias"].numpy()
