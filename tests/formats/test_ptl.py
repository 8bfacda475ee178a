"""PyTorch Mobile in FlatBuffers: modules that PyTorch wrote, compared with the numbers of their state dicts.

`tests/data/make_mobile.py` made the files.
"""

import struct

import carried
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError, SteelyardError
from steelyard.storage.source import open_path
from steelyard.testing import check_format


@pytest.fixture(scope="module")
def made():
    return carried.folder("mobile")


@pytest.fixture(scope="module")
def numbers(made):
    return np.load(made / "numbers.npz")


def test_a_net_has_the_names_and_numbers_of_its_state_dict(made, numbers):
    found = steelyard.weights(made / "plain.ptl")
    assert [f"plain/{name}" for name in found] == [name for name in numbers if name.startswith("plain/")]
    for name, weight in found.items():
        assert np.array_equal(weight.numpy(), numbers[f"plain/{name}"]), name
    assert found["3.weight"].role == "kernel"
    check_format(open_path(made / "plain.ptl"))


@pytest.mark.parametrize(("kind", "word"), [("tensor", "scale"), ("channel", "scales")])
def test_packed_weights_are_their_integers_with_their_scales(made, numbers, kind, word):
    found = steelyard.weights(made / f"{kind}.ptl")
    conv, dense = "1.weight", "4._packed_params._packed_params.0"
    assert np.array_equal(found[conv].numpy(), numbers[f"{kind}/1.weight"])
    assert np.array_equal(found[dense].numpy(), numbers[f"{kind}/4.weight"])
    assert np.array_equal(found["1.bias"].numpy(), numbers[f"{kind}/1.bias"])
    for name, place in ((conv, 1), (dense, 4)):
        assert np.array_equal(found[f"{name}.{word}"].numpy(), numbers[f"{kind}/{place}.scales"])


def test_constants_of_the_code_are_listed_where_there_are_no_others(made, numbers):
    found = steelyard.weights(made / "frozen.ptl")
    frozen = [weight.numpy() for weight in found.values() if weight.ndim]
    expected = [numbers[name] for name in numbers if name.startswith("plain/")]
    assert sorted(map(np.sum, frozen)) == pytest.approx(sorted(map(np.sum, expected)))
    assert all(name.startswith("constants.") for name in found)


def test_damaged_offsets_are_refused_in_one_line(made, tmp_path):
    data = bytearray((made / "plain.ptl").read_bytes())
    (tmp_path / "cut.ptl").write_bytes(data[:200])
    with pytest.raises(FormatError):
        steelyard.weights(tmp_path / "cut.ptl")
    messages = []
    begin = struct.unpack_from("<I", data)[0]
    for place in range(begin, begin + 600, 4):
        struct.pack_into("<I", changed := bytearray(data), place, 0x7FFFFFFF)
        (tmp_path / "bad.ptl").write_bytes(changed)
        try:
            steelyard.weights(tmp_path / "bad.ptl").to_vector()
        except SteelyardError as error:
            messages.append(str(error))
    assert messages
    assert not any("\n" in message for message in messages)
