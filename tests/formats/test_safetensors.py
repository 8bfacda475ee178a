"""safetensors files, compared with the format's own library, and the errors of damaged files."""

import json
import runpy

import carried
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from torch import nn

import steelyard
from steelyard.errors import FileMissingError, FormatError, NonFiniteWarning


def facts(weights):
    return [(w.name, w.shape, w.dtype, w.role, w.layer, w.axes, w.trainable, w.tied) for w in weights.values()]


def header(path):
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def write_raw(path, head, body=b""):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


def tied_net():
    net = nn.Sequential(nn.Embedding(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 6, bias=False))
    net[2].weight = net[0].weight
    return net


def test_a_saved_model_comes_back_with_names_order_facts_and_numbers(tmp_path):
    live = steelyard.weights(tied_net())
    steelyard.save(live, tmp_path / "net.safetensors")
    back = steelyard.weights(tmp_path / "net.safetensors")
    assert facts(back) == facts(live)
    assert np.array_equal(back.parameters.to_vector(), live.parameters.to_vector())
    assert back["0.weight"].encoding == "F32"


def test_the_format_s_own_library_reads_what_is_written(tmp_path):
    model = tied_net()
    steelyard.save(model, tmp_path / "net.safetensors")
    state = safetensors.torch.load_file(tmp_path / "net.safetensors")
    assert "2.weight" not in state  # a tied tensor is stored once
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["2.weight"], [])


DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "c8", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_every_dtype_travels_both_ways_bit_for_bit(tmp_path, dtype):
    array = np.random.default_rng(0).integers(0, 2, (3, 5)).astype(dtype)
    steelyard.save(
        {"odd": np.zeros(3, "i1"), "w": array, "none": np.zeros((0, 2), dtype), "scalar": array[1, 1]}, tmp_path / "a.safetensors"
    )
    back = steelyard.weights(tmp_path / "a.safetensors")
    assert list(back) == ["odd", "w", "none", "scalar"]
    assert back["w"].numpy().tobytes() == array.tobytes()
    assert back["w"].numpy().dtype == array.dtype
    assert back["scalar"].shape == ()
    if "float8" not in np.dtype(dtype).name and dtype != "c8":  # these its NumPy side cannot name
        assert safetensors.numpy.load_file(tmp_path / "a.safetensors")["w"].tobytes() == array.tobytes()


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3).T, np.asfortranarray(np.eye(3)), np.arange(9.0)[::-1], np.arange(9.0)[::2]], ids=["T", "F", "back", "step"])  # fmt: skip
def test_arrays_that_are_not_row_major_are_written_as_the_numbers_they_show(tmp_path, array):
    """The format's own library has written wrong numbers for these; Steelyard must not."""
    steelyard.save({"w": array}, tmp_path / "a.safetensors")
    assert np.array_equal(safetensors.numpy.load_file(tmp_path / "a.safetensors")["w"], array)


def test_files_of_other_tools_are_read_in_the_order_of_their_bytes(tmp_path):
    tensors = {"b": np.ones(2, "f4"), "layer.10.w": np.full(3, 2, "f8"), "layer.2.w": np.zeros((2, 2), "f4")}
    safetensors.numpy.save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "np", "step": "7"})
    w = steelyard.weights(tmp_path / "x.safetensors")
    own = sorted((f["data_offsets"], n) for n, f in header(tmp_path / "x.safetensors").items() if n != "__metadata__")
    assert list(w) == [name for _, name in own]
    assert w.meta == {"format": "np", "step": "7"}
    for name, array in tensors.items():
        assert np.array_equal(w[name].numpy(), array)


def test_listing_reads_only_the_header(tmp_path, monkeypatch):
    steelyard.save({"w": np.zeros(1 << 20)}, tmp_path / "big.safetensors")
    read = []
    from steelyard.storage import source

    fill = source._File.fill
    monkeypatch.setattr(source._File, "fill", lambda self, offset, buffer: read.append(len(buffer)) or fill(self, offset, buffer))
    w = steelyard.weights(tmp_path / "big.safetensors")
    assert w["w"].shape == (1 << 20,)
    assert sum(read) < 2000
    w["w"].read(5, 7)
    assert sum(read) < 2100


