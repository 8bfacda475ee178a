"""Nets of Stockfish, written as its trainer writes them, with the hashes of nets that it has published.

Checked once by hand with Stockfish 15.1: of the net that its `export_net` writes, the numbers that are read here give the
evaluation that its `eval` prints, of two positions by each of the eight stacks.
"""

import struct

import numpy as np
import pytest

import steelyard
from steelyard.core.weight import Role
from steelyard.errors import FormatError
from steelyard.formats.nnue import _layers_hash

PUBLISHED = {
    0x3E5AA6EE: (0x5D69D5B8, 256, (32, 32)),
    0x1C103072: (0x7F234CB8, 2560, (16, 32)),
    0x1C1020F2: (0x7F234CB8, 3072, (16, 32)),
}
"""The hash of a net: that of its features, the outputs of its transformer, and its hidden layers."""
HALF_KP, HALF_KA = (0x5D69D5B8, 41024, 0, 1), (0x7F234CB8, 22528, 8, 8)
OUTPUTS = 16


def packed(values):
    """Pack integers as the trainer does, with LEB128."""
    words = {}
    for value in np.unique(values).tolist():
        out, left = bytearray(), value
        while not out or not ((left == 0 and not out[-1] & 64) or (left == -1 and out[-1] & 64)):
            out.append(left & 127)
            left >>= 7
        words[value] = bytes(byte | 128 for byte in out[:-1]) + bytes(out[-1:])
    data = b"".join(map(words.__getitem__, values.ravel().tolist()))
    return b"COMPRESSED_LEB128" + struct.pack("<I", len(data)) + data


def arrays(features, hidden, inputs):
    """Return the arrays of a net by name."""
    _, count, parts, stacks = features
    chance = np.random.default_rng(0)
    held = {"featureTransformer.biases": chance.integers(-30000, 30000, OUTPUTS).astype("<i2")}
    held["featureTransformer.weights"] = chance.integers(-70, 300, (count, OUTPUTS)).astype("<i2")
    if parts:
        held["featureTransformer.psqtWeights"] = np.resize(
            np.array([-(1 << 31), (1 << 31) - 1, -64, 63, 64], "<i4"), (count, parts)
        )
    for stack in range(stacks):
        for place, (out, width) in enumerate(zip((*hidden, 1), (inputs, *hidden), strict=True)):
            name = f"network.{stack}.fc_{place}"
            held[f"{name}.biases"] = chance.integers(-9999, 9999, out).astype("<i4")
            held[f"{name}.weights"] = chance.integers(-127, 127, (out, -(-width // 32) * 32)).astype("i1")
    return held


def net(features, hidden, inputs, pack=np.ndarray.tobytes, description=b"a net", version=0x7AF32F20):
    """Return a net's arrays and its file."""
    held, mark = arrays(features, hidden, inputs), features[0] ^ 2 * OUTPUTS
    layers = _layers_hash(OUTPUTS, hidden)
    data = struct.pack("<3I", version, mark ^ layers, len(description)) + description + struct.pack("<I", mark)
    for name, values in held.items():
        data += struct.pack("<I", layers) if name.endswith("fc_0.biases") else b""
        data += pack(values) if name.startswith("feature") else values.tobytes()
    return held, data


CASES = {
    "HalfKP": (HALF_KP, (32, 32), 2 * OUTPUTS),
    "HalfKAv2_hm": (HALF_KA, (16, 32), OUTPUTS),
    "both halves": (HALF_KA, (16, 32), 2 * OUTPUTS),
    "packed": (HALF_KA, (16, 32), OUTPUTS, packed),
}


@pytest.mark.parametrize("whole", PUBLISHED)
def test_the_hash_of_a_published_net_follows_from_its_sizes(whole):
    features, outputs, hidden = PUBLISHED[whole]
    assert _layers_hash(outputs, hidden) ^ features ^ 2 * outputs == whole


@pytest.mark.parametrize("case", CASES)
def test_a_net_has_the_integers_of_its_arrays(case, tmp_path):
    held, data = net(*CASES[case])
    (tmp_path / "a.nnue").write_bytes(data)
    found = steelyard.weights(tmp_path / "a.nnue")
    assert [*found] == [*held]
    for name, weight in found.items():
        assert (weight.shape, weight.dtype) == (held[name].shape, held[name].dtype.name)
        assert np.array_equal(weight.numpy(), held[name])
        assert weight.role == (Role.BIAS if name.endswith("biases") else Role.KERNEL)
    assert np.array_equal(found["featureTransformer.weights"][5000], held["featureTransformer.weights"][5000])
    assert (found.meta["features"], found.meta["description"]) == ("HalfKP" if case == "HalfKP" else "HalfKAv2_hm", "a net")
    assert "not scaled back" in found.meta["notes"][0]


@pytest.fixture(scope="module")
def data():
    return net(*CASES["packed"])[1]


def changed(data, at, value):
    return data[:at] + struct.pack("<I", value) + data[at + 4 :]


HOSTILE = {
    "a cut": (lambda data: data[:-1], "which is not what they take"),
    "a cut in the transformer": (lambda data: data[:9000], r"left \(partial download\?\)"),
    "other features": (lambda data: changed(data, 17, 5), "that are not known; open the checkpoint"),
    "other layers": (lambda data: changed(data, 4, 5), "that are not known; open the checkpoint"),
    "a description": (lambda data: changed(data, 8, 1 << 31), "claims a description of 2,147,483,648 bytes"),
    "a length": (lambda data: changed(data, 38, 1), "takes 1 bytes for 16 numbers"),
    "a stack": (lambda data: changed(data, len(data) - 1768, 5), "has the hash '0x5' before stack 7, where"),
    "nothing": (lambda data: data[:5], "ends at byte 5"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_net_that_lies_is_refused_in_one_line(case, data, tmp_path):
    change, what = HOSTILE[case]
    (tmp_path / "a.nnue").write_bytes(change(data))
    with pytest.raises(FormatError, match=what):
        steelyard.weights(tmp_path / "a.nnue")


@pytest.mark.parametrize(
    ("byte", "what"), [(0x80, "packed integers instead of|of too many bytes"), (0, "packed integers instead of")]
)
def test_packed_integers_that_do_not_add_up_are_refused(byte, what, data, tmp_path):
    (tmp_path / "a.nnue").write_bytes(data[:42] + bytes([byte]) * 12 + data[54:])
    with pytest.raises(FormatError, match=f"{what}|has an integer of"):
        steelyard.weights(tmp_path / "a.nnue")["featureTransformer.biases"].numpy()
