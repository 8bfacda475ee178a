"""HDF5: files by h5py, old layouts of Keras, refused files, and written ones."""

import io
import json
import os
import subprocess
import sys
import tracemalloc

import carried
import h5py
import ml_dtypes
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError, SteelyardError, UnsafeFileError
from steelyard.formats import weights_in
from steelyard.storage.source import Stored, from_bytes

RNG = np.random.default_rng(5)
NUMBERS = ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "i1", ">i2", "<i4", ">i8", "u1", ">u2", "<u4", "<u8", "?", "<c8", ">c8", "<c16"]  # fmt: skip
PACKED = {
    "plain": {},
    "chunked": {"chunks": (2, 3)},
    "gzip": {"compression": "gzip", "chunks": (2, 3)},
    "lzf": {"compression": "lzf", "shuffle": True, "fletcher32": True, "chunks": (5, 2)},
}


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as opened:
        yield opened


def listed(file, **options):
    file.flush()
    return steelyard.weights(file.filename, **options)


def same(weight, array):
    array = np.asarray(array)
    found = weight.numpy()
    assert weight.dtype == array.dtype.name
    assert found.shape == array.shape
    assert found.tobytes() == array.astype(found.dtype).tobytes()
    if array.size > 2:
        assert weight.read(1, array.size - 1).tobytes() == found.reshape(-1)[1:-1].tobytes()


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("dtype", NUMBERS)
def test_every_type_of_number_is_read_bit_for_bit(file, dtype, packed):
    array = (RNG.random((5, 7)) * 20).astype(dtype)
    file.create_dataset("w", data=array, **PACKED[packed])
    same(listed(file)["w"], array)


@pytest.mark.parametrize("packed", ["plain", "gzip"])
@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4])
def test_types_that_numpy_lacks_are_known_by_the_attribute_that_keras_writes(file, dtype, packed):
    array = (RNG.random((5, 7)) * 6).astype(dtype)
    file.create_dataset("w", data=array, **PACKED[packed]).attrs["dtype"] = np.dtype(dtype).name
    same(listed(file)["w"], array)


def test_contiguous_numbers_are_read_without_h5py(file):
    file["plain"], file["wide"] = np.ones((3, 4), "f4"), np.ones(3, ">f8")
    assert all(isinstance(weight.read, Stored) for weight in listed(file).values())


def test_scalars_empty_datasets_and_fill_values_are_read(file):
    file["scalar"], file["none"], file["null"] = np.float32(3.5), np.zeros((0, 4), "f4"), h5py.Empty("f4")
    file.create_dataset("unset", (4, 3), "f4", fillvalue=7)
    found = listed(file)
    same(found["scalar"], np.float32(3.5))
    same(found["none"], np.zeros((0, 4), "f4"))
    same(found["null"], np.zeros(0, "f4"))
    same(found["unset"], np.full((4, 3), 7, "f4"))


def test_a_user_block_shifts_nothing(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=1024) as opened:
        opened["w"] = np.arange(5.0)
        opened.create_dataset("unset", (3,), "f4")
    found = steelyard.weights(tmp_path / "a.h5")
    same(found["w"], np.arange(5.0))
    same(found["unset"], np.zeros(3, "f4"))


def test_enumerations_are_integers(file):
    kind = h5py.enum_dtype({"A": 1, "B": 2}, basetype=">i4")
    file.create_dataset("e", data=np.array([1, 2, 1]), dtype=kind)
    file.create_dataset("g", data=np.array([1, 2, 1]), dtype=kind, chunks=(2,))
    for weight in listed(file).values():
        same(weight, np.array([1, 2, 1], "i4"))


