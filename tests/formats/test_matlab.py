"""MATLAB: files that scipy and hdf5storage wrote, compared with what scipy and mat73 read; others byte by byte.

`tests/data/make_matlab.py` made the files and the expected arrays.
"""

import struct

import carried
import h5py
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError
from steelyard.storage.source import from_bytes, open_path
from steelyard.testing import check_format

FILES = ("v5", "v7", "v73")


@pytest.fixture(scope="module")
def made():
    return carried.folder("matlab")


@pytest.mark.parametrize("name", FILES)
def test_every_number_is_that_of_the_library_that_reads_it_in_the_axes_of_matlab(made, name):
    found = steelyard.weights(made / f"{name}.mat")
    expected = np.load(made / ("v73.npz" if name == "v73" else "v5.npz"))
    for key, array in expected.items():
        values = found[key].numpy()
        assert np.array_equal(values.squeeze(), array.squeeze()), key
        assert values.shape == array.shape or name == "v73"  # mat73 drops axes of length 1
    assert found["flags"].dtype == "bool"
    assert found["single"].shape == (2, 3, 4)
    assert (found["long"].dtype, found["none"].shape) == ("int64", (0, 3))


@pytest.mark.parametrize("name", FILES)
def test_cells_and_structs_are_named_as_matlab_does_and_read_alike(made, name):
    found, other = steelyard.weights(made / f"{name}.mat"), steelyard.weights(made / "v5.mat")
    assert {"c{1}", "c{2}{1}", "s.w", "s.inner.b"} < set(found)
    for key in found:
        assert np.array_equal(found[key].numpy(), other[key].numpy()), key
    assert "text" not in found
    listed = steelyard.weights(made / f"{name}.mat", scope="all")
    assert "the text 'hello'" in listed.unreadable["text"]
    assert "c{2}{2}" in listed


@pytest.mark.parametrize("name", ["v5", "v7"])
def test_a_sparse_matrix_is_given_dense(made, name):
    found = steelyard.weights(made / f"{name}.mat")["sparse"]
    assert found.encoding == "sparse"
    assert found.numpy().tolist() == [[0, 2.5, 0], [1, 0, 0]]


@pytest.mark.parametrize("version", FILES)
def test_a_net_of_matconvnet_lists_its_weights_alone_with_roles_and_axes(made, version):
    found = steelyard.weights(made / f"chain-{version}.mat")
    assert [(name.removeprefix("net.layers"), w.role, w.axes) for name, w in found.items()] == [
        ("{1}.weights{1}", "kernel", "kh kw in out"),
        ("{1}.weights{2}", "bias", ""),
        ("{2}.weights{1}", "scale", ""),
        ("{2}.weights{2}", "offset", ""),
        ("{2}.weights{3}", "other", ""),
        ("{4}.filters", "kernel", "kh kw in out"),
        ("{4}.biases", "bias", ""),
    ]
    listed = steelyard.weights(made / f"chain-{version}.mat", scope="all")
    assert {"net.layers{1}.stride", "net.meta.mean"} < set(listed)


@pytest.mark.parametrize("version", FILES)
def test_a_graph_of_matconvnet_has_the_layers_that_name_their_parameters(made, version):
    found = steelyard.weights(made / f"graph-{version}.mat")
    facts = [(name, w.layer, w.role, w.axes) for name, w in found.items()]
    kernel = ("net.params(1).value", "c", "kernel", "kh kw in out")
    assert facts == [kernel, ("net.params(2).value", "c", "bias", "")]


