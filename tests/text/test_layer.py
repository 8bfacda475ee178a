"""A layer as text: its settings where the file has them, its weights, its kernel."""

import json

import carried
import numpy as np
import pytest
from terminals import ESCAPE, in_terminal

import steelyard
from steelyard.cli import main
from steelyard.text.layer import layer_lines
from steelyard.text.terminal import Screen

NET = {
    "a.fc.weight": np.arange(12, dtype="f4").reshape(4, 3),
    "a.fc.bias": np.array([0, 0, np.nan, 0], "f4"),
    "a.norm.weight": np.ones(4, "f4"),
    "b\x1b[31m.weight": np.ones((2, 2), "f4"),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("layer") / "net.npz"
    np.savez(path, **NET)
    return path


def said(capsys, *args):
    assert main([str(arg) for arg in args]) == 0
    return capsys.readouterr().out


def test_a_layer_of_a_file_with_a_graph_has_its_settings_and_shapes(capsys):
    path = carried.folder("golden") / "conv2d_same_stride2" / "keras.keras"
    layer = steelyard.weights(path).graph.layers[0]
    text = said(capsys, "show", path, layer.name)
    assert f"kind       conv ({layer.class_name})" in text
    assert "strides 2×2" in text
    assert f"shapes     {'×'.join(map(str, layer.input_shape))} → {'×'.join(map(str, layer.output_shape))}" in text
    record = json.loads(said(capsys, "show", path, layer.name, "--json"))
    assert (record["kind"], record["class"], record["settings"]["strides"]) == ("conv", layer.class_name, [2, 2])
    assert [weight["name"] for weight in record["weights"]] == list(steelyard.weights(path))
    assert all(weight["stats"]["min"] <= weight["stats"]["max"] for weight in record["weights"])


def test_a_layer_has_a_row_a_weight_totals_and_what_is_not_finite(file, capsys):
    text = said(capsys, "show", file, "a.fc")
    assert [line.split()[0] for line in text.splitlines() if "×" in line or "float32" in line] == ["a.fc.weight", "a.fc.bias"]
    assert "2 weights, 16 parameters, 64 bytes" in text
    assert "a.fc.bias is not finite: 1 NaN, first at [2]" in text or "1 of 2 weights is not finite: a.fc.bias[2] (1 NaN)" in text
    assert "a.norm.weight" in said(capsys, "show", file, "a")


def test_a_terminal_draws_the_kernel_of_a_layer_and_never_a_control_character(file):
    text = in_terminal(80, "show", file, "a.fc")
    assert "▀" in text
    assert "4 rows" in ESCAPE.sub("", text)
    assert "▀" not in in_terminal(80, "show", file, "a.fc", "--no-heatmap")
    assert "▀" not in in_terminal(80, "show", file, "a.fc", "--stats")
    lines = ESCAPE.sub("", in_terminal(60, "show", file, "a.fc")).splitlines()
    assert max(map(len, lines)) <= 60


def test_a_name_with_control_characters_is_escaped():
    weights = steelyard.weights({name: NET[name] for name in [*NET][3:]})
    text = "\n".join(layer_lines("b\x1b[31m", weights, Screen(80)))
    assert "\x1b" not in text
    assert "b\\u001b[31m" in text
