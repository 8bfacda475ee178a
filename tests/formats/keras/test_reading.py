"""Files that Keras itself writes, compared with the live model: names, order, numbers, roles; and the golden cases."""

import os
import zipfile

import carried
import h5py
import numpy as np
import pytest
from outputs import assert_close

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
from keras import layers as L

import steelyard
from steelyard.errors import FormatError

# Keras 3.15 asks TensorFlow's variables for NumPy arrays in a way that NumPy 2 is leaving
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(autouse=True)
def fresh_names():
    keras.utils.clear_session()
    keras.utils.set_random_seed(7)


def functional():
    """Names that contradict the counters of the file, and a norm without its scale."""
    x = keras.Input((5,))
    y = L.BatchNormalization(scale=False)(L.Dense(4)(x))
    y = L.Dropout(0.1)(L.Dense(3, name="dense_10")(y))
    return keras.Model(x, L.Dense(2, name="dense_1")(L.Dense(3, name="dense_2")(y)))


def sequential():
    return keras.Sequential([keras.Input((5,)), L.Dense(4), L.LayerNormalization(), L.Dense(3)])


def twelve():
    """More than ten layers of the same class."""
    return keras.Sequential([keras.Input((3,)), *(L.Dense(3) for _ in range(12))])


def nested():
    inner_input = keras.Input((4,))
    inner = keras.Model(inner_input, L.Dense(4, name="inside")(inner_input), name="inner")
    row = keras.Sequential([L.Dense(4, name="a"), L.Dense(4, name="b")], name="row")
    x = keras.Input((5,))
    return keras.Model(x, L.Dense(2)(row(inner(L.Dense(4)(x)))), name="outer")


def recurrent():
    x = keras.Input((7, 3))
    y = L.Bidirectional(L.LSTM(4, return_sequences=True))(x)
    y = L.GRU(3, return_sequences=True)(y)
    y = L.TimeDistributed(L.Dense(2))(y)
    y = L.RNN([L.LSTMCell(4), L.GRUCell(3, reset_after=False)], return_sequences=True)(y)
    return keras.Model(x, L.SimpleRNN(2)(y))


def attention():
    x = keras.Input((7, 8))
    y = L.LayerNormalization()(L.GroupQueryAttention(4, 2, 1, use_gate=True)(*[L.MultiHeadAttention(2, 4)(x, x)] * 2))
    return keras.Model(x, L.EinsumDense("abc,cde->abde", (7, 3, 2), bias_axes="de")(y))


def images():
    x = keras.Input((8, 8, 3))
    y = L.DepthwiseConv2D(2, depth_multiplier=2)(L.SeparableConv2D(4, 3)(x))
    y = L.GroupNormalization(3)(L.Conv2DTranspose(3, 2)(y))
    y = L.SpectralNormalization(L.Conv2D(2, 2))(L.PReLU(shared_axes=[1, 2])(y))
    y = L.RMSNormalization()(L.Normalization()(y))
    return keras.Model(x, L.ConvLSTM2D(2, 2)(L.Reshape((1, *y.shape[1:]))(y)))


def words():
    x = keras.Input((4,), dtype="int32")
    return keras.Model(x, L.Dense(2)(L.Flatten()(L.Embedding(10, 4)(x))))


def shared():
    dense, x, y = L.Dense(4), keras.Input((4,)), keras.Input((4,))
    return keras.Model([x, y], L.Add()([dense(x), dense(y)]))


def frozen():
    model = functional()
    model.layers[1].trainable = False
    return model


ZOO = [functional, sequential, twelve, nested, recurrent, attention, images, words, shared, frozen]


def live(model):
    return [(v.path, tuple(v.shape), np.asarray(v)) for v in model.weights]


def facts(weights):
    return [(w.name, w.shape, w.dtype, w.role, w.layer, w.axes, w.trainable) for w in weights.values()]


def same(found, expected, names=True):
    assert len(found) == len(expected)
    for weight, (path, shape, value) in zip(found.values(), expected, strict=True):
        assert not names or weight.name == path
        assert weight.shape == shape
        assert np.array_equal(weight.numpy(), value), weight.name


