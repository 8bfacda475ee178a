"""The kernel's side of a widget: answers to the page's messages, without a browser."""

import gc
import sys
import weakref

import numpy as np
import pytest
from inspector.packs import unpacked as unpack

import steelyard
from steelyard.errors import MissingExtraError
from steelyard.inspector import widget as module
from steelyard.inspector.api import Api
from steelyard.inspector.questions import QUESTIONS

NET = {"fc.weight": np.arange(12.0).reshape(3, 4), "fc.bias": np.zeros(3)}


class View:
    """A view that keeps what it is sent."""

    def __init__(self):
        self.sent, self.closed = [], False

    def on_msg(self, answer):
        self.answer = answer

    def send(self, content, buffers=()):
        self.sent.append((content, list(buffers)))

    def close(self):
        self.closed = True

    def ask(self, what, view="a", **query):
        self.answer(self, {"view": view, "id": 7, "what": what, "query": query}, [])
        return self.sent[-1] if self.sent else None


def shown(*sources):
    view = View()
    return view, module.Widget(view, Api(sources), "net", 500)


def test_the_page_asks_for_itself_then_for_its_index_and_windows_of_numbers():
    view, _kept = shown(NET)
    head, [text] = view.ask("page")
    assert head == {"what": "page", "view": "a", "id": 7, "title": "net", "height": 500}
    assert b'postMessage({ what: "refresh" })' in text
    assert b"function embedded(" not in text  # of a report
    head, [pack] = view.ask("index")
    assert (head["view"], head["id"]) == ("a", 7)
    assert unpack(pack)["columns"]["name"] == ["fc.weight", "fc.bias"]
    _, [pack] = view.ask("values", row=0, side=0, top=1, left=2, bottom=3, right=4)
    assert unpack(pack)["texts"] == ["6.0", "7.0", "10.0", "11.0"]


def test_its_questions_are_those_of_the_server_but_for_downloads():
    view, _kept = shown(NET)
    for what in QUESTIONS:
        head, _ = view.ask(what)
        assert ("unknown question" in head.get("error", "")) is (what == "download")


@pytest.mark.parametrize(
    ("what", "query", "error"),
    [
        ("values", {"row": 9, "side": 0, "top": 0, "left": 0, "bottom": 1, "right": 1}, "unknown row 9: there are 2"),
        ("detail", {"row": -1, "side": 0}, "row must be a whole number, zero or more, not '-1'"),
        ("detail", {}, "row must be a whole number, zero or more, not ''"),
        ("compare", {"row": 0}, "there is only one source, so there is nothing to compare it with"),
        ("__class__", {}, "unknown question '__class__'"),
        (None, {}, "unknown question 'None'"),
    ],
)
def test_a_wrong_question_gets_one_line(what, query, error):
    view, _kept = shown(NET)
    head, buffers = view.ask(what, **query)
    assert (head["error"], head["status"], buffers) == (error, 400, [])


def test_a_fault_of_ours_is_answered_too(monkeypatch):
    view, _kept = shown(NET)
    monkeypatch.setitem(QUESTIONS, "index", lambda api, query: 1 / 0)
    assert view.ask("index")[0]["error"] == "the answer failed: ZeroDivisionError"


def test_a_live_model_shows_its_current_numbers_when_the_page_asks_anew():
    net = {"w": np.zeros((2, 2))}
    view, kept = shown(net)
    assert unpack(view.ask("detail", row=0, side=0)[1][0])["statistics"]["max"] == 0
    net["w"][1, 1] = 5
    kept.refresh()
    assert view.sent[-1] == ({"what": "refresh"}, [])
    view.ask("index")
    assert unpack(view.ask("detail", row=0, side=0)[1][0])["statistics"]["max"] == 5


def test_a_widget_ends_when_no_cell_shows_it_and_no_variable_has_it():
    view, kept = shown(NET)
    view.ask("page", "a")
    view.ask("page", "b")
    del kept
    gc.collect()
    view.ask("closed", "a")
    assert not view.closed
    view.ask("closed", "b")
    assert view.closed


def test_a_widget_that_a_variable_has_can_be_shown_again():
    view, kept = shown(NET)
    view.ask("page")
    view.ask("closed")
    assert not view.closed
    kept.close()
    assert view.closed


def test_a_widget_of_a_notebook_lets_go_of_its_model_when_it_is_closed():
    class Model(dict):
        pass

    net = Model(NET)
    gone = weakref.ref(net)
    made = steelyard.widget(net)
    assert repr(made) == "the inspector of Model: a notebook shows it"
    assert "application/vnd.jupyter.widget-view+json" in made._repr_mimebundle_()[0]
    made.close()
    del made, net
    gc.collect()
    assert gone() is None


def test_without_the_extra_one_line_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(MissingExtraError, match=r"the inspector in a notebook needs .*steelyard\[notebook\]"):
        steelyard.widget(NET)


def test_a_source_that_is_none_raises_as_weights_does(tmp_path):
    with pytest.raises(FileNotFoundError):
        steelyard.widget(tmp_path / "missing.npz")
