"""`widget`: the inspector in a notebook's cell; its page asks the kernel for what it shows, so a net of any size opens at once.

The page is in a frame, like that of a report: neither its style nor its keys reach the notebook. `host.js` runs in the notebook,
and passes messages on. A question is `{"view": ..., "id": ..., "what": ..., "query": {...}}`, with the words of `questions`; its
answer has the same view and id, and a pack or an error.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any
from weakref import finalize

from steelyard.errors import MissingExtraError, ShapeError, SteelyardError, printable, quoted
from steelyard.inspector.questions import QUESTIONS, Query
from steelyard.inspector.report import HEIGHT, framed

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.inspector.api import Api


def widget(source: object, before: object = None, *, scope: Scope = "model", height: int = HEIGHT) -> Widget:
    """Show a model, a file or anything else that `weights` takes in a notebook's cell, as `serve` shows it in the browser.

    Numbers are read when the page shows them. A live model shows its current numbers whenever the page is refreshed, by its
    button or by `Widget.refresh`. With `before`, an older source of any format or framework, the page also shows the differences.
    `scope` is that of `weights`, and `height` is the height of the cell's output in pixels. Raises the errors of `weights`, and
    `MissingExtraError` without the extra "notebook".

    Examples:
        >>> import steelyard
        >>> shown = steelyard.widget({"fc.weight": [[0.5, -1.0]]})  # doctest: +SKIP
        >>> shown.refresh()  # doctest: +SKIP
    """
    try:
        from anywidget import AnyWidget
    except ModuleNotFoundError as error:
        raise MissingExtraError("the inspector in a notebook", "notebook") from error

    from steelyard.inspector.api import Api

    sources = [each for each in (source, before) if each is not None]
    api = Api(sources, scope)
    title = " compared with ".join(printable(each.name) for each in api.sources)
    view = AnyWidget(_esm=(files("steelyard.inspector") / "host.js").read_text("utf-8"))
    return Widget(view, api, title, height)


class Widget:
    """The inspector in a notebook: its last line of a cell shows it. `view` is the widget, for layouts of ipywidgets."""

    __slots__ = ("__weakref__", "_title", "view")

    def __init__(self, view: Any, api: Api, title: str, height: int) -> None:
        self.view, self._title = view, title
        kernel = Kernel(view, api, {"title": title, "height": height})
        view.on_msg(kernel.answer)
        finalize(self, kernel.abandon)

    def __repr__(self) -> str:
        return f"the inspector of {self._title}: a notebook shows it"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.view._repr_mimebundle_(**options)

    def refresh(self) -> None:
        """Show the numbers as they are now, also in the middle of a training loop; the open weight stays open."""
        self.view.send({"what": "refresh"})

    def close(self) -> None:
        """Remove the page from the notebook, and let go of the model."""
        self.view.close()


class Kernel:
    """The kernel's end of a widget. It closes the widget when no cell shows it and no variable has it, and frees the model."""

    __slots__ = ("_abandoned", "_api", "_frame", "_shown", "_view")

    def __init__(self, view: Any, api: Api, frame: dict[str, Any]) -> None:
        self._view, self._api, self._frame = view, api, frame
        self._shown: set[str] = set()
        self._abandoned = False

    def answer(self, _view: object, question: dict[str, Any], _buffers: object) -> None:
        """Answer a message of a cell that shows the widget."""
        what, cell = str(question.get("what")), str(question.get("view"))
        if what == "closed":
            self._shown.discard(cell)
            if self._abandoned and not self._shown:
                self._close()
            return
        self._shown.add(cell)
        head = {"what": what, "view": cell, "id": question.get("id"), **(self._frame if what == "page" else {})}
        try:
            pack = framed(self._frame["title"]).encode() if what == "page" else answered(self._api, what, question.get("query"))
        except (SteelyardError, OSError) as error:
            self._view.send({**head, "error": printable(error, 1000), "status": 400})
        except Exception as error:  # noqa: BLE001 - the page must not wait for an answer forever
            self._view.send({**head, "error": f"the answer failed: {type(error).__name__}", "status": 500})
        else:
            self._view.send(head, [pack])

    def abandon(self) -> None:
        """Close the widget as soon as no cell shows it any more: no variable has it."""
        self._abandoned = True

    def _close(self) -> None:
        self._api.stop()
        self._view.close()


def answered(api: Api, what: str, query: object) -> bytes:
    """Return the answer to a question of the page; raises `ShapeError` for an unknown one, and for wrong parameters."""
    if what not in QUESTIONS or what == "download" or not isinstance(query, dict):
        raise ShapeError(f"unknown question {quoted(what, 40)}")
    pack: bytes = QUESTIONS[what](api, Query([(str(word), str(value)) for word, value in query.items()]))
    return pack
