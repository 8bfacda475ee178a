"""Health: every defect is found where it was made, and no healthy net, ours or published, gives a warning."""

import json

import carried
import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.cli import main
from steelyard.measures.check import check


def found(source):
    """The kind, severity and name of each finding."""
    return [(each.kind, each.severity, each.name) for each in check(source, health=True).findings]


@pytest.fixture
def net(digits):
    """A net of many kinds of layers, trained for some steps."""
    torch.manual_seed(0)
    x, y = map(torch.from_numpy, digits)
    model = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 32), nn.ReLU(), nn.Linear(32, 10)
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


def test_a_net_that_was_trained_is_healthy_live_and_in_files(net, tmp_path, capsys):
    assert found(net) == []
    assert repr(check(net, health=True)) == "readable, complete, finite, healthy: 11 weights"
    torch.save(net.state_dict(), tmp_path / "net.pt")
    steelyard.save(net, tmp_path / "net.npz")
    for name in ("net.pt", "net.npz"):
        assert main(["check", str(tmp_path / name), "--health"]) == 0
        assert capsys.readouterr().out == "readable, complete, finite, healthy: 11 weights\n"


@pytest.mark.parametrize("make", [nn.Linear, nn.Bilinear, nn.LSTM, nn.GRU], ids=lambda make: make.__name__)
def test_new_layers_of_any_size_are_healthy(make):
    for seed, size in enumerate((3, 40, 300)):
        torch.manual_seed(seed)
        assert found(make(size, size, *([4] if make is nn.Bilinear else []))) == []


def set_zero(weight, places):
    weight[places] = 0


TROUBLES = {
    "not finite": ("5.weight", "error", lambda w: w.__setitem__((3, 4), np.nan)),
    "constant": ("5.weight", "warning", lambda w: w.fill(0.5)),
    "exploded": ("5.weight", "warning", lambda w: w.__imul__(1e6)),
    "vanished": ("1.weight", "warning", lambda w: w.__imul__(1e-6)),
    "dead outputs": ("5.weight", "warning", lambda w: set_zero(w, slice(0, 8))),
    "unused inputs": ("5.weight", "info", lambda w: set_zero(w, (slice(None), slice(3, 9)))),
    "same outputs": ("1.weight", "warning", lambda w: w.__setitem__(5, w[2])),
    "negative variance": ("2.running_var", "error", lambda w: w.__setitem__(1, -1e-3)),
    "zero variance": ("2.running_var", "warning", lambda w: w.__setitem__(1, 0)),
}


@pytest.mark.parametrize("kind", TROUBLES)
@pytest.mark.parametrize("suffix", [None, ".safetensors", ".pt"])
def test_each_defect_is_found_where_it_was_made_and_nowhere_else(net, tmp_path, kind, suffix):
    name, severity, harm = TROUBLES[kind]
    harm(net.state_dict()[name].numpy())
    source = net
    if suffix == ".pt":
        source = tmp_path / "net.pt"
        torch.save(net.state_dict(), source)
    elif suffix:
        source = tmp_path / f"net{suffix}"
        if kind == "not finite":
            with pytest.warns(steelyard.errors.NonFiniteWarning):
                steelyard.save(net, source)
        else:
            steelyard.save(net, source)
    if suffix == ".pt" and kind == "same outputs":  # a plain state dict may hold a transposed convolution
        kind, severity = "same slices", "info"
    assert found(source) == [(kind, severity, name)]


def test_outputs_are_called_so_only_where_the_axes_are_known():
    kernel = np.random.default_rng(0).standard_normal((8, 16))
    kernel[:3], kernel[5] = 0, kernel[4]
    rows = [("zero rows", "info", "a.weight"), ("same rows", "info", "a.weight")]
    assert found({"a.weight": kernel}) == rows
    assert found({"a.weight": kernel, "a.bias": np.ones(8)}) == [
        ("dead outputs", "warning", "a.weight"),
        ("same outputs", "warning", "a.weight"),
    ]
    assert found({"a.weight": kernel, "a.bias": np.ones(16)}) == [("unused inputs", "info", "a.weight")]
    conv = np.repeat(kernel[:, :, None], 3, axis=2)
    (zero, _) = check({"a.weight": conv}, health=True).findings
    assert zero.what == "a.weight has only zeros for 3 of 8 slices along axis 0 (0, 1, 2)"


def test_the_evidence_has_the_numbers_that_support_a_finding(net):
    net[5].weight.data[[3, 7, 9, 30]] = 0
    net[1].weight.data[6] = net[1].weight.data[1]
    same, dead = check(net, health=True).findings
    assert dead.evidence == {"places": [3, 7, 9, 30], "of": 32, "axis": 0}
    assert dead.what == "5.weight has only zeros for 4 of 32 outputs (3, 7, 9, ...)"
    assert same.evidence == {"groups": [[1, 6]], "of": 8}
    assert json.loads(json.dumps(check(net, health=True).to_dict()))["findings"][1]["severity"] == "warning"


def test_outputs_and_inputs_are_distinguished_in_any_layout():
    import keras

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(20, 3), keras.layers.Flatten(), keras.layers.Dense(4)])
    kernel = model.layers[0].get_weights()
    kernel[0][..., 2:7] = 0
    model.layers[0].set_weights(kernel)
    (dead,) = check(model, health=True).findings
    assert (dead.kind, dead.evidence["places"], dead.evidence["of"]) == ("dead outputs", [2, 3, 4, 5, 6], 20)


