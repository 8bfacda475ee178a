"""ncnn: nets that its converter made of PyTorch's, compared with the state dicts; and others written byte by byte.

`tests/data/make_ncnn.py` made the files.
"""

import struct

import carried
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError
from steelyard.storage.source import open_path
from steelyard.testing import check_format


@pytest.fixture(scope="module")
def made():
    return carried.folder("ncnn")


def written(folder, lines, data):
    """Write a net, and return the path of its layers."""
    text = "\n".join(["7767517", f"{len(lines)} {len(lines)}", *lines]) + "\n"
    (folder / "net.param").write_text(text)
    (folder / "net.bin").write_bytes(data)
    return folder / "net.param"


def gates(tensor, order, count):
    """Return rows of gates in another order."""
    return tensor.reshape(count, -1, *tensor.shape[1:])[list(order)].reshape(tensor.shape)


@pytest.mark.parametrize("opened", ["net.ncnn.param", "net.ncnn.bin"])
def test_every_kind_of_layer_has_the_numbers_of_the_state_dict(made, opened):
    found, expected = steelyard.weights(made / opened), np.load(made / "net.npz")
    plain = {
        "convrelu_0.weight_data": "conv.weight",
        "convrelu_0.bias_data": "conv.bias",
        "convdwrelu_0.weight_data": "depth.weight",
        "convdwrelu_1.weight_data": "group.weight",
        "deconvrelu_0.bias_data": "up.bias",
        "bn_5.slope_data": "norm.weight",
        "bn_5.mean_data": "norm.running_mean",
        "bn_5.var_data": "norm.running_var",
        "bn_5.bias_data": "norm.bias",
        "gn_9.gamma_data": "gn.weight",
        "gn_9.beta_data": "gn.bias",
        "prelu_14.slope_data": "slope.weight",
        "conv1d_6.weight_data": "line.weight",
        "ln_11.gamma_data": "ln.weight",
        "attention_13.out_weight_data": "mha.out_proj.weight",
        "gemm_0.B_data": "fc.weight",
        "gemm_0.C_data": "fc.bias",
    }
    for name, theirs in plain.items():
        values = expected[theirs]
        assert np.array_equal(found[name].numpy().reshape(values.shape), values), name
    assert np.array_equal(found["deconvrelu_0.weight_data"].numpy(), expected["up.weight"].swapaxes(0, 1))
    assert np.array_equal(found["attention_13.k_weight_data"].numpy(), expected["mha.in_proj_weight"][4:8])
    for place, end in enumerate(("", "_reverse")):
        both = [expected[f"lstm.bias_{side}_l0{end}"] for side in ("ih", "hh")]
        bias = gates(both[0] + both[1], (0, 1, 3, 2), 4).reshape(4, 4)
        assert np.allclose(found["lstm_12.bias_c_data"].numpy()[place], bias)
        for part, side in (("xc", "ih"), ("hc", "hh")):
            kernel = gates(expected[f"lstm.weight_{side}_l0{end}"], (0, 1, 3, 2), 4)
            assert np.array_equal(found[f"lstm_12.weight_{part}_data"].numpy()[place], kernel)
    assert np.array_equal(found["gru_10.weight_hc_data"].numpy()[0], expected["gru.weight_hh_l0"])


def test_float16_an_embedding_and_roles(made):
    found, expected = steelyard.weights(made / "words.ncnn.param"), np.load(made / "words.npz")
    embedding = found["embed_1.weight_data"]
    assert (embedding.dtype, embedding.role, embedding.axes) == ("float16", "embedding", "vocab out")
    assert np.array_equal(embedding.numpy(), expected["emb.weight"].astype("f2"))
    assert np.array_equal(found["rnn_2.weight_hc_data"].numpy()[0], expected["rnn.weight_hh_l0"].astype("f2"))
    facts = {name: (weight.role, weight.axes) for name, weight in steelyard.weights(made / "net.ncnn.param").items()}
    assert facts["convrelu_0.weight_data"] == ("kernel", "out in kh kw")
    assert facts["lstm_12.weight_hc_data"] == ("recurrent kernel", "dir [ifog]*out in")
    assert facts["gemm_0.B_data"] == ("kernel", "out in")


def test_int8_has_its_scales_and_places_in_a_table_become_numbers(tmp_path):
    table = np.arange(256, dtype="f4") / 2
    lines = ["Convolution a 1 1 x y 0=2 1=1 5=1 6=6 8=102", "InnerProduct b 1 1 y z 0=1 2=6", "Flatten c 1 1 z w"]
    codes = struct.pack("<I6b2x", 0x000D4B38, 1, -2, 3, -4, 5, -6)
    floats = np.arange(6, dtype="f4")  # bias, a scale of each output, of the input and of the output
    data = codes + floats.tobytes() + b"\1\0\0\0" + table.tobytes() + bytes([0, 2, 4, 255, 6, 8, 0, 0])
    found = steelyard.weights(written(tmp_path, lines, data))
    assert found["a.weight_data"].numpy().tolist() == [[[[1]], [[-2]], [[3]]], [[[-4]], [[5]], [[-6]]]]
    assert found["a.weight_data_int8_scales"].numpy().tolist() == [2, 3]
    assert found["a.top_blob_int8_scales"].numpy().tolist() == [5]
    assert found["b.weight_data"].numpy().tolist() == [[0, 1, 2, 127.5, 3, 4]]
    assert found["b.weight_data"].read(3, 5).tolist() == [127.5, 3]
    assert found["b.weight_data"].encoding == "256 values"
    assert len(steelyard.weights(tmp_path)) == len(found) == 6


