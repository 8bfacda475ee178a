"""The golden nets of the field as C: their own tests pass, and the outputs are those of float64 to the sixth digit."""

import sys

import numpy as np
import pytest
import torch
from carried import SHARED
from toolchains import STRICT, run, tool

import steelyard

GOLDEN = SHARED / "embedded" / "golden"
NETS = ["t01_mlp_tanh_softmax", "t02_mlp_relu_wide", "t03_conv_bn_pool", "t05_lstm3", "t06_gru_bi", "t07_conv1d", "t08_residual",
        "t09_embedding", "t10_tied", "t11_half", "k01_conv_same_last.keras", "k02_depthwise.keras", "k04_gru_v1.keras",
        "k05_functional.keras", "k06_swish_gelu.keras", "s01_mlp_iris.joblib", "s03_reg.joblib", "s04_logreg.joblib"]  # fmt: skip
SCRATCH = {"t02_mlp_relu_wide": 512, "t03_conv_bn_pool": 8192, "t07_conv1d": 2048}
"""The most bytes of scratch: those that onnx2c has."""


@pytest.mark.shared
@pytest.mark.parametrize("name", NETS)
def test_the_test_of_a_golden_net_passes(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(GOLDEN))
    known = np.load(GOLDEN / f"{name.partition('.')[0]}.npz")
    source = GOLDEN / name if "." in name else torch.load(GOLDEN / f"{name}.whole.pt", weights_only=False)
    sys.modules.pop("nets", None)
    made = steelyard.export(source, tmp_path / "net.c", forward=True, probe=known["x"])
    run(tool("gcc"), "-std=c99", "-O1", "-ffp-contract=off", "-DPRINT_BITS", *STRICT, "net.c", "net_test.c", "-lm", cwd=tmp_path)
    *bits, said = run("./a.out", cwd=tmp_path).decode().splitlines()
    outputs = np.array([int(word, 16) for word in bits], "uint32").view("f4")
    exact = np.asarray(known["y64" if "y64" in known else "y"], np.float64).reshape(-1)[: outputs.size]
    assert "passed" in said
    assert np.abs(outputs - exact).max() <= 1e-6 * np.abs(exact).max()
    assert made.forward.memory.size * 4 <= SCRATCH.get(name, 1 << 20)