def test_datasets_that_are_not_numbers_are_listed_and_refused(file):
    file["text"] = "hello"
    file["pairs"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
    file.create_dataset("runs", (2,), h5py.vlen_dtype("f4"))
    file.create_dataset("opaque", data=np.zeros(3, "V5"))
    file["w"] = np.ones(3)
    found = listed(file)
    for name, what in {"text": "text", "pairs": "compound", "runs": "varying length", "opaque": "opaque 5"}.items():
        with pytest.raises(FormatError, match=what):
            found[name].numpy()
    same(found["w"], np.ones(3))


def test_names_are_paths_and_the_order_is_that_of_writing(file):
    for k in (10, 2, 1):
        file[f"layer_{k}/kernel"] = np.ones((2, 2))
        file[f"layer_{k}/bias"] = np.ones(2)
    found = listed(file)
    assert list(found) == [f"layer_{k}/{leaf}" for k in (10, 2, 1) for leaf in ("kernel", "bias")]
    assert [w.role for w in found.values()] == ["kernel", "bias"] * 3
    assert list(listed(file, scope="all"))[:2] == ["layer_10/kernel", "layer_10/bias"]


def test_two_paths_that_differ_in_dots_stay_distinct(file):
    file["a/b"], file["a.b"] = 1.0, 2.0
    found = listed(file, scope="all")
    assert {name: float(w.numpy()) for name, w in found.items()} == {"a/b": 1.0, "a.b": 2.0}


def test_a_dataset_under_two_names_is_tied(file):
    file["a"] = np.arange(3.0)
    file["b"] = file["a"]
    found = listed(file)
    assert [w.tied for w in found.values()] == [None, "a"]
    assert found.size == 3


def test_a_group_inside_itself_ends(file):
    file["g/w"] = np.ones(2)
    file["g/again"] = file["g"]
    assert list(listed(file)) == ["g/w"]


SECRET = b"TOP-SECRET numbers"


@pytest.fixture
def traps(tmp_path):
    """A file with datasets outside it, each in another way, and one inside it."""
    (tmp_path / "secret.bin").write_bytes(SECRET)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["w"] = np.frombuffer(SECRET, "u1")
    with h5py.File(tmp_path / "trap.h5", "w") as file:
        file["fine"] = np.ones(3)
        file["external_link"] = h5py.ExternalLink("other.h5", "/w")
        file["soft_link"] = h5py.SoftLink("/fine")
        file.create_dataset("external_storage", (18,), "u1", external=[(str(tmp_path / "secret.bin"), 0, 18)])
        layout = h5py.VirtualLayout((18,), "u1")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "w", (18,))
        file.create_virtual_dataset("virtual", layout)
    return tmp_path / "trap.h5"


def test_nothing_outside_the_file_is_read(traps):
    with h5py.File(traps) as file:  # the traps would work
        assert all(file[name][()].tobytes() == SECRET for name in ("external_link", "external_storage", "virtual"))
    found = steelyard.weights(traps)
    same(found["fine"], np.ones(3))
    for name in ("external_link", "soft_link", "external_storage", "virtual"):
        with pytest.raises(UnsafeFileError, match=r"link|file"):
            found[name].numpy()


def test_an_unknown_filter_is_refused_and_no_plug_in_is_loaded(file, tmp_path, monkeypatch):
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((4,))
    plan.set_filter(307, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F32LE, space, plan).write(space, space, np.ones(4, "f4"))
    before = [h5py.h5pl.get(k) for k in range(h5py.h5pl.size())]
    with pytest.raises(UnsafeFileError, match="filter 307"):
        listed(file)["w"].numpy()
    assert [h5py.h5pl.get(k) for k in range(h5py.h5pl.size())] == before


def test_numbers_that_are_claimed_but_not_stored_are_refused(file):
    file["fine"] = np.ones(3)
    file.create_dataset("huge", (1 << 40,), "f4")
    file.create_dataset("chunk", (10,), "f8", chunks=(1 << 28,), maxshape=(None,))
    tracemalloc.start()
    found = listed(file)
    for name in ("huge", "chunk"):
        with pytest.raises(FormatError, match="claims"):
            found[name].numpy()
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()
    same(found["fine"], np.ones(3))


