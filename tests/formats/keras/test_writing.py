"""Writing `.keras`: the model that weights were read from with other numbers, as Keras itself loads it."""

import io
import zipfile

import h5py
import keras
import numpy as np
import pytest
from outputs import assert_close

import steelyard
from steelyard.errors import FormatError

RESET = "ignore:Skipping variable loading for optimizer"
"""Keras's warning about a file without the optimizer's state, which belonged to the old numbers."""


@pytest.fixture(scope="module")
def trained():
    """A small convolutional net with a random augmentation inside, after a few real steps."""
    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.RandomFlip(),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Flatten(),
            keras.layers.Dense(2, name="head"),
        ]
    )
    net.compile("adam", "mse")
    rng = np.random.default_rng(0)
    net.fit(rng.random((8, 8, 8, 3), "f4"), rng.random((8, 2), "f4"), epochs=2, verbose=0)
    return net


@pytest.fixture
def file(trained, tmp_path):
    trained.save(tmp_path / "net.keras")
    return tmp_path / "net.keras"


def doubled(path):
    found = steelyard.weights(path)
    return found.from_vector(2 * found.to_vector())


def datasets(path):
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        found = {}
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


@pytest.mark.filterwarnings(RESET)
def test_keras_loads_the_same_model_with_the_new_numbers(trained, file, tmp_path):
    steelyard.save(doubled(file), tmp_path / "new.keras")
    loaded = keras.saving.load_model(tmp_path / "new.keras")
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in trained.layers]
    for new, old in zip(loaded.weights, trained.weights, strict=True):
        assert np.array_equal(new.numpy(), 2 * old.numpy()), old.path
    x = np.random.default_rng(1).random((4, 8, 8, 3), "f4")
    trained.set_weights([2 * value for value in trained.get_weights()])
    assert_close(loaded(x, training=False), trained(x, training=False))
    trained.set_weights([value / 2 for value in trained.get_weights()])


def test_the_config_is_kept_byte_for_byte_and_only_the_optimizer_is_left_out(file, tmp_path):
    steelyard.save(doubled(file), tmp_path / "new.keras")
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(tmp_path / "new.keras") as new:
        assert new.testzip() is None
        assert old.namelist() == new.namelist()
        for name in ("config.json", "metadata.json"):
            assert old.read(name) == new.read(name)
    before, after = datasets(file), datasets(tmp_path / "new.keras")
    assert after
    assert set(before) - set(after) == {name for name in before if name.startswith("optimizer")}


def test_the_file_that_was_read_may_be_overwritten(file):
    found = doubled(file)
    wanted = found.to_vector()
    steelyard.save(found, file)
    assert np.array_equal(steelyard.weights(file).to_vector(), wanted)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.filterwarnings(RESET)
def test_another_type_of_numbers_is_loaded_into_the_model(trained, file, tmp_path):

    steelyard.save(steelyard.weights(file).astype("bfloat16"), tmp_path / "half.keras")
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    for new, old in zip(loaded.weights, trained.weights, strict=True):
        assert np.allclose(new.numpy(), old.numpy(), rtol=0.01), old.path


def test_a_model_inside_a_model_and_a_shared_layer_are_written_again(tmp_path):
    keras.utils.set_random_seed(1)
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(4)])
    shared = keras.layers.Dense(4)
    x = keras.Input((4,))
    net = keras.Model(x, keras.layers.LSTM(3)(keras.layers.Reshape((2, 2))(shared(inner(shared(x))))))
    net.save(tmp_path / "net.keras")
    steelyard.save(doubled(tmp_path / "net.keras"), tmp_path / "new.keras")
    loaded = keras.saving.load_model(tmp_path / "new.keras")
    for new, old in zip(loaded.weights, net.weights, strict=True):
        assert np.array_equal(new.numpy(), 2 * old.numpy())


def test_weights_without_a_config_are_refused(tmp_path):
    with pytest.raises(FormatError, match=r"new\.keras: a \.keras file needs the config of a model"):
        steelyard.save({"w": np.zeros(3)}, tmp_path / "new.keras")
    assert not list(tmp_path.iterdir())


def test_a_weight_that_does_not_fit_is_refused_and_nothing_is_written(file, tmp_path):
    found = steelyard.weights(file)
    name = next(name for name in found if name.endswith("head/kernel"))
    wide = steelyard.weights({"w": np.zeros((72, 2), "f4")})["w"]
    changed = steelyard.Weights(
        (w.replace(shape=wide.shape, read=wide.read) if w.name == name else w for w in found.values()), meta=found.meta
    )
    with pytest.raises(FormatError, match=r"head/kernel is \[144, 2\] in the original model, but \[72, 2\] here"):
        steelyard.save(changed, tmp_path / "new.keras")
    with pytest.raises(FormatError, match="does not fit these weights, which lacks"):
        steelyard.save(found.select(role="kernel"), tmp_path / "new.keras")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.keras"]


def test_a_model_with_a_member_of_an_invalid_name_is_not_written_again(file, tmp_path):
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("notes-\xe9", b"")  # the name is written as UTF-8, in two places
    file.write_bytes(file.read_bytes().replace("notes-\xe9".encode(), b"notes-\xff\xfe"))
    with pytest.raises(FormatError, match=r"notes-\\udcff\\udcfe of the model's file has a name that is not valid Unicode"):
        steelyard.save(doubled(file), tmp_path / "new.keras")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.keras"]
