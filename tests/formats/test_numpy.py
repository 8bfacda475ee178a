"""NumPy's own files, compared with NumPy."""

import io
import zipfile

import ml_dtypes
import numpy as np
import pytest

import steelyard
from steelyard.codecs.pickle.npy import header
from steelyard.errors import FormatError
from steelyard.storage.source import from_bytes


def facts(weights):
    return [(w.name, w.shape, w.dtype, w.role, w.layer, w.axes, w.trainable, w.tied) for w in weights.values()]


def sample():
    table = np.ones((4, 3), ml_dtypes.bfloat16)
    return {
        "emb": {"weight": table},
        "b.2": np.arange(6.0).reshape(2, 3),
        "b.10": np.asfortranarray(np.arange(6, dtype="f4").reshape(2, 3)),
        "head": {"weight": table},
        "n": np.int64(3),
        "none": np.zeros((0, 2), "f2"),
    }


def test_an_archive_comes_back_with_order_facts_and_numbers(tmp_path):
    live = steelyard.weights(sample())
    steelyard.save(live, tmp_path / "a.npz")
    back = steelyard.weights(tmp_path / "a.npz")
    assert facts(back) == facts(live)
    for name, weight in live.items():
        assert np.array_equal(back[name].numpy(), weight.numpy())


def test_numpy_reads_what_is_written(tmp_path):
    live = steelyard.weights(sample())
    steelyard.save(live, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        assert archive.files == [name for name in live if name != "head.weight"]
        assert np.array_equal(archive["b.10"], live["b.10"].numpy())
        assert np.array_equal(archive["emb.weight"].view(ml_dtypes.bfloat16), live["emb.weight"].numpy())


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_files_of_numpy_are_read_in_their_order(tmp_path, save):
    arrays = {
        "z": np.arange(4, dtype=">i4").reshape(2, 2),
        "a/b": np.asfortranarray(np.eye(3)),
        "c": np.array(2 + 1j),
        "d": np.zeros((3, 0)),
    }
    save(tmp_path / "a.npz", **arrays)
    w = steelyard.weights(tmp_path / "a.npz")
    assert list(w) == list(arrays)
    for name, array in arrays.items():
        assert w[name].shape == array.shape
        assert np.array_equal(w[name].numpy(), array)
    assert np.array_equal(np.concatenate(list(w["a/b"].blocks(2))), np.eye(3).ravel())


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_a_single_array_has_no_name(tmp_path, version):
    array = np.arange(6, dtype="u2").reshape(3, 2)
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, array, version)
    w = steelyard.weights(tmp_path / "a.npy")
    assert list(w) == [""]
    assert np.array_equal(w[""].numpy(), array)
    steelyard.save(w, tmp_path / "b.npy")
    assert np.array_equal(np.load(tmp_path / "b.npy"), array)


def test_an_array_of_objects_is_listed_and_never_unpickled(tmp_path):
    np.savez(tmp_path / "o.npz", bad=np.array([None, {}], object), text=np.array(["a"]), good=np.ones(2))
    w = steelyard.weights(tmp_path / "o.npz")
    assert w["good"].numpy().tolist() == [1, 1]
    assert w["bad"].shape == (2,)
    for name in ("bad", "text"):
        with pytest.raises(FormatError, match="not numbers"):
            w[name].numpy()


def test_a_damaged_member_is_refused_when_it_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(100), b=np.ones(100))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[data.index(np.ones(1).tobytes()) + 2] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    w = steelyard.weights(tmp_path / "a.npz")
    assert not w["a"].numpy().any()
    with pytest.raises(FormatError, match="does not match its checksum"):
        w["b"].numpy()


def test_a_duplicate_name_is_refused(tmp_path):
    member = io.BytesIO()
    np.save(member, np.ones(2))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("w.npy", member.getvalue())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("w.npy", member.getvalue())
    with pytest.raises(FormatError, match=r"duplicate member w\.npy"):
        steelyard.weights(tmp_path / "a.npz")


def test_two_arrays_do_not_fit_into_one_npy(tmp_path):
    with pytest.raises(FormatError, match=r"holds one array, not 2; write a \.npz"):
        steelyard.save({"a": np.ones(1), "b": np.ones(1)}, tmp_path / "a.npy")
    assert not list(tmp_path.iterdir())


def test_a_type_that_numpy_lacks_is_refused_in_a_bare_array_which_has_no_place_for_its_name(tmp_path):
    import ml_dtypes

    array = np.ones(3, ml_dtypes.bfloat16)
    with pytest.raises(FormatError, match=r"a \.npy file has no word for bfloat16; write a \.npz"):
        steelyard.save(array, tmp_path / "a.npy")
    assert not list(tmp_path.iterdir())
    steelyard.save({"w": array}, tmp_path / "a.npz")
    assert steelyard.weights(tmp_path / "a.npz")["w"].dtype == "bfloat16"


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_a_long_double_which_could_not_be_read_back_is_refused(tmp_path, name):
    with pytest.raises(FormatError, match="long double"):
        steelyard.save({"w": np.ones(3, np.longdouble)}, tmp_path / name)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("array", [np.ones((2, 3), "f4"), np.ones(()), np.ones((0, 5), ">i2"), np.ones((3, 2), order="F")])
def test_the_header_as_numpy_writes_it_gives_what_any_other_spelling_gives(array):
    file = io.BytesIO()
    np.save(file, array)
    data = file.getvalue()
    other = data.replace(b"{'descr'", b"{ 'descr'").replace(b"} ", b"}", 1)
    assert other != data
    expected = 128, array.dtype.str, array.flags.fnc, array.shape
    assert header(from_bytes(data)) == header(from_bytes(other)) == expected