def test_saving_over_a_file_keeps_its_mode_and_writes_through_a_link(tmp_path):
    target, link = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    steelyard.save({"w": np.zeros(1)}, target)
    target.chmod(0o640)
    link.symlink_to(target)
    steelyard.save({"w": np.ones(1)}, link)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert steelyard.weights(target)["w"].numpy() == [1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.safetensors"
    steelyard.save({"w": np.zeros(3)}, path)
    before = path.read_bytes()
    bad = steelyard.weights({"w": np.zeros(3), "x": np.zeros(3)})
    bad["x"].read = lambda start, stop: (_ for _ in ()).throw(OSError("disk on fire"))
    with pytest.raises(OSError, match="disk on fire"):
        bad_save(bad, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def bad_save(weights, path):
    from steelyard.formats import safetensors as ours

    ours.write(weights, path)


def test_saving_over_the_file_that_is_read_is_safe(tmp_path):
    path = tmp_path / "a.safetensors"
    steelyard.save({"w": np.arange(1000.0), "v": np.ones(3, "f4")}, path)
    steelyard.save(steelyard.weights(path).select("w"), path)
    assert steelyard.weights(path)["w"].numpy().tolist() == list(range(1000))


def test_nan_and_inf_are_reported_with_name_count_and_place(tmp_path):
    with pytest.warns(NonFiniteWarning, match=r"fc.bias is not finite: 2 NaN and 1 Inf, first at \[1\]"):
        steelyard.save({"fc": {"bias": np.array([0, np.nan, np.inf, np.nan])}}, tmp_path / "a.safetensors")


GOOD = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


@pytest.mark.parametrize(
    ("head", "body", "message"),
    [
        (b"", b"", "begins with 8 zero bytes"),
        (b"{", b"", "the header is not JSON"),
        (b'{"w": 1}', b"", "w lacks a dtype"),
        (
            b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
            b"\0" * 8,
            "duplicate name",
        ),
        (GOOD, b"\0" * 7, "is cut off after 98 %"),
        (GOOD, b"\0" * 9, "the tensors end at byte"),
        ({"w": {**GOOD["w"], "shape": [3]}}, b"\0" * 8, "does not take 8 bytes"),
        ({"w": {**GOOD["w"], "shape": [-2]}}, b"\0" * 8, "not non-negative integers"),
        ({"w": {**GOOD["w"], "shape": [True, 2]}}, b"\0" * 8, "not non-negative integers"),
        ({"w": {**GOOD["w"], "data_offsets": [4, 12]}}, b"\0" * 12, "begins at byte 4"),
        ({**GOOD, "v": {**GOOD["w"], "data_offsets": [4, 12]}}, b"\0" * 12, "the tensor before it ends at 8"),
        ({"__metadata__": {"a": 1}, **GOOD}, b"\0" * 8, "__metadata__ is not an object of texts"),
        ({"w": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 8]}}, b"\0" * 8, "or are too large"),
    ],
    ids=["empty", "json", "fact", "twice", "short", "long", "shape", "negative", "true", "hole", "overlap", "metadata", "huge"],
)
def test_a_damaged_file_is_refused_in_one_line_that_names_it(tmp_path, head, body, message):
    path = write_raw(tmp_path / "bad.safetensors", head, body)
    with pytest.raises(FormatError, match=message) as error:
        steelyard.weights(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_the_error_of_a_cut_file_gives_its_end(tmp_path):
    steelyard.save({"w": np.zeros(100)}, tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[:50])
    with pytest.raises(FormatError, match=r"the file ends at byte 50, but .* bytes are needed .*partial download"):
        steelyard.weights(tmp_path / "cut.safetensors")


def test_numbers_of_four_bits_are_read_as_safetensors_writes_those_of_pytorch(tmp_path):
    pairs = torch.tensor([[0x21, 0x43], [0xF7, 0x98]], dtype=torch.uint8)
    tensors = {"w": pairs.view(torch.float4_e2m1fn_x2), "e": pairs.clone().view(torch.float8_e8m0fnu)}
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    found = steelyard.weights(tmp_path / "a.safetensors")
    assert (found["w"].shape, found["w"].dtype, found["e"].dtype) == ((2, 4), "float4_e2m1fn", "float8_e8m0fnu")
    assert found["w"].numpy().astype("f4").tolist() == [[0.5, 1, 1.5, 2], [6, -6, 0, -0.5]]
    assert found["w"].read(3, 6).astype("f4").tolist() == [2, 6, -6]


def test_numbers_of_six_bits_are_listed_and_refused(tmp_path):
    entry = {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}
    found = steelyard.weights(write_raw(tmp_path / "six.safetensors", {"w": entry}, bytes(3)))
    assert "whose packing the format does not define" in found.unreadable["w"]


def test_an_unknown_type_is_listed_and_refused_when_read(tmp_path):
    path = write_raw(tmp_path / "new.safetensors", {"w": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}, "v": {**GOOD["w"], "data_offsets": [8, 16]}}, b"\0" * 16)  # fmt: skip
    w = steelyard.weights(path)
    assert w["w"].encoding == "F99"
    assert w["v"].numpy().tolist() == [0, 0]
    with pytest.raises(FormatError, match="w is stored as F99, which cannot be read"):
        w["w"].numpy()