@pytest.mark.parametrize(
    ("lines", "data", "reason"),
    [
        (["InnerProduct b 1 1 y z 0=2 2=6"], bytes(24), "ends at byte 28, and the file has 24"),
        (["Bias b 1 1 y z 0=2"], bytes(12), "has 12 bytes, but the layers of its .param take 8"),
        (["Mine b 1 1 y z", "Bias c 1 1 y z 0=2"], bytes(12), "perhaps 'Mine', or another layer that is not known"),
        (["Bias b 1 1 y z 0=1"] * 2, bytes(8), "two layers of one name"),
        (["MemoryData m 0 1 y 0=999999999 1=999999999"], bytes(8), "the impossible shape"),
        (["Bias b 1 one y z"], b"", "which does not describe a layer"),
    ],
    ids=["cut", "rest", "unknown", "twice", "huge", "line"],
)
def test_numbers_that_do_not_fit_the_layers_are_refused(tmp_path, lines, data, reason):
    path = written(tmp_path, lines, data)
    with pytest.raises(FormatError) as caught:
        steelyard.weights(path)
    assert reason in str(caught.value)


def test_layers_without_their_numbers_and_a_count_that_is_wrong_are_refused(tmp_path):
    path = written(tmp_path, ["Bias b 1 1 y z 0=2"], bytes(8))
    path.write_text(path.read_text().replace("1 1\n", "2 1\n"))
    with pytest.raises(FormatError, match=r"has 1 layers, but not the count of them"):
        steelyard.weights(path)
    (tmp_path / "net.bin").unlink()
    with pytest.raises(FormatError, match=r"numbers are in 'net\.bin', which is missing"):
        steelyard.weights(path)


def test_it_keeps_the_rules_of_a_format(made):
    check_format(open_path(made / "net.ncnn.param"))


INDEX = {
    "BatchNorm": 2,
    "Convolution": 6,
    "Deconvolution": 8,
    "InnerProduct": 15,
    "MemoryData": 19,
    "PReLU": 23,
    "LSTM": 39,
    "ConvolutionDepthWise": 42,
    "Gemm": 74,
    "GroupNorm": 75,
    "LayerNorm": 76,
    "GRU": 78,
    "MultiHeadAttention": 79,
    "Convolution1D": 81,
    "Input": 16,
    "Reduction": 25,
}
"""What `ncnn.layer_to_index` returns for these layers."""


def in_binary(text):
    """Write layers as ncnn2mem does: numbers for types and blobs, and no names."""
    lines = [line.split() for line in text.splitlines()[1:]]
    out, blobs = [7767517, *map(int, lines[0])], {}
    for kind, _, *rest in lines[1:]:
        inputs, outputs = int(rest[0]), int(rest[1])
        names, settings = rest[2 : 2 + inputs + outputs], rest[2 + inputs + outputs :]
        out += [INDEX.get(kind, 0), inputs, outputs, *(blobs.setdefault(name, len(blobs)) for name in names)]
        for number, _, value in (setting.partition("=") for setting in settings):
            values = [
                struct.unpack("<i", struct.pack("<f" if "." in each else "<i", float(each) if "." in each else int(each)))[0]
                for each in value.split(",")
            ]
            out += [int(number), *values]
        out.append(-233)
    return struct.pack(f"<{len(out)}i", *out)


@pytest.mark.parametrize("opened", ["net.ncnn.param.bin", "net.ncnn.bin", ""])
def test_layers_in_binary_have_the_numbers_of_those_in_a_text_by_their_places(opened, made, tmp_path):
    text = (made / "net.ncnn.param").read_text()
    (tmp_path / "net.ncnn.param.bin").write_bytes(in_binary(text))
    (tmp_path / "net.ncnn.bin").write_bytes((made / "net.ncnn.bin").read_bytes())
    places = {line.split()[1]: str(place) for place, line in enumerate(text.splitlines()[2:])}
    named, found = steelyard.weights(made / "net.ncnn.param"), steelyard.weights(tmp_path / opened)
    assert [*found] == [f"{places[weight.layer]}.{name.rpartition('.')[2]}" for name, weight in named.items()]
    for one, other in zip(named.values(), found.values(), strict=True):
        assert (one.shape, one.role, one.axes) == (other.shape, other.role, other.axes)
        assert np.array_equal(one.numpy(), other.numpy())


LIES = {
    "a cut": (lambda data: data[:-4], r"ends within its layers, at [\d,]+ bytes \(partial download\?\)"),
    "more": (lambda data: data + bytes(4), "goes on after its layers"),
    "a count": (lambda data: data[:4] + struct.pack("<i", 99) + data[8:], "ends within its layers"),
    "a setting": (lambda data: data[:-4] + struct.pack("<i", -5), "has the setting -5, which ncnn does not have"),
    "inputs": (lambda data: data[:16] + struct.pack("<i", (1 << 31) - 1) + data[20:], "ends within its layers"),
}


@pytest.mark.parametrize("lie", LIES)
def test_layers_in_binary_that_lie_are_refused_in_one_line(lie, made, tmp_path):
    change, what = LIES[lie]
    (tmp_path / "net.param.bin").write_bytes(change(in_binary((made / "net.ncnn.param").read_text())))
    (tmp_path / "net.bin").write_bytes((made / "net.ncnn.bin").read_bytes())
    with pytest.raises(FormatError, match=what):
        steelyard.weights(tmp_path / "net.param.bin")