@pytest.mark.parametrize("build", ZOO, ids=lambda b: b.__name__)
def test_a_keras_file_has_the_names_the_order_and_the_numbers_of_the_live_model(tmp_path, build):
    model = build()
    model.save(tmp_path / "net.keras")
    found = steelyard.weights(tmp_path / "net.keras")
    same(found, live(model))
    assert facts(found) == facts(steelyard.weights(model))
    assert found.meta["keras_version"] == keras.__version__


@pytest.mark.parametrize("build", ZOO, ids=lambda b: b.__name__)
def test_a_weights_file_has_the_names_the_order_and_the_numbers_of_the_live_model(tmp_path, build):
    model = build()
    model.save_weights(tmp_path / "net.weights.h5")
    # the one name that such a file does not have: whether the only weight of a norm is its scale or its offset
    known = [(path.replace("batch_normalization/beta", "batch_normalization/0"), *rest) for path, *rest in live(model)]
    same(steelyard.weights(tmp_path / "net.weights.h5"), known)


@pytest.mark.parametrize("build", [b for b in ZOO if b is not images], ids=lambda b: b.__name__)
def test_a_whole_model_in_h5_has_the_names_the_order_and_the_numbers_of_the_live_model(tmp_path, build):
    model = build()
    model.save(tmp_path / "net.h5")
    found = steelyard.weights(tmp_path / "net.h5")
    same(found, live(model))
    assert found.meta["keras_version"] == keras.__version__
    assert found.meta["name"] == model.name


def test_names_come_from_the_attributes_where_there_is_no_config(tmp_path):
    functional().save_weights(tmp_path / "net.weights.h5")
    with h5py.File(tmp_path / "net.weights.h5") as file:
        assert file["layers/dense_1/vars"].attrs["name"] == "dense_10"  # so the attribute is needed
    names = list(steelyard.weights(tmp_path / "net.weights.h5"))
    assert names[:2] == ["dense/kernel", "dense/bias"]
    assert names[5:] == [f"dense_{k}/{leaf}" for k in (10, 2, 1) for leaf in ("kernel", "bias")]


def test_facts_that_need_a_config_are_left_open(tmp_path):
    functional().save_weights(tmp_path / "net.weights.h5")
    found = steelyard.weights(tmp_path / "net.weights.h5")
    norm = [(name.rpartition("/")[2], w.role) for name, w in found.items() if w.layer == "batch_normalization"]
    assert norm == [("0", "other"), ("moving_mean", "mean"), ("moving_variance", "variance")]  # gamma or beta?


ROLES = {
    "recurrent": {
        "bidirectional/forward_lstm/lstm_cell/kernel": ("kernel", "in [ifgo]*out"),
        "bidirectional/backward_lstm/lstm_cell/recurrent_kernel": ("recurrent kernel", "in [ifgo]*out"),
        "gru/gru_cell/bias": ("bias", "[ih] [zrn]*out"),
        "rnn/stacked_rnn_cells/gru_cell/bias": ("bias", "[zrn]*out"),
        "time_distributed/dense/kernel": ("kernel", "in out"),
        "simple_rnn/simple_rnn_cell/recurrent_kernel": ("recurrent kernel", "in out"),
    },
    "attention": {
        "multi_head_attention/query/kernel": ("kernel", "in heads dim"),
        "grouped_query_attention/attention_output/kernel": ("kernel", "heads dim out"),
        "layer_normalization/beta": ("offset", "channel"),
        "einsum_dense/kernel": ("kernel", "in out1 out2"),
        "einsum_dense/bias": ("bias", "out1 out2"),
    },
    "images": {
        "separable_conv2d/depthwise_kernel": ("kernel", "kh kw in mult"),
        "separable_conv2d/pointwise_kernel": ("kernel", "kh kw in out"),
        "conv2d_transpose/kernel": ("kernel", "kh kw out in"),
        "spectral_normalization/conv2d/kernel": ("kernel", "kh kw in out"),
        "spectral_normalization/vector_u": ("other", ""),
        "normalization/count": ("count", ""),
        "rms_normalization/scale": ("scale", "channel"),
        "conv_lstm2d/conv_lstm_cell/kernel": ("kernel", "kh kw in [ifgo]*out"),
    },
    "words": {"embedding/embeddings": ("embedding", "vocab out"), "dense/bias": ("bias", "out")},
}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("build", ROLES)
def test_roles_and_axes_come_from_the_layers_classes(tmp_path, build, suffix):
    model = globals()[build]()
    model.save(tmp_path / f"net{suffix}")
    found = steelyard.weights(tmp_path / f"net{suffix}")
    for name, (role, axes) in ROLES[build].items():
        assert (found[name].role, found[name].axes) == (role, axes), name


