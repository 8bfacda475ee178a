"""The index of a page: rows in natural order, and their places in the vector, which keeps the order of the source."""

import numpy as np
from inspector.packs import Page

import steelyard
from steelyard.inspector.index import index_of, open_source, rows_of
from steelyard.measures.headline import sentence
from steelyard.text.changes import changed


def test_rows_are_in_natural_order_and_know_their_places_in_the_vector():
    net = steelyard.weights({f"h.{nth}.w": np.full(nth + 1, float(nth)) for nth in (0, 1, 10, 2)} | {"out": np.zeros(0)})
    sources = [open_source(net)]
    rows, pairing = rows_of(sources)
    index = index_of(sources, rows, pairing, live=False)
    columns = index["columns"]
    assert columns["name"] == ["h.0.w", "h.1.w", "h.2.w", "h.10.w", "out"]
    starts = dict(zip(columns["name"], columns["start"].astype(int).tolist(), strict=True))
    vector = net.to_vector()
    assert all(np.array_equal(vector[starts[name] :][: weight.size], weight.numpy()) for name, weight in net.items())
    assert index["notes"] == ["blocks are shown by number; the source, and so the vector, has h.10 before h.2"]


def test_rows_without_entries_of_their_own_have_no_place():
    shared = np.ones(3)
    after, before = steelyard.weights({"a": shared, "b": shared}), steelyard.weights({"a": np.ones(3), "gone": np.ones(2)})
    sources = [open_source(after), open_source(before)]
    rows, pairing = rows_of(sources)
    columns = index_of(sources, rows, pairing, live=False)["columns"]
    places = dict(zip(columns["name"], columns["start"].tolist(), strict=True))
    assert places == {"a": 0, "b": -1, "gone": -1}


def test_removed_weights_come_last_in_natural_order():
    after = steelyard.weights({"out": np.ones(2)})
    before = steelyard.weights({f"h.{nth}.w": np.ones(2) for nth in (1, 10, 2)} | {"out": np.ones(2)})
    rows, _ = rows_of([open_source(after), open_source(before)])
    assert [row.weight.name for row in rows] == ["out", "h.1.w", "h.2.w", "h.10.w"]


def test_a_page_has_the_sentence_of_its_net_and_a_report_that_of_what_changed(tmp_path):
    after, before = ({"fc.weight": np.full((3, 4), number), "fc.bias": np.zeros(3)} for number in (1.0, 2.0))
    steelyard.report(after, tmp_path / "r.html", before=before)
    index = Page(tmp_path / "r.html").index
    assert index["headline"] == sentence(steelyard.weights(after))
    assert index["changed"] == changed(steelyard.diff(before, after).rows) == "1 of 2 weights changed, scaled"
