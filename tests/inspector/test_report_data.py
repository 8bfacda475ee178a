"""The data in the packs of reports, compared with NumPy, PyTorch, `stats`, `check` and `diff`."""

import numpy as np
import pytest
import torch
from inspector.packs import Page
from torch import nn

import steelyard
from steelyard.cli import main
from steelyard.core.readers import from_array
from steelyard.core.weight import Refused, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, ShapeError
from steelyard.inspector import report_data
from steelyard.inspector.index import STATISTICS
from steelyard.numerics.picture import matrix_of


def columns(index):
    """Return the columns of an index by the name of each row."""
    names = index["columns"]["name"]
    return {name: {key: column[row] for key, column in index["columns"].items()} for row, name in enumerate(names)}


def test_the_index_has_every_weight_with_its_facts_in_order(net, page):
    weights, index = steelyard.weights(net), page.index
    assert index["columns"]["name"] == list(weights)
    assert index["live"] is False
    assert index["sources"] == [
        {"name": "Sequential", "weights": 11, "tied": 0, "amount": str(weights.counts), "bytes": weights.nbytes, "notes": []}
    ]
    for name, row in columns(index).items():
        weight = weights[name]
        assert (row["shape"], row["dtype"], row["role"], row["axes"]) == (
            list(weight.shape),
            weight.dtype,
            str(weight.role),
            weight.axes,
        )
        assert (row["layer"], row["trainable"], row["tied"]) == (weight.layer, weight.trainable, weight.tied)
        assert (row["size"], row["bytes"]) == (weight.size, weight.nbytes)
        assert row["matrix"] == list(matrix_of(weight.shape))


def test_the_statistics_are_those_of_numpy(net, page):
    for row, (name, found) in enumerate(columns(page.index).items()):
        array = steelyard.weights(net)[name].numpy().astype("f8")
        statistics = page.details[row][0]["statistics"]
        want = {
            "min": array.min(),
            "max": array.max(),
            "mean": array.mean(),
            "std": array.std(),
            "l2": np.linalg.norm(array.reshape(-1)),
        }
        for word, value in want.items():
            assert found[word] == pytest.approx(value, rel=1e-6, abs=1e-9)
            assert np.float32(statistics[word]) == np.float32(found[word])
        assert statistics["count"] == array.size
        assert statistics["zeros"] == (array == 0).sum() == found["zeros"]
        assert statistics["median"] == pytest.approx(np.quantile(array, 0.5, method="inverted_cdf"), rel=1 / 256, abs=1e-9)


def test_the_histograms_have_the_heights_of_numpys(net, page):
    index = page.index
    spark = index["spark"]
    for row, name in enumerate(index["columns"]["name"]):
        array = steelyard.weights(net)[name].numpy().astype("f8").reshape(-1)
        histogram = page.details[row][0]["histogram"]
        assert (histogram["low"], histogram["high"]) == (array.min(), array.max())
        if array.size > 10_000:
            counts, _ = np.histogram(array, 64)
            np.testing.assert_allclose(histogram["counts"], counts / counts.max() * 255, atol=255 * 0.06)
            inside, _ = np.histogram(array, spark["bins"], (-spark["end"], spark["end"]))
            cells = spark["cells"].reshape(-1, spark["bins"])[row]
            np.testing.assert_allclose(cells, inside / inside.max() * 255, atol=255 * 0.06)


def test_one_axis_serves_all_rows_and_holds_nearly_all_numbers_of_kernels(net, page):
    numbers = np.concatenate(
        [w.numpy().reshape(-1) for w in steelyard.weights(net).values() if str(w.role) in ("kernel", "bias")]
    )
    end = page.index["spark"]["end"]
    assert (np.abs(numbers) <= end).mean() >= 0.999
    assert end < 3 * np.quantile(np.abs(numbers), 0.999)