def test_what_steelyard_quantised_is_not_taken_for_a_quantised_layer_of_keras(tmp_path):
    model = keras.Sequential([keras.Input((8,)), L.Dense(4, bias_initializer="ones")])
    model.save_weights(tmp_path / "net.weights.h5")
    plain = steelyard.weights(tmp_path / "net.weights.h5")
    back = steelyard.quantize(plain, "int8").effective()
    assert list(back) == list(plain)
    for name, weight in plain.items():
        np.testing.assert_allclose(back[name].numpy(), weight.numpy(), atol=0.01)


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize` method:UserWarning")
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_a_quantised_model_has_its_scales_and_its_order(tmp_path, mode):
    model = keras.Sequential([keras.Input((8,)), L.Dense(4), L.Dense(3, use_bias=False)])
    model.quantize(mode)
    model.save(tmp_path / "net.keras")
    found = steelyard.weights(tmp_path / "net.keras")
    same(found, live(model))
    assert [w.trainable for w in found.values()] == [v.trainable for v in model.weights]
    assert found["sequential/dense/kernel"].axes == ("in out" if mode == "int8" else "")  # int4 packs two numbers into one
    model.save_weights(tmp_path / "net.weights.h5")  # which has no config: the scale of a layer without a bias is none
    assert not [name for name, w in steelyard.weights(tmp_path / "net.weights.h5").items() if w.role == "bias"]


class Block(L.Layer):
    def __init__(self, units=4, **rest):
        super().__init__(**rest)
        self.dense = [L.Dense(units), L.Dense(units)]
        self.norm = L.LayerNormalization()

    def build(self, shape):
        self.extra = self.add_weight(name="extra", shape=(2,))
        for layer in (*self.dense, self.norm):
            layer.build(shape)

    def call(self, x):
        return self.norm(self.dense[1](self.dense[0](x)))


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_lists_and_dicts_of_layers_add_nothing_to_the_names(tmp_path, suffix):
    model = with_a_subclassed_one()
    (model.save if suffix == ".keras" else model.save_weights)(tmp_path / f"net{suffix}")
    names = {name.replace("/extra", "/0").replace("/shift", "/0") for name, _, _ in live(model)}
    assert set(steelyard.weights(tmp_path / f"net{suffix}")) == names


def test_layers_of_a_user_s_own_class_are_named_by_their_attributes(tmp_path):
    x = keras.Input((4,))
    model = keras.Model(x, L.Dense(2)(Block()(x)))
    model.save(tmp_path / "net.keras")
    found = steelyard.weights(tmp_path / "net.keras")
    same(found, live(model), names=False)
    # no file has the name of a variable in a user's layer; a list of layers adds nothing to the names
    assert list(found)[:3] == ["block/0", "block/dense_1/kernel", "block/dense_1/bias"]
    assert list(found)[5:7] == ["block/layer_normalization/gamma", "block/layer_normalization/beta"]
    assert list(found)[7:] == ["dense/kernel", "dense/bias"]


def trained():
    model = functional()
    model.compile("adam", "mse")
    model.fit(np.random.rand(16, 5), np.random.rand(16, 2), epochs=2, verbose=0)
    return model


def test_the_optimizer_is_listed_with_scope_all_only(tmp_path):
    model = trained()
    model.save(tmp_path / "net.keras")
    same(steelyard.weights(tmp_path / "net.keras"), live(model))
    found = steelyard.weights(tmp_path / "net.keras", scope="all")
    with zipfile.ZipFile(tmp_path / "net.keras") as archive, archive.open("model.weights.h5") as raw, h5py.File(raw) as file:
        paths = []
        file.visititems(lambda name, thing: paths.append(name) if isinstance(thing, h5py.Dataset) else None)
        assert sorted(found) == sorted(paths)
        for path in paths:
            assert np.array_equal(found[path].numpy(), file[path][()])
    assert int(found["optimizer/vars/0"].numpy()) == 2  # iterations


def test_the_optimizer_of_an_inner_model_is_left_out_too(tmp_path):
    inner = trained()
    x = keras.Input((5,))
    model = keras.Model(x, L.Dense(2, name="head")(inner(x)))
    model.save(tmp_path / "net.keras")
    same(steelyard.weights(tmp_path / "net.keras"), live(model))


def test_bfloat16_and_float16_are_read_bit_for_bit(tmp_path):
    for dtype in ("bfloat16", "float16"):
        model = keras.Sequential([keras.Input((3,)), L.Dense(4, dtype=dtype)])
        model.save(tmp_path / f"{dtype}.keras")
        found = steelyard.weights(tmp_path / f"{dtype}.keras")
        assert {w.dtype for w in found.values()} == {dtype}
        for weight, variable in zip(found.values(), model.weights, strict=True):
            assert weight.numpy().tobytes() == keras.ops.convert_to_numpy(variable.value).tobytes()


def test_two_layers_of_the_same_path_stay_distinct(tmp_path):
    copies = []
    for k in (1, 2):
        x = keras.Input((4,))
        copies.append(keras.Model(x, L.Dense(4, name="same")(x), name=f"copy{k}"))
    x = keras.Input((4,))
    model = keras.Model(x, copies[1](copies[0](x)))
    model.save(tmp_path / "net.keras")
    found = steelyard.weights(tmp_path / "net.keras")
    same(found, live(model), names=False)
    assert list(found) == ["same/kernel", "same/bias", "same#2/kernel", "same#2/bias"]
    assert facts(found) == facts(steelyard.weights(model))


def rezipped(source, target, change):
    """Write the archive again with members changed by `change(name, data)`, without those for which it returns None."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = change(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"[]",
        b'{"class_name": 3, "config": []}',
        b'{"class_name": "Functional", "config": {"layers": 7}}',
    ],
)
def test_an_invalid_config_loses_names_and_no_weights(tmp_path, config):
    model = functional()
    model.save(tmp_path / "net.keras")
    odd = rezipped(tmp_path / "net.keras", tmp_path / "odd.keras", lambda name, data: config if name == "config.json" else data)
    same(steelyard.weights(odd), live(model), names=False)
    if not config.startswith(b'{"class'):
        assert "config.json" in steelyard.weights(odd).meta["note"]


def test_a_lambda_in_the_config_is_data(tmp_path):
    x = keras.Input((3,))
    keras.Model(x, L.Lambda(lambda t: t + 1)(L.Dense(2)(x))).save(tmp_path / "net.keras")
    assert list(steelyard.weights(tmp_path / "net.keras")) == ["dense/kernel", "dense/bias"]


@pytest.mark.parametrize("depth", [100, 3000])
def test_groups_nested_too_deep_are_refused_and_not_dropped(tmp_path, depth):
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        group = file
        for _ in range(depth):
            group = group.create_group("a")
        group.create_group("vars")["0"] = np.ones(2)
    with pytest.raises(FormatError, match=r"groups are nested more than 64 levels deep|takes more than .* bytes of memory"):
        steelyard.weights(tmp_path / "deep.h5")


def test_an_archive_without_weights_is_refused_with_its_content(tmp_path):
    sequential().save(tmp_path / "net.keras")
    bare = rezipped(tmp_path / "net.keras", tmp_path / "bare.keras", lambda name, data: None if name.endswith(".h5") else data)
    with pytest.raises(FormatError, match=r"holds no model\.weights\.h5"):
        steelyard.weights(bare)


def test_backslashes_of_windows_are_slashes(tmp_path):
    model = sequential()
    model.save_weights(tmp_path / "net.weights.h5")
    with h5py.File(tmp_path / "net.weights.h5") as old, h5py.File(tmp_path / "windows.weights.h5", "w") as new:
        for layer in ("dense", "layer_normalization", "dense_1"):
            group = new.create_group(f"layers\\{layer}").create_group("vars")
            for slot, value in old[f"layers/{layer}/vars"].items():
                group[slot] = value[()]
    same(steelyard.weights(tmp_path / "windows.weights.h5"), live(model), names=False)
    assert list(steelyard.weights(tmp_path / "windows.weights.h5"))[:2] == ["dense/kernel", "dense/bias"]


def test_a_file_that_a_tool_sorted_by_name_is_ordered_by_its_counters(tmp_path):
    model = twelve()
    model.save_weights(tmp_path / "net.weights.h5")
    with h5py.File(tmp_path / "net.weights.h5") as old, h5py.File(tmp_path / "sorted.weights.h5", "w") as new:
        for layer in sorted(old["layers"]):
            old.copy(f"layers/{layer}", new.require_group("layers"))
    same(steelyard.weights(tmp_path / "sorted.weights.h5"), live(model), names=False)


@pytest.mark.parametrize("build", ZOO, ids=lambda b: b.__name__)
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_keras_loads_a_written_weights_file(tmp_path, build, suffix):
    model = build()
    (model.save if suffix == ".keras" else model.save_weights)(tmp_path / f"net{suffix}")
    expected = live(model)
    steelyard.save(steelyard.weights(tmp_path / f"net{suffix}"), tmp_path / "back.weights.h5")
    for variable in model.weights:
        variable.assign(keras.ops.zeros_like(variable))
    model.load_weights(tmp_path / "back.weights.h5")
    for variable, (path, _, value) in zip(model.weights, expected, strict=True):
        assert np.array_equal(np.asarray(variable), value), path
    same(steelyard.weights(tmp_path / "back.weights.h5"), expected, names=False)


class Stack(keras.Model):
    """Layers in lists, dicts and lists of lists, own weights, and the same layer twice."""

    def __init__(self, **rest):
        super().__init__(**rest)
        self.blocks = [Block(4), Block(4)]
        self.heads = {"b": L.Dense(2), "a": L.Dense(3)}
        self.rows = [[L.Dense(4), L.LayerNormalization()], [L.Dense(4)]]
        self._hidden = L.Dense(4)
        self.again = self._hidden

    def build(self, shape):
        self.shift = self.add_weight(name="shift", shape=(4,))
        for layer in (*self.blocks, self._hidden, *self.heads.values(), *self.rows[0], *self.rows[1]):
            layer.build((None, 4))

    def call(self, x):
        for layer in (*self.blocks, self._hidden, *self.rows[0], *self.rows[1]):
            x = layer(x) + self.shift
        return keras.ops.concatenate([head(x) for head in self.heads.values()], axis=-1)


def subclassed():
    model = Stack()
    model.build((None, 4))
    return model


def with_a_subclassed_one():
    x = keras.Input((4,))
    return keras.Model(x, L.Dense(2)(Stack()(Block()(x))))


def twice(build):
    """Build a model and a fresh one like it, with counters reset as in another process."""
    model = build()
    keras.utils.clear_session()
    return model, functional() if build is trained else build()


LIVE = [*ZOO, trained, subclassed, with_a_subclassed_one]


def contents(path):
    """Return the numbers of a file by their paths, and the names in its groups, without those of an optimizer."""
    numbers, names = {}, {}

    def visit(name, thing):
        if isinstance(thing, h5py.Dataset):
            numbers[name] = thing.dtype, thing[()].tobytes(), thing.attrs.get("dtype")
        elif name.endswith("vars"):
            names[name] = thing.attrs["name"]

    with h5py.File(path) as file:
        file.visititems(visit)
    return [{name: held for name, held in found.items() if "optimizer" not in name} for found in (numbers, names)]


@pytest.mark.parametrize("build", LIVE, ids=lambda b: b.__name__)
def test_a_live_model_is_saved_as_keras_saves_it(tmp_path, build):
    model = build()
    model.save_weights(tmp_path / "keras.weights.h5")
    steelyard.save(model, tmp_path / "ours.weights.h5")
    assert contents(tmp_path / "ours.weights.h5") == contents(tmp_path / "keras.weights.h5")
    names = [list(steelyard.weights(tmp_path / f"{who}.weights.h5")) for who in ("ours", "keras")]
    assert names[0] == names[1]


@pytest.mark.parametrize("build", LIVE, ids=lambda b: b.__name__)
def test_a_fresh_model_that_loads_it_predicts_the_same(tmp_path, build):
    model, other = twice(build)
    for variable in other.weights:
        variable.assign(keras.ops.zeros_like(variable))
    shapes = [(2, *tensor.shape[1:]) for tensor in getattr(model, "inputs", ())] or [(2, 4)]
    data = [np.random.default_rng(0).integers(0, 3, shape).astype("float32") for shape in shapes]
    data = data if len(data) > 1 else data[0]
    steelyard.save(model, tmp_path / "net.weights.h5")
    other.load_weights(tmp_path / "net.weights.h5")
    predicted = model.predict(data, verbose=0)
    assert np.std(predicted) > 0
    assert_close(other.predict(data, verbose=0), predicted)


@pytest.mark.parametrize("mode", ["int8", "int4"])
@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize` method:UserWarning")
def test_a_quantised_model_is_saved_as_keras_saves_it(tmp_path, mode):
    model = keras.Sequential([keras.Input((8,)), L.Dense(4), L.Dense(3, use_bias=False, dtype="bfloat16")])
    model.quantize(mode)
    model.save_weights(tmp_path / "keras.weights.h5")
    steelyard.save(model, tmp_path / "ours.weights.h5")
    assert contents(tmp_path / "ours.weights.h5") == contents(tmp_path / "keras.weights.h5")


