"""Frozen graphs of TensorFlow: a file of its own, compared with its own decoder; and others field by field.

`tests/data/make_graphs.py` made the file and the expected arrays.
"""

import carried
import numpy as np
import pytest

import steelyard
from steelyard.codecs.protobuf import BYTES, VARINT, tag, varint
from steelyard.errors import FormatError
from steelyard.storage.source import open_path
from steelyard.testing import check_format


@pytest.fixture(scope="module")
def made():
    return carried.folder("tensorflow")


def field(number, content):
    if isinstance(content, int):
        return tag(number, VARINT) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return tag(number, BYTES) + varint(len(content)) + content


def constant(name, tensor):
    return field(1, field(1, name) + field(2, "Const") + field(5, field(1, "value") + field(2, field(8, tensor))))


def shape(*lengths):
    return field(2, b"".join(field(2, field(1, length)) for length in lengths))


def test_every_constant_is_as_tensorflow_decodes_it(made):
    found = steelyard.weights(made / "frozen.pb", scope="all")
    expected = np.load(made / "frozen.npz")
    assert set(found) - set(expected.files) == {"words"}
    for name, array in expected.items():
        values = found[name].numpy()
        assert values.shape == array.shape
        assert np.array_equal(values.astype(array.dtype), array), name
        assert found[name].dtype == ("bfloat16" if name == "t/bfloat16" else array.dtype.name)
    assert "of the type 7" in found.unreadable["words"]


def test_operators_give_roles_and_axes_and_integers_are_no_weights(made):
    found = steelyard.weights(made / "frozen.pb")
    facts = {name: (weight.role, weight.axes, weight.layer) for name, weight in found.items()}
    assert facts["conv/kernel"][:2] == ("kernel", "kh kw in out")  # through a node that passes it on
    assert facts["conv/bias"][:2] == ("bias", "out")
    assert facts["dense/kernel"][:2] == ("kernel", "out in")
    assert "t/int64" not in found
    assert found["filled"].numpy().tolist() == [[2.5] * 3] * 2
    assert found["filled"][1, 2] == 2.5


def test_a_tensor_without_numbers_is_zero_and_one_number_fills_it(tmp_path):
    zeros, one = field(1, 1) + shape(3), field(1, 3) + shape(2, 2) + field(7, (1 << 64) - 5)
    (tmp_path / "a.pb").write_bytes(constant("z", zeros) + constant("i", one))
    found = steelyard.weights(tmp_path / "a.pb", scope="all")
    assert found["z"].numpy().tolist() == [0, 0, 0]
    assert found["i"].numpy().tolist() == [[-5, -5], [-5, -5]]


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (field(1, 1) + shape(3) + field(4, bytes(8)), "has 3 numbers, but 8 bytes are stored"),
        (field(1, 1) + shape(1 << 30, 9) + field(5, bytes(4)), "see steelyard.limits"),
        (field(1, 1) + shape(1 << 40, 1 << 40), "which is not one of numbers"),
        (field(1, 20) + shape(1), "of the type 20"),
    ],
    ids=["few", "bomb", "huge", "type"],
)
def test_a_tensor_that_cannot_be_read_is_listed_and_refused(tmp_path, tensor, reason):
    (tmp_path / "a.pb").write_bytes(constant("w", tensor))
    assert reason in steelyard.weights(tmp_path / "a.pb", scope="all").unreadable["w"]


def test_damaged_numbers_are_refused_when_they_are_read(tmp_path):
    (tmp_path / "a.pb").write_bytes(
        constant("w", field(1, 3) + shape(2) + field(7, b"\xff")) + constant("v", field(1, 3) + shape(1) + field(7, b"\1\2"))
    )
    found = steelyard.weights(tmp_path / "a.pb", scope="all")
    with pytest.raises(FormatError, match="a list of numbers is damaged"):
        found["w"].numpy()
    with pytest.raises(FormatError, match="2 numbers for a tensor of 1"):
        found["v"].numpy()


def test_two_constants_of_one_name_and_a_file_that_is_cut_off_are_refused(tmp_path, made):
    data = constant("w", field(1, 1) + shape(1))
    (tmp_path / "a.pb").write_bytes(data * 2)
    with pytest.raises(FormatError, match="two constants of one name"):
        steelyard.weights(tmp_path / "a.pb")
    (tmp_path / "a.pb").write_bytes((made / "frozen.pb").read_bytes()[:300])
    with pytest.raises(FormatError, match="claims"):
        steelyard.weights(tmp_path / "a.pb")


def test_it_keeps_the_rules_of_a_format(made):
    check_format(open_path(made / "frozen.pb"))
