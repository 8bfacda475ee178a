"""The picture of an architecture: its words, and the lines read back from what is drawn."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.patches import PathPatch, Rectangle
from plot.test_pictures import kernel, residual

import steelyard
from steelyard import plot
from steelyard.core.graph import Graph, Layer
from steelyard.errors import ShapeError
from steelyard.plot._architecture import Wire, wires_of


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def words(ax):
    """Return the texts of each row from left to right, by the row."""
    rows = {}
    for text in sorted(ax.texts, key=lambda text: text.get_position()[0]):
        rows.setdefault(int(np.floor(text.get_position()[1])), []).append(text.get_text())
    return rows


def test_rows_say_what_steelyard_architecture_says():
    found, ax = steelyard.architecture(residual()), plot.architecture(residual())
    rows = words(ax)
    assert rows[-1] == ["layer", "kind", "weights", "output", "parameters"]
    assert rows[0] == ["in", "conv, relu", "4×3×3×3", "8×8×4", "108"]
    assert [row.label for row in found][:3] == ["in", "h.[0-1]", "one"]
    assert [rows[1][0], rows[2][0]] == ["2 × h.[0-1]", "one"]
    bars = [patch for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_height() < 0.5]
    lengths = np.array([bar.get_width() for bar in bars])
    shares = np.array([row.share for row in found if row.share])
    assert np.allclose(lengths / lengths.max(), shares / shares.max())


def test_lines_lead_from_what_feeds_a_layer_and_arcs_pass_others():
    rows = steelyard.architecture(residual()).rows
    labels = [row.label for row in rows]
    assert labels == ["in", "h.[0-1]", "one", "two", "add", "sum", "out"]
    assert wires_of(rows) == [Wire(0, 2, -1), Wire(0, 4, 0), Wire(0, 5, 1), Wire(2, 3, -1), Wire(3, 4, -1), *(
        Wire(start, start + 1, -1) for start in (4, 5)
    )]  # fmt: skip
    arcs = [patch for patch in plot.architecture(residual()).patches if isinstance(patch, PathPatch)]
    ends = [(arc.get_path().vertices[0][1], arc.get_path().vertices[-1][1]) for arc in arcs]
    assert ends == [(0.5, 4.5), (0.5, 5.5)]
    assert len({arc.get_path().vertices[:, 0].min() for arc in arcs}) == 2


def test_without_a_graph_the_layers_have_their_names_and_no_lines():
    net = {f"h.{nth}.{part}.weight": np.zeros((4, 4)) for nth in range(3) for part in ("attn", "mlp")}
    ax = plot.architecture(net)
    assert [words(ax)[nth][0] for nth in range(3)] == ["3 × h.[0-2]", "attn", "mlp"]
    assert not [patch for patch in ax.patches if isinstance(patch, PathPatch)]
    assert not [line for line in ax.lines if len(line.get_xdata())]
    assert "no graph is known" in ax.texts[-1].get_text()


def test_of_many_layers_the_first_are_drawn_and_the_rest_is_counted():
    net = {f"layer{nth}_{'abcdefghij'[nth % 10]}.weight": np.zeros((2 + nth, 2)) for nth in range(90)}
    ax = plot.architecture(net)
    assert max(row for row in words(ax)) <= 60
    assert ax.texts[-1].get_text().startswith("and 30 more rows")


def test_long_names_lose_what_all_share_and_no_number_is_cut():
    names = [f"a_very_long_beginning_of_all.{'x' * 60}.{word}" for word in ("first", "second", "third")]
    listed = [kernel(f"{name}.weight", np.zeros((3000, 1000 + nth))) for nth, name in enumerate(names)]
    graph = Graph([Layer(name, "dense", output_shape=(3000,)) for name in names])
    rows = words(plot.architecture(steelyard.Weights(listed, graph=graph)))
    assert [rows[nth][0] for nth in range(3)] == ["\u2026first", "\u2026second", "\u2026third"]
    assert rows[1][1:] == ["dense", "3000×1001", "3000", "3,003,000"]


def test_what_has_no_layers_is_refused():
    with pytest.raises(ShapeError, match="nothing to draw: the source has no layers with numbers"):
        plot.architecture({})
    with pytest.raises(ShapeError, match="a single weight has no architecture"):
        plot.architecture(steelyard.weights({"a": np.ones(3)})["a"])
