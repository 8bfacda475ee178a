"""The numbers of a grid: those of `stats` and `diff`, and cells that have none."""

import json

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

import steelyard
from steelyard import Weights, grid
from steelyard.core.readers import from_array
from steelyard.errors import FormatError, ShapeError
from steelyard.measures import grid as module
from steelyard.measures.grid.values import MEASURES
from steelyard.measures.grid.words import OF_ONE, OF_TWO
from steelyard.results import Grid


@pytest.fixture(scope="module")
def net():
    """A small transformer, with a NaN and zeros."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.ModuleDict({"embed": nn.Embedding(9, 8), "layers": nn.ModuleList([nn.TransformerEncoder(layer, 3)])})
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
        net["layers"][0].layers[1].linear1.bias[3] = torch.nan
        net["layers"][0].layers[2].linear2.weight[:4] = 0
    return net


def by_names(found):
    return {record["names"][0]: record for record in found.to_records()}


STATISTICS = {
    "std": lambda row: row.std,
    "norm": lambda row: row.l2,
    "rms": lambda row: row.rms,
    "mean": lambda row: row.mean,
    "max_abs": lambda row: max(abs(row.min), abs(row.max)),
    "sparsity": lambda row: row.zeros / row.count,
    "nonfinite": lambda row: row.nan + row.inf,
}


@pytest.mark.parametrize("value", OF_ONE)
def test_each_statistic_is_that_of_stats_to_the_last_bit(net, value):
    found, rows = by_names(grid(net, value=value)), steelyard.stats(net)
    assert set(found) == {row.name for row in rows}
    for row in rows:
        assert found[row.name]["value"] == STATISTICS[value](row)


def test_each_change_is_that_of_diff(net):
    after = {name: weight.numpy().copy() for name, weight in steelyard.weights(net).items()}
    after["layers.0.layers.0.linear1.weight"] += np.outer(np.arange(16), np.arange(8)) / 100
    after["layers.0.layers.0.linear1.weight"][0, 0] += 1e-7
    after["layers.0.layers.2.norm1.bias"] *= 1.5
    compared = {row.name: row for row in steelyard.diff(net, after).rows}
    found = {value: by_names(grid(after, before=net, value=value)) for value in OF_TWO}
    for name, row in compared.items():
        assert found["change"][name]["value"] == row.relative
        assert found["equal"][name]["value"] == 1 - row.changed / row.count
        rank = 0 if not row.changed else row.verdict.evidence.get("rank") if row.verdict else None
        assert found["rank"][name]["value"] == rank
    assert found["rank"]["layers.0.layers.2.norm1.bias"]["note"] == "scaled"
    assert grid(after, before=net).value == "change"
    assert grid(after, before=steelyard.diff(net, after, verdicts=False)).to_dict() == grid(after, before=net).to_dict()


def test_a_low_rank_is_the_rank_of_the_verdict():
    rng = np.random.default_rng(0)
    before = {f"h.{nth}.{part}.weight": rng.standard_normal((40, 30)) for nth in range(2) for part in "ab"}
    after = dict(before)
    after["h.1.b.weight"] = before["h.1.b.weight"] + rng.standard_normal((40, 3)) @ rng.standard_normal((3, 30))
    found = grid(after, before=before, value="rank")
    assert [[cell.value for cell in row] for row in found.cells] == [[0, 0], [0, 3]]


def test_weights_without_a_partner_are_in_the_grid_and_say_so():
    one = {f"h.{nth}.{part}.weight": np.ones((2, 2)) for nth in range(2) for part in ("a", "b")} | {"old.weight": np.ones(3)}
    other = {name: array for name, array in one.items() if name not in ("old.weight", "h.1.b.weight")}
    other |= {"h.0.a.weight": np.ones((2, 3)), "new.weight": np.zeros(5)}
    found = by_names(grid(other, before=one))
    notes = {name: record["note"] for name, record in found.items() if record["value"] is None}
    assert notes == {
        "h.0.a.weight": "shape [2, 2] became [2, 3]",
        "h.1.b.weight": "removed",
        "old.weight": "removed",
        "new.weight": "added",
    }


def test_experts_share_a_cell_with_the_statistic_of_all_their_numbers():
    rng = np.random.default_rng(0)
    parts = ["attn.q", "attn.k", "attn.v", "attn.o", *(f"experts.{nth}.{side}" for nth in range(5) for side in ("up", "down"))]
    net = {f"layers.{nth}.{part}.weight": rng.standard_normal((6, 6)) for nth in range(2) for part in parts}
    found = grid(net)
    cell = found.cells[1][found.columns.index("experts.[0-4].up.weight")]
    together = np.concatenate([net[f"layers.1.experts.{nth}.up.weight"].ravel() for nth in range(5)])
    assert cell.names == tuple(f"layers.1.experts.{nth}.up.weight" for nth in range(5))
    assert cell.value == pytest.approx(together.std(), rel=1e-15)
    after = net | {"layers.1.experts.3.up.weight": net["layers.1.experts.3.up.weight"] * 1.5}
    changed = grid(after, before=net)
    assert changed.cells[1][found.columns.index("experts.[0-4].up.weight")].value == pytest.approx(0.5)
    lost = str(grid(net | {"layers.1.experts.4.up.weight": np.full((6, 6), np.nan)}, before=net))
    assert "=  NaN/Inf     =\n\n1 of 12 cells changed, in 1 of 2 rows: layers.1\n" in lost
    assert "NaN or Inf in layers.1.experts.[0-4].up.weight (36 not finite on one side only)" in lost


def test_every_number_is_read_once_and_tied_weights_share_it():
    reads = []

    def weight(name, **facts):
        made = from_array(name, np.full((3, 3), 2.0))
        real = made.read
        return made.replace(read=lambda start, stop: reads.append((name, start, stop)) or real(start, stop), **facts)

    listed = Weights([weight("a.weight"), weight("b.weight"), weight("b.bias"), weight("head.weight", tied="a.weight")])
    found = by_names(grid(listed, value="norm"))
    assert sorted(reads) == [("a.weight", 0, 9), ("b.bias", 0, 9), ("b.weight", 0, 9)]
    assert found["head.weight"]["value"] == 6.0
    assert found["head.weight"]["note"] == "tied to a.weight"


def test_a_weight_that_cannot_be_read_is_marked_and_the_others_are_measured(tmp_path):
    def broken(start, stop):
        raise FormatError("net.bin", "the numbers are damaged")

    listed = [from_array(f"fc{nth}.weight", np.full((3, 3), float(nth))) for nth in range(5)]
    listed[2] = listed[2].replace(read=broken)
    found = by_names(grid(Weights(listed), value="mean"))
    assert [found[f"fc{nth}.weight"]["value"] for nth in range(5)] == [0.0, 1.0, None, 3.0, 4.0]
    assert "the numbers are damaged" in found["fc2.weight"]["note"]


def test_codes_of_packed_weights_are_marked_and_with_effective_their_numbers_are_measured(tmp_path):
    rng = np.random.default_rng(0)
    net = {}
    for nth in range(2):
        net |= {f"h.{nth}.fc.weight": rng.integers(-127, 128, (6, 4), "i1"), f"h.{nth}.fc.SCB": np.full(6, 127, "f4")}
        net |= {f"h.{nth}.ln.weight": np.ones(6, "f4")}
    save_file(net, tmp_path / "int8.safetensors")
    stored = by_names(grid(tmp_path / "int8.safetensors"))
    assert stored["h.1.fc.weight"]["value"] is None
    assert "packed" in stored["h.1.fc.weight"]["note"]
    assert stored["h.1.ln.weight"]["value"] == 0.0
    effective = by_names(grid(tmp_path / "int8.safetensors", effective=True))
    assert (
        effective["h.1.fc.weight"]["value"] == steelyard.stats(tmp_path / "int8.safetensors", effective=True)["h.1.fc.weight"].std
    )


def test_nan_and_inf_are_counted_beside_the_statistic_of_the_rest(net):
    record = by_names(grid(net))["layers.0.layers.1.linear1.bias"]
    assert (record["nonfinite"], record["note"]) == (1, "1 NaN")
    nothing = grid({"a": np.full(3, np.nan), "b": np.array([np.inf, 1], ml_dtypes.bfloat16)})
    assert [(each["value"], each["note"]) for each in nothing.to_records()] == [
        (None, "3 NaN, no finite numbers"),
        (0.0, "1 Inf"),
    ]


def test_a_value_that_does_not_fit_is_refused(net):
    with pytest.raises(ShapeError, match=r"value is 'change', which is only with before; choose one of std, .*nonfinite"):
        grid(net, value="change")
    with pytest.raises(ShapeError, match=r"value is 'std', which is only without before; choose one of change, rank, equal"):
        grid(net, value="std", before=net)
    with pytest.raises(ShapeError, match="value is 'sd', which is not known; choose one of std"):
        grid(net, value="sd")


def test_the_words_for_values_are_those_that_can_be_measured():
    assert list(MEASURES) == [*OF_ONE, *OF_TWO]
    assert all((MEASURES[word].of_summary is None) == (word in OF_TWO) for word in MEASURES)


def test_records_columns_and_json_have_every_cell(net, tmp_path):
    found = grid(net)
    assert isinstance(found, Grid)
    records = found.to_records()
    assert len(records) == len(steelyard.weights(net))
    assert [record["row"] for record in records if record["names"] == ["embed.weight"]] == [None]
    assert found.to_columns()["value"] == [record["value"] for record in records]
    assert len(found.to_frame()) == len(records)
    found.write(tmp_path / "cells.json")
    assert json.loads((tmp_path / "cells.json").read_text())["rows"] == found.rows
    found.write(tmp_path / "cells.csv")
    assert len((tmp_path / "cells.csv").read_text().splitlines()) == len(records) + 1


@pytest.mark.parametrize(("kind", "value", "share"), [("signed", -2.0, -1.0), ("linear", 1.0, 0.5), ("logarithmic", 2.0, 1.0)])
def test_a_scale_reaches_from_nothing_to_the_greatest_value(kind, value, share):
    scale = module.scale.scale_of(kind, [0.0, 0.02, 2.0])
    assert scale.share(value) == share
    assert scale.share(0.0) == scale.share(None) == 0.0
    assert abs(scale.share(1e300)) == 1.0
    assert scale.share(1e-9) > 0
