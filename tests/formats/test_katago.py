"""KataGo's nets, line by line as its exporter writes them, compressed or not."""

import gzip

import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError

CONV = np.arange(3 * 3 * 2 * 4, dtype="<f4").reshape(3, 3, 2, 4)
NORM = np.arange(4, dtype="<f4")


def array(values):
    return b"@BIN@" + np.ascontiguousarray(values, "<f4").tobytes() + b"\n"


def lines(*words):
    return "".join(f"{word}\n" for word in words).encode()


def norm(name, *arrays, flags=(1, 1), epsilon="1e-20"):
    return lines(name, 4, epsilon, *flags) + b"".join(map(array, arrays))


HEAD = lines("b1c4-s10-d10", 14, 22, 19, 20.0, 20.0, 20.0, 20.0, 40.0, 0.25, 30.0)
BODY = (
    lines("trunk", 1, 4, 4, 4, 0, 0, "model.conv_spatial", 3, 3, 2, 4, 1, 1)
    + array(CONV)
    + lines("model.linear_global", 2, 4)
    + array(CONV.ravel()[:8])
    + lines("ordinary_block", "model.blocks.0")
    + norm("model.blocks.0.norm", NORM, NORM + 1, NORM + 2, NORM + 3)
    + lines("model.blocks.0.act", "ACTIVATION_MISH")
    + norm("model.mask", NORM, NORM + 1, NORM + 2, flags=(0, 1))
    + norm("model.rms", NORM + 5, NORM + 6, flags=(0, 0), epsilon="1e-06")
    + norm("model.inner", NORM + 7, flags=(), epsilon="1e-06")
    + lines("model.rope_freqs", 1, 2, 2)
    + array(NORM)
    + lines("model.bias1", 4)
    + array(NORM + 9)
)
NET = HEAD + BODY


def read(folder, data, name="net.bin.gz"):
    (folder / name).write_bytes(data)
    return steelyard.weights(folder / name)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_layers_have_the_words_of_the_engine_for_their_arrays(pack, tmp_path):
    w = read(tmp_path, pack(NET))
    assert {name: (weight.shape, str(weight.role), weight.axes) for name, weight in w.items()} == {
        "model.conv_spatial.weights": ((3, 3, 2, 4), "kernel", "kh kw in out"),
        "model.linear_global.weights": ((2, 4), "kernel", "in out"),
        **{
            f"model.blocks.0.norm.{word}": ((4,), role, "channel")
            for word, role in (("mean", "mean"), ("variance", "variance"), ("scale", "scale"), ("bias", "offset"))
        },
        **{
            f"model.mask.{word}": ((4,), role, "channel")
            for word, role in (("mean", "mean"), ("variance", "variance"), ("bias", "offset"))
        },
        "model.rms.scale": ((4,), "scale", "channel"),
        "model.rms.bias": ((4,), "offset", "channel"),
        "model.inner.scale": ((4,), "scale", "channel"),
        "model.rope_freqs.weights": ((1, 2, 2), "other", ""),
        "model.bias1.weights": ((4,), "bias", "out"),
    }
    assert np.array_equal(w["model.conv_spatial.weights"].numpy(), CONV)
    assert np.array_equal(w["model.mask.bias"].numpy(), NORM + 2)
    assert np.array_equal(w["model.bias1.weights"].numpy(), NORM + 9)
    assert w["model.blocks.0.norm.mean"].layer == "model.blocks.0.norm"
    assert (w.meta["name"], w.meta["version"]) == ("b1c4-s10-d10", 14)


HOSTILE = {
    "a cut": (NET[:-3], "does not end where it must"),
    "a shape": (NET + lines("x", 9999999, 9999999) + array(NORM), "does not end where it must"),
    "no name": (NET + array(NORM), "of the layer ''"),
    "unknown settings": (NET + lines("x", 1, 2, 3, 4, 5) + array(NORM), r"of the layer 'x' with the settings \[1, 2, 3, 4, 5\]"),
    "two of a name": (NET + lines("model.bias1", 4) + array(NORM), "two arrays with the name 'model.bias1.weights'"),
    "arrays": (NET + norm("x", NORM, NORM, NORM, NORM, flags=(0, 1)), "has 4 arrays in 'x', where 2 are expected"),
    "a line": (NET + b"a" * 5000, "ends within a line"),
    "nothing": (NET + lines("x", 0) + array(NORM[:0]), "which are not known"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_net_that_lies_is_refused_in_one_line(case, tmp_path):
    data, what = HOSTILE[case]
    with pytest.raises(FormatError, match=what):
        read(tmp_path, data)