def test_a_copy_and_another_vector_of_a_live_model_are_saved_too(tmp_path):
    model, other = twice(nested)
    best = steelyard.weights(model).copy()
    steelyard.weights(model).assign(np.zeros(best.size))
    steelyard.save(best, tmp_path / "best.weights.h5")
    other.load_weights(tmp_path / "best.weights.h5")
    assert np.array_equal(steelyard.weights(other).to_vector(), best.to_vector())
    steelyard.save(best.from_vector(best.to_vector() + 1), tmp_path / "more.weights.h5")
    other.load_weights(tmp_path / "more.weights.h5")
    assert np.array_equal(steelyard.weights(other).to_vector(), best.to_vector() + 1)


def test_a_copy_does_not_keep_the_model(tmp_path):
    import gc
    from weakref import ref

    model = sequential()
    gone, best = ref(model), steelyard.weights(model).copy()
    del model
    keras.utils.clear_session()
    gc.collect()
    assert gone() is None
    with pytest.raises(FormatError, match="layout"):  # a copy that outlives the model has no layout
        steelyard.save(best, tmp_path / "net.weights.h5")


class Odd(L.Dense):
    """A layer with an entry in its file that is not a weight."""

    def save_own_variables(self, store):
        store["twice"] = 2 * keras.ops.convert_to_numpy(self.kernel)


