"""GGUF written like another: all key-values with the tokenizer, in their order, and the types of its tensors."""

import warnings

import gguf
import numpy as np
import pytest

import steelyard
from steelyard.cli import main
from steelyard.errors import FormatError, IncompleteWarning

RNG = np.random.default_rng(0)
KIND = gguf.GGMLQuantizationType
Q, K, HALF, NORM = "blk.0.attn_q.weight", "blk.0.attn_k.weight", "token_embd.weight", "blk.0.attn_norm.weight"
FLOATS = RNG.normal(size=(4, 256)).astype(np.float32)


@pytest.fixture
def base(tmp_path):
    """A model as llama.cpp's converter writes it: a tokenizer between other key-values, an alignment, and four types."""
    writer = gguf.GGUFWriter(tmp_path / "base.gguf", "llama")
    writer.add_name("small")
    writer.add_file_type(15)
    writer.add_custom_alignment(64)
    writer.add_token_list([b"a", "\u00e9".encode(), b"\xff\xfe", *(b"w%d" % n for n in range(300))])
    writer.add_token_scores([0.5] * 303)
    writer.add_array("llama.list", [1, 2])
    writer.add_uint8("llama.small", 3)
    writer.add_float32("llama.nan", float("nan"))
    writer.add_chat_template("{{ messages }}")
    writer.add_tensor(HALF, FLOATS.astype(np.float16))
    writer.add_tensor(NORM, FLOATS[0])
    writer.add_tensor(Q, gguf.quants.quantize(FLOATS, KIND.Q4_0), raw_dtype=KIND.Q4_0)
    blocks = RNG.integers(0, 100, (4, 144), dtype=np.uint8)
    blocks[:, [1, 3]] = 40  # the high bytes of two scales, which are about 0.1 then
    writer.add_tensor(K, blocks, raw_dtype=KIND.Q4_K)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "base.gguf"


def fields(path):
    """Return the key-values by the reference's reader: their types and their bytes."""
    known = gguf.GGUFReader(path).fields
    return {
        key: (field.types, [part.tobytes() for part in field.parts])
        for key, field in known.items()
        if not key.startswith("GGUF.")
    }


def tensors(path):
    return {each.name: (each.tensor_type, each.data.tobytes()) for each in gguf.GGUFReader(path).tensors}


def test_a_model_that_is_written_like_itself_is_the_same_file(base, tmp_path):
    assert main(["convert", str(base), str(tmp_path / "out.gguf"), "--like", str(base)]) == 0
    assert (tmp_path / "out.gguf").read_bytes() == base.read_bytes()


def test_numbers_are_replaced_by_name_in_the_types_of_the_model(base, tmp_path):
    new = {name: RNG.normal(size=shape).astype("f4") for name, shape in ((Q, (4, 256)), (HALF, (4, 256)), (NORM, (256,)))}
    out = tmp_path / "out.gguf"
    steelyard.save(new, out, like=base)
    assert fields(out) == fields(base)
    assert list(fields(out)) == list(fields(base))
    before, after = tensors(base), tensors(out)
    assert list(after) == list(before)
    assert after[K] == before[K], "it was not given"
    assert after[Q] == (KIND.Q4_0, gguf.quants.quantize(new[Q], KIND.Q4_0).tobytes())
    assert after[HALF] == (KIND.F16, new[HALF].astype("f2").tobytes())
    assert after[NORM] == (KIND.F32, new[NORM].tobytes())


def test_a_type_that_has_no_encoder_is_refused_and_another_one_can_be_asked_for(base, tmp_path, capsys):
    new = {K: FLOATS, NORM: FLOATS[1]}
    out = tmp_path / "out.gguf"
    with pytest.raises(FormatError, match=r"attn_k\.weight is Q4_K in the model, .*as with --dtype float16"):
        steelyard.save(new, out, like=base)
    assert not out.exists()
    np.savez(tmp_path / "new.npz", **new)
    assert main(["convert", str(tmp_path / "new.npz"), str(out), "--like", str(base), "--dtype", "float16"]) == 0
    found = tensors(out)
    assert found[K] == (KIND.F16, FLOATS.astype("f2").tobytes())
    assert found[NORM] == (KIND.F32, FLOATS[1].astype("f2").astype("f4").tobytes()), "vectors stay float32 for llama.cpp"
    before, after = fields(base), fields(out)
    assert gguf.GGUFReader(out).fields["general.file_type"].contents() == 1
    assert {key: value for key, value in after.items() if key != "general.file_type"} == {
        key: value for key, value in before.items() if key != "general.file_type"
    }
    assert list(after) == list(before)
    capsys.readouterr()


