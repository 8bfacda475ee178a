"""Settings of layers from the configs of files, whose unexpected values are ignored."""

import pytest

from steelyard.layers.keras.kinds import described


@pytest.mark.parametrize("strange", [{"class_name": "x"}, [[[[1]]]], object(), [{}]], ids=["dict", "deep", "object", "list"])
def test_a_setting_of_a_keras_config_is_a_number_a_word_or_a_tuple_of_these(strange):
    layer = described("Conv2D", "Conv2D", {"strides": [2, 1], "padding": strange, "dilation_rate": strange}, "c")
    assert layer.settings["strides"] == (2, 1)

    def plain(value):
        return value is None or type(value) in (bool, int, float, str) or (type(value) is tuple and all(map(plain, value)))

    assert plain(tuple(layer.settings.values()))


def test_the_padding_of_each_side_of_each_axis_is_kept():
    assert described("ZeroPadding2D", "ZeroPadding2D", {"padding": [[0, 1], [2, 3]]}, "p").settings == {
        "padding": ((0, 1), (2, 3))
    }
