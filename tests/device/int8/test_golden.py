"""The golden nets of the field in integers: the codes of the twin, here and on microcontrollers, and few decibels lost."""

import numpy as np
import pytest
import torch
from carried import SHARED
from machines import built, emulated
from one_program import together
from toolchains import STRICT, run, tool

import steelyard
from steelyard.errors import ShapeError

GOLDEN = SHARED / "embedded" / "golden"
NETS = ["t01_mlp_tanh_softmax", "t02_mlp_relu_wide", "t03_conv_bn_pool", "t07_conv1d", "t09_embedding", "t10_tied", "t11_half",
        "t12_bf16", "k01_conv_same_last.keras", "k02_depthwise.keras", "k05_functional.keras", "k06_swish_gelu.keras",
        "s01_mlp_iris.joblib", "s03_reg.joblib", "s04_logreg.joblib"]  # fmt: skip
LEAST = 30  # decibels of the worst layer

pytestmark = pytest.mark.shared


def known(name):
    """Return a golden net or its file, and its inputs."""
    x = np.load(GOLDEN / f"{name.partition('.')[0]}.npz")["x"]
    return GOLDEN / name if "." in name else torch.load(GOLDEN / f"{name}.whole.pt", weights_only=False), x


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """The folder of a program with all nets, and their exports by name."""
    folder, exports = tmp_path_factory.mktemp("golden"), {}
    for number, name in enumerate(NETS):
        (source, x), word = known(name), name[:3]
        rounding = ("single", "double")[number % 2]
        exports[word] = steelyard.export(
            source, folder / f"{word}.c", name=word, forward=True, probe=x, dtype="int8", rounding=rounding
        )
    (folder / "nets.c").write_text(together(exports))
    return folder, exports


def test_golden_nets_have_the_codes_of_the_twin_and_few_decibels_lost(nets):
    folder, exports = nets
    run(tool("gcc"), "-std=c99", "-O1", *STRICT, "nets.c", "-o", "nets", cwd=folder)
    assert run("./nets", cwd=folder).decode().count(": 0 codes differ") == len(NETS)
    assert min(layer.sqnr for made in exports.values() for layer in made.forward.errors.layers) > LEAST


@pytest.mark.parametrize("machine", ["M4", "RV32"])
def test_microcontrollers_compute_the_codes_of_golden_nets(machine, nets):
    status, text = emulated(machine, built(machine, ["nets.c"], nets[0]))
    assert (status, text.count(": 0 codes differ")) == (0, len(NETS)), text


@pytest.mark.parametrize(("name", "layer"), [("k04_gru_v1.keras", "Recurrent"), ("t08_residual", "LayerNorm")])
def test_a_golden_net_with_a_layer_that_has_no_form_in_integers_is_refused(name, layer, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(GOLDEN))
    source, x = known(name)
    with pytest.raises(ShapeError, match=f"{layer}. has no form in integers yet"):
        steelyard.export(source, tmp_path / "net.c", forward=True, probe=x, dtype="int8", rounding="single")
    assert not [*tmp_path.iterdir()]
