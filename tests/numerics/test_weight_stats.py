"""The figures of weights by name, and those of several merged into one row."""

import numpy as np
import pytest

from steelyard.core.readers import from_array
from steelyard.errors import ShapeError
from steelyard.numerics import weight_stats as weight_stats_module
from steelyard.numerics.summary import Summary, summarise
from steelyard.numerics.weight_stats import FIGURES, QUANTILES, Subject, WeightStats, merged, weight_stats

ARRAY = np.array([[1.0, np.nan, -2.0], [0.0, np.inf, 4.0]])
FINITE = np.array([1.0, -2.0, 0.0, 4.0])
CALLED = {0.01: "q01", 0.05: "q05", 0.25: "q25", 0.5: "median", 0.75: "q75", 0.95: "q95", 0.99: "q99"}


def row(name, *arrays, wide=True, subject=None):
    weights = [from_array(f"{name}{nth}", array) for nth, array in enumerate(arrays)]
    return weight_stats(subject or Subject(name=name), summarise(weights, wide=wide), weights)


def without_summary(subject):
    return WeightStats(subject, [0] * len(FIGURES))


def test_every_figure_is_an_attribute_of_its_own_name():
    found = row("w", ARRAY)
    wanted = {
        "count": 4, "min": -2.0, "max": 4.0, "mean": FINITE.mean(), "std": FINITE.std(), "l1": np.abs(FINITE).sum(),
        "l2": np.linalg.norm(FINITE), "rms": np.sqrt((FINITE**2).mean()), "zeros": 1, "near_zeros": 1, "nan": 1, "inf": 1,
    }  # fmt: skip
    for figure in FIGURES:
        assert getattr(found, figure) == pytest.approx(wanted[figure]), figure
    assert found.first_nonfinite == ("w0", (0, 1))


def test_the_first_number_that_is_not_finite_is_in_the_first_weight_that_has_one():
    assert row("w", FINITE, ARRAY, ARRAY).first_nonfinite == ("w1", (0, 1))
    assert row("w", FINITE).first_nonfinite is None


def test_the_plain_data_of_a_row_has_what_is_known():
    subject = Subject("w0", "layer", "kernel", (2, 3), "float64", 0, "out", 1)
    plain = row("w", ARRAY, subject=subject).to_dict()
    assert {word: plain[word] for word in Subject._fields} == {**subject._asdict(), "shape": [2, 3]}
    assert plain["first_nonfinite"] == {"weight": "w0", "index": [0, 1]}
    assert plain["quantile_error"] == row("w", ARRAY).quantile_error
    for share in QUANTILES:
        assert plain[CALLED[share]] == row("w", ARRAY).quantile(share)
    assert set(Subject(name="w").to_dict()) == {"name"}
    bare = without_summary(Subject(name="w")).to_dict()
    assert not {*CALLED.values(), "quantile_error"} & set(bare)
    assert bare["first_nonfinite"] is None
    assert repr(without_summary(Subject(name="w"))).startswith("WeightStats(name='w', count=0, ")


def test_a_row_without_numbers_of_its_own_has_no_quantiles_and_no_histogram():
    for found in (without_summary(Subject(name="w")), row("w", FINITE, wide=False)):
        assert found.quantile(0.5) is None
        with pytest.raises(ShapeError, match="there is no histogram"):
            found.histogram()
    assert without_summary(Subject(name="w")).quantile_error is None
    assert row("w", FINITE).quantile(0) == -2.0
    assert 0 < row("w", FINITE).quantile_error <= 1 / 256


@pytest.mark.parametrize("numbers", [[1.0, 2.0, 4.0], [3.0, 3.0], [-1.0], [0.0, 0.0], []])
def test_a_number_of_edges_means_equal_bins_from_the_minimum_to_the_maximum(numbers):
    counts, edges = row("w", np.array(numbers, "f2")).histogram(4)
    low, high = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
    assert edges.tolist() == np.linspace(low, high if high > low else low + 1, 5).tolist()
    assert counts.tolist() == np.histogram(numbers, edges)[0].tolist()
    assert row("w", np.array(numbers, "f2")).histogram(edges)[0].tolist() == counts.tolist()
    assert len(row("w", FINITE).histogram()[0]) == 64


def test_rows_are_merged_under_a_new_name_with_the_other_attributes_of_the_first():
    first = row("a", FINITE, subject=Subject("a", layer="l", role="kernel"))
    both = merged([first, row("b", ARRAY), without_summary(Subject(name="c"))], "both")
    assert both.subject == Subject("both", layer="l", role="kernel")
    assert (both.count, both.nan, both.inf) == (8, 1, 1)
    assert both.mean == FINITE.mean()
    assert both.first_nonfinite == ("b0", (0, 1))
    assert merged([first], "one").first_nonfinite is None
    assert both.quantile(0.5) is not None
    assert merged([first, row("b", FINITE, wide=False)], "both").quantile(0.5) is None


def test_merged_rows_keep_what_counts_as_near_zero():
    weight = from_array("w", np.array([1e-4, 1.0]))
    rows = [weight_stats(Subject(name=name), summarise([weight], near=1e-3), [weight]) for name in "ab"]
    assert merged(rows, "both").near_zeros == 2
    assert Summary().moments.near != 1e-3


def test_the_figures_of_a_summary_are_computed_once_and_at_the_first_access(monkeypatch):
    asked = []
    figures = weight_stats_module._figures
    monkeypatch.setattr(weight_stats_module, "_figures", lambda summary: asked.append(summary) or figures(summary))
    rows = [row(name, FINITE) for name in "abc"]
    assert [each.nan for each in rows] == [0, 0, 0]
    assert merged(rows, "all").summary.moments.count == 3 * rows[0].summary.moments.count
    assert asked == []
    assert (rows[1].std, rows[1].mean, rows[1].count) == (
        rows[1].summary.moments.std,
        rows[1].summary.moments.mean,
        rows[1].count,
    )
    assert asked == [rows[1].summary]
    with pytest.raises(AttributeError, match="no attribute 'median'"):
        _ = rows[0].median