def test_a_picture_holds_the_largest_number_of_each_cell_within_half_a_step(net, page):
    for row, name in enumerate(page.index["columns"]["name"]):
        drawn = page.details[row][0]["picture"]
        matrix = steelyard.weights(net)[name].numpy().astype("f8").reshape(matrix_of(steelyard.weights(net)[name].shape))
        assert (drawn["rows"], drawn["columns"]) == matrix.shape
        cells = drawn["cells"].reshape(drawn["height"], drawn["width"]) * drawn["scale"] / 127
        down, across = drawn["down"], drawn["across"]
        for y in range(drawn["height"]):
            for x in range(drawn["width"]):
                cell = matrix[y * down : (y + 1) * down, x * across : (x + 1) * across].reshape(-1)
                assert abs(cells[y, x] - cell[np.abs(cell).argmax()]) <= drawn["scale"] / 254 + 1e-12


def test_the_filters_of_a_convolution_of_colours_are_its_pictures(net, page):
    row = page.index["columns"]["name"].index("conv.weight")
    found = page.details[row][0]["filters"]
    assert (found["count"], found["height"], found["width"], found["colours"], found["units"][7]) == (8, 5, 5, 3, "out 7")
    shown = found["cells"].reshape(8, 5, 5, 3) * found["scale"] / 127
    np.testing.assert_allclose(shown, net.conv.weight.detach().numpy().transpose(0, 2, 3, 1), atol=found["scale"] / 254 + 1e-9)
    assert page.details[page.index["columns"]["name"].index("fc.weight")][0]["filters"] is None


def test_the_singular_values_are_numpy_s_or_have_a_reason_for_their_absence(net, page):
    names = page.index["columns"]["name"]
    found = page.details[names.index("fc.weight")][0]["spectrum"]
    values = np.linalg.svd(net.fc.weight.detach().numpy(), compute_uv=False)
    assert found["known"] == 200
    assert len(found["values"]) == 128
    np.testing.assert_allclose(found["values"][[0, -1]], values[[0, -1]], rtol=1e-4)
    assert set(np.round(found["values"], 3)) <= set(np.round(values.astype("f4"), 3))
    bias = page.details[names.index("fc.bias")][0]
    assert (bias["spectrum"], bias["spectrum_why"]) == (None, "")  # a list of numbers has nothing to explain


def test_spectra_have_a_budget_and_can_be_requested_or_omitted(net, tmp_path, monkeypatch):
    monkeypatch.setattr(report_data, "WORK_BUDGET", 100_000)

    def kept(which):
        steelyard.report(net, tmp_path / "r.html", spectra=which)
        page = Page(tmp_path / "r.html")
        told = {name: each[0] for name, each in zip(page.index["columns"]["name"], page.details, strict=True)}
        return [name for name, each in told.items() if each["spectrum"]], told["fc.weight"]["spectrum_why"]

    assert kept("some") == (["conv.weight", "out.weight"], "it is large and was left out to save time; --spectra all includes it")
    assert kept("all") == (["conv.weight", "fc.weight", "out.weight"], "")
    assert kept("none") == ([], "no spectra were requested")
    with pytest.raises(ShapeError, match="spectra is 'few'; it must be one of some, all, none"):
        steelyard.report(net, tmp_path / "r.html", spectra="few")


def test_the_findings_are_those_of_check_with_health(tmp_path):
    chance = np.random.default_rng(0)
    ill = {
        "a": {"weight": np.zeros((8, 8), "f4")},
        "b": {"weight": np.where(np.arange(64).reshape(8, 8) == 9, np.nan, 1.0)},
        "c": {"weight": chance.standard_normal((8, 8))},
    }
    steelyard.report(ill, tmp_path / "r.html")
    want = [
        {word: value for word, value in each.to_dict().items() if word != "evidence"}
        for each in steelyard.check(ill, health=True).findings
    ]
    assert [each["kind"] for each in want] == ["not finite", "constant", "constant"]
    page = Page(tmp_path / "r.html")
    assert sorted(page.index["findings"], key=str) == sorted(want, key=str)
    detail = page.details[page.index["columns"]["name"].index("b.weight")][0]
    assert detail["statistics"]["first_nonfinite"] == [1, 1]
    assert detail["spectrum_why"] == "it contains NaN or Inf"
    assert (detail["picture"]["cells"] == -128).sum() == 1


