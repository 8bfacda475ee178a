"""Weights as HTML: escaped, without scripts, foldable, capped."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

import steelyard

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "\"' onmouseover='x",
    "a\x1b[2J\u202eb",
    "&lt;b&gt;",
    "</td></table>",
]
VOID = {"br", "hr", "img", "input", "link", "meta"}


class Reader(HTMLParser):
    """Collect tags, attributes and texts, and check that every tag is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.cells, self.text = [], [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert tag not in VOID
        self.tags.append(tag)
        self.attributes += attributes
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


def page(weights):
    return Reader(steelyard.weights(weights)._repr_html_())


def test_a_table_has_every_weight_and_the_totals():
    read = page({"fc": {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)}})
    assert read.cells[:4] == ["fc.kernel", "2×3", "float64", "kernel"]
    assert "fc.bias" in read.cells
    assert "2 weights, 9 parameters, 72 bytes" in read.text


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text_wherever_it_stands(name, many):
    weights = {f"{name}.{letter}.{2 * i}": np.array([np.nan]) for letter in ("ab" if many else "a") for i in range(30)}
    weights[name] = np.zeros(2)
    read = page(weights)
    assert set(read.tags) <= {"div", "table", "thead", "tbody", "tr", "th", "td", "p", "strong", "details", "summary", "code"}
    assert {key for key, _ in read.attributes} <= {"style"}
    assert not set("\x1b\u202e") & set(read.text)
    if name.isprintable():
        assert name in read.cells
    assert ("details" in read.tags) is many


def test_there_is_no_script_no_drawing_no_link_and_no_colour_of_its_own():
    text = steelyard.weights({"w": np.zeros(2)})._repr_html_()
    assert not re.search(r"<script|<svg|<img|<link|<style|href|src=|url\(|colou?r|background", text)


def test_repeated_blocks_are_folded():
    read = page({f"h.{i}.w": np.zeros(2) for i in range(12)})
    assert "h.[0-11].w" in read.cells
    assert "12 ×" in read.cells


def test_many_rows_are_put_away_by_layer():
    weights = {f"net.{part}.{chr(97 + i)}.w": np.zeros(i + 1) for part in ("encoder", "decoder") for i in range(25)}
    read = page(weights)
    assert read.tags.count("details") == 2
    assert "net.encoder · 25 weights, 325 parameters" in read.text
    assert len([cell for cell in read.cells if cell.startswith("net.")]) == 50


def test_no_more_than_200_rows_are_shown():
    text = steelyard.weights({f"{chr(97 + i % 26)}{i}.w": np.zeros(i + 1) for i in range(5000)})._repr_html_()
    read = Reader(text)
    assert read.tags.count("tr") == 200 + read.tags.count("thead")
    assert "... and 4,800 more rows" in read.text
    assert "5,000 weights" in read.text
    assert len(text) < 130_000


def test_nan_is_said_of_live_weights():
    assert "w is not finite: 1 NaN, first at [1]" in page({"w": np.array([0.0, np.nan])}).text


def test_an_empty_model_says_so():
    assert page({}).text == "no weights"


def test_a_tied_weight_names_its_owner():
    shared = np.zeros((2, 2))
    assert "tied to a" in page({"a": shared, "b": shared}).cells
