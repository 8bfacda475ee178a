"""The docs page of errors is correct: the largest error of each kind of layer between each pair of frameworks.

Run with UPDATE_DOCS=1 to measure all errors and rewrite the page.
"""

import os
from collections import defaultdict
from pathlib import Path

import pytest
from transfers import golden
from transfers.test_golden import pairs_of

from steelyard.errors import AmbiguityError

PAGE = Path(__file__).parents[2] / "docs/transfer-matrix.md"
SOURCES = {
    "torch": "PyTorch",
    "keras": "Keras",
    "linen": "Flax linen",
    "nnx": "Flax NNX",
    "eqx": "Equinox",
    "onnx": "ONNX",
    "tflite": "TFLite",
    "sklearn": "scikit-learn",
    "r": "R",
}
TARGETS = ("torch", "keras", "linen", "nnx", "eqx")
KINDS = {
    "dense": ("dense", "dense_square_nobias"),
    "multilayer perceptron": ("mlp_relu", "mlp_gelu"),
    "convolution, 1 to 3 axes": ("conv1d", "conv2d", "conv2d_all_equal", "conv2d_same_stride2", "conv2d_torchpad_stride2", "conv2d_dilated", "conv3d"),
    "grouped convolution": ("conv2d_groups",),
    "depthwise convolution": ("depthwise2d", "depthwise2d_mult2", "depthwise1d_mult2"),
    "separable convolution": ("separable2d",),
    "transposed convolution": ("convt1d", "convt2d", "convt2d_same_tk", "convt2d_same_k3", "convt1d_groups"),
    "convolution, flatten, dense": ("conv_flatten_dense", "conv1d_flatten_dense", "flatten_bn_dense"),
    "dense, reshape, convolution": ("dense_reshape_convt",),
    "embedding": ("embedding",),
    "tied embedding": ("tied_embedding",),
    "batch norm": ("batchnorm1d", "batchnorm2d", "batchnorm_noscale", "batchnorm_noaffine"),
    "layer norm": ("layernorm", "layernorm_2axes"),
    "group norm": ("groupnorm",),
    "instance norm": ("instancenorm",),
    "RMS norm": ("rmsnorm",),
    "PReLU": ("prelu_channel", "prelu_scalar"),
    "simple recurrent": ("rnn_tanh",),
    "LSTM": ("lstm", "lstm_square", "lstm_optimized_nnx", "lstm_cell", "lstm_2layers"),
    "bidirectional LSTM": ("bilstm", "bilstm_last", "bilstm_2layers"),
    "GRU": ("gru", "gru_nnx", "gru_reset_before"),
    "bidirectional GRU": ("bigru",),
    "attention": ("mha", "mha_nobias_square", "mha_cross"),
    "transformer encoder layer": ("transformer_encoder_layer",),
    "weight norm": ("weightnorm_dense",),
    "spectral norm": ("spectralnorm_dense",),
    "perceptron of scikit-learn": ("sk_mlp_regressor", "sk_mlp_classifier_multi", "sk_mlp_classifier_binary"),
    "linear model of scikit-learn": ("sk_logreg_binary", "sk_logreg_multi", "sk_sgd_logloss_ovr", "sk_linear_regression"),
    "nnet and multinom of R": ("r_nnet_linout", "r_nnet_2class", "r_nnet_softmax", "r_nnet_skip", "r_nnet_size0", "r_multinom3", "r_multinom2"),
}  # fmt: skip


def measure(case, source, target):
    """Return the error of one pair, and whether the file alone was enough."""
    try:
        return golden.transferred(case, source, target), True
    except AmbiguityError:
        return golden.transferred(case, source, target, golden.trained(case, source)), False


def cells():
    """Return the cases that are measured for each kind, source and target."""
    found = defaultdict(list)
    for kind, cases in KINDS.items():
        for case in cases:
            for source, target in pairs_of(case):
                found[kind, source, target].append(case)
    return found


def measured():
    errors = {}
    for (kind, source, target), cases in cells().items():
        found = [measure(case, source, target) for case in cases]
        errors[kind, source, target] = max(error for error, _ in found), all(enough for _, enough in found)
    return errors


def page(errors):
    lines = [
        "# How exact a transfer is",
        "",
        "The largest error of the outputs, over the largest output, when weights go from the files of one framework into a fresh",
        "model of another: measured in float32, where 1e-7 is one unit in the last place, over golden cases of each kind of layer. The",
        "expected outputs were computed by the frameworks themselves. Numbers differ a little from one machine to another. This page",
        "is made by the tests.",
        "",
        "A star marks a pair that is ambiguous from a file alone, so that `transfer` refuses it; its error was measured from the live",
        "model, or with `pairs`. A blank means that the framework has no such layer, or that there is no such file.",
    ]
    for target in TARGETS:
        used = [source for source in SOURCES if any((kind, source, target) in errors for kind in KINDS)]
        lines += ["", f"## Into {SOURCES[target]}", "", f"| layer | {' | '.join(f'from {SOURCES[each]}' for each in used)} |"]
        lines += [f"|---|{'---|' * len(used)}"]
        for kind in KINDS:
            row = [shown(errors.get((kind, source, target))) for source in used]
            if any(row):
                lines.append(f"| {kind} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def shown(found):
    if found is None:
        return ""
    error, enough = found
    return f"{error:.1e}{'' if enough else ' *'}"


def said():
    """Return the content of the page, in the form of the measurements."""
    by_title = {title: name for name, title in SOURCES.items()}
    errors, target, used = {}, "", []
    for line in PAGE.read_text().splitlines():
        words = [word.strip() for word in line.strip("|").split("|")]
        if line.startswith("## Into "):
            target = by_title[line.removeprefix("## Into ")]
        elif line.startswith("| layer |"):
            used = [by_title[word.removeprefix("from ")] for word in words[1:]]
        elif line.startswith("| "):
            for source, cell in zip(used, words[1:], strict=True):
                if cell:
                    errors[words[0], source, target] = float(cell.removesuffix(" *")), not cell.endswith("*")
    return errors


@pytest.fixture(scope="module", autouse=True)
def _updated():
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(page(measured()))


def test_every_golden_case_is_of_one_kind():
    listed = [case for cases in KINDS.values() for case in cases]
    assert sorted(listed) == sorted(golden.CASES)


def test_the_page_has_every_pair_of_every_kind_and_all_errors_are_within_tolerance():
    found = said()
    assert set(found) == set(cells())
    assert PAGE.read_text() == page(found)
    for cell, (error, _) in found.items():
        assert error <= min(golden.CASES[case]["tolerance"] for case in cells()[cell]), cell


def samples():
    """One pair for each kind, a different one each time; all pairs are measured when the page is written."""
    chosen = {}
    for nth, kind in enumerate(KINDS):
        own = [cell for cell in cells() if cell[0] == kind]
        chosen[kind] = own[nth * 7 % len(own)]
    return chosen


@pytest.mark.parametrize("kind", KINDS)
def test_the_errors_on_the_page_are_measured_again(kind):
    """Another machine rounds differently, by a few units in the last place."""
    _, source, target = samples()[kind]
    error, enough = said()[kind, source, target]
    found = [measure(case, source, target) for case in cells()[kind, source, target]]
    assert max(each for each, _ in found) <= max(10 * error, 5e-7)
    assert all(each for _, each in found) == enough