def test_entries_that_are_not_weights_are_not_lost_silently(tmp_path):
    model = keras.Sequential([keras.Input((3,)), Odd(4, name="odd")])
    with pytest.raises(FormatError, match=r"lacks 'layers/odd/vars/twice'"):
        steelyard.save(model, tmp_path / "net.weights.h5")
    adapted = keras.Sequential([keras.Input((3,)), L.Dense(4)])
    adapted.layers[0].enable_lora(2)
    with pytest.raises(FormatError, match=r"lacks 'layers/dense/vars/0'"):  # Keras adds the adapter to the kernel there
        steelyard.save(adapted, tmp_path / "net.weights.h5")
    assert not list(tmp_path.iterdir())


def test_a_live_model_keeps_its_layout_in_another_format(tmp_path):
    model, other = twice(nested)
    steelyard.save(model, tmp_path / "net.safetensors")
    steelyard.save(tmp_path / "net.safetensors", tmp_path / "net.weights.h5")
    other.load_weights(tmp_path / "net.weights.h5")
    assert np.array_equal(steelyard.weights(other).to_vector(), steelyard.weights(model).to_vector())


def test_a_layout_travels_through_another_format(tmp_path):
    model = nested()
    model.save(tmp_path / "net.keras")
    expected = live(model)
    steelyard.save(tmp_path / "net.keras", tmp_path / "net.safetensors")
    steelyard.save(tmp_path / "net.safetensors", tmp_path / "net.weights.h5")
    model.load_weights(tmp_path / "net.weights.h5")
    for variable, (path, _, value) in zip(model.weights, expected, strict=True):
        assert np.array_equal(np.asarray(variable), value), path