def element(kind, content, order="<"):
    return struct.pack(f"{order}2I", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(kind, name, *parts, flags=0, shape=(1, 1), order="<"):
    head = element(6, struct.pack(f"{order}2I", kind | flags << 8, 0), order)
    head += element(5, struct.pack(f"{order}{len(shape)}i", *shape), order) if shape else b""
    return element(14, head + element(1, name, order) + b"".join(parts), order)


def file_of(*variables, order="<"):
    mark = struct.pack(f"{order}H", 0x0100) + (b"IM" if order == "<" else b"MI")
    return b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + mark + b"".join(variables)


def test_doubles_that_are_stored_in_small_types_and_the_other_byte_order_are_read(tmp_path):
    small = struct.pack(">I", 3 << 16 | 2) + b"\1\2\3\0"  # an element of three bytes in place of doubles
    path = tmp_path / "a.mat"
    path.write_bytes(file_of(matrix(6, b"w", small, shape=(1, 3), order=">"), order=">"))
    found = steelyard.weights(path)["w"]
    assert (found.dtype, found.encoding, found.numpy().tolist()) == ("float64", "uint8", [[1, 2, 3]])


def test_objects_and_functions_are_listed_and_refused_by_their_class(tmp_path):
    inner = matrix(13, b"", element(6, struct.pack("<2I", 0xDD000000, 2)), shape=(1, 2))
    opaque = matrix(17, b"net", element(1, b"MCOS"), element(1, b"DAGNetwork"), inner, shape=())
    path = tmp_path / "a.mat"
    path.write_bytes(file_of(opaque, matrix(16, b"f", matrix(2, b""))))
    found = steelyard.weights(path)
    assert "is an object of the class 'DAGNetwork', which only MATLAB reads" in found.unreadable["net"]
    assert "'function_handle'" in found.unreadable["f"]
    with h5py.File(tmp_path / "b.mat", "w", userblock_size=512) as file:
        file["net"] = np.array([[0xDD000000, 2]], "u4")
        file["net"].attrs["MATLAB_class"] = np.bytes_("SeriesNetwork")
        file["net"].attrs["MATLAB_object_decode"] = np.int32(3)
    with (tmp_path / "b.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    assert "'SeriesNetwork'" in steelyard.weights(tmp_path / "b.mat").unreadable["net"]


def test_an_empty_and_a_sparse_array_of_version_7_3(tmp_path):
    with h5py.File(tmp_path / "b.mat", "w", userblock_size=512) as file:
        file["none"] = np.array([0, 3], "u8")
        file["none"].attrs.update({"MATLAB_class": np.bytes_("single"), "MATLAB_empty": np.uint8(1)})
        group = file.create_group("s")
        group.attrs.update({"MATLAB_class": np.bytes_("double"), "MATLAB_sparse": np.uint64(2)})
        group["data"], group["ir"], group["jc"] = [1.0, 2.5], np.array([1, 0], "u8"), np.array([0, 1, 2, 2], "u8")
    with (tmp_path / "b.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    found = steelyard.weights(tmp_path / "b.mat")
    assert (found["none"].shape, found["none"].dtype) == ((0, 3), "float32")
    assert found["s"].numpy().tolist() == [[0, 2.5, 0], [1, 0, 0]]


def nested(levels):
    made = matrix(6, b"", element(9, bytes(8)))
    for level in range(levels):
        made = matrix(1, b"c" if level == levels - 1 else b"", made)
    return made


@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        (matrix(6, b"w", element(9, bytes(8)), shape=(1 << 30, 1 << 30)), "impossible shape"),
        (matrix(6, b"w", element(9, bytes(8)), shape=(-1, 2)), "impossible shape"),
        (matrix(1, b"c", shape=(1000, 1000)), "1,000,000 elements in 0 bytes"),
        (nested(100), "nested more than"),
        (matrix(2, b"s", element(5, struct.pack("<i", 0)), element(1, b"ab")), "the names of its fields"),
        (element(14, bytes(8))[:-4], r"cut off|the file ends"),
        (element(15, b"not zlib"), "should be a stream of zlib"),
    ],
    ids=["huge", "negative", "cells", "deep", "fields", "cut", "stream"],
)
def test_a_damaged_file_is_refused_in_a_line(tmp_path, variable, reason):
    path = tmp_path / "a.mat"
    path.write_bytes(file_of(variable))
    with pytest.raises(FormatError, match=reason):
        steelyard.weights(path)


def test_an_array_whose_numbers_are_too_few_is_listed_and_refused(tmp_path):
    path = tmp_path / "a.mat"
    rows = element(5, struct.pack("<i", 7)), element(5, struct.pack("<2i", 0, 1)), element(9, bytes(8))
    path.write_bytes(file_of(matrix(6, b"w", element(9, bytes(8)), shape=(2, 3)), matrix(5, b"s", *rows, shape=(2, 1))))
    found = steelyard.weights(path)
    assert "8 bytes of type 9 for 6 numbers" in found.unreadable["w"]
    with pytest.raises(FormatError, match="the places of its numbers"):
        found["s"].numpy()


@pytest.mark.parametrize("name", FILES)
def test_it_keeps_the_rules_of_a_format(made, name):
    listed = check_format(open_path(made / f"{name}.mat"))
    assert listed["W"].numpy()[1, 2] == listed["W"][1, 2]


def test_other_files_of_hdf5_are_none_of_matlab(made):
    from steelyard.formats import format_of, matlab

    assert not matlab.sniff(from_bytes(b"\x89HDF\r\n\x1a\n"))
    assert format_of(open_path(made / "v73.mat")) is matlab
