"""Folders of zarr, against the arrays that zarr-python itself reads from them."""

import json
import shutil

import carried
import numpy as np
import pytest

import steelyard
from steelyard.cli import main
from steelyard.core.weight import Role
from steelyard.errors import FormatError, UnsafeFileError
from steelyard.formats import format_name


@pytest.fixture(scope="module")
def made():
    return carried.folder("zarr")


@pytest.fixture
def copy(made, tmp_path):
    return lambda name: shutil.copytree(made / name, tmp_path / name)


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_a_group_has_the_names_and_numbers_that_zarr_reads(made, version):
    found = steelyard.weights(made / version)
    with np.load(made / f"{version}.npz") as expected:
        assert [*found] == sorted(expected)
        for name, weight in found.items():
            native = expected[name].astype(expected[name].dtype.newbyteorder("="))
            assert (weight.shape, weight.dtype) == (native.shape, str(native.dtype))
            assert weight.numpy().tobytes() == native.tobytes()
    assert (found["encoder/layers/0/kernel"].role, found["encoder/layers/0/kernel"].layer) == (Role.KERNEL, "encoder/layers/0")
    assert format_name(str(made / version)) == "zarr"


def test_a_single_array_has_no_name(made):
    found = steelyard.weights(made / "alone")
    assert [*found] == [""]
    assert np.array_equal(found[""].numpy(), np.arange(48).reshape(8, 6))


def test_a_shard_and_a_chunk_that_are_not_stored_have_the_fill_value(made):
    assert not (made / "v3" / "sharded" / "c" / "1" / "0").exists()
    assert np.all(steelyard.weights(made / "v3")["sharded"][4:] == 1.5)


def test_an_array_that_cannot_be_read_is_listed_and_the_others_are_read(copy):
    folder = copy("v2")
    described = folder / "steps" / ".zarray"
    described.write_text(json.dumps({**json.loads(described.read_text()), "filters": [{"id": "pickle"}]}))
    found = steelyard.weights(folder)
    assert "is packed by 'pickle', which is not read" in found.unreadable["steps"]
    assert found["decoder/dense/bias"].numpy().tolist() == [0, 1, 2, 3, 4, 5]


def test_no_file_outside_the_folder_is_opened(copy, tmp_path):
    folder = copy("v2")
    (tmp_path / "secret").mkdir()
    (folder / "out").symlink_to(tmp_path / "secret")
    with pytest.raises(UnsafeFileError, match="a link that leads out of the folder"):
        steelyard.weights(folder)


def test_groups_in_groups_without_end_are_refused(tmp_path):
    folder = tmp_path / "deep"
    inner = folder
    for _ in range(70):
        inner.mkdir()
        (inner / ".zgroup").write_text('{"zarr_format": 2}')
        inner /= "g"
    with pytest.raises(FormatError, match="more than 64 groups in each other"):
        steelyard.weights(folder)


@pytest.mark.parametrize("name", ["v2/.zgroup", "v2/steps/.zarray", "v3/zarr.json", "v3/steps/zarr.json"])
def test_a_file_of_a_folder_of_zarr_is_named(made, name):
    with pytest.raises(FormatError, match="a file of a folder of zarr; pass its folder"):
        steelyard.weights(made / name)


def test_it_is_converted_and_checked(made, tmp_path):
    assert main(["check", str(made / "v3")]) == 0
    assert main(["convert", str(made / "v3"), str(tmp_path / "net.safetensors")]) == 0
    assert steelyard.weights(tmp_path / "net.safetensors")["decoder/dense/kernel"].shape == (8, 6)
