"""OpenVINO: a net of its own, compared with what it reads itself; and what is wrong or missing in one.

`tests/data/make_graphs.py` made the files and the expected arrays. Real nets are in the corpus.
"""

import shutil

import carried
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError, IncompleteWarning
from steelyard.storage.source import open_path
from steelyard.testing import check_format


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(carried.folder("openvino"), tmp_path / "openvino", ignore=shutil.ignore_patterns("*.npz"))


@pytest.mark.parametrize("name", ["net.xml", "net.bin", ""])
def test_every_constant_is_as_openvino_reads_it(folder, name):
    found = steelyard.weights(folder / name, scope="all")
    expected = np.load(carried.folder("openvino") / "net.npz")
    assert set(found) == set(expected.files)
    for key, array in expected.items():
        assert (found[key].shape, found[key].dtype) == (array.shape, array.dtype.name)
        assert found[key].numpy().tobytes() == array.tobytes()
    assert found.meta["name"] == "net"


def test_the_layers_that_take_constants_give_roles_and_axes(folder):
    found = steelyard.weights(folder)
    facts = {name: (weight.layer, weight.role, weight.axes) for name, weight in found.items()}
    assert facts["conv/kernel"] == ("conv", "kernel", "out in kh kw")
    assert facts["fc/codes"] == ("fc", "kernel", "out in")  # through those that decode it
    assert facts["out/half"] == ("out", "kernel", "in out")
    assert "shape" not in found


def net_of(layers, name="a"):
    return f'<?xml version="1.0"?>\n<net name="{name}" version="10"><layers>{layers}</layers><edges/></net>'


def constant(name="w", kind="f32", shape="2,3", offset="0", size="24"):
    data = f'<data element_type="{kind}" shape="{shape}" offset="{offset}" size="{size}"/>'
    return f'<layer id="0" name="{name}" type="Const" version="opset1">{data}</layer>'


@pytest.fixture
def write(tmp_path):
    def writes(text, numbers=bytes(range(24))):
        (tmp_path / "a.xml").write_text(text)
        (tmp_path / "a.bin").write_bytes(numbers)
        return tmp_path / "a.xml"

    return writes


def test_numbers_of_four_bits_are_unpacked_and_those_of_older_files_are_in_their_layers(write):
    found = steelyard.weights(write(net_of(constant(kind="u4", shape="3", size="2")), b"\x21\x03"))["w"]
    assert (found.dtype, found.encoding, found.numpy().tolist()) == ("uint4", "u4", [1, 2, 3])
    blobs = '<blobs><weights offset="0" size="16" precision="FP32"/><biases offset="16" size="8" precision="FP32"/></blobs>'
    found = steelyard.weights(write(net_of(f'<layer id="1" name="c" type="Convolution">{blobs}</layer>')))
    assert [(name, w.shape, w.role) for name, w in found.items()] == [("c/weights", (4,), "kernel"), ("c/biases", (2,), "bias")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (net_of(constant())[:-9], "no XML, or is cut off"),
        (net_of(constant() * 2), "two constants of the name w"),
        (net_of(constant(shape="2,-3")), "in place of a number"),
        (net_of(constant(offset="x")), "in place of a number"),
        (net_of("<a>" * 100), "nested more than"),
    ],
    ids=["cut", "twice", "shape", "offset", "deep"],
)
def test_a_damaged_file_is_refused_in_a_line(write, text, reason):
    with pytest.raises(FormatError, match=reason):
        steelyard.weights(write(text))


def test_a_file_that_defines_words_of_its_own_is_refused(write):
    path = write(f'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "aaaa">]>{net_of(constant(name="&a;"))[22:]}')
    with pytest.raises(FormatError, match="XML"):
        steelyard.weights(path)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (constant(size="20"), "has the shape [2, 3] of f32, but 20 bytes"),
        (constant(offset="100"), "ends at byte 124, and the file has 24"),
        (constant(kind="string"), "is of the type 'string', which is not read"),
    ],
    ids=["size", "offset", "type"],
)
def test_a_constant_that_cannot_be_read_is_listed_and_refused(write, layer, reason):
    assert reason in steelyard.weights(write(net_of(layer)), scope="all").unreadable["w"]


def test_a_missing_file_of_numbers_is_named(write):
    path = write(net_of(constant()))
    path.with_suffix(".bin").unlink()
    with pytest.warns(IncompleteWarning, match=r"lacks the file 'a\.bin'"):
        found = steelyard.weights(path)
    assert "which is missing" in found.unreadable["w"]


def test_it_keeps_the_rules_of_a_format(folder):
    check_format(open_path(folder / "net.xml"))
