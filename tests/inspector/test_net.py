"""What the views of the whole net get."""

import numpy as np
import pytest

import steelyard
from steelyard.errors import ShapeError
from steelyard.inspector import net as views
from steelyard.inspector.index import open_source, rows_of
from steelyard.inspector.net import net_record


def record_of(view, source):
    sources = [open_source(source)]
    rows, _ = rows_of(sources)
    return net_record(view, sources, rows), [row.weight.name for row in rows]


def blocks(count=3):
    shapes = {"attn.q": (4, 4), "attn.k": (4, 4), "mlp": (8, 4)}
    made = {f"h.{nth}.{part}.weight": np.full(shape, nth + 1.0, "f4") for nth in range(count) for part, shape in shapes.items()}
    return {"wte.weight": np.ones((9, 4), "f4"), **made}


def test_the_places_of_the_grid_are_those_of_steelyard_grid():
    record, names = record_of("grid", blocks(12))
    found = steelyard.grid(blocks(12))
    assert (record["rows"], record["columns"]) == (found.rows, found.columns)
    places = {name: (int(row), int(column)) for name, row, column in zip(names, record["down"], record["across"], strict=True)}
    assert places["wte.weight"] == (-1, -1)
    assert [names[row] for row in record["outside"]] == ["wte.weight"]
    assert all(name in found.cells[row][column].names for name, (row, column) in places.items() if row >= 0)


def test_a_grid_of_too_many_parts_says_how_many_are_hidden(monkeypatch):
    monkeypatch.setattr(views, "COLUMNS", 2)
    record, names = record_of("grid", blocks())
    assert (record["columns"], record["hidden"]) == (["attn.q.weight", "attn.k.weight"], 1)
    assert {names[nth] for nth in np.flatnonzero(record["down"] < 0)} == {
        "wte.weight",
        *(f"h.{nth}.mlp.weight" for nth in range(3)),
    }


def test_the_sizes_are_those_of_steelyard_size_and_lead_to_the_first_weight_of_each_layer():
    record, names = record_of("size", blocks())
    found = steelyard.size(blocks()).to_dict()
    assert {word: record[word] for word in ("parameters", "nbytes", "encodings", "training")} == {
        word: found[word] for word in ("parameters", "nbytes", "encodings", "training")
    }
    assert [row["share"] for row in record["rows"]] == [row["share"] for row in found["rows"]]
    assert {row["name"]: names[row["row"]] for row in record["rows"]} == {
        "wte": "wte.weight",
        "h.[0-2]": "h.0.attn.q.weight",
        "h.[0-2].attn": "h.0.attn.q.weight",
        "h.[0-2].attn.q": "h.0.attn.q.weight",
        "h.[0-2].attn.k": "h.0.attn.k.weight",
        "h.[0-2].mlp": "h.0.mlp.weight",
    }


def test_what_a_checkpoint_holds_beside_the_model_is_counted(tmp_path):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(4, 4)
    training = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 4)).sum().backward()
    training.step()
    torch.save({"model": layer.state_dict(), "optimizer": training.state_dict()}, tmp_path / "all.pt")
    record, _ = record_of("size", tmp_path / "all.pt")
    assert record["beside"] == steelyard.size(tmp_path / "all.pt").beside._asdict()
    assert record["beside"]["optimizer"] >= 40


def test_the_layers_are_those_of_steelyard_architecture_and_lead_to_their_weights():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(*[torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU()) for _ in range(3)])
    record, names = record_of("architecture", net)
    assert record["order"] == "execution"
    assert [(row["name"], row["times"]) for row in record["rows"]] == [("[0-2]", 3), ("[0-2].0", 3), ("[0-2].1", 3)]
    assert [names[row["row"]] if row["row"] >= 0 else None for row in record["rows"]] == [None, "0.0.weight", None]


def test_a_net_without_a_graph_says_why_and_has_no_layers():
    record, _ = record_of("architecture", steelyard.weights(blocks()))
    assert (record["order"], record["rows"]) == ("names", [])


def test_another_view_is_an_error_that_names_the_views():
    with pytest.raises(ShapeError, match="unknown view 'gird'; choose one of grid, size, architecture"):
        record_of("gird", blocks())
