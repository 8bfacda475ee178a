"""Files with CuDNNLSTM and CuDNNGRU: Keras 2's own loader is the reference."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import h5py
import keras
import numpy as np
import pytest
import tf_keras
from tf_keras.src.layers.rnn.cudnn_gru import CuDNNGRU
from tf_keras.src.layers.rnn.cudnn_lstm import CuDNNLSTM

import steelyard
from steelyard.errors import ShapeError

PAIRS = {CuDNNLSTM: "LSTM", CuDNNGRU: "GRU"}


@pytest.fixture(params=PAIRS, ids=PAIRS.values())
def filed(request, tmp_path):
    """Return a layer of cuDNN, called as the plain layer is, in a file of weights alone, and the plain layer's name."""
    plain, rng = PAIRS[request.param], np.random.default_rng(0)
    layer = request.param(4, name=plain.lower(), return_sequences=True)
    layer.build((None, 5, 3))
    layer.set_weights([rng.normal(size=array.shape) for array in layer.get_weights()])
    path, name = tmp_path / "c.h5", layer.name
    with h5py.File(path, "w") as file:
        group = file.create_group(name)
        file.attrs["layer_names"], file.attrs["keras_version"], file.attrs["backend"] = [name.encode()], b"2.2.4", b"tensorflow"
        group.attrs["weight_names"] = [f"{name}/{variable.name}".encode() for variable in layer.weights]
        for variable in layer.weights:
            group[f"{name}/{variable.name}"] = variable.numpy()
    return layer, path, plain


def test_a_transfer_of_the_file_gives_the_outputs_of_keras_2(filed):
    _, path, plain = filed
    old = tf_keras.Sequential(
        [tf_keras.layers.Input((5, 3)), getattr(tf_keras.layers, plain)(4, name=plain.lower(), return_sequences=True)]
    )
    old.load_weights(path)
    new = keras.Sequential([keras.Input((5, 3)), getattr(keras.layers, plain)(4, return_sequences=True)])
    steelyard.transfer(path, into=new)
    for ours, theirs in zip(new.get_weights(), old.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_the_listing_has_the_stored_numbers_and_claims_no_axes_that_they_do_not_have(filed):
    layer, path, _ = filed
    listed = steelyard.weights(path)
    np.testing.assert_array_equal(listed.to_vector(), np.concatenate([array.ravel() for array in layer.get_weights()]))
    kernel, recurrent, bias = listed.values()
    gates = "ifgo" if len(bias.shape) == 1 and bias.size == 32 else "zrn"
    assert [weight.axes for weight in (kernel, recurrent, bias)] == ["", f"out [{gates}]*in", f"[ih]*[{gates}]*out"]
    assert {weight.encoding for weight in listed.values()} == {"cuDNN"}


def test_a_gru_that_resets_before_the_product_has_no_partner_in_cudnn(filed):
    _, path, plain = filed
    if plain == "GRU":
        before = keras.Sequential([keras.Input((5, 3)), keras.layers.GRU(4, reset_after=False)])
        with pytest.raises(ShapeError):
            steelyard.transfer(path, into=before)


def test_a_layer_of_cudnn_is_refused_as_a_target(filed):
    layer, path, _ = filed
    with pytest.raises(ShapeError, match="has the layout of cuDNN"):
        steelyard.transfer(path, into=layer)