def test_a_copy_without_like_keeps_the_tokenizer_too(base, tmp_path):
    steelyard.save(base, tmp_path / "copy.gguf", dtype="float16")
    steelyard.save(tmp_path / "copy.gguf", tmp_path / "again.gguf")
    left = ("general.file_type", "general.alignment", "steelyard.facts")
    for path in ("copy.gguf", "again.gguf"):
        found = fields(tmp_path / path)
        assert {key: found[key] for key in found if key not in left} == {
            key: value for key, value in fields(base).items() if key not in left
        }
    assert tensors(tmp_path / "copy.gguf")[HALF] == tensors(base)[HALF]


def test_a_value_that_was_changed_or_taken_out_is_so_in_the_copy(base, tmp_path):
    found = steelyard.weights(base)
    metadata = {**found.meta["metadata"], "general.name": "mine", "llama.new": 7}
    del metadata["tokenizer.ggml.scores"]
    steelyard.save(found.with_weights(found.values(), meta={**found.meta, "metadata": metadata}), tmp_path / "out.gguf")
    after = gguf.GGUFReader(tmp_path / "out.gguf").fields
    assert after["general.name"].contents() == "mine"
    assert after["llama.new"].contents() == 7
    assert "tokenizer.ggml.scores" not in after
    assert len(after["tokenizer.ggml.tokens"].data) == 303


def test_quantised_weights_of_a_model_keep_its_tokenizer(base, tmp_path, capsys):
    assert main(["quantize", str(base), "--to", "q8_0", "-o", str(tmp_path / "q8.gguf")]) == 0
    assert tensors(tmp_path / "q8.gguf")[Q][0] == KIND.Q8_0
    assert fields(tmp_path / "q8.gguf")["tokenizer.ggml.tokens"] == fields(base)["tokenizer.ggml.tokens"]


def test_a_model_whose_key_values_cannot_be_copied_is_refused(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "big.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    writer.add_tensor("w", FLOATS)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(FormatError, match="is GGUF of version 3, big-endian, of which no key-values are kept"):
        steelyard.save({"w": FLOATS}, tmp_path / "out.gguf", like=tmp_path / "big.gguf")
    steelyard.save(tmp_path / "big.gguf", tmp_path / "out.gguf")
    assert tensors(tmp_path / "out.gguf")["w"][1] == FLOATS.tobytes()


def test_a_part_of_a_split_model_is_refused_and_the_whole_becomes_one_file(tmp_path):
    parts = [tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2)]
    for number, part in enumerate(parts):
        writer = gguf.GGUFWriter(part, "llama")
        if not number:
            writer.add_token_list([b"a", b"b"])
        for key, value in (("no", number), ("count", 2)):
            writer.add_uint16(f"split.{key}", value)
        writer.add_int32("split.tensors.count", 2)
        writer.add_tensor(f"blk.{number}.attn_q.weight", FLOATS)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    steelyard.save({"blk.1.attn_q.weight": FLOATS + 1}, tmp_path / "out.gguf", like=parts[1])
    assert {name: data for name, (_, data) in tensors(tmp_path / "out.gguf").items()} == {
        "blk.0.attn_q.weight": FLOATS.tobytes(),
        "blk.1.attn_q.weight": (FLOATS + 1).tobytes(),
    }
    assert list(fields(tmp_path / "out.gguf")) == ["general.architecture", "tokenizer.ggml.tokens"]
    parts[1].unlink()
    with pytest.warns(IncompleteWarning), pytest.raises(FormatError, match="without them it cannot be written again"):
        steelyard.save({"blk.0.attn_q.weight": FLOATS}, tmp_path / "out.gguf", like=parts[0])


def test_a_scale_that_overflows_leaves_no_file(base, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(steelyard.errors.LossyError, match="whose scale in Q4_0 would be above the largest float16"):
            steelyard.save({Q: FLOATS * np.float32(1e9)}, tmp_path / "out.gguf", like=base)
    assert not (tmp_path / "out.gguf").exists()
