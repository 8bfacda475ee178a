"""Canonical digests: one net has one digest in every framework and every file, and other nets have others."""

import copy
import hashlib
import json
from pathlib import Path

import carried
import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.cli import main
from steelyard.measures.digest import digest

ROOT = Path(__file__).parents[3]
GOLDEN = carried.folder("golden")
CASES = carried.golden_cases()


def canonical(source):
    return digest(source, "sha256", layout="canonical")


ALSO = {
    "conv1d": ("model.tflite",),  # a convolution of one axis is one of two there
    "conv2d_groups": ("model.tflite",),  # cut into one convolution for each group
}
"""Files of a golden net with other numbers or other weights, which therefore have other digests."""
OTHER_NUMBERS = ("conv_flatten_dense", "conv1d_flatten_dense", "flatten_bn_dense", "dense_reshape_convt")
"""Frameworks flatten images in different orders, so the weights after the flatten are different."""
OTHER_WEIGHTS = ("batchnorm_noscale", "gru_nnx", "gru_reset_before", "weightnorm_dense", "spectralnorm_dense")
"""One framework stores a weight that another omits or computes."""


def book(arrays):
    """Implement the module's documentation independently, for weights of one part each."""

    def h(data):
        return hashlib.sha256(data).digest()

    own = []
    for array in arrays:
        raw = np.ascontiguousarray(array).tobytes()
        own.append(h(f"{array.dtype.name} {','.join(map(str, array.shape))}\n".encode() + h(raw)))
    return h(b"canonical\n" + b"".join(sorted(own))).hex()


def test_a_canonical_digest_is_computed_as_documented():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 4))
    state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    state.pop("1.num_batches_tracked")
    assert canonical(net).whole == book(state.values())
    lstm = nn.LSTM(2, 3)
    parts = [
        tensor.numpy().reshape(4, 3, -1)[gate]
        for name, tensor in lstm.state_dict().items()
        if "weight" in name
        for gate in range(4)
    ]
    biases = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach().numpy().reshape(4, 3)
    assert canonical(lstm).whole == book([*parts, *biases])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_one_golden_net_has_one_digest_in_the_files_of_all_frameworks(case):
    files = [file for files in case["files"].values() for file in files]
    files = [
        file for file in files if not file.endswith((".eqx", ".rds", ".RData", ".joblib"))
    ]  # float64, or a headerless stream
    files = [file for file in files if file.rpartition("/")[2] not in ALSO.get(case["id"], ())]
    found = {file: canonical(GOLDEN / file) for file in files}
    sure = {each.whole for each in found.values() if not each.unsure}
    if case["id"] in OTHER_NUMBERS + OTHER_WEIGHTS:
        assert len(sure) > 1
        assert canonical(GOLDEN / case["files"]["torch"][0]) == canonical(GOLDEN / case["files"]["torch"][1])
    else:
        assert len(sure) == 1
        assert len({each.whole for each in found.values()}) == 1 or case["id"].startswith("convt")


@pytest.mark.filterwarnings(
    "ignore:You are using the legacy TorchScript:DeprecationWarning"
)  # the other exporter needs onnxscript
@pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning")
def test_a_live_model_has_the_digest_of_its_files_and_of_its_copy_in_another_framework(tmp_path):
    import keras

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
    other = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(6, "relu"), keras.layers.Dense(6, "relu"), keras.layers.Dense(2)]
    )
    other.set_weights([tensor.numpy().T for tensor in net.state_dict().values()])
    torch.onnx.export(net, (torch.zeros(1, 4),), tmp_path / "net.onnx", dynamo=False)
    other.save(tmp_path / "net.keras")
    other.save_weights(tmp_path / "net.weights.h5")
    for suffix in ("pt", "safetensors", "npz", "h5", "msgpack"):
        steelyard.save(net, tmp_path / f"net.{suffix}")
    torch.save(net.state_dict(), tmp_path / "plain.pt")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 9
    assert {path.name: canonical(path).whole for path in files} == {path.name: canonical(net).whole for path in files}
    assert canonical(other) == canonical(net)
    assert not canonical(net).unsure
    assert digest(other, "sha256") != digest(net, "sha256")


def test_a_net_of_doubles_has_one_digest_in_r_too(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).double()  # R has no shorter floats
    for suffix in ("rds", "pt", "safetensors", "npz", "h5"):
        steelyard.save(net, tmp_path / f"net.{suffix}")
        assert canonical(tmp_path / f"net.{suffix}") == canonical(net)


def test_other_numbers_types_and_shapes_have_other_digests():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    seen = {canonical(net).whole}
    for change in ("transposed", "one number", "half", "once more"):
        other = copy.deepcopy(net)
        if change == "transposed":
            other[0].weight.data = other[0].weight.data.T.contiguous()
        elif change == "one number":
            other[1].bias.data[2] += 1e-6
        elif change == "half":
            other = other.half()
        else:
            other.append(copy.deepcopy(other[0]))
        seen.add(canonical(other).whole)
    assert len(seen) == 5
    assert canonical(net.state_dict()).whole == canonical(net).whole


def test_tied_weights_count_once():
    net = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6, bias=False))
    single = canonical({"e.weight": net[0].weight.detach().numpy()})
    net[1].weight = net[0].weight
    assert canonical(net).whole == single.whole


def test_a_weight_of_unknown_axes_is_named(tmp_path, capsys):
    steelyard.save({"kernel": np.ones((3, 3, 2, 2), "f4"), "odd": np.ones((2, 3, 2), "f4")}, tmp_path / "x.npz")
    assert "odd" in canonical(tmp_path / "x.npz").unsure
    assert main(["digest", str(tmp_path / "x.npz"), "--layout", "canonical", "-a", "sha256"]) == 0
    captured = capsys.readouterr()
    assert "may have an axis order other" in captured.err
    assert "(canonical sha256 of 2 weights)" in captured.out
    record = canonical(tmp_path / "x.npz").to_dict()
    assert json.loads(json.dumps(record))["layout"] == "canonical"
