"""The layers of nets in order: as the frameworks have them, repeated blocks once, branches named."""

import json

import numpy as np
import pytest
from torch import nn

import steelyard
from steelyard.core.graph import Graph, Layer
from steelyard.errors import ShapeError
from steelyard.measures.architecture.folding import groups_of


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.bn = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.relu, self.conv2 = nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return self.conv2(self.relu(self.bn(self.conv1(x)))) + x


@pytest.fixture(scope="module")
def net():
    blocks = [Residual(8) for _ in range(4)]
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)).eval()


def facts(found):
    return [(row.depth, row.label, row.times, row.what) for row in found]


def unfolded(groups):
    """Return the places that groups stand for, in order."""
    return [place for group in groups for begin in group.places() for place in range(begin, begin + group.length)]


@pytest.mark.parametrize(
    ("text", "tops"),
    [
        ("abcabcabc", [(0, 3, 3)]),
        ("aaab", [(0, 1, 3), (3, 1, 1)]),
        ("xabbcabbcy", [(0, 1, 1), (1, 4, 2), (9, 1, 1)]),
        ("", []),
        ("abc", [(0, 1, 1), (1, 1, 1), (2, 1, 1)]),
    ],
)
def test_runs_that_repeat_are_groups_and_none_is_lost(text, tops):
    groups = groups_of(text)
    assert [each[:3] for each in groups] == tops
    assert unfolded(groups) == list(range(len(text)))


def test_a_long_sequence_with_many_false_starts_ends_soon():
    keys = [n * n % 7 for n in range(20_000)] + list(range(10, 5000))
    assert sum(group.length * group.times for group in groups_of(keys)) == len(keys)


def test_blocks_of_a_live_net_are_one_row_in_the_order_of_definition_and_this_is_said(net):
    found = steelyard.architecture(net)
    assert facts(found)[:6] == [
        (0, "0", 1, "conv /2"),
        (0, "[1-4]", 4, ""),
        (1, "conv1", 4, "conv"),
        (1, "bn", 4, "batch norm"),
        (1, "relu", 4, "relu"),
        (1, "conv2", 4, "conv"),
    ]
    assert found.order == "definition"
    assert "order of definition, which need not be that in which they run; architecture(net, probe=inputs) runs" in str(
        found
    ).replace("\n  ", " ")
    assert (
        sum(row.parameters for row in found if not row.layers > 1) == found.parameters == sum(p.numel() for p in net.parameters())
    )


def test_a_probe_shows_shapes_and_skip_connections(net):
    found = steelyard.architecture(net, np.zeros((1, 3, 17, 17), "float32"))
    rows = {row.label: row for row in found}
    assert found.order == "execution"
    assert found.inputs == {"input": (3, 17, 17)}
    assert rows["add"].sources == ("above", "the block's input")
    assert rows["add"].inputs == ("1.conv2", "0")
    assert (rows["add"].times, rows["add"].output_shape, rows["0"].output_shape) == (4, (8, 8, 8), (8, 8, 8))
    assert rows["conv1"].sources == ("above",)
    with pytest.raises(ShapeError, match="a probe needs a live net that can be run, which weights without a model is not"):
        steelyard.architecture(steelyard.weights(net).copy(), np.zeros((1, 3, 17, 17)))


def test_a_keras_model_has_the_layers_and_counts_of_its_summary(tmp_path):
    import keras

    x = inputs = keras.Input((32,), name="x")
    for _ in range(3):
        x = keras.layers.add([x, keras.layers.Dense(32, activation="relu")(x)])
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.save(tmp_path / "m.keras")
    for source in (model, tmp_path / "m.keras"):
        found = steelyard.architecture(source)
        assert [(row.depth, row.times, row.what, row.parameters) for row in found] == [
            (0, 3, "", 3 * 1056), (1, 3, "dense, relu", 3 * 1056), (1, 3, "add", 0), (0, 1, "dense", 66),
        ]  # fmt: skip
        assert found.rows[2].sources == ("the block's input", "above")
        assert found.rows[3].output_shape == (2,)
        assert found.parameters == model.count_params()


def test_a_scikit_learn_perceptron_has_its_activations():
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng(0)
    fit = MLPClassifier((5, 4), max_iter=2, random_state=0)
    with pytest.warns(UserWarning, match="converged"):
        fit.fit(rng.random((20, 3)), np.arange(20) % 3)
    found = steelyard.architecture(fit)
    assert [row.what for row in found] == ["dense, relu", "dense, relu", "dense, softmax"]
    assert [row.parameters for row in found] == [20, 24, 15]


def test_a_state_dict_is_the_tree_of_its_names_and_does_not_claim_an_order(net):
    found = steelyard.architecture(net.state_dict())
    assert found.order == "names"
    assert [row.label for row in found][:3] == ["0", "[1-4]", "conv1"]
    assert "no graph is known" in str(found)
    assert "not of the computation" in str(found)
    assert found.rows[2].shapes == {"weight": (8, 8, 3, 3), "bias": (8,)}


def test_layers_that_take_inputs_from_elsewhere_are_not_the_same():
    chain = [Layer("a", "dense", inputs=("x",)), Layer("a_1", "dense", inputs=("a",)), Layer("a_2", "dense", inputs=("a_1",))]
    chain += [Layer("a_3", "dense", inputs=("a_1", "a_2"))]
    found = steelyard.architecture(with_graph(Graph(chain, is_execution_order=True, input_names=["x"])))
    assert [(row.name, row.times) for row in found] == [("a … a_2", 3), ("a_3", 1)]
    assert found.rows[1].sources == ("a_1", "above")


def test_a_memory_that_each_block_reads_does_not_part_them():
    layers, before = [Layer("m", "dense", inputs=("x",))], "m"
    for n in range(3):
        layers.append(Layer(f"b.{n}", "attention", inputs=(before, "x")))
        before = f"b.{n}"
    found = steelyard.architecture(with_graph(Graph(layers, is_execution_order=True, input_names=["x"])))
    assert [(row.name, row.times) for row in found] == [("m", 1), ("b.[0-2]", 3)]


def with_graph(graph):
    from steelyard.core.weights import Weights

    return Weights([], graph=graph)


def test_records_are_json_and_the_notebook_has_neither_script_nor_drawing(net):
    found = steelyard.architecture(net)
    assert [row["label"] for row in json.loads(json.dumps(found.to_dict()))["rows"]] == [row.label for row in found]
    page = found._repr_html_()
    assert "[1-4]" in page
    assert "<script" not in page
    assert "<svg" not in page


def test_a_narrow_terminal_keeps_names_times_and_counts(net):
    from steelyard.text.architectures import architecture_lines
    from steelyard.text.terminal import Screen

    lines = "\n".join(
        architecture_lines(steelyard.architecture(net, np.zeros((1, 3, 17, 17), "float32")), Screen(60))
    ).splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[2].split() == ["[1-4]", "4", "×", "4,736"]


def test_nothing_has_no_architecture():
    assert str(steelyard.architecture({})) == "no weights"


def test_the_command_lists_the_layers_of_each_file(tmp_path, capsys):
    from steelyard.cli import main

    steelyard.save({"fc.weight": np.ones((3, 2)), "fc.bias": np.ones(3)}, tmp_path / "a.npz")
    assert main(["layers", str(tmp_path / "a.npz")]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["fc", "3×2", "9", "100.0"]
    assert main(["layers", "--json", str(tmp_path / "a.npz")]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["shapes"] == {"weight": [3, 2], "bias": [3]}