def test_a_flipped_bit_is_detected_where_there_is_a_checksum(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("w", data=np.arange(100.0), fletcher32=True, chunks=(100,))
        offset = file["w"].id.get_chunk_info(0).byte_offset
    data = bytearray((tmp_path / "a.h5").read_bytes())
    data[offset + 5] ^= 1
    (tmp_path / "a.h5").write_bytes(data)
    with pytest.raises(FormatError, match="w cannot be read"):
        steelyard.weights(tmp_path / "a.h5")["w"].numpy()


def test_a_file_that_is_cut_anywhere_is_refused_in_one_line(tmp_path):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for k in range(5):
            file[f"layer_{k}/w"] = RNG.random((4, 4))
    data = buffer.getvalue()
    for length in range(8, len(data), 97):
        (tmp_path / "cut.h5").write_bytes(data[:length])
        with pytest.raises(SteelyardError) as caught:
            steelyard.weights(tmp_path / "cut.h5").to_vector()
        assert len(str(caught.value).splitlines()) == 1


def test_bytes_in_memory_are_read_as_a_file_is(file, tmp_path):
    file.create_dataset("w", data=np.arange(12.0).reshape(3, 4), compression="gzip")
    file["b"] = np.arange(3.0)
    file.close()
    data = (tmp_path / "a.h5").read_bytes()
    found = weights_in(from_bytes(data, "net.h5"))
    same(found["w"], np.arange(12.0).reshape(3, 4))
    same(found["b"], np.arange(3.0))


# Layouts of old versions of Keras, made by hand as they wrote them


def legacy(file, layers, config=None, wide=False):
    """`layers`: name -> {weight: array}."""
    top = file if config is None else file.create_group("model_weights")
    if config is not None:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "1.2.2"
    names = [name.encode() for name in layers]
    for key, value in ({"layer_names": names} if not wide else {"layer_names0": names[:1], "layer_names1": names[1:]}).items():
        top.attrs[key] = value
    for name, held in layers.items():
        group = top.create_group(name)
        keys = [key.encode() for key in held]
        if wide:
            for place, key in enumerate(keys):
                group.attrs[f"weight_names{place}"] = [key]
        if not wide or not keys:
            group.attrs["weight_names"] = keys
        for key, array in sorted(held.items()):
            group[key] = array


@pytest.mark.parametrize("wide", [False, True])
def test_the_attributes_of_keras_2_give_names_and_order(file, wide):
    layers = {
        "dense_10": {"dense_10/kernel:0": np.ones((2, 3)), "dense_10/bias:0": np.ones(3)},
        "dropout": {},
        "dense_2": {"dense_2/kernel:0": np.ones((3, 1)), "dense_2/bias:0": np.ones(1)},
        "bn": {f"bn/{leaf}:0": np.ones(1) for leaf in ("gamma", "beta", "moving_mean", "moving_variance")},
    }
    legacy(file, layers, wide=wide)
    found = listed(file)
    assert list(found) == [key.removesuffix(":0") for held in layers.values() for key in held]
    assert [w.role for w in found.values()] == ["kernel", "bias", "kernel", "bias", "scale", "offset", "mean", "variance"]
    assert found["dense_2/kernel"].axes == "in out"
    assert "dense_10/dense_10/kernel:0" in listed(file, scope="all")


def test_names_and_kernels_of_keras_1_with_the_order_of_theano(file):
    layers = {
        "convolution2d_1": {"convolution2d_1_W": np.ones((8, 3, 5, 5)), "convolution2d_1_b": np.ones(8)},
        "batchnormalization_1": {
            f"batchnormalization_1_{leaf}": np.ones(8) for leaf in ("gamma", "beta", "running_mean", "running_std")
        },
        "lstm_1": {f"lstm_1_{leaf}": np.ones((2, 2) if leaf[0] != "b" else 2) for leaf in ("W_i", "U_i", "b_i")},
    }
    config = {
        "class_name": "Sequential",
        "config": [
            {"class_name": "Convolution2D", "config": {"name": "convolution2d_1", "dim_ordering": "th", "trainable": False}}
        ],
    }
    legacy(file, layers, config)
    found = listed(file)
    assert list(found) == [key for held in layers.values() for key in held]
    assert [w.role for w in found.values()] == [
        "kernel",
        "bias",
        "scale",
        "offset",
        "mean",
        "variance",
        "kernel",
        "recurrent kernel",
        "bias",
    ]
    assert found["convolution2d_1_W"].axes == "out in kh kw"
    assert found["convolution2d_1_W"].trainable is False
    assert found.meta["keras_version"] == "1.2.2"


def test_keras_before_1_counts_its_parameters(file):
    file.attrs["layer_names"] = [b"dense_1"]
    group = file.create_group("dense_1")
    group.attrs["nb_params"] = 2
    group["param_0"], group["param_1"] = np.ones((2, 3)), np.ones(3)
    assert [w.shape for w in listed(file).values()] == [(2, 3), (3,)]


def test_two_layers_with_weights_of_the_same_name_stay_distinct(file):
    legacy(file, {"one": {"dense/kernel:0": np.ones(2)}, "two": {"dense/kernel:0": np.zeros(2)}})
    assert list(listed(file)) == ["dense/kernel", "two/dense/kernel"]


# Writing


def facts(weights):
    return [(w.name, w.shape, w.dtype, w.role, w.layer, w.axes, w.trainable, w.tied) for w in weights.values()]


def test_names_order_facts_and_numbers_survive_a_round_trip(tmp_path):
    import torch
    from torch import nn

    net = nn.Sequential(nn.Embedding(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 6, bias=False))
    net[2].weight = net[0].weight
    net.small = nn.Parameter(torch.arange(3).to(torch.bfloat16))
    live = steelyard.weights(net)
    steelyard.save(live, tmp_path / "net.h5")
    back = steelyard.weights(tmp_path / "net.h5")
    assert facts(back) == facts(live)
    for name, weight in live.items():
        assert back[name].numpy().tobytes() == weight.numpy().tobytes()
    with h5py.File(tmp_path / "net.h5") as file:  # and h5py reads it
        assert np.array_equal(file["1.running_var"][()], np.ones(4))
        assert file["small"].attrs["dtype"] == "bfloat16"


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "c8", "c16", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3b11fnuz, ml_dtypes.float8_e8m0fnu, ml_dtypes.int4])  # fmt: skip
def test_every_type_is_written_bit_for_bit(tmp_path, dtype):
    array = (RNG.random((3, 4)) * 9).astype(dtype)
    source = {"a/b": array, "scalar": array[0, 0], "none": array[:0], "t": array.T}
    steelyard.save(source, tmp_path / "a.h5")
    back = steelyard.weights(tmp_path / "a.h5")
    for name, value in source.items():
        same(back[name], np.asarray(value))
    if isinstance(dtype, str):
        with h5py.File(tmp_path / "a.h5") as file:
            assert np.array_equal(file["a/b"][()], array)


