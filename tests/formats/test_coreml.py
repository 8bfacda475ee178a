"""Core ML: networks and programs that coremltools wrote, compared with what it decodes; and what is wrong in one.

`tests/data/make_graphs.py` made the files and the expected arrays. A real package is in the corpus.
"""

import json
import shutil

import carried
import numpy as np
import pytest

import steelyard
from steelyard.codecs.protobuf import BYTES, VARINT, tag, varint
from steelyard.errors import FormatError
from steelyard.storage.source import open_path
from steelyard.testing import check_format

NETWORKS = ("net", "linear8", "linear3", "palette4")
PROGRAMS = ("program", "program-palette", "program-linear", "program-block", "program-sparse")


@pytest.fixture(scope="module")
def made():
    return carried.folder("coreml")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_weights_of_a_network_are_as_coremltools_decodes_them(made, name):
    found = steelyard.weights(made / f"{name}.mlmodel")
    for key, array in np.load(made / f"{name}.npz").items():
        assert (found[key].shape, found[key].dtype) == (array.shape, "float32")
        assert np.allclose(found[key].numpy(), array, rtol=1e-6, atol=1e-7), key
        assert found[key].read(7, 31).tobytes() == found[key].numpy().reshape(-1)[7:31].tobytes()


def test_layers_give_names_roles_axes_and_how_numbers_are_stored(made):
    found = steelyard.weights(made / "palette4.mlmodel")
    facts = {name: (weight.layer, weight.role, weight.axes) for name, weight in found.items()}
    assert facts["conv.weights"] == ("conv", "kernel", "out in kh kw")
    assert facts["conv.bias"] == ("conv", "bias", "out")
    assert facts["bn.variance"] == ("bn", "variance", "channel")
    assert facts["fc.weights"] == ("fc", "kernel", "out in")
    assert found["fc.weights"].encoding == "palette of 4 bits"
    half = steelyard.weights(made / "half.mlmodel")["fc.weights"]
    assert half.dtype == "float16"
    assert np.array_equal(half.numpy(), steelyard.weights(made / "net.mlmodel")["fc.weights"].numpy().astype("f2"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_constants_of_a_program_are_as_coremltools_decompresses_them(made, name):
    found = steelyard.weights(made / f"{name}.mlpackage", scope="all")
    values = [weight.numpy() for weight in found.values() if not weight.unreadable]
    assert not found.unreadable
    for array in np.load(made / f"{name}.npz").values():
        assert any(v.shape == array.shape and np.allclose(v, array, rtol=1e-6, atol=1e-6) for v in values), array.shape


def field(number, content):
    if isinstance(content, int):
        return tag(number, VARINT) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return tag(number, BYTES) + varint(len(content)) + content


def network(*layers):
    return field(1, 4) + field(2, b"") + field(500, b"".join(field(1, layer) for layer in layers))


def dense(name, weights, outputs=2):
    return field(1, name) + field(140, field(1, 3) + field(2, outputs) + field(20, weights))


FLOATS = field(1, np.arange(6, dtype="f4").tobytes())


@pytest.fixture
def path(tmp_path):
    def write(data):
        (tmp_path / "a.mlmodel").write_bytes(data)
        return tmp_path / "a.mlmodel"

    return write


def test_the_parts_of_a_pipeline_have_their_numbers(path):
    model = network(dense("fc", FLOATS))
    found = steelyard.weights(path(field(1, 4) + field(2, b"") + field(202, field(1, model) + field(1, model))))
    assert list(found) == ["0.fc.weights", "1.fc.weights"]
    assert found["1.fc.weights"].numpy().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_layer_that_is_not_known_and_codes_that_do_not_fit_are_listed_and_refused(path):
    packed = field(30, b"\x1b") + field(40, field(1, 2) + field(101, field(1, np.ones(1, "f4").tobytes())))
    found = steelyard.weights(path(network(field(1, "own") + field(500, b""), dense("fc", FLOATS, 9), dense("q", packed))))
    assert "of a layer 'custom'" in found.unreadable["own.weights"]
    assert "has the shape [9, 3], but 6 numbers are stored" in found.unreadable["fc.weights"]
    assert "has the shape [2, 3], but 4 numbers are stored" in found.unreadable["q.weights"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (network(dense("a", FLOATS), dense("a", FLOATS)), "two weights of the name a"),
        (network(dense("a", FLOATS))[:-3], "claims|not a known|Core ML"),
        (field(1, 4) + field(2, b"") + field(402, b""), "of trees, not a net"),
        (network(dense("a", field(30, b"\1") + field(40, field(1, 99)))), "codes of 99 bits"),
    ],
    ids=["twice", "cut", "trees", "bits"],
)
def test_a_model_that_is_no_net_or_damaged_is_refused_in_a_line(path, data, reason):
    with pytest.raises(FormatError, match=reason):
        steelyard.weights(path(data))


def test_numbers_of_a_package_that_are_missing_or_cut_off_are_named(made, tmp_path):
    package = shutil.copytree(made / "program.mlpackage", tmp_path / "a.mlpackage")
    (numbers,) = package.rglob("weight.bin")
    numbers.write_bytes(numbers.read_bytes()[:-100])
    found = steelyard.weights(package)
    assert any("is damaged" in why for why in found.unreadable.values())
    manifest = package / "Manifest.json"
    content = json.loads(manifest.read_text())
    for entry in content["itemInfoEntries"].values():
        entry["path"] = f"../../{entry['path']}"
    manifest.write_text(json.dumps(content))
    with pytest.raises(FormatError):
        steelyard.weights(package)


@pytest.mark.parametrize("name", ["linear3.mlmodel", "program-palette.mlpackage"])
def test_it_keeps_the_rules_of_a_format(made, name):
    check_format(open_path(str(made / name)))