def test_the_calls_of_a_pickle_are_among_the_findings(tmp_path):
    class Evil:
        def __reduce__(self):
            import os

            return os.system, ("echo gotcha",)

    torch.save({"w": torch.ones(2), "x": Evil()}, tmp_path / "evil.pt")
    assert main(["report", str(tmp_path / "evil.pt"), "-o", str(tmp_path / "r.html")]) == 0
    assert [each["what"] for each in Page(tmp_path / "r.html").index["findings"] if each["kind"] == "code"] == [
        each.what for each in steelyard.check(tmp_path / "evil.pt").findings if each.kind == "code"
    ]
    assert "gotcha" in Page(tmp_path / "r.html").index["findings"][0]["what"]


def test_tied_weights_are_measured_once_and_shown_alike(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(20, 6)
            self.head = nn.Linear(6, 20, bias=False)
            self.head.weight = self.words.weight

    steelyard.report(Tied(), tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    assert page.index["sources"][0]["tied"] == 1
    assert page.index["columns"]["tied"] == [None, "words.weight"]
    assert page.details[0][0]["statistics"] == page.details[1][0]["statistics"]


def test_every_number_is_read_once_and_once_more_for_a_comparison(tmp_path):
    reads = []

    def counting(name):
        def read(start, stop):
            reads.append((name, start, stop))
            return np.random.default_rng(ord(name[-1])).standard_normal(stop - start)

        return Weight(name="w", shape=(300_000,), dtype="float64", read=read)

    steelyard.report(Weights([counting("a")]), tmp_path / "r.html")
    assert sum(stop - start for _, start, stop in reads) == 300_000
    reads.clear()
    steelyard.report(Weights([counting("a")]), tmp_path / "r.html", before=Weights([counting("b")]))
    assert sum(stop - start for name, start, stop in reads if name == "a") <= 3 * 300_000 + 100_000


def trained(net, step=0.01):
    """A copy of a net with other numbers in its fully connected layers."""
    torch.manual_seed(1)
    after = {key: value.clone() for key, value in net.state_dict().items()}
    for key in ("fc.weight", "out.bias"):
        after[key] += step * torch.randn_like(after[key])
    return after


def test_two_sides_are_compared_as_diff_does(net, tmp_path):
    before, after = net.state_dict(), trained(net)
    del after["bn.bias"]
    after["extra"] = torch.ones(3)
    after["out.weight"] = torch.zeros(5, 5)
    steelyard.report(after, tmp_path / "r.html", before=before)
    page = Page(tmp_path / "r.html")
    rows = columns(page.index)
    for row in steelyard.diff(before, after).rows:
        found = rows[row.name or row.source]
        assert found["kind"] == row.kind
        assert found["name_before"] == row.source
        assert found["verdict"] == str(row.verdict or "")
        assert found["present"] == [bool(row.name), bool(row.source)]
        for word in ("changed", "max_abs", "relative", "cosine"):
            assert found[word] == (getattr(row, word) if row.kind in ("equal", "changed", "renamed") else None)
    assert list(rows)[-1] == "bn.bias"
    assert {row["kind"] for row in rows.values()} == {"equal", "changed", "added", "removed", "shape"}


def test_the_picture_of_a_difference_is_of_the_newer_minus_the_older(net, tmp_path):
    before, after = net.state_dict(), trained(net)
    steelyard.report(after, tmp_path / "r.html", before=before)
    page = Page(tmp_path / "r.html")
    details = dict(zip(page.index["columns"]["name"], page.details, strict=True))
    drawn = details["out.bias"][0]["difference"]
    assert drawn["down"] == drawn["across"] == 1
    want = (after["out.bias"].double() - before["out.bias"].double()).numpy()
    np.testing.assert_allclose(drawn["cells"] * drawn["scale"] / 127, want, atol=drawn["scale"] / 254 + 1e-9)
    assert details["conv.weight"][0]["difference"] is None
    np.testing.assert_array_equal(details["conv.weight"][0]["picture"]["cells"], details["conv.weight"][1]["picture"]["cells"])


def test_weights_of_another_framework_take_the_layout_of_their_partners(tmp_path):
    import keras

    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, name="a"), keras.layers.Dense(2, name="b")])
    other = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    steelyard.transfer(model, into=other)
    steelyard.report(other, tmp_path / "r.html", before=model)
    page = Page(tmp_path / "r.html")
    assert page.index["columns"]["kind"] == ["equal"] * 4
    assert "paired as transfer does" in page.index["notes"][0]
    for mine, theirs in page.details:
        np.testing.assert_array_equal(mine["picture"]["cells"], theirs["picture"]["cells"])


