"""The golden nets of the field as C: on this machine and on microcontrollers their own tests pass, with the digits of float64.

One program has all nets, so that a compiler runs once for each machine.
"""

import re
import sys

import numpy as np
import pytest
import torch
from carried import SHARED
from machines import MACHINES, built, emulated
from one_program import printed, together
from toolchains import STRICT, run, tool

import steelyard
from steelyard.device.forward.math import NEEDS
from steelyard.device.forward.proof import twin

GOLDEN = SHARED / "embedded" / "golden"
NETS = ["t01_mlp_tanh_softmax", "t02_mlp_relu_wide", "t03_conv_bn_pool", "t05_lstm3", "t06_gru_bi", "t07_conv1d", "t08_residual",
        "t09_embedding", "t10_tied", "t11_half", "t12_bf16", "k01_conv_same_last.keras", "k02_depthwise.keras",
        "k04_gru_v1.keras", "k05_functional.keras", "k06_swish_gelu.keras", "s01_mlp_iris.joblib", "s03_reg.joblib",
        "s04_logreg.joblib", "r01_nnet.rds", "r02_nnet_skip.rds"]  # fmt: skip
SCRATCH = {"t02": 512, "t03": 8192, "t07": 2048}
"""The most bytes of scratch: those that onnx2c has."""
MATH = re.compile(rf"\b({'|'.join(set(NEEDS) - {'sqrt'})})f\(")
"""Functions of libm whose last digits differ between libraries; a root is rounded correctly by all."""
pytestmark = pytest.mark.shared


def known(name):
    """Return a golden net or its file, its inputs, its outputs in float64, and other options of its export."""
    if name.endswith(".rds"):
        path = GOLDEN / name
        table = np.genfromtxt(path.with_suffix(".csv"), delimiter=",", skip_header=1)
        inputs = {"r01_nnet.rds": 4, "r02_nnet_skip.rds": 5}[name]
        return path, table[:, :inputs], table[:, inputs:], {"outputs": table[:, inputs:]}
    arrays = np.load(GOLDEN / f"{name.partition('.')[0]}.npz")
    x, y = arrays["x"], arrays["y64" if "y64" in arrays else "y"]
    if name == "t12_bf16":
        x = torch.from_numpy(x).bfloat16().float().numpy()  # the numbers that its outputs are of
    source = GOLDEN / name if "." in name else torch.load(GOLDEN / f"{name}.whole.pt", weights_only=False)
    return source, x, np.asarray(y, "float64"), {}


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """The folder with all nets in one program, and the exports and outputs by name; those with our own functions end in `_own`."""
    folder, exports, exact = tmp_path_factory.mktemp("golden"), {}, {}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(GOLDEN))
        for name in NETS:
            source, x, y, options = known(name)
            word = name[:3]
            exports[word] = steelyard.export(source, folder / f"{word}.c", name=word, forward=True, probe=x, **options)
            exact[word] = y
            if MATH.search((folder / f"{word}.c").read_text()):
                own = f"{word}_own"
                exports[own] = steelyard.export(
                    source, folder / f"{own}.c", name=own, forward=True, probe=x, libm=False, **options
                )
                exact[own] = y
    sys.modules.pop("nets", None)
    (folder / "nets.c").write_text(together(exports))
    return folder, exports, exact


@pytest.fixture(scope="module")
def here(nets):
    """The outputs of all nets on this machine."""
    folder = nets[0]
    flags = ("-O1", "-ffp-contract=off", "-DPRINT_BITS")
    for compiler, language in (("clang", ["-std=c99"]), ("g++", ["-x", "c++", "-std=c++11"])):
        run(tool(compiler), *language, *STRICT, "-fsyntax-only", "nets.c", cwd=folder)
    run(tool("gcc"), "-std=c99", *flags, *STRICT, "nets.c", "-lm", "-o", "nets", cwd=folder)
    return printed(run("./nets", cwd=folder).decode())


def assert_near(made, exact):
    """All outputs are within a millionth of the largest."""
    for name, outputs in made.items():
        wanted = exact[name].reshape(-1)[: outputs.size]
        assert np.abs(outputs - wanted).max() <= 1e-6 * np.abs(wanted).max(), name


def same(one, other):
    """Whether two arrays have the same bits."""
    return np.array_equal(one.view("uint32"), other.view("uint32"))


def test_golden_nets_pass_their_tests_here(nets, here):
    _, exports, exact = nets
    assert list(here) == list(exports)
    assert_near(here, exact)
    for name, made in exports.items():
        if name.endswith("_own") or f"{name}_own" not in exports:
            assert same(here[name], np.concatenate([each.reshape(-1) for each in twin(made.forward)])), name
    assert {word: exports[word].forward.memory.size * 4 <= most for word, most in SCRATCH.items()} == dict.fromkeys(SCRATCH, True)


@pytest.mark.parametrize("machine", MACHINES)
def test_microcontrollers_give_the_same_digits_and_without_libm_the_same_bits(machine, nets, here):
    folder, _, exact = nets
    status, text = emulated(machine, built(machine, ["nets.c"], folder, flags=["-DPRINT_BITS"]))
    made = printed(text)
    assert (status, list(made)) == (0, list(here))
    assert_near(made, exact)
    differing = [name for name in made if not same(made[name], here[name])]
    assert all(f"{name}_own" in made for name in differing), differing


def test_an_avr_compiles_a_net_with_our_own_functions(nets):
    flags = ("-mmcu=atmega2560", "-std=c99", "-Os", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror")
    run(tool("avr-gcc"), *flags, "-c", "t01_own.c", cwd=nets[0])