def test_words_without_numbers_are_found_but_padding_is_not():
    torch.manual_seed(0)
    table = nn.Embedding(20, 6, padding_idx=0)
    assert found(table) == []
    table.weight.data[[3, 4, 5]] = 0
    assert found(table) == [("unused embeddings", "info", "weight")]
    table.weight.data[3:] = 0
    assert found(table) == [("unused embeddings", "warning", "weight")]
    table.weight.data[3:] = 0.25
    assert found(table) == [("same embeddings", "warning", "weight")]


@pytest.mark.parametrize(("dtype", "limit"), [("float16", 65504), ("int8", 127), ("float8_e4m3fn", 448)])
def test_numbers_that_a_narrow_type_clipped_are_found(dtype, limit):
    wide = np.random.default_rng(0).standard_normal((64, 64)) * limit / 6
    kind = getattr(ml_dtypes, dtype, dtype)
    assert found({"fc.weight": wide.clip(-limit, limit).astype(kind)}) == [] or dtype == "float16"
    cut = (wide * 8).clip(-limit, limit).astype(kind)
    assert ("saturated", "warning", "fc.weight") in found({"fc.weight": cut})
    rows = np.clip(np.rint(wide / np.abs(wide).max(axis=1, keepdims=True) * 127), -127, 127).astype("int8")
    assert found({"fc.weight": rows}) == []  # quantised by rows, each of which reaches the limit once


def test_missing_shards_are_findings_with_their_weights(tmp_path, capsys):
    arrays = {f"l{n}.weight": np.random.default_rng(n).standard_normal((8, 8)) for n in range(4)}
    from steelyard.formats import sharded

    sharded.write(steelyard.weights(arrays), tmp_path / "model.safetensors.index.json", shard_size=600)
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) == 4
    shards[1].unlink()
    shards[3].unlink()
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        findings = check(path).findings
        assert [(f.kind, f.evidence) for f in findings] == [
            ("missing shard", {"shard": shards[n].name, "weights": [f"l{n}.weight"]}) for n in (1, 3)
        ]
        assert main(["check", str(path)]) == 1
        assert "is missing, with 1 weights (partial download?)" in capsys.readouterr().out
    (tmp_path / "model.safetensors.index.json").unlink()
    assert [f.evidence["shard"] for f in check(tmp_path).findings] == [shards[1].name, shards[3].name]


def test_the_exit_status_follows_the_severity(net, tmp_path, capsys):
    net[5].weight.data[:, 3:9] = 0  # info
    path = str(tmp_path / "net.safetensors")
    steelyard.save(net, path)
    assert main(["check", path, "--health"]) == 0
    assert capsys.readouterr().out.startswith("info: 5.weight has only zeros for 6 of 288 inputs")
    assert main(["check", path, "--health", "--fail-on", "info"]) == 1
    net[5].weight.data.fill_(1)  # warning
    steelyard.save(net, path)
    assert main(["check", path]) == 0
    assert main(["check", path, "--health"]) == 1
    assert main(["check", path, "--health", "--fail-on", "error"]) == 0
    assert main(["check", path, "--health", "--json"]) == 1
    capsys.readouterr()


ENTRIES = [entry for entry in carried.real()["entries"] if entry["n_tensors"]]
ILL = {
    "burn-special-values": {"not finite"},  # made to hold NaN and infinity
    "bumblebee-state-dict-full": {"constant"},  # made of ones
    "faceapi-landmark68tiny-tfjs": {"constant"},  # the kernels of dense0/conv2 are zeros
    "ja-ginza-ner": {"same outputs"},  # the actions of names that no text of the training had
    "keras-nested-container": {"constant"},  # made of 0.1, 0.2 and 0.3
}
"""Real files that are not healthy nets, with their findings."""


@pytest.mark.parametrize("entry", carried.parameters(ENTRIES))
def test_no_published_healthy_net_gives_a_warning(entry):
    path = carried.path_of(entry)
    result = check(path, health=True)
    kinds = {finding.kind for finding in result.at_least("warning")} - {"code"}  # classes of a user, which `auditing` tests
    assert kinds == ILL.get(entry["id"], set())


def test_complex_kernels_are_checked_and_numbers_of_equal_magnitude_are_not_equal(tmp_path):
    chance = np.random.default_rng(0)
    kernel = (chance.standard_normal((8, 16)) + 1j * chance.standard_normal((8, 16))).astype("complex64")
    assert found({"fc.weight": kernel}) == []
    assert found({"fc.weight": np.exp(1j * kernel.real)}) == []
    kernel[:3] = 0
    assert found({"fc.weight": kernel, "fc.bias": np.ones(8)}) == [("dead outputs", "warning", "fc.weight")]
    np.savez(tmp_path / "w.npz", **{"fc.weight": kernel})
    assert main(["report", str(tmp_path / "w.npz"), "-o", str(tmp_path / "w.html")]) == 0


def test_rows_that_are_all_nan_are_one_finding_and_not_equal_units():
    source = {"fc.weight": np.full((16, 16), np.nan, "f4"), "fc.bias": np.ones(16, "f4")}
    assert found(source) == [("not finite", "error", "fc.weight")]
