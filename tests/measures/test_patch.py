"""Patches restore weights bit for bit, refuse any other base, and are never written partially."""

import json

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from torch import nn

import steelyard
from steelyard.cli import main
from steelyard.errors import FormatError, ShapeError

DTYPES = ["float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "int8", "uint16", "int64", "bool", "complex64"]


def dtype_of(word):
    return np.dtype(getattr(ml_dtypes, word, word))


def restored(a, b, path):
    made = steelyard.save_patch(a, b, path)
    return made, steelyard.apply_patch(a, path)


def assert_same(found, wanted):
    wanted = steelyard.weights(wanted)
    assert list(found) == list(wanted)
    for name, weight in wanted.items():
        assert (found[name].dtype, found[name].shape, found[name].tied) == (weight.dtype, weight.shape, weight.tied)
        assert found[name].numpy().tobytes() == weight.numpy().tobytes(), name


@st.composite
def nets(draw):
    """Two nets with some weights in common: unchanged, edited, cast, reshaped, removed or added."""
    a, b = {}, {}
    for nth in range(draw(st.integers(0, 4))):
        raw = draw(nps.arrays(np.uint8, 8 * draw(st.integers(0, 12))))
        dtype = dtype_of(draw(st.sampled_from(DTYPES)))
        x = (raw % 2 if dtype.kind == "b" else raw).view(dtype)
        y = x.copy()
        way = draw(st.sampled_from(["same", "edited", "other", "gone", "new", "reshaped"]))
        if way == "edited" and x.size:
            y.reshape(-1).view(np.uint8)[draw(st.integers(0, x.nbytes - 1))] ^= 1
        if way == "other":
            y = draw(nps.arrays(np.float32, 3))
        if way != "new":
            a[f"w{nth}"] = x
        if way != "gone":
            b[f"w{nth}"] = y.reshape(1, -1) if way == "reshaped" else y
    return a, b


@settings(max_examples=150, deadline=None)
@given(nets())
def test_any_net_comes_back_bit_for_bit(tmp_path_factory, pair):
    a, b = pair
    path = tmp_path_factory.mktemp("patch") / "p.safetensors"
    assert_same(restored(a, b, path)[1], b)


def test_payloads_of_nan_and_signed_zeros_come_back(tmp_path):
    a = {"w": np.zeros(100, "f4")}
    b = {"w": a["w"].copy()}
    b["w"].view("u4")[:3] = 0x7FC01234, 0x80000000, 1
    made, found = restored(a, b, tmp_path / "p.safetensors")
    assert made.how == {"w": "sparse"}
    assert_same(found, b)


def test_the_smaller_form_is_stored(tmp_path):
    base = np.random.default_rng(0).standard_normal((300, 400)).astype("f4")
    few, most = base.copy(), base.copy()
    few[5, :10] += 1
    most[:200] += 1
    a = {"few": base, "most": base, "same": base}
    made, found = restored(a, {"few": few, "most": most, "same": base}, tmp_path / "p.safetensors")
    assert made.how == {"few": "sparse", "most": "full", "same": "same"}
    assert made.nbytes < base.nbytes + 3000
    assert_same(found, {"few": few, "most": most, "same": base})


def test_roles_order_and_ties_come_back(tmp_path):
    def net(seed):
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False), nn.BatchNorm1d(9))
        made[1].weight = made[0].weight
        return made

    a, b = net(0), net(1)
    found = restored(a, b, tmp_path / "p.safetensors")[1]
    assert_same(found, b)
    assert [(w.role, w.layer) for w in found.values()] == [(w.role, w.layer) for w in steelyard.weights(b).values()]


def test_across_formats_and_frameworks_of_files(tmp_path):
    torch.manual_seed(0)
    one, other = nn.Linear(40, 30), nn.Linear(40, 30)
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        other.weight[3, 4] = 9
    torch.save(one.state_dict(), tmp_path / "a.pt")
    steelyard.save(other, tmp_path / "b.safetensors")
    p, out = tmp_path / "p.safetensors", tmp_path / "out.npz"
    assert main(["save-patch", str(tmp_path / "a.pt"), str(tmp_path / "b.safetensors"), "-o", str(p)]) == 0
    assert main(["apply-patch", str(tmp_path / "a.pt"), str(p), "-o", str(out)]) == 0
    assert steelyard.digest(out, "sha256") == steelyard.digest(other, "sha256")
    assert p.stat().st_size < 2500


def test_a_wrong_base_is_refused_and_nothing_is_written(tmp_path, capsys):
    a, b = {"w": np.zeros(50)}, {"w": np.ones(50)}
    steelyard.save_patch(a, b, tmp_path / "p.safetensors")
    with pytest.raises(ShapeError, match="made for other weights"):
        steelyard.apply_patch(b, tmp_path / "p.safetensors")
    steelyard.save(b, tmp_path / "b.npz")
    files = [str(tmp_path / name) for name in ("b.npz", "p.safetensors", "out.npz")]
    assert main(["apply-patch", *files[:2], "-o", files[2]]) == 2
    assert not (tmp_path / "out.npz").exists()
    assert "sha256" in capsys.readouterr().err