@pytest.mark.parametrize("names", [[""], ["a", "a/b"], ["/a"], ["a//b"], ["a/../b"], ["a/" * 256 + "b"]])
def test_a_name_that_is_not_a_path_is_refused_and_the_old_file_stays(tmp_path, names):
    (tmp_path / "a.h5").write_bytes(b"old")
    with pytest.raises(FormatError):
        steelyard.save(steelyard.weights({"x": np.ones(2)}).rename("x", "x") if not names else _named(names), tmp_path / "a.h5")
    assert (tmp_path / "a.h5").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def _named(names):
    from steelyard.core.readers import from_array
    from steelyard.core.weights import Weights

    return Weights(from_array(name, np.ones(2)) for name in names)


def run(code, *paths, without=()):
    """Run `code` in a new Python in which the modules `without` cannot be imported."""
    script = f"import sys\nfor name in {list(without)!r}: sys.modules[name] = None\n{code}"
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, paths)], capture_output=True, text=True, env=os.environ, check=False
    )


def test_reading_imports_no_h5py_and_writing_without_it_names_the_command_that_installs_it(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("w", data=np.ones(2), compression="gzip")
    done = run("import steelyard; print(steelyard.weights(sys.argv[1]).to_vector())", tmp_path / "a.h5", without=["h5py"])
    assert done.stdout.strip() == "[1. 1.]"
    done = run("import steelyard; steelyard.save({'w': 1.0}, sys.argv[1])", tmp_path / "a.h5", without=["h5py"])
    assert 'MissingExtraError: HDF5 needs an extra: pip install "steelyard[hdf5]"' in done.stderr.splitlines()[-1]


@pytest.mark.shared
def test_real_files_are_read_as_their_manifest_says():
    import hashlib

    here = [e for e in carried.real()["entries"] if e["format"].startswith("keras") and carried.is_outside(e)]
    assert here
    for entry in here:
        found = steelyard.weights(carried.path_of(entry), scope="all")
        assert {name: (w.dtype, list(w.shape), hashlib.sha256(w.numpy().tobytes()).hexdigest()) for name, w in found.items()} == {
            t["name"]: (t["dtype"], t["shape"], t["sha256"]) for t in entry["tensors"]
        }


def test_a_heap_of_texts_with_a_loop_is_ignored(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["layers/dense/vars/0"] = np.ones((2, 2))
        file["layers/dense/vars"].attrs["name"] = "mine"
    data = bytearray((tmp_path / "a.h5").read_bytes())
    heap = data.index(b"GCOL") + 16
    data[heap : heap + 16] = bytes(16)  # the first object, with index 0 and size 0
    (tmp_path / "a.h5").write_bytes(data)
    done = run("import steelyard; print(*steelyard.weights(sys.argv[1]))", tmp_path / "a.h5")
    assert done.stdout.split() == ["dense/kernel"]
