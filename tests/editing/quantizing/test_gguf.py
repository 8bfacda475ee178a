"""Types of GGUF are byte for byte those of the gguf package, and gguf's own reader finds them in the file."""

import gguf
import numpy as np
import pytest
from gguf import quants

import steelyard
from steelyard.errors import FormatError, LossyError
from steelyard.formats.gguf.encoding import ENCODERS, encoded
from steelyard.formats.gguf.quantisation import QUANTS

TYPES = sorted(ENCODERS)


def rows():
    """Return rows with zeros, subnormal numbers, halves, equal magnitudes of both signs and constants."""
    made = np.random.default_rng(0).normal(size=(12, 512)).astype("float32")
    made[3], made[4] = 0, made[4] * np.float32(1e-42)
    made[5] *= 1e4
    made[6] = np.round(made[6] * 4) / 4
    made[7], made[8, ::2], made[8, 1::2] = 1, 2, -2
    made[9] *= np.float32(1e-6)
    return made


@pytest.mark.parametrize("word", TYPES)
def test_bytes_are_those_of_the_gguf_package(word):
    with np.errstate(all="ignore"):
        expected = quants.quantize(rows(), gguf.GGMLQuantizationType[word])
    made = steelyard.quantize({"blk.0.ffn_up.weight": rows()}, word.lower(), like="gguf")
    weight = made["blk.0.ffn_up.weight"]
    assert (weight.encoding, weight.dtype) == (word, "uint8")
    assert np.array_equal(weight.numpy(), expected)
    assert b"".join(block.tobytes() for block in weight.blocks(100)) == expected.tobytes()


@pytest.mark.parametrize("word", TYPES)
def test_the_file_is_read_by_the_gguf_package_and_has_the_same_numbers(word, tmp_path):
    plain = {"blk.0.ffn_up.weight": rows(), "blk.0.attn_norm.weight": np.ones(512, "float32")}
    plain["token_embd.weight"] = rows()[:, :256]
    made = steelyard.quantize(plain, word.lower(), like="gguf")
    steelyard.save(made, tmp_path / "net.gguf")
    reader = gguf.GGUFReader(tmp_path / "net.gguf")
    assert reader.fields["general.quantization_version"].contents() == gguf.GGML_QUANT_VERSION
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert [tensor.tensor_type.name for tensor in tensors.values()] == [word, "F32", word]
    again = steelyard.weights(tmp_path / "net.gguf")
    for name in ("blk.0.ffn_up.weight", "token_embd.weight"):
        theirs = quants.dequantize(np.array(tensors[name].data), gguf.GGMLQuantizationType[word])
        assert np.array_equal(again[name].numpy().reshape(-1), theirs.reshape(-1))
        assert np.array_equal(made.effective()[name].numpy(), again[name].numpy())
        assert again[name].encoding == word
    assert np.array_equal(steelyard.dequantize(made)["token_embd.weight"].numpy(), again["token_embd.weight"].numpy())


def test_each_type_has_a_decoder_of_the_same_size():
    for word in ENCODERS:
        size, width, decode = QUANTS[word]
        assert decode(encoded(word, rows().reshape(-1, size), "w")).shape == (12 * 512 // size, size)
        assert encoded(word, np.zeros((1, size), "float32"), "w").shape == (1, width)


@pytest.mark.parametrize("word", TYPES)
def test_the_largest_numbers_are_finite_or_refused(word):
    fits = {"Q4_0": 2.0**18, "Q5_0": 2.0**19, "Q8_0": 2.0**22, "MXFP4": 2.0**126}.get(word, 2.0**15)
    for number in (fits, -fits, 1.5 * fits):
        made = steelyard.quantize({"w": np.full((1, 256), number, "float32")}, word.lower(), like="gguf")
        assert np.isfinite(made.effective()["w"].numpy()).all()
    if word == "MXFP4":
        return  # its scales are powers of two, up to the largest float32
    too_large = steelyard.quantize({"w": np.full((1, 256), 4 * fits, "float32")}, word.lower(), like="gguf")
    with pytest.raises(LossyError, match=r"w holds .*, whose scale in .* would be above the largest float16"):
        too_large["w"].numpy()


def test_bytes_without_a_type_are_not_written(tmp_path):
    with pytest.raises(FormatError, match="is uint8 with 1 axes; GGUF holds"):
        steelyard.save({"a": np.zeros(18, "uint8")}, tmp_path / "net.gguf")
