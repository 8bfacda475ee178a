"""Quantised files of Keras: what shapes alone cannot say is refused, and so is what the file lacks."""

import numpy as np
import pytest

import steelyard
from steelyard.core.net_facts import with_derive
from tests import carried


def effective(variables, group="layers/dense"):
    """Return the effective weights of a file without config whose one layer has these variables, in order."""
    from steelyard.codecs.keras.effective import derive

    names = {f"net/layer/{place}": value for place, value in enumerate(variables)}
    found = steelyard.weights(names)
    layout = {group: {"name": "layer", "vars": {str(place): name for place, name in enumerate(names)}}}
    return with_derive(
        found.with_weights(found.values(), meta={"layout": layout}), lambda pieces: derive(pieces, None)
    ).effective()


def test_the_gptq_of_keras_lacks_its_zeros():
    folder = carried.folder("effective") / "keras-gptq-4bit"
    assert "no kernel_zero" in steelyard.effective(folder / "model.weights.h5").unreadable["b4/fc/kernel"]


def test_a_packed_einsum_kernel_needs_the_config_for_its_shape():
    found = steelyard.effective(carried.folder("effective") / "keras-int4-einsum" / "model.weights.h5")
    assert [*found.unreadable] == ["ein/kernel", "ein3/kernel"]
    assert "does not have the shape" in found.unreadable["ein/kernel"]


CODES = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)
ONES = np.ones(4, "f4")


@pytest.mark.parametrize(
    ("variables", "group", "reason"),
    [
        ([CODES, ONES], "net/block/fc", "rows or of columns"),
        ([CODES, ONES], "layers/embedding", "one number or two"),
        ([CODES[:, :1], ONES[:1]], "layers/dense", "one number or two"),
        ([CODES, np.ones(5, "f4")], "layers/dense", "and 5 columns"),
        ([CODES, np.ones((2, 7), "f4"), np.zeros((2, 8), np.int8), ONES], "layers/dense", "its scale has shape .2, 7."),
        ([CODES, np.ones((2, 7), "f4"), np.zeros((2, 7), np.int8)], "layers/dense", "its scale has shape .2, 7."),
    ],
)
def test_what_shapes_do_not_say_is_refused(variables, group, reason):
    found = effective(variables, group)
    (name,) = found.unreadable
    with pytest.raises(steelyard.errors.UnreadableError, match=reason):
        found[name].numpy()


def test_groups_out_of_range_are_refused_when_they_are_read():
    places = np.array([0, 1, 2, -1], "f4")
    found = effective([CODES, np.ones((2, 8), "f4"), np.zeros((2, 8), np.int8), places])
    with pytest.raises(steelyard.errors.FormatError, match="groups that are not whole numbers below 2"):
        found["net/layer/kernel"].numpy()


def test_a_byte_has_two_numbers_with_a_sign_the_low_one_first():
    found = effective([np.array([[0x2F, 8], [-1, 7]], np.int8), np.array([1, 2, 4], "f4")])
    assert found["net/layer/kernel"].numpy().tolist() == [[-1.0, 1.0, -2.0], [-1.0, -0.5, 1.75]]
    assert found["net/layer/kernel"].derivation.assumed
