"""Displays in the places that show notebooks: each removes or confines something, and nothing that is shown may be lost.

JupyterLab's rules are in `htmlread`. Those of the others, as their sources and issues say:

- VS Code puts HTML into a page whose policy allows styles of elements; where a folder is not trusted it shows the plain text.
- Colab puts each output into a frame of its own, another origin, and may take frames out of it.
- GitHub keeps tables, details and titles, but no styles.
"""

import ast
import os
import pickle
import re
from html import escape
from pathlib import Path

import pytest
from displays import RESULTS, A, net
from playwright.sync_api import sync_playwright

import steelyard

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; require-trusted-types-for 'script'"
WIDTH = 1040
"""Pixels of an output in a window of 1300."""
WITHOUT_STYLES = re.compile(r' style="[^"]*"')
STEPS = {step: {"fc.weight": A["head.weight"] * step, "fc.bias": A["gone"]} for step in (1, 2, 3)}
DISPLAYS = {
    **RESULTS,
    "weights": lambda folder: steelyard.weights(net()),
    "a weight": lambda folder: steelyard.weights(A)["fc.weight"],
    "a grid": lambda folder: steelyard.grid(
        {f"h.{nth}.{part}.weight": A["fc"]["weight"] for nth in range(3) for part in ("up", "down")}
    ),
    "an audit": lambda folder: steelyard.audit(str(pickled(folder))),
    "a history": lambda folder: steelyard.history(STEPS),
    "its norms": lambda folder: steelyard.history(STEPS).norms(),
    "what moved": lambda folder: steelyard.history(STEPS).blame(),
    "an answer of a catalogue": lambda folder: cataloged(folder).query("select name, mean from weights order by name"),
    "two histories": lambda folder: steelyard.history(STEPS).compare(steelyard.history(STEPS)),
}
SEEN = """(root) => [...root.querySelectorAll("*")].map((each) => [each.tagName, each.style.cssText, each.title, each.colSpan ?? 1,
    [...each.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data).join("")])"""
"""What is there: tags, styles, titles, columns that a cell spans, and texts."""


def pickled(folder):
    path = folder / "net.pkl"
    path.write_bytes(pickle.dumps({"weight": A["gone"], "name": os.system}))
    return path


def cataloged(folder):
    steelyard.save(A, folder / "net.safetensors")
    return steelyard.catalog(folder / "net.safetensors", folder / "catalog.parquet")


@pytest.fixture(scope="module")
def displays(tmp_path_factory):
    """The HTML of each display."""
    folder = tmp_path_factory.mktemp("displays")
    return {name: (made() if name in RESULTS else made(folder))._repr_html_() for name, made in DISPLAYS.items()}


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def page(chromium):
    """A page as wide as an output, on which nothing may go wrong and which may ask for nothing."""
    opened, wrong = chromium.new_page(viewport={"width": WIDTH, "height": 900}), []
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda request: wrong.append(request.url))
    yield opened
    opened.close()
    assert wrong == []


def test_each_type_that_a_notebook_displays_is_tried(tmp_path):
    texts = [path.read_text() for path in Path(steelyard.__file__).parent.rglob("*.py")]
    bodies = [ast.parse(text).body for text in texts if "def _repr_html_" in text]
    classes = [node for body in bodies for node in body if isinstance(node, ast.ClassDef)]
    shown = {each.name for each in classes if any(getattr(part, "name", "") == "_repr_html_" for part in each.body)}
    tried = {type(made() if name in RESULTS else made(tmp_path)).__name__ for name, made in DISPLAYS.items()}
    assert shown - {"Report"} == tried


def seen_plainly(page, html):
    """Return what a page without any rule shows."""
    page.set_content(f"<!doctype html><body><main>{html}</main>")
    return page.locator("main").evaluate(SEEN)


def test_vs_code_s_policy_takes_nothing_from_a_display(displays, page):
    whole = {name: seen_plainly(page, html) for name, html in displays.items()}
    page.set_content(f'<!doctype html><meta http-equiv="Content-Security-Policy" content="{POLICY}"><body><main></main>')
    page.evaluate("window.policy = trustedTypes.createPolicy('notebookRenderer', { createHTML: (text) => text })")
    for name, html in displays.items():
        page.locator("main").evaluate("(main, html) => (main.innerHTML = window.policy.createHTML(html))", html)
        assert page.locator("main").evaluate(SEEN) == whole[name], name


def test_where_vs_code_shows_no_html_the_text_says_as_much(displays, tmp_path):
    for name, made in DISPLAYS.items():
        text = repr(made() if name in RESULTS else made(tmp_path))
        assert text.strip(), name
        assert not text.startswith("<steelyard"), name


def test_a_frame_of_colab_without_scripts_shows_all_and_does_not_scroll_sideways(displays, page):
    for name, html in displays.items():
        whole = seen_plainly(page, html)
        page.set_content(
            f'<!doctype html><body style="margin:0"><iframe sandbox="" width="{WIDTH}" height="800" srcdoc="{escape(html)}">'
        )
        frame = page.frames[-1]
        frame.wait_for_selector("body > div, body > p", state="attached")
        assert frame.locator("body").evaluate(SEEN) == whole, name
        assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


def test_a_report_whose_frame_is_taken_out_is_a_sentence(page):
    html = steelyard.report(A)._repr_html_()
    page.set_content(re.sub("<iframe.*?</iframe>", "", html, flags=re.DOTALL))
    assert re.fullmatch(r"report of dict: 4 rows, .* kB; .save\(PATH\) writes it", page.locator("body").inner_text())


def test_without_styles_every_text_title_and_section_remains(displays, page):
    for name, html in displays.items():
        whole = seen_plainly(page, html)
        bare = seen_plainly(page, WITHOUT_STYLES.sub("", html))
        assert [[tag, *rest] for tag, _, *rest in bare] == [[tag, *rest] for tag, _, *rest in whole], name
