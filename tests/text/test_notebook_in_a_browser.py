"""A notebook that is run, exported and opened in a browser, light and dark, with and without sanitizing."""

import os
import re
from pathlib import Path
from shutil import which

import nbformat
import pytest
from htmlread import ATTRIBUTES, STYLES, TAGS

import steelyard

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</details></summary>",
    "\"' onmouseover='alert(2)",
    "<script>alert(3)</script>",
    "a\u202eb",
]
MODEL = """
import numpy as np, steelyard, torch
net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
steelyard.save(net, "net.safetensors")
steelyard.weights(net)
"""
CELLS = [
    MODEL,
    "steelyard.weights('net.safetensors')['0.weight']",
    "steelyard.weights({f'{part}.{chr(97 + i)}.w': np.full(i + 1, i - 12.0) for part in ('encoder', 'decoder') for i in range(25)})",
    "steelyard.weights({'known': np.array([[1.0, -2.0, np.nan], [0.0, 2.0, -1.0]])})['known']",
    f"hostile = {{name: np.eye(3) for name in {HOSTILE!r}}}; steelyard.weights(hostile)",
    f"steelyard.weights(hostile)[{HOSTILE[0]!r}]",
    "steelyard.stats(hostile)",
    "steelyard.diff(hostile, {name: array + 1 for name, array in hostile.items()})",
    "steelyard.check({name: array / 0 for name, array in hostile.items()})",
]
OUTPUT = ".jp-RenderedHTML"
LOOK = f"""() => [...document.querySelectorAll("{OUTPUT} *")].map(e => [e.tagName, e.style.cssText, e.title, e.scope ?? "",
    [...e.childNodes].filter(n => n.nodeType === Node.TEXT_NODE).map(n => n.data).join("")])"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """The notebook with its outputs."""
    from nbclient import NotebookClient

    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    source = str(Path(steelyard.__file__).parent.parent)
    folder = str(tmp_path_factory.mktemp("notebook"))
    client = NotebookClient(made, timeout=120, resources={"metadata": {"path": folder}})
    client.execute(env={**os.environ, "PYTHONPATH": source, "PYTHONWARNINGS": "ignore"})
    return made


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or which("chromium")
    if chromium is None:
        pytest.fail("Chromium is missing: install it, or set CHROMIUM to where it is")
    with sync_playwright() as started:
        made = started.chromium.launch(executable_path=chromium, args=QUIET)
        yield made
        made.close()


@pytest.fixture
def opened(browser, notebook, tmp_path):
    """A function that exports the notebook and opens it; afterwards there must be no errors and no requests."""
    pages, wrong = [], []

    def open_page(theme="light", **settings):
        from nbconvert import HTMLExporter

        exporter = HTMLExporter(theme=theme, **settings)
        text, _ = exporter.from_notebook_node(nbformat.from_dict(notebook))
        # the exporter loads scripts for mathematics and diagrams; outputs do not need them
        text = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
        file = tmp_path / f"{theme}{len(pages)}.html"
        file.write_text(text)
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: wrong.append(request.url) if request.url != file.as_uri() else None)
        page.goto(file.as_uri())
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not wrong


def test_every_cell_has_html_and_text(notebook):
    for cell in notebook.cells:
        assert {"text/html", "text/plain"} <= set(cell.outputs[-1]["data"]), cell.source
        assert len(cell.outputs[-1]["data"]["text/html"].encode()) < 200 << 10


def test_the_tree_opens_by_click_and_by_keyboard(opened):
    page = opened()
    folded = page.locator(f"{OUTPUT} details", has_text="encoder · 25 weights")
    row = folded.locator("th", has_text="encoder.c.w")
    assert not row.is_visible()
    folded.locator("summary").click()
    assert row.is_visible()
    folded.locator("summary").focus()
    page.keyboard.press("Enter")
    assert not row.is_visible()
    page.keyboard.press("Space")
    assert row.is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_known_numbers_have_known_colours_whatever_the_theme(opened, theme):
    page = opened(theme)
    table = page.locator(f"{OUTPUT} table", has_text="known, drawn as 2 × 3: each cell is one number")
    cells = {cell.get_attribute("title"): cell for cell in table.locator("td").all()}
    colours = {place: cell.evaluate("e => getComputedStyle(e).backgroundColor") for place, cell in cells.items()}
    assert colours == {
        "0, 0: 1": "rgba(194, 87, 26, 0.5)",
        "0, 1: -2": "rgb(43, 108, 176)",
        "0, 2: not finite": "rgba(0, 0, 0, 0)",
        "1, 0: 0": "rgba(194, 87, 26, 0)",
        "1, 1: 2": "rgb(194, 87, 26)",
        "1, 2: -1": "rgba(43, 108, 176, 0.5)",
    }
    assert cells["0, 2: not finite"].text_content() == "×"
    boxes = [cell.bounding_box() for cell in cells.values()]
    assert all(box["width"] == box["height"] == 28 for box in boxes)
    assert table.locator("tr").first.evaluate("e => getComputedStyle(e).backgroundColor") == "rgba(0, 0, 0, 0)"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_have_the_colour_of_the_page_and_contrast_with_it(opened, theme):
    page = opened(theme)
    colours = page.evaluate(
        f"""() => [...new Set([...document.querySelectorAll("{OUTPUT} :is(th, td, p, summary, caption, pre)")]
            .map(e => getComputedStyle(e).color))].map(c => c.match(/[0-9.]+/g).map(Number))"""
    )
    background = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).map(Number)")
    assert len(colours) <= 3  # the theme's own
    assert (sum(background[:3]) > 384) is (theme == "light")
    for colour in colours:
        assert contrast(over(colour, background), background[:3]) > 7
    for end in ([43, 108, 176], [194, 87, 26]):  # of the scale
        assert contrast(end, background[:3]) > 3


def over(colour, background):
    share = colour[3] if len(colour) == 4 else 1
    return [share * one + (1 - share) * other for one, other in zip(colour, background, strict=False)]


def contrast(one, other):
    """The contrast of two colours as WCAG defines it."""
    light = []
    for colour in (one, other):
        parts = [part / 255 / 12.92 if part / 255 <= 0.04045 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour]
        light.append(0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2])
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_hostile_names_are_text_and_nothing_runs(opened):
    page = opened()
    assert page.locator(f"{OUTPUT} :is(img, script, svg, iframe, link, style, a)").count() == 0
    assert page.locator(f"{OUTPUT} [onerror], {OUTPUT} [onmouseover]").count() == 0
    heads = page.locator(f"{OUTPUT} th").all_text_contents()
    for name in HOSTILE:
        assert heads.count(name.replace("\u202e", "\\u202e")) >= 4


def test_nothing_is_lost_where_a_notebook_is_sanitized_as_jupyterlab_does(opened):
    from nbconvert.preprocessors.sanitize import SanitizeHTML

    allowed = {tag: [key for key, tags in ATTRIBUTES.items() if tags == "*" or tag in tags] for tag in TAGS}
    strict = {"enabled": True, "tags": sorted(TAGS), "attributes": allowed, "styles": sorted(STYLES), "strip": True}
    sanitized = opened(preprocessors=[SanitizeHTML(**strict)])
    assert sanitized.evaluate(LOOK) == opened().evaluate(LOOK)


def test_if_nbconvert_keeps_only_text_every_text_remains(opened):
    page = opened(sanitize_html=True)
    text = page.locator("body").inner_text()
    assert "drawn as 2 × 3: each cell is one number" in text
    for name in HOSTILE:
        assert name.replace("\u202e", "\\u202e") in text
    assert page.locator(f"{OUTPUT} img").count() == 0
