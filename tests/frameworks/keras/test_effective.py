"""What quantised layers of Keras and those with LoRA multiply with, compared with their response to unit vectors."""

import warnings

import keras
import numpy as np
import pytest

import steelyard


def net_of(mode=None, rank=None, alpha=None):
    """Return a net of a dense layer with an odd number of units, an embedding, and an EinsumDense with three axes."""
    keras.utils.set_random_seed(5)
    words = keras.Input((2,), dtype="int32")
    embedded = keras.layers.Embedding(9, 6, name="emb")(words)
    einsum = keras.layers.EinsumDense("abc,cde->abde", (2, 3, 4), name="ein")(embedded)
    out = keras.layers.Dense(7, name="d")(keras.layers.Flatten()(einsum))
    net = keras.Model(words, out, name="net")
    if mode:
        with warnings.catch_warnings(action="ignore"):  # of layers without anything to quantise
            net.quantize(mode)
    draw = np.random.default_rng(0)
    for layer in (net.get_layer(name) for name in ("emb", "ein", "d")) if rank else ():
        layer.enable_lora(rank, **({"lora_alpha": alpha} if alpha else {}))
    for variable in net.variables:
        if "lora_" in variable.path:
            variable.assign(draw.normal(size=variable.shape) * 0.2)
    return net


def response(net):
    """Return what each layer does to unit vectors, less what it does to zeros."""
    numpy = keras.ops.convert_to_numpy
    emb, ein, dense = (net.get_layer(name) for name in ("emb", "ein", "d"))
    rows = np.zeros((3, 2, 6), "f4")
    rows.reshape(6, 6)[:] = np.eye(6)
    return {
        "emb/embeddings": numpy(emb(np.arange(9)[None]))[0],
        "ein/kernel": numpy(ein(rows)).reshape(6, 3, 4),
        "d/kernel": numpy(dense(np.eye(24, dtype="f4")) - dense(np.zeros((1, 24), "f4"))),
    }


@pytest.mark.parametrize(("mode", "rank", "alpha"), [("int8", 2, None), ("int4", None, None), (None, 2, 6.0)])
def test_effective_kernels_are_those_that_live_layers_multiply_with(tmp_path, mode, rank, alpha):
    net = net_of(mode, rank, alpha)
    found, expected = steelyard.effective(net), response(net)
    assert {*expected} <= {*found} <= {*expected, "d/bias"}
    for name, known in expected.items():
        assert np.abs(found[name].numpy() - known).max() <= 3e-6 * np.abs(known).max(), name
    if mode == "int4":  # the file has the same numbers, and the shapes are in its config
        net.save(tmp_path / "net.keras")
        saved = steelyard.effective(tmp_path / "net.keras")
        assert all(saved[name].numpy().tobytes() == found[name].numpy().tobytes() for name in found)


def test_a_net_without_quantised_layers_stays_as_it_is():
    listed = steelyard.weights(net_of())
    assert listed.effective() is listed


@pytest.mark.parametrize("groups", [1, 2])
def test_lora_of_a_convolution_is_added_to_its_kernel(groups):
    layers = [keras.layers.Conv2D(6, 3, groups=groups), keras.layers.Conv2D(6, 3, groups=groups)]
    for layer in layers:
        layer.build((None, 8, 8, 4))
    first, plain = layers
    first.enable_lora(2, lora_alpha=6)
    first.lora_kernel_b.assign(np.random.default_rng(0).normal(size=(2, 6)))
    found = steelyard.effective(first)
    assert [*found] == [name for name in steelyard.weights(first) if "lora" not in name]
    for variable, weight in zip(plain.weights, found.values(), strict=True):
        variable.assign(weight.numpy())
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 4)).astype("f4")
    given, made = (keras.ops.convert_to_numpy(layer(images)) for layer in (first, plain))
    assert np.abs(given - made).max() < 3e-6 * np.abs(given).max()


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_the_reverse_kernel_of_an_embedding_is_dequantised_or_refused(mode):
    layer = keras.layers.ReversibleEmbedding(9, 6, tie_weights=False)
    layer.build((None, 2))
    layer.quantize(mode)
    found = steelyard.effective(layer)
    assert [name.rpartition("/")[2] for name in found] == ["embeddings", "reverse_embeddings"]
    weight = [*found.values()][1]
    if mode == "int4":
        assert "only kernels along their last are read" in found.unreadable[weight.name]
        return
    codes, scale = (keras.ops.convert_to_numpy(each) for each in (layer.reverse_embeddings, layer.reverse_embeddings_scale))
    assert np.allclose(weight.numpy(), codes / scale, rtol=1e-6)
    given = np.eye(6, dtype="f4")
    assert np.abs(keras.ops.convert_to_numpy(layer(given, reverse=True)) - weight.numpy()).max() < 3e-6
    assert (weight.role, weight.shape) == ("embedding", (6, 9))