def test_anything_but_a_file_is_refused(tmp_path):
    import os

    for path in (tmp_path / "none.safetensors", "no\0file"):
        with pytest.raises(FileMissingError):
            steelyard.weights(path)
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(FileMissingError, match="a pipe, a socket or a device"):
        steelyard.weights(tmp_path / "pipe.safetensors")
    with pytest.raises(FormatError, match="a folder without weight files"):
        steelyard.weights(tmp_path)


def test_an_unknown_suffix_is_refused_before_writing_begins(tmp_path):
    with pytest.raises(FormatError, match=r"no format writes '.xyz'; use one of .*\.safetensors"):
        steelyard.save({"w": np.zeros(1)}, tmp_path / "a.xyz")
    assert not list(tmp_path.iterdir())


def test_a_git_lfs_pointer_and_a_web_page_are_named_in_the_error(tmp_path):
    path = tmp_path / "m.safetensors"
    for text, message in (
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"", r"empty \(0 bytes\)"),
    ):
        path.write_bytes(text)
        with pytest.raises(FormatError, match=message):
            steelyard.weights(path)


def test_bfloat16_of_a_torch_model_is_bfloat16_in_the_file(tmp_path):
    steelyard.save(nn.Linear(3, 2, dtype=torch.bfloat16), tmp_path / "b.safetensors")
    assert header(tmp_path / "b.safetensors")["weight"]["dtype"] == "BF16"


def test_the_hostile_files_are_those_that_their_maker_writes():
    made = runpy.run_path(str(carried.DATA / "make_hostile.py"))
    packed = {path.name: path / "model.safetensors" for path in (carried.folder("hostile") / "files").glob("st-*")}
    links = {name: path.readlink().name for name, path in packed.items() if path.is_symlink()}
    folders = {name for name, path in packed.items() if path.is_dir()}
    files = {name: path.read_bytes() for name, path in packed.items() if path.is_file()}
    assert (files, links, folders) == (made["SAFETENSORS"], made["LINKS"], made["FOLDERS"])


def test_metadata_that_are_null_as_mlx_writes_them_are_none(tmp_path):
    path = tmp_path / "mlx.safetensors"
    header = json.dumps({"__metadata__": None, **GOOD}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    assert steelyard.weights(path).meta == {}


def test_metadata_that_is_not_valid_unicode_is_written_for_the_library(tmp_path):
    weights = steelyard.weights({"w": np.ones(2, "f4")})
    weights = weights.with_weights(weights.values(), meta={"name\ud800": "of \udcff and \xe9", "more": ["\udcff"]})
    steelyard.save(weights, tmp_path / "w.safetensors")
    with safetensors.safe_open(tmp_path / "w.safetensors", "np") as file:
        kept = file.metadata()
    assert kept["name\\ud800"] == "of \\udcff and \xe9"
    assert json.loads(kept["more"]) == ["\udcff"]


def test_a_weight_with_the_name_of_the_metadata_is_refused_when_it_is_saved(tmp_path):
    with pytest.raises(FormatError, match="a weight is called __metadata__, which safetensors keeps for its metadata; rename it"):
        steelyard.save({"__metadata__": np.ones(2)}, tmp_path / "x.safetensors")
    assert not [*tmp_path.iterdir()]


def test_the_header_is_the_shortest_json_with_escaped_names(tmp_path):
    net = steelyard.weights({'a"\n\u00e9\U0001f600': np.ones((2, 3), "f4"), "b.weight": np.ones((), "f2")})
    steelyard.save(net, tmp_path / "x.safetensors")
    data = (tmp_path / "x.safetensors").read_bytes()
    text = data[8 : 8 + int.from_bytes(data[:8], "little")].decode("ascii")
    assert json.dumps(json.loads(text), separators=(",", ":")) == text.rstrip(" ")
    facts = json.loads(text)["__metadata__"]["steelyard"]
    assert json.dumps(json.loads(facts), separators=(",", ":")) == facts
    assert list(json.loads(facts)) == list(steelyard.weights(tmp_path / "x.safetensors")) == list(net)
