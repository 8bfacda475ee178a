"""RNNoise's older texts, with the layers that FFmpeg reads."""

import numpy as np
import pytest

import steelyard
from steelyard.core.weight import Role
from steelyard.errors import FormatError

HEAD = "rnnoise-nu model file version 1\n"
SIZES = {
    "input_dense": (42, 24),
    "vad_gru": (24, 24),
    "noise_gru": (90, 48),
    "denoise_gru": (114, 96),
    "denoise_output": (96, 22),
    "vad_output": (24, 1),
}


def arrays():
    chance, held = np.random.default_rng(0), {}
    for layer, (inputs, neurons) in SIZES.items():
        gates = 3 if "gru" in layer else 1
        held[f"{layer}.input_weights"] = chance.integers(-128, 128, (inputs, gates * neurons))
        if gates > 1:
            held[f"{layer}.recurrent_weights"] = chance.integers(-128, 128, (neurons, gates * neurons))
        held[f"{layer}.bias"] = chance.integers(-128, 128, gates * neurons)
    return held


def text(held):
    lines = [HEAD.strip()]
    for name, values in held.items():
        layer, _, part = name.partition(".")
        lines += [f"{SIZES[layer][0]} {SIZES[layer][1]} 2"] if part == "input_weights" else []
        lines.append(" ".join(map(str, values.ravel())))
    return "\n".join(lines) + "\n"


def read(folder, content, name="voice.rnnn"):
    (folder / name).write_text(content)
    return steelyard.weights(folder / name)


@pytest.mark.parametrize("name", ["voice.rnnn", "model.txt"])
def test_the_layers_have_the_numbers_and_the_names_of_the_program(name, tmp_path):
    held = arrays()
    found = read(tmp_path, text(held), name)
    assert [*found] == [*held]
    for name, weight in found.items():
        assert (weight.shape, weight.dtype) == (held[name].shape, "int8")
        assert np.array_equal(weight.numpy(), held[name])
    roles = {name.partition(".")[2]: weight.role for name, weight in found.items()}
    assert roles == {"input_weights": Role.KERNEL, "recurrent_weights": Role.RECURRENT_KERNEL, "bias": Role.BIAS}
    assert found.meta["notes"] == ["the numbers are 256 times the weights"]


WHOLE = text(arrays())
HOSTILE = {
    "a cut": (
        WHOLE[: len(WHOLE) // 2].rpartition(" ")[0],
        r"ends in denoise_gru\.\w+, after [\d,]+ of [\d,]+ numbers \(partial download\?\)",
    ),
    "more": (WHOLE + "5 5\n", "has 2 numbers after its last layer"),
    "a word": (WHOLE.replace("42 24", "42 x", 1), "has something else than small whole numbers"),
    "a huge number": (HEAD + "99999999 1 0", "has something else than small whole numbers"),
    "a size": (HEAD + "-3 4 0", r"has the layer input_dense with the sizes \[-3, 4, 0\]"),
    "nothing": (HEAD, r"has the layer input_dense with the sizes \[\]"),
    "a weight": (WHOLE.replace("42 24 2\n", "42 24 2\n300 ", 1), "has a number in input_dense.input_weights that does not fit"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_text_that_lies_is_refused_in_one_line(case, tmp_path):
    content, what = HOSTILE[case]
    with pytest.raises(FormatError, match=what):
        read(tmp_path, content)