def rewritten(path, out, tensors=None, **changes):
    """The same patch with other facts or tensors."""
    found = steelyard.weights(path)
    head = json.loads(found.meta["steelyard.patch"]) | changes
    arrays = {name: weight.numpy() for name, weight in found.items()} | (tensors or {})
    made = steelyard.weights(arrays)
    steelyard.save(steelyard.Weights(made.values(), meta={"steelyard.patch": json.dumps(head)}), out)
    return out


@pytest.mark.parametrize(
    ("tensors", "changes"),
    [
        ({"places/w": np.array([0, 5000], "u4")}, {}),
        ({"places/w": np.array([5, 5], "u4")}, {}),
        ({"places/w": np.array([5], "u4")}, {}),
        ({"places/w": np.array([1.0, 2.0], "f4")}, {}),
        ({"values/w": np.array([1, 2], "i8")}, {}),
        ({"values/w": np.array([1.0, 2.5])}, {}),
        ({}, {"weights": [["w", "full", "float64", [1000]]]}),
        ({}, {"weights": [["w", "same", "float64", [1 << 60]]]}),
        ({}, {"weights": [["w", "tied", "float64", [1000], "w"]]}),
        ({}, {"weights": [["w"]]}),
        ({}, {"weights": [3]}),
        ({}, {"weights": 7}),
        ({}, {"version": 2}),
        ({}, {"base": None}),
        ({}, {"result": "0" * 64}),
    ],
)
def test_a_damaged_patch_is_refused(tmp_path, tensors, changes):
    a, b = {"w": np.zeros(1000)}, {"w": np.zeros(1000)}
    b["w"][[3, 4]] = 1, 2
    steelyard.save_patch(a, b, tmp_path / "p.safetensors")
    with pytest.raises(FormatError):
        steelyard.apply_patch(a, rewritten(tmp_path / "p.safetensors", tmp_path / "q.safetensors", tensors, **changes))


def test_a_file_that_is_not_a_patch_is_refused(tmp_path):
    steelyard.save({"w": np.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(FormatError, match="not a patch"):
        steelyard.apply_patch({"w": np.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(FormatError, match="suffix"):
        steelyard.save_patch({}, {}, tmp_path / "p.npz")


def test_applying_in_place_works(tmp_path):
    a, b = {"w": np.zeros(1000)}, {"w": np.ones(1000)}
    steelyard.save(a, tmp_path / "a.safetensors")
    steelyard.save_patch(a, b, tmp_path / "p.safetensors")
    files = [str(tmp_path / name) for name in ("a.safetensors", "p.safetensors")]
    assert main(["apply-patch", *files, "-o", files[0]]) == 0
    assert steelyard.weights(files[0])["w"].numpy().sum() == 1000
    assert main(["apply-patch", *files, "-o", files[1]]) == 2


def test_a_scalar_stays_a_scalar(tmp_path):
    """Another tool restored a step counter with the shape (1,)."""
    a, b = ({"step": np.array(step), "w": np.zeros((0, 3), "f2")} for step in (1, 2))
    assert_same(restored(a, b, tmp_path / "p.safetensors")[1], b)


def test_a_live_model_is_patched_in_memory_and_is_unchanged(tmp_path):
    a, b = {"w": np.zeros(1000)}, {"w": np.zeros(1000)}
    b["w"][5] = 1
    steelyard.save_patch(a, b, tmp_path / "p.safetensors")
    assert_same(steelyard.apply_patch(a, tmp_path / "p.safetensors"), b)
    assert not a["w"].any()


def test_weights_within_a_wrapper_are_patched_under_the_names_of_the_result(tmp_path):
    before = {f"module.{name}": np.arange(1000.0) for name in ("a", "b")}
    after = {"a": np.arange(1000.0), "b": np.arange(1000.0), "c": np.ones(3)}
    after["b"][7] = -1.0
    made, found = restored(before, after, tmp_path / "p.safetensors")
    assert made.how == {"a": "same", "b": "sparse", "c": "full"}
    assert made.to_dict()["prefixes"]["left"]["prefix"] == "module."
    assert repr(made).endswith("names were paired without their prefix 'module.' on the left")
    assert_same(found, after)


@pytest.mark.parametrize("bases", [3, {"a": 3}, {"a": "gone"}, ["a"]])
def test_a_patch_that_names_weights_its_base_does_not_have_is_refused(bases, tmp_path):
    steelyard.save_patch({"m.a": np.zeros(3)}, {"a": np.zeros(3)}, tmp_path / "p.safetensors")
    w = steelyard.weights(tmp_path / "p.safetensors")
    head = {**json.loads(w.meta["steelyard.patch"]), "bases": bases}
    steelyard.save(w.with_weights(w.values(), meta={"steelyard.patch": json.dumps(head)}), tmp_path / "q.safetensors")
    with pytest.raises(FormatError, match="names weights of its base that it does not have"):
        steelyard.apply_patch({"m.a": np.zeros(3)}, tmp_path / "q.safetensors")