@pytest.mark.parametrize(
    "layout", ["{", "[]", {}, {"g": 1}, {"g": {"name": "a", "vars": [1]}}, {"g": {"name": 1, "vars": {"0": "w"}}}]
)
def test_an_invalid_layout_is_ignored(tmp_path, layout):
    from steelyard.core.readers import from_array
    from steelyard.core.weights import Weights

    with pytest.raises(FormatError, match="layout"):
        steelyard.save(Weights([from_array("w", np.ones(2))], meta={"layout": layout}), tmp_path / "net.weights.h5")


def test_weights_without_a_layout_are_refused_as_a_weights_file(tmp_path):
    with pytest.raises(FormatError, match="layout"):
        steelyard.save({"dense/kernel": np.zeros((2, 2))}, tmp_path / "net.weights.h5")
    assert not list(tmp_path.iterdir())


def test_weights_that_do_not_fit_the_layout_are_refused(tmp_path):
    sequential().save(tmp_path / "net.keras")
    found = steelyard.weights(tmp_path / "net.keras").select("*kernel")
    with pytest.raises(FormatError, match="lacks 'sequential/dense/bias'"):
        steelyard.save(found, tmp_path / "net.weights.h5")


def golden():
    return [case for case in carried.golden_cases() if "keras" in case["files"]]


