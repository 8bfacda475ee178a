"""The contracts of a framework and of a format, as Steelyard checks its own: python -m pytest"""

import abacus
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError
from steelyard.storage.opening import open_source
from steelyard.testing import check_format, check_model


def test_the_framework_keeps_its_contract():
    net = abacus.Net(4, 3, 2)
    assert check_model(net) is net
    assert list(steelyard.weights(net)) == ["kernels.0", "biases.0", "kernels.1", "biases.1"]


def test_the_format_keeps_its_contract(tmp_path):
    net = abacus.Net(4, 3, 2)
    steelyard.save(net, tmp_path / "net.abacus")
    assert [*map(str, check_format(open_source(str(tmp_path / "net.abacus"))))] == [
        "kernels.0",
        "biases.0",
        "kernels.1",
        "biases.1",
    ]


def test_a_saved_net_can_be_put_back(tmp_path):
    net, other = abacus.Net(4, 3, 2), abacus.Net(4, 3, 2)
    net.kernels[0][:] = 7
    steelyard.save(net, tmp_path / "net.abacus")
    steelyard.weights(other).assign(steelyard.weights(tmp_path / "net.abacus"))
    assert np.array_equal(other(np.ones((1, 4), "float32")), net(np.ones((1, 4), "float32")))


@pytest.mark.parametrize(
    "damage", [b"abacus 1\n[[1", b"abacus 1\n[]\nmore", b"abacus 1\n[[1, [2]]]\n", b'abacus 1\n[["a", -1]]\n']
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, damage):
    (tmp_path / "bad.abacus").write_bytes(damage)
    with pytest.raises(FormatError, match=r"^[^\n]*$"):
        steelyard.weights(tmp_path / "bad.abacus")
