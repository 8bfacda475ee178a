"""Statistics: the same table for one net from any container, groups and channels equal NumPy's, and every output format."""

import csv
import json
import sys

import ml_dtypes
import numpy as np
import onnx
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import steelyard
from steelyard import sizes
from steelyard.cli import main
from steelyard.core.readers import from_array
from steelyard.core.weights import Weights
from steelyard.errors import MissingExtraError, ShapeError, WeightNotFoundError
from steelyard.measures.stats import channels, stats
from steelyard.numerics.weight_stats import FIGURES
from steelyard.text import statistics


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.LSTM(6, 5), nn.Embedding(7, 4), nn.Linear(4, 7))
    model[4].weight = model[3].weight
    return model


CONTAINERS = (".pt", ".safetensors", ".npz", ".h5", ".onnx", ".gguf", ".msgpack")


def rows(found):
    return sorted((row.to_dict() for row in found), key=lambda row: row["name"])


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_one_net_has_one_table_from_any_container(tmp_path, suffix):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.LSTM(6, 5), nn.Embedding(7, 4))
    path = tmp_path / f"net{suffix}"
    if suffix == ".onnx":
        tensors = [onnx.numpy_helper.from_array(tensor.numpy(), name) for name, tensor in net.state_dict().items()]
        onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], tensors)), path)
    else:
        steelyard.save(net, path)
    keys = (*FIGURES, "median", "q01", "q99", "shape", "dtype")
    live, stored = ([{key: row[key] for key in keys} for row in rows(stats(each))] for each in (net, path))
    assert live == stored


@pytest.mark.parametrize("by", [None, "all"])
def test_a_net_of_doubles_has_one_table_in_files_of_r_too(tmp_path, by):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.LSTM(6, 5), nn.Embedding(7, 4)).double()
    steelyard.save(net, tmp_path / "net.rds")
    keys = (*FIGURES, "median", "q01", "q99", *(("shape", "dtype") if by is None else ()))
    live, stored = ([{key: row[key] for key in keys} for row in rows(stats(each, by))] for each in (net, tmp_path / "net.rds"))
    assert live == stored


def test_rows_are_weights_in_the_framework_s_order_and_tied_ones_count_once(net):
    found = stats(net)
    assert [row.name for row in found] == [name for name in steelyard.weights(net) if name != "4.weight"]
    weight = net[0].weight.detach().numpy().astype("f8")
    row = found["0.weight"]
    assert (row.role, row.shape, row.layer) == ("kernel", (6, 3, 3, 3), "0")
    assert (row.min, row.max, row.mean) == (weight.min(), weight.max(), pytest.approx(weight.mean(), rel=1e-13))
    with pytest.raises(WeightNotFoundError, match=r"did you mean '0\.weight'"):
        found["0.weigth"]
    with pytest.raises(AttributeError, match="no attribute 'median'"):
        _ = row.median


@pytest.mark.parametrize(("by", "key"), [("layer", "layer"), ("role", "role"), ("all", None)])
def test_groups_have_the_statistics_of_all_numbers_of_their_weights(net, by, key):
    weights = list(steelyard.weights(net).distinct().values())
    for row in stats(net, by):
        members = [w for w in weights if key is None or str(getattr(w, key)) == row.name]
        together = np.concatenate([w.numpy().astype("f8").ravel() for w in members])
        assert (row.weights, row.count) == (len(members), together.size)
        assert (row.min, row.max) == (together.min(), together.max())
        assert (row.mean, row.std) == (pytest.approx(together.mean(), rel=1e-12), pytest.approx(together.std(), rel=1e-12))
        assert row.quantile(0.5) == pytest.approx(np.quantile(together, 0.5, method="inverted_cdf"), rel=2**-8, abs=1e-38)


def test_exact_and_inexact_types_merge_into_one_histogram():
    half, single = np.array([1.0, 2.0], ml_dtypes.bfloat16), np.array([1.0, 5.0, 9.0], "f4")
    row = stats({"a": half, "b": single, "c": np.array([3], "i8")}, "all").rows[0]
    counts, edges = row.histogram([0.0, 1.5, 4.0, 10.0])
    assert (counts.tolist(), edges.tolist()) == ([2, 2, 2], [0.0, 1.5, 4.0, 10.0])
    assert (row.mean, row.quantile_error) == (3.5, 1 / 256)