@pytest.fixture
def damaged(tmp_path):
    """A zipped file with a weight that cannot be read."""
    torch.manual_seed(0)
    arrays = {f"w{nth}": torch.randn(40, 40).numpy() for nth in range(4)}
    path = tmp_path / "damaged.npz"
    np.savez_compressed(path, **arrays)
    data = bytearray(path.read_bytes())
    at = data.index(b"w2.npy") + 400
    data[at : at + 60] = bytes(60)
    path.write_bytes(data)
    return path


def test_a_weight_that_cannot_be_read_is_shown_with_its_error_and_the_status_is_2(damaged, tmp_path, capsys):
    assert main(["report", str(damaged), "-o", str(tmp_path / "r.html")]) == 2
    assert capsys.readouterr().err == f"error: {damaged}: 1 of 4 weights cannot be read\n"
    page = Page(tmp_path / "r.html")
    errors = {name: each[0].get("error") for name, each in zip(page.index["columns"]["name"], page.details, strict=True)}
    assert [name for name, error in errors.items() if error] == ["w2"]
    assert "damaged" in errors["w2"]
    assert [each["name"] for each in page.index["findings"]] == ["w2"]
    assert page.index["columns"]["min"][2] is None
    assert page.index["columns"]["min"][3] is not None
    assert page.details[3][0]["picture"]["rows"] == 40


def test_a_weight_that_cannot_be_read_on_one_side_is_not_compared(damaged, tmp_path):
    whole = {f"w{nth}": np.zeros((40, 40), "f4") for nth in range(4)}
    steelyard.save(whole, tmp_path / "whole.safetensors")
    assert main(["report", str(tmp_path / "whole.safetensors"), "--before", str(damaged), "-o", str(tmp_path / "r.html")]) == 2
    page = Page(tmp_path / "r.html")
    assert page.index["columns"]["kind"] == ["changed", "changed", None, "changed"]
    assert page.details[2][0]["statistics"]["zeros"] == 1600
    assert "damaged" in page.details[2][1]["error"]


def test_a_report_of_no_weights_and_of_empty_ones_is_a_page_too(tmp_path):
    steelyard.report({}, tmp_path / "none.html")
    assert Page(tmp_path / "none.html").index["columns"]["name"] == []
    steelyard.report(
        {"a": np.zeros((0, 3)), "b": np.float32(2)}, tmp_path / "r.html", before={"a": np.zeros((0, 3)), "b": np.float32(3)}
    )
    page = Page(tmp_path / "r.html")
    assert page.details[0][0]["histogram"] is None
    assert page.index["columns"]["kind"] == ["equal", "changed"]
    assert page.details[1][0]["difference"]["scale"] == 1.0


def test_weights_of_every_type_are_shown(tmp_path):
    import ml_dtypes

    chance = np.random.default_rng(0)
    kinds = [
        "bool",
        "i1",
        "u1",
        "i4",
        "i8",
        "u8",
        "f2",
        "f4",
        "f8",
        "c8",
        ml_dtypes.bfloat16,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.int4,
    ]
    net = {str(np.dtype(kind)): (chance.standard_normal((6, 5)) * 2).astype(kind) for kind in kinds}
    steelyard.report(
        Weights([from_array(name, value) for name, value in net.items()]),
        tmp_path / "r.html",
        before={name: value.copy() for name, value in net.items()},
    )
    page = Page(tmp_path / "r.html")
    assert page.index["columns"]["dtype"] == [value.dtype.name for value in net.values()]
    assert page.index["columns"]["kind"] == ["equal"] * len(kinds)
    for (detail, _), value in zip(page.details, net.values(), strict=True):
        wide = np.abs(value) if value.dtype.kind == "c" else value.astype("f8")
        assert detail["statistics"]["max"] == pytest.approx(float(wide.max()), rel=1e-6)
        assert detail["picture"]["scale"] == pytest.approx(float(np.abs(wide).max()), rel=1e-6)


