"""Results as HTML: exactly the content of the terminal's text."""

import re

import numpy as np
import pytest
from displays import HOSTILE, RESULTS, RNG, A, B
from htmlread import Page

import steelyard
from steelyard.measures.diff import Difference
from steelyard.measures.stats import Stats
from steelyard.text import results
from steelyard.text.markup import LIMIT
from steelyard.transfers.proof import LayerError, Proof


def gone(row):
    raise OSError("the file is gone")


def words(text):
    return set(re.findall(r"[\w.×]{3,}", text))


@pytest.mark.parametrize("name", RESULTS)
def test_every_word_and_number_of_the_terminal_is_in_the_notebook(name):
    result = RESULTS[name]()
    read = Page(result._repr_html_())
    empty = {"layout"}  # the header of a column that a notebook omits if it is empty
    assert words(repr(result)) - words(" ".join(read.pieces)) - empty == set()


@pytest.mark.parametrize("name", ["stats", "diff", "spectra", "check", "digest", "lineage", "plan", "transfer"])
def test_tables_have_headers_captions_or_summaries_and_a_header_for_each_row(name):
    read = Page(RESULTS[name]()._repr_html_())  # this checks that each header has its scope
    assert read.captions or read.summaries
    assert (
        read.tags.count("th") == len(read.rows[0]) * read.tags.count("thead") + read.tags.count("tr") - read.tags.count("thead")
        or name in ("transfer", "stats")  # of several tables
    )


def test_a_result_of_very_many_rows_is_truncated_with_a_note():
    rows = steelyard.stats({"w": np.arange(3000.0)}).rows * 1000
    read = Page(Stats("weight", rows)._repr_html_())
    tables = read.tags.count("table")  # the second has the figures without room
    shown = read.tags.count("tr") // tables - 1
    assert LIMIT // 3 < shown <= LIMIT
    assert f"... and {1000 - shown:,} more rows" in read.text
    assert len(read.source.encode()) < 200 << 10


def test_figures_that_do_not_fit_are_in_a_section_below_and_no_table_is_wider_than_an_output():
    made = {f"encoder.layers.{nth}.self_attn.out_proj.weight": RNG.normal(size=(nth + 3, 4)) / 7 for nth in range(12)}
    read = Page(steelyard.stats(made)._repr_html_())
    assert {"min", "mean", "max", "std"} <= set(read.rows[0])
    moved = read.summaries[0].split(", ")
    assert {"l1", "rms"} <= set(moved)
    assert not set(moved) & set(read.rows[0])
    below = next(row for row in read.rows[1:] if row[0] == "name")
    assert below == ["name", *moved]


def test_the_levels_of_a_tree_are_indented():
    text = steelyard.size({"encoder": {"fc.weight": np.ones((2, 3)), "norm.weight": np.ones(3)}})._repr_html_()
    assert re.search(r'<th scope="row" style="[^"]*white-space:pre;">  \S', text)
    assert re.search(r'white-space:nowrap;">encoder', text)


def test_a_diff_has_histograms_and_tints_unless_too_much_would_be_read(monkeypatch):
    text = steelyard.diff(A, B)._repr_html_()
    read = Page(text)
    place = read.rows[0].index(next(head for head in read.rows[0] if re.fullmatch(r" *-[0-9.]+ +0 +[0-9.]+", head)))
    row = next(row for row in read.rows if row[0] == "head.weight")
    assert re.fullmatch("[ ◂][▁-█]{17}[ ▸]", row[place])
    assert re.search(r"background-color:#[0-9a-f]{8};[^>]*>-?[0-9.]+<", text)
    monkeypatch.setattr(results, "READ", 10)
    assert not re.search("[▁-█]", steelyard.diff(A, B)._repr_html_())


def test_a_diff_is_shown_without_histograms_if_a_side_can_no_longer_be_read():
    found = steelyard.diff(A, B)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Difference, "summary", gone)
        read = Page(found._repr_html_())
    assert "head.weight" in read.cells
    assert not re.search("[▁-█]", read.text)


def test_an_error_and_a_warning_have_different_tints():
    found = steelyard.check({"a": np.array([np.nan, 1.0]), "dead.weight": np.zeros((8, 8))}, health=True)
    tints = dict(re.findall(r"background-color:(#[0-9a-f]{8});\">(error|warning)<", found._repr_html_()))
    assert len(tints) == 2


def test_very_many_sentences_are_cut_before_rows_are():
    found = steelyard.spectra(
        {f"w{nth}": np.outer(np.arange(1.0, 41), np.ones(30)) + RNG.normal(size=(40, 30)) for nth in range(60)}
    )
    assert sum(bool(row.verdict) for row in found.rows) == 60
    read = Page(found._repr_html_())
    assert read.tags.count("tr") == 61
    assert "... and 41 more lines" in read.text


def test_hostile_names_are_text_in_every_result():
    hostile = {HOSTILE: RNG.normal(size=(8, 8)), "b": np.array([np.nan])}
    other = {HOSTILE: hostile[HOSTILE] + 1, "b": np.array([np.nan])}
    results = [
        steelyard.stats(hostile),
        steelyard.diff(hostile, other),
        steelyard.spectra(hostile),
        steelyard.check({HOSTILE: np.array([np.nan])}),
        steelyard.digest(hostile, "sha256"),
        steelyard.lineage({HOSTILE: hostile, "b": other}),
        Proof(f"why {HOSTILE}"),
        Proof(layers=[LayerError(HOSTILE, HOSTILE, 1.0)]),
    ]
    for result in results:
        read = Page(result._repr_html_())
        assert HOSTILE.replace("\u202e", "\\u202e") in read.text
        assert "\u202e" not in read.text