def test_a_histogram_rebins_to_numpys_within_the_count_of_one_bin():
    array = np.random.default_rng(0).standard_normal(300_000).astype("f4")
    counts, edges = stats({"w": array})["w"].histogram(64)
    expected, known = np.histogram(array, 64)
    assert counts.sum() == array.size
    assert np.allclose(edges, known, atol=1e-5)
    assert np.abs(counts - expected).max() <= 0.02 * expected.max()
    narrow = stats({"w": (1 + 0.03 * array[:100_000])})["w"].histogram(64)[0]  # a scale: few bins hold it all
    assert np.abs(narrow - np.histogram(1 + 0.03 * array[:100_000], 64)[0]).max() <= 0.05 * narrow.max()
    exact = array.astype("f2")
    counts, edges = stats({"w": exact})["w"].histogram(16)
    assert np.array_equal(counts, np.histogram(exact.astype("f8"), edges)[0])
    with pytest.raises(ShapeError, match="histogram=True"):
        stats({"w": array}, histogram=False)["w"].histogram()


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["out in", "in out", "kh kw in out", "out in kh kw", "vocab out", "[ifgo]*out in", "dir [zrn]*out in", "kh kw in mult", "in heads dim"]),
    st.integers(0, 2**32), st.sampled_from(["f4", "f8", "f2", "i4", "bfloat16"]), st.sampled_from([1, 3, 50, 1 << 17]),
)  # fmt: skip
def test_channels_are_numpys_over_the_other_axes(axes, seed, dtype, block):
    chance = np.random.default_rng(seed)
    shape = tuple(2 if word == "dir" else 12 if "*" in word else int(chance.integers(1, 6)) for word in axes.split())
    array = (chance.standard_normal(shape) * 10 + 3).astype(getattr(ml_dtypes, dtype, dtype))
    weight = from_array("w", array, axes=axes)
    kept = channels.channel_axes(weight, "out")
    others = tuple(axis for axis in range(len(shape)) if axis not in kept)
    wide = array.astype("f8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "CHANNEL_BLOCK", block)
        found = channels.channels_of(weight, kept, 1e-8).figures()
    for key, expected in (
        ("mean", wide.mean(others)),
        ("std", wide.std(others)),
        ("l1", np.abs(wide).sum(others)),
        ("l2", np.sqrt((wide**2).sum(others))),
    ):
        assert np.allclose(found[key], expected.ravel(), rtol=1e-10, atol=1e-10), key
    assert np.array_equal(found["min"], wide.min(others).ravel())
    assert np.array_equal(found["max"], wide.max(others).ravel())
    assert np.array_equal(found["zeros"], (wide == 0).sum(others).ravel())
    assert (found["count"] == wide.size // max(len(found["mean"]), 1)).all()


def test_a_channel_is_the_same_output_in_any_layout_and_is_labelled_by_its_gate():
    kernel = np.arange(24.0).reshape(2, 12)
    keras = Weights([from_array("k", kernel, axes="in [ifgo]*out", layer="a")])
    torch_ = Weights([from_array("w", kernel.T.copy(), axes="[ifgo]*out in")])
    one, other = stats(keras, "out"), stats(torch_, "out")
    assert [row.unit for row in one] == [f"{gate} {n}" for gate in "ifgo" for n in range(3)]
    assert [[row.mean, row.std, row.l2] for row in one] == [[row.mean, row.std, row.l2] for row in other]
    words = stats(Weights([from_array("e", np.eye(3)[:2], axes="vocab out")]), "vocab")
    assert [row.zeros for row in words] == [2, 2]


def test_an_axis_that_no_weight_has_is_refused_and_weights_that_lack_it_are_named(net):
    with pytest.raises(ShapeError, match=r"no weight has the axis 'gate'; the known axes are .*vocab"):
        stats(net, "gate")
    found = stats(net, "vocab")
    assert {row.name for row in found} == {"3.weight"}
    assert "0.weight" in found.left_out
    assert "left out" in repr(found)


def test_channels_exclude_numbers_that_are_not_finite():
    array = np.array([[1.0, np.nan, 3.0], [np.inf, np.nan, -np.inf]], "f4")
    first, second = stats(Weights([from_array("w", array, axes="out in")]), "out").rows
    assert (first.mean, first.nan, first.inf, first.count) == (2.0, 1, 0, 2)
    assert (second.mean, second.min, second.std, second.nan, second.inf, second.count) == (None, None, None, 1, 2, 0)


# output formats


def test_a_table_prints_with_histograms_on_one_axis_and_names_weights_that_are_not_finite():
    text = repr(stats({"fc": {"kernel": np.array([[1.0, np.inf]]), "bias": np.zeros(2)}}))
    head = text.splitlines()[0].split()
    assert head[:4] == ["name", "shape", "count", "-1"]
    assert text.endswith("1 of 2 weights is not finite: fc.kernel[0, 1] (1 Inf)")
    assert repr(stats({})) == "no weights"


@pytest.mark.parametrize(("library", "kind"), [("polars", pl.DataFrame), ("pandas", pd.DataFrame), ("pyarrow", pa.Table)])
def test_a_frame_of_each_library_holds_every_digit(net, library, kind):
    found = stats(net)
    frame = found.to_frame(library)
    assert isinstance(frame, kind)
    columns = (
        frame.to_pydict()
        if library == "pyarrow"
        else frame.to_dict("list")
        if library == "pandas"
        else frame.to_dict(as_series=False)
    )
    assert columns["name"] == [row.name for row in found]
    assert columns["std"] == [row.std for row in found]
    assert columns["shape"][0] == "6x3x3x3"


def test_without_narwhals_a_frame_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "narwhals", None)
    with pytest.raises(MissingExtraError, match=r"steelyard\[frames\]"):
        stats({"w": np.zeros(1)}).to_frame()
    with pytest.raises(ShapeError, match="not a data-frame library"):
        stats({"w": np.zeros(1)}).to_frame("excel")


def test_csv_json_and_parquet_hold_the_same_table(tmp_path):
    found = stats({"a,b": np.array([1 / 3, 2e-300]), "c": np.full(2, np.nan), "d": np.array([1.7e308] * 4)})
    for suffix in ("csv", "json", "parquet"):
        found.write(str(tmp_path / f"t.{suffix}"))
    with (tmp_path / "t.csv").open() as file:
        text = list(csv.DictReader(file))
    assert [row["name"] for row in text] == ["a,b", "c", "d"]
    assert [float(row["mean"]) if row["mean"] else None for row in text] == [row.mean for row in found]
    assert text[1]["first_nonfinite"] == "c[0]"
    record = json.loads((tmp_path / "t.json").read_text())
    assert [row["min"] for row in record["rows"]] == [row.min for row in found]
    assert record["rows"][2]["l1"] == "Infinity"
    frame = pl.read_parquet(tmp_path / "t.parquet")
    assert frame["l2"].to_list() == [row.l2 for row in found]
    with pytest.raises(ShapeError, match=r"\.csv, \.json, \.parquet"):
        found.write(str(tmp_path / "t.xlsx"))


def test_the_command_prints_a_table_csv_or_json_and_writes_files(net, tmp_path, capsys):
    path = str(tmp_path / "net.safetensors")
    steelyard.save(net, path)
    assert main(["stats", path, "--by", "role"]) == 0
    assert capsys.readouterr().out.splitlines() == repr(stats(path, "role")).splitlines()
    assert main(["stats", path, "--json", "--select", "0.*"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in record["rows"]] == ["0.weight", "0.bias"]
    assert main(["stats", path, "--csv", "--fast"]) == 0
    lines = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert (lines[0]["l2"], lines[0]["median"]) == (repr(stats(path)["0.weight"].l2), "")
    assert main(["stats", path, "-o", str(tmp_path / "t.csv")]) == 0
    assert len((tmp_path / "t.csv").read_text().splitlines()) == len(stats(path)) + 1
    assert main(["stats", path, path, "-o", "t.csv"]) == 2
    assert main(["stats", path, "--by", "nothing"]) == 2


def test_a_table_of_too_many_rows_has_no_histograms_and_says_so(monkeypatch):
    monkeypatch.setattr(statistics, "MOST_DRAWN", 2)
    arrays = {f"{name}.weight": np.ones(2) for name in "abc"}
    found = steelyard.stats(arrays)
    assert "histogram" not in repr(found).splitlines()[0]
    assert repr(found).splitlines()[-1] == "histograms are not drawn, since there are more than 2 rows; --select chooses some"
    assert "\u2588" in repr(steelyard.stats({name: arrays[name] for name in list(arrays)[:2]}))
