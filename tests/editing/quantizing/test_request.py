"""What cannot be quantised is refused in one line, with the reason and what is possible instead."""

import numpy as np
import pytest

import steelyard
from steelyard.errors import ShapeError

PLAIN = {"fc.weight": np.ones((4, 64), "float32"), "fc.bias": np.zeros(4, "float32")}
BAD = {
    "K-quants": (("q4_k",), {}, r"q4_k is not written: llama.cpp searches its scales .* use q8_0, q4_0"),
    "K-quants of a mix": (("Q4_K_M",), {}, "q4_k_m is not written"),
    "IQ": (("iq4_xs",), {}, "iq4_xs is not written"),
    "naive": (("naive-quantized",), {}, "transformers cannot load it"),
    "naive layout": (("int8",), {"like": "naive-quantized"}, "transformers cannot load it"),
    "kind": (("int5",), {}, "'int5' is not a kind of number; the kinds are int8, int4"),
    "library": (("int8",), {"like": "awq"}, "like is 'awq'; it must be one of compressed-tensors"),
    "library of a kind": (("nf4",), {"like": "torchao"}, "like is 'torchao'; nf4 can be like bitsandbytes"),
    "scheme": (("int8",), {"scheme": "odd"}, "scheme is 'odd'"),
    "affine torchao": (("int8",), {"scheme": "affine", "like": "torchao"}, "int8 like torchao has no zero points"),
    "affine float8": (("float8_e4m3fn",), {"scheme": "affine"}, "float8_e4m3fn has no zero points"),
    "calibration": (("int8",), {"calibrate": "kl"}, "calibrate is 'kl'; it must be one of max, mse, percentile"),
    "calibration of a format": (("q4_0",), {"calibrate": "mse"}, "the scales of q4_0 follow from its format"),
    "group": (("int4",), {"group": 0}, "group is '0'"),
    "group of nf4": (("nf4",), {"group": 48}, "bitsandbytes has blocks of 64, 128"),
    "group of gguf": (("q4_0",), {"group": 64}, "q4_0 has blocks of 32 numbers; leave group out"),
    "group of rows": (("int8",), {"like": "bitsandbytes", "group": 32}, "one scale an output"),
    "double": (("int8",), {"double_quant": True}, "double_quant quantises the scales of nf4 and fp4"),
    "axis": (("int8",), {"axis": 1.5}, "axis is '1.5'"),
    "missing axis": (("int8",), {"axis": 7}, "fc.weight has 2 axes, so axis 7 does not exist"),
    "word": (("int8",), {"axis": "kh"}, "has the axes 'out in', and none is 'kh'"),
    "axis of a library": (("int8",), {"axis": 1, "like": "compressed-tensors"}, "axis must be 'out', or None"),
    "blocks": (("tq1_0",), {}, "fc.weight: its rows of 64 are not whole blocks of 256"),
    "all skipped": (("int8",), {"skip": "*"}, "no weight can become int8: fc.weight: skipped"),
    "skip": (("int8",), {"skip": 7}, "skip must be names or patterns"),
    "onnx": (("int8",), {"like": "onnx"}, "read from an .onnx file; these weights are not"),
}


@pytest.mark.parametrize("what", BAD)
def test_it_is_refused(what):
    arguments, options, message = BAD[what]
    with pytest.raises(ShapeError, match=message) as error:
        steelyard.quantize(PLAIN, *arguments, **options)
    assert "\n" not in str(error.value)


def test_axes_that_no_name_shows_are_asked_for():
    with pytest.raises(ShapeError, match=r"the axes of w \[2, 3\] are not known; pass axis=0 for PyTorch's order"):
        steelyard.quantize({"w": np.ones((2, 3))}, "int8")
    assert steelyard.quantize({"w": np.ones((2, 3))}, "int8", axis=0)["w.scale"].shape == (2, 1)


def test_words_that_only_one_framework_has_for_kernels_show_its_order_of_axes():
    names = {"conv.weight": (4, 1, 1, 1), "lstm.weight_hh_l0_reverse": (4, 1), "a.in_proj_weight": (4, 1), "a.kernel": (1, 5)}
    for name, scales in names.items():
        plain = steelyard.weights({name: np.ones([length + 2 * (length == 1) for length in scales], "float32")})
        bare = plain.with_weights(weight.replace(axes="") for weight in plain.values())
        assert steelyard.quantize(bare, "int8")[f"{name}.scale"].shape == scales


def test_the_record_has_what_was_asked_for_and_why_kernels_stay():
    plain = {**PLAIN, "odd.weight": np.ones((4, 5), "float32"), "odd.bias": np.zeros(4, "float32")}
    made = steelyard.quantize(plain, "int4", group=32, like="compressed-tensors", calibrate="percentile")
    assert made.meta["quantized"] == {
        "kind": "int4",
        "like": "compressed-tensors",
        "range": "scale absmax / 7.5, codes -8 to 7",
        "axis": "out",
        "group": 32,
        "scheme": "symmetric",
        "calibrate": "percentile",
        "percentile": 99.9,
        "weights": 1,
        "left": {"odd.weight": "groups of 32 do not divide its 5 inputs"},
    }