def test_numbers_beyond_float32_are_distinguished_from_infinities(tmp_path):
    steelyard.report({"w": np.array([[1e300, -np.inf], [2e300, 0.0]])}, tmp_path / "r.html")
    detail = Page(tmp_path / "r.html").details[0][0]
    assert detail["statistics"]["max"] == 2e300
    assert detail["statistics"]["inf"] == 1
    assert detail["picture"]["cells"].tolist() == [64, -128, 127, 0]
    steelyard.report({"w": np.array([[-1.7e308, 1.7e308]]), "v": np.full((2, 2), 1e300)}, tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    assert page.details[0][0]["histogram"] is None
    assert page.details[1][0]["histogram"]["low"] == 1e300


def test_every_tensor_of_a_file_is_shown_with_scope_all(tmp_path):
    torch.save({"model": {"w": torch.ones(2)}, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}, tmp_path / "x.pt")
    for part, count in (("model", 1), ("all", 2)):
        assert main(["report", str(tmp_path / "x.pt"), "-o", str(tmp_path / "r.html"), "--scope", part]) == 0
        assert len(Page(tmp_path / "r.html").index["columns"]["name"]) == count


def test_the_page_shows_the_error_of_a_failing_reader(tmp_path):
    lost = Weight(name="w", shape=(2, 2), dtype="float32", read=Refused(FormatError("net.pt", "is cut off", 3)))
    steelyard.report(Weights([lost]), tmp_path / "r.html")
    assert Page(tmp_path / "r.html").details == [
        [{"error": "net.pt: is cut off (at byte 3)", "spectrum": None, "spectrum_why": "it cannot be read"}, None]
    ]


@pytest.fixture
def many():
    """Return sixty small weights, of which one is larger, and one has equal outputs."""
    chance = np.random.default_rng(0)
    arrays = {f"{nth}.weight": chance.normal(size=(8, 4)).astype("f4") for nth in range(60)}
    arrays["40.weight"] = chance.normal(size=(16, 4)).astype("f4")
    arrays["50.weight"][1] = np.nan
    return arrays


def test_a_report_of_many_weights_has_the_details_of_the_largest_and_of_those_with_findings(many, tmp_path, monkeypatch):
    monkeypatch.setattr(report_data, "MANY", 60)
    monkeypatch.setattr(report_data, "OF_MANY", 3)
    steelyard.report(many, tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    names = page.index["columns"]["name"]
    detailed = [name for name, (after, _) in zip(names, page.details, strict=True) if after is not None]
    assert detailed == ["0.weight", "1.weight", "40.weight", "50.weight"]
    why = (
        "the report shows the details of the 3 largest of 60 weights and of those with findings, and the statistics of all; "
        "steelyard show FILE NAME shows any weight"
    )
    assert (page.pack("details-pack")["left_out"], page.index["notes"]) == (why, [why])
    assert {each["name"] for each in page.index["findings"]} == {"50.weight"}


def test_the_rows_without_details_have_the_statistics_that_they_have_with_details(many, tmp_path, monkeypatch):
    steelyard.report(many, tmp_path / "all.html")
    monkeypatch.setattr(report_data, "DETAILED", 3)
    steelyard.report(many, tmp_path / "some.html", before=many)
    full, some = Page(tmp_path / "all.html"), Page(tmp_path / "some.html")
    assert "left_out" not in full.pack("details-pack")
    assert [full.index["columns"][word] for word in STATISTICS] == [some.index["columns"][word] for word in STATISTICS]
    assert full.index["findings"] == some.index["findings"]
    assert full.details[40][0]["statistics"] == some.details[40][0]["statistics"]
