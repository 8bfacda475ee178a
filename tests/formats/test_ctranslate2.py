"""CTranslate2: `model.bin` is told from PyTorch's `.bin` by its content, and hostile files are refused in one line."""

import struct

import numpy as np
import pytest
import torch

import steelyard
from steelyard.errors import FormatError, LossyError

FLOAT, INT8, INT32, HALF = 0, 1, 3, 4


def text(word):
    return struct.pack("<H", len(word) + 1) + word.encode() + b"\0"


def variable(name, array, code=FLOAT):
    data = np.ascontiguousarray(array).tobytes()
    head = text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
    return head + struct.pack("<BI", code, len(data)) + data


def model(*variables, aliases=(), version=6, count=None):
    head = struct.pack("<I", version) + text("TransformerSpec") + struct.pack("<I", 7)
    tail = struct.pack("<I", len(aliases)) + b"".join(text(word) for alias in aliases for word in alias)
    return head + struct.pack("<I", len(variables) if count is None else count) + b"".join(variables) + tail


CODES = np.arange(-6, 6, dtype="i1").reshape(3, 4)
SCALE = np.array([1, 2, 4], "f4")
LAYER = variable("fc/weight", CODES, INT8), variable("fc/weight_scale", SCALE)


def read(folder, data):
    path = folder / "model.bin"
    path.write_bytes(data)
    return steelyard.weights(path)


def test_aliases_are_tied_and_codes_are_divided_by_their_scales(tmp_path):
    w = read(tmp_path, model(*LAYER, aliases=[("head/weight", "fc/weight"), ("head/weight_scale", "fc/weight_scale")]))
    assert w.meta["format"], w.meta["spec"] == ("CTranslate2", "TransformerSpec")
    assert w["head/weight"].tied == "fc/weight"
    found = w.effective()
    assert [*found] == ["fc/weight", "head/weight"]
    assert found["head/weight"].tied == "fc/weight"
    assert np.array_equal(found["fc/weight"].numpy(), CODES / SCALE[:, None])


def test_old_versions_have_sizes_for_types(tmp_path):
    old = text("w") + struct.pack("<BIBI", 1, 3, 4, 3) + SCALE.tobytes()
    data = struct.pack("<I", 3) + text("Spec") + struct.pack("<II", 1, 1) + old + bytes(4)
    assert np.array_equal(read(tmp_path, data)["w"].numpy(), SCALE)


def test_the_suffix_is_that_of_pytorch_too(tmp_path):
    torch.save({"w": torch.ones(3)}, tmp_path / "model.bin")
    assert [*steelyard.weights(tmp_path / "model.bin")] == ["w"]


def test_packed_integers_and_scales_of_another_shape_are_refused(tmp_path):
    packed = variable("fc/weight", np.ones((3, 4), "i4"), INT32), LAYER[1], variable("fc/weight_zero", np.ones(3, "i4"), INT32)
    assert "int32 with zero points" in read(tmp_path, model(*packed)).effective()["fc/weight"].unreadable
    wrong = LAYER[0], variable("fc/weight_scale", np.ones((5, 2), "f4"))
    assert "scales (5, 2)" in read(tmp_path, model(*wrong)).effective()["fc/weight"].unreadable


def hostile():
    yield "a count of variables", model(*LAYER, count=1 << 31), "without 0 at its end"
    yield "a count of aliases", model(*LAYER)[:-4] + struct.pack("<I", 1 << 30), "the file ends"
    yield "numbers", model(text("w") + struct.pack("<BIBI", 1, 1 << 30, FLOAT, 0)), "and has 0 bytes"
    yield "a shape", model(text("w") + struct.pack("<B2IBI", 2, 1 << 31, 1 << 31, FLOAT, 0)), "and has 0 bytes"
    yield "bytes", model(text("w") + struct.pack("<BIBI", 1, 1 << 29, FLOAT, 1 << 31)), "more than the file has"
    yield "a type", model(text("w") + struct.pack("<BIBI", 1, 1, 99, 4)), "unknown type 99"
    yield "axes", model(text("w") + bytes([255]) + bytes(1020) + bytes(5)), "and has 0 bytes"
    yield "two of a name", model(LAYER[0], LAYER[0]), "two variables with the name 'fc/weight'"
    yield "an alias of nothing", model(*LAYER, aliases=[("a", "b")]), "an alias 'a' of 'b'"
    yield "an alias of itself", model(*LAYER, aliases=[("fc/weight", "fc/weight")]), "which is there already"
    yield "more at the end", model(*LAYER) + b"more", "4 bytes before the end"
    yield "a name without end", model(struct.pack("<H", 3) + b"abc"), "without 0 at its end"


@pytest.mark.parametrize(("data", "reason"), [case[1:] for case in hostile()], ids=[case[0] for case in hostile()])
def test_hostile_files_are_refused(data, reason, tmp_path):
    with pytest.raises(FormatError, match=reason):
        read(tmp_path, data)


def test_every_cut_is_refused(tmp_path):
    whole = model(*LAYER, aliases=[("a", "fc/weight")])
    for length in range(30, len(whole)):
        with pytest.raises(FormatError):
            read(tmp_path, whole[:length])


def test_numbers_are_replaced_in_their_places_and_all_else_stays(tmp_path):
    variables = variable("a/weight", np.eye(3, dtype="f4")), *LAYER, variable("h", np.ones(2, "f2"), HALF)
    (tmp_path / "base").mkdir()
    base = tmp_path / "base/model.bin"
    base.write_bytes(model(*variables, aliases=[("b/weight", "a/weight")]))
    steelyard.save(base, tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == base.read_bytes()
    new = np.arange(9, dtype="f4").reshape(3, 3)
    steelyard.save({"a/weight": new, "b/weight": new, "h": np.full(2, 3, "f4")}, tmp_path / "model.bin", like=base)
    expected = variable("a/weight", new), *LAYER, variable("h", np.full(2, 3, "f2"), HALF)
    assert (tmp_path / "model.bin").read_bytes() == model(*expected, aliases=[("b/weight", "a/weight")])
    one = steelyard.weights(base).select("b/weight")
    steelyard.save(one.from_vector(np.arange(9.0)), tmp_path / "model.bin")
    assert np.array_equal(steelyard.weights(tmp_path / "model.bin")["a/weight"].numpy(), new)


def test_what_the_model_cannot_hold_is_refused_and_pytorch_has_its_own_suffix(tmp_path):
    (tmp_path / "base").mkdir()
    base = tmp_path / "base/model.bin"
    base.write_bytes(model(*LAYER, variable("a", np.zeros(2, "f4")), aliases=[("b", "a")]))
    found, out = steelyard.weights(base), tmp_path / "model.bin"
    with pytest.raises(LossyError, match="does not fit into int8"):
        steelyard.save({"fc/weight": np.full((3, 4), 0.5, "f4")}, out, like=base)
    with pytest.raises(FormatError, match=r"no variable called 'x\.a'; for PyTorch write a file that ends in \.pt"):
        steelyard.save(found.rename("a", "x.a"), out)
    with pytest.raises(FormatError, match=r"a is \[2\] float32 in the model of CTranslate2, but \[2\] float16 here"):
        steelyard.save(found.select("a").astype("float16"), out)
    with pytest.raises(FormatError, match="b and a are one variable, and have different numbers here; leave one out"):
        steelyard.save({"a": np.ones(2, "f4"), "b": np.zeros(2, "f4")}, out, like=base)
    assert not out.exists()
    steelyard.save(found, tmp_path / "net.pt")
    assert set(torch.load(tmp_path / "net.pt")) == set(found)
