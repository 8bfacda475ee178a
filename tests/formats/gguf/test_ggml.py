"""Files of ggml from before GGUF: whisper.cpp's, GPT-2's and LLaMA's, byte by byte as their converters write them."""

import struct

import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants

import steelyard
from steelyard.errors import FormatError

RANDOM = np.random.default_rng(0)
KERNEL, BIAS = RANDOM.normal(size=(3, 4)).astype("f2"), np.arange(3, dtype="f4")
ROWS = RANDOM.normal(size=(2, 64)).astype("f4")
Q5 = quants.quantize(ROWS, GGMLQuantizationType.Q5_0)
TOKENS = [b"", b"the", bytes(range(200)), "ß".encode(), b"a"]


def tensor(name, data, kind, shape=None, start=None):
    shape = data.shape if shape is None else shape
    head = struct.pack("<3i", len(shape), len(name), kind) + struct.pack(f"<{len(shape)}i", *shape[::-1]) + name.encode()
    pad = 0 if start is None else -(start + len(head)) % 32
    return head + bytes(pad) + data.tobytes()


def tokens(*, counted, scores=False):
    listed = b"".join(struct.pack("<i", len(token)) + token + struct.pack("<f", 1) * scores for token in TOKENS)
    return struct.pack("<i", len(TOKENS)) * counted + listed


TENSORS = tensor("encoder.blocks.0.mlp.0.weight", KERNEL, 1) + tensor("encoder.blocks.0.mlp.0.bias", BIAS, 0)
FILTERS = RANDOM.normal(size=(4, 6)).astype("f4")


def whisper(body=TENSORS, ftype=1):
    settings = struct.pack("<11i", 7, 15, 8, 2, 1, 4, 8, 2, 1, 4, ftype)
    return b"lmgg" + settings + struct.pack("<2i", 4, 6) + FILTERS.tobytes() + tokens(counted=True) + body


def read(folder, data, scope="model"):
    (folder / "ggml-tiny.bin").write_bytes(data)
    return steelyard.weights(folder / "ggml-tiny.bin", scope=scope)


def assert_whole(w):
    assert [*w] == ["encoder.blocks.0.mlp.0.weight", "encoder.blocks.0.mlp.0.bias"]
    assert np.array_equal(w["encoder.blocks.0.mlp.0.weight"].numpy(), KERNEL)
    assert np.array_equal(w["encoder.blocks.0.mlp.0.bias"].numpy(), BIAS)
    assert (w["encoder.blocks.0.mlp.0.weight"].dtype, w["encoder.blocks.0.mlp.0.weight"].axes) == ("float16", "out in")


def test_a_model_of_whisper_is_read_and_its_filters_are_no_weights(tmp_path):
    assert_whole(read(tmp_path, whisper()))
    w = read(tmp_path, whisper(), "all")
    assert np.array_equal(w["filters"].numpy(), FILTERS)
    assert (w.meta["n_vocab"], w.meta["n_mels"], w.meta["ftype"]) == (7, 4, 1)


def test_models_of_gpt2_and_gptj_count_their_tokens(tmp_path):
    for settings in (6, 7):
        data = b"lmgg" + struct.pack(f"<{settings}i", 5, *range(1, settings)) + tokens(counted=True) + TENSORS
        w = read(tmp_path, data)
        assert_whole(w)
        assert w.meta["settings"] == [5, *range(1, settings)]


def test_models_of_llama_have_scores_and_aligned_numbers(tmp_path):
    settings = struct.pack("<7i", 5, 8, 256, 2, 1, 4, 2)
    assert_whole(read(tmp_path, b"lmgg" + settings + tokens(counted=False) + TENSORS))
    for magic, version in ((b"fmgg", 1), (b"tjgg", 3)):
        data = magic + struct.pack("<i", version) + settings + tokens(counted=False, scores=True)
        parts = [("encoder.blocks.0.mlp.0.weight", KERNEL, 1), ("encoder.blocks.0.mlp.0.bias", BIAS, 0)]
        for part in parts:
            data += tensor(*part, start=len(data) if magic == b"tjgg" else None)
        w = read(tmp_path, data)
        assert_whole(w)
        assert w.meta["version"] == version


def test_quantised_tensors_are_decoded_as_the_gguf_package_does(tmp_path):
    body = tensor("decoder.w", Q5, 6, ROWS.shape)
    weight = read(tmp_path, whisper(body, 2008))["decoder.w"]
    assert (weight.shape, weight.dtype, weight.encoding) == ((2, 64), "float32", "Q5_0")
    assert np.array_equal(weight.numpy(), quants.dequantize(Q5, GGMLQuantizationType.Q5_0))
    assert "blocks of an old version" in read(tmp_path, whisper(body, 8))["decoder.w"].unreadable


def test_an_adapter_has_its_rank_and_its_pairs(tmp_path):
    data = b"algg" + struct.pack("<3i", 1, 2, 16)
    for name in ("layers.0.wq.loraA", "layers.0.wq.loraB"):
        data += tensor(name, BIAS, 0, start=len(data))
    w = read(tmp_path, data)
    assert [*w] == ["layers.0.wq.loraA", "layers.0.wq.loraB"]
    assert np.array_equal(w["layers.0.wq.loraB"].numpy(), BIAS)


def two_ways():
    """A file of 6 settings and one token of 256 bytes, or of 5 and one of a byte, which is followed by what may be a tensor."""
    settings = struct.pack("<6i", 9, 1, 1, 1, 1, 1)
    token = b"\0" + struct.pack("<3i", 1, 0, 1) + b"x"
    return b"lmgg" + settings + struct.pack("<2i", 1, 256) + token.ljust(256, b"\0") + TENSORS


HOSTILE = {
    "two layouts": (two_ways(), "may be read in several ways, with 6 and 5 settings"),
    "a cut": (whisper()[:-1], r"ends at byte .* \(partial download\?\)"),
    "a cut in the tokens": (whisper()[:180], "for a program that is not known, or damaged"),
    "no tensors": (whisper(b""), "a vocabulary only"),
    "two of a name": (whisper(TENSORS + TENSORS), "two tensors with the name 'encoder.blocks.0.mlp.0.weight'"),
    "a shape": (whisper(TENSORS + tensor("x", BIAS, 0, (1 << 30, 1 << 30))), r"'x' (ends at byte|has the shape)"),
    "axes below zero": (whisper(TENSORS + tensor("x", BIAS, 0, (-3, -1))), "impossible"),
    "axes": (whisper(TENSORS + tensor("x", BIAS, 0, (1,) * 9)), "has a tensor of 9 axes"),
    "a type": (whisper(TENSORS + tensor("x", BIAS, 99)), "'x' is of the unknown type 99"),
    "rows that are no blocks": (whisper(tensor("y", Q5, 6, (2, 64)) + tensor("x", Q5, 6, (4, 31))), "impossible for its type"),
    "tokens": (b"lmgg" + struct.pack("<7i", 1 << 30, 1, 1, 1, 1, 1, 1) + bytes(100), "for a program that is not known"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_lies_is_refused_in_one_line(case, tmp_path):
    data, what = HOSTILE[case]
    with pytest.raises(FormatError, match=what):
        read(tmp_path, data)
