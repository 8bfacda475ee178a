"""KataGo's nets as texts, with the numbers of the binary file of the same net."""

import bz2
import gzip

import numpy as np
import pytest

import steelyard
from steelyard.core.weight import Role
from steelyard.errors import FormatError

CHANCE = np.random.default_rng(0)
CONV = CHANCE.normal(size=(3, 3, 22, 4)).astype("f4")
NORM = CHANCE.normal(size=(4, 4)).astype("f4")
LAYERS = [
    ("conv1", (3, 3, 22, 4, 1, 1), [CONV]),
    ("ginputw", (19, 4), [CONV[0, 0, :19]]),
    ("ordinary_block", (), []),
    ("rconv1", (), []),
    ("rconv1/norm1", (4, "0.0001", 1, 1), [*NORM]),
    ("rconv1/actv1", (), []),
    ("rconv1/w1", (1, 1, 4, 1, 1, 1), [CONV[0, 0, :1]]),
    ("mask/norm", (4, "1e-20", 0, 1), [*NORM[:3]]),
    ("v3/b", (4,), [NORM[3]]),
]


def net(*more, binary=False, layers=LAYERS):
    out = b"b6c96-s1000-d2000\n8\n22\n19\ntrunk\n6\n4\n4\n4\n4\n4\n"
    for name, settings, arrays in [*layers, *more]:
        out += b"".join(f"{word}\n".encode() for word in (name, *settings))
        for values in arrays:
            rows = values.reshape(-1, values.shape[-1])
            text = "".join(" ".join(map(str, row)) + " \n" for row in rows).encode()
            out += b"@BIN@" + values.tobytes() + b"\n" if binary else text
    return out


def read(folder, data, name="net.txt.gz"):
    (folder / name).write_bytes(data)
    return steelyard.weights(folder / name)


@pytest.mark.parametrize(("name", "pack"), [("net.txt", bytes), ("net.txt.gz", gzip.compress), ("net.bz2", bz2.compress)])
def test_a_text_has_the_layers_and_numbers_of_the_binary_file(name, pack, tmp_path):
    expected = read(tmp_path, gzip.compress(net(binary=True)), "net.bin.gz")
    found = read(tmp_path, pack(net()), name)
    assert [*found] == [*expected]
    for name, weight in found.items():
        same = expected[name]
        assert (weight.shape, weight.dtype, weight.role, weight.axes) == (same.shape, same.dtype, same.role, same.axes)
        assert weight.numpy().tobytes() == same.numpy().tobytes()
    assert found["rconv1/norm1.variance"].role == Role.VARIANCE
    assert (found.meta["name"], found.meta["version"]) == ("b6c96-s1000-d2000", 8)


def test_numbers_over_many_pages_are_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("steelyard.formats.katago.text._PAGE", 50)
    found = read(tmp_path, net(), "net.txt")
    assert np.array_equal(found["conv1.weights"].numpy(), CONV)
    assert np.array_equal(found["mask/norm.bias"].numpy(), NORM[2])


HOSTILE = {
    "a cut": (net()[:-20], r"'v3/b' with the settings \[4\] and [0-3] numbers after them"),
    "a shape": (net(("x", (999999999, 999999999), [NORM])), r"'x' with the settings \[999999999, 999999999\] and 16 numbers"),
    "unknown settings": (net(("x", (1, 2, 3), [NORM])), r"'x' with the settings \[1, 2, 3\] and 16 numbers after them"),
    "two of a name": (net(LAYERS[0]), "two arrays with the name 'conv1.weights'"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_text_that_lies_is_refused_in_one_line(case, tmp_path):
    data, what = HOSTILE[case]
    with pytest.raises(FormatError, match=what):
        read(tmp_path, data, "net.txt")


def test_a_word_among_the_numbers_is_refused_when_they_are_read(tmp_path):
    data = net().replace(b" \nv3/b\n4\n", b" \nv3/b\n4\n0x1.5 ")
    data = data[: data.rstrip().rindex(b" ")] + b"\n"
    found = read(tmp_path, data, "net.txt")
    with pytest.raises(FormatError, match="has something else than numbers in 'v3/b'"):
        found["v3/b.weights"].numpy()