NAMELESS = {
    "batchnorm_noscale": {"layer/beta": "layer/0"},
    "spectralnorm_dense": {"layer/fc/kernel": "layer/fc/0", "layer/fc/bias": "layer/fc/1"},
}
"""The names that a weights file alone does not have: the norm without a scale, and the class of a wrapped layer."""


def test_every_golden_keras_file_has_the_names_and_the_numbers_of_its_index():
    for case in golden():
        folder = carried.folder("golden") / case["id"]
        expected = case["tensors"]["keras"]
        model, bare = (steelyard.weights(folder / f"keras{suffix}") for suffix in (".keras", ".weights.h5"))
        assert {name: list(w.shape) for name, w in model.items()} == expected, case["id"]
        with h5py.File(folder / "keras.weights.h5") as file:
            for (name, weight), other in zip(model.items(), bare.values(), strict=True):
                stored = file[case["keras_h5_keys"][name][0]][()]
                assert np.array_equal(weight.numpy(), stored), name
                assert np.array_equal(other.numpy(), stored), name
                assert other.name == NAMELESS.get(case["id"], {}).get(name, name)
                assert weight.role != "other" or name.endswith(("alpha", "vector_u")), name


def test_the_golden_cases_are_all_there():
    assert len(golden()) == 70  # of 71; one is not Keras's
