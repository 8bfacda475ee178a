"""Tables, a report and two widgets in a live JupyterLab, 1300 pixels wide: run, refreshed, run again, dark, and not trusted."""

import json
from urllib.parse import urlsplit

import pytest
from inspector.browser.jupyter import jupyterlab, run_all, write

SETUP = """
import numpy as np, steelyard
made = np.random.default_rng(0)
net = {"fc1.weight": made.normal(size=(10, 64)).astype("f4"), "fc1.bias": np.zeros(10, "f4"), "fc2.weight": np.ones((4, 10), "f4")}
gpt2 = {f"transformer.h.{i}.{leaf}.weight": made.normal(size=shape) for i in range(12)
        for leaf, shape in (("attn.c_attn", (24, 72)), ("mlp.c_fc", (24, 96)), ("ln_1", (24,)))}
steelyard.stats(gpt2)
"""
CELLS = [
    SETUP,
    "steelyard.weights(gpt2)",
    "steelyard.diff(gpt2, {name: 1.1 * array for name, array in gpt2.items()})",
    "steelyard.report(net)",
    "shown = steelyard.widget(net)\nshown",
    "steelyard.widget(gpt2, height=500)",
]
TABLES, REPORT, WIDGET, OTHER = (0, 1, 2), 3, 4, 5
HEIGHTS = "e => [...e.querySelectorAll('tbody tr')].map(row => Math.round(row.getBoundingClientRect().height))"


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """The address, the folder, and the page in which the notebook ran; by the end, no error and no foreign request."""
    folder = tmp_path_factory.mktemp("lab")
    write(folder / "net.ipynb", *CELLS)
    with jupyterlab(folder) as address:
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.set_default_timeout(60_000)
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}lab/tree/net.ipynb")
        run_all(page)
        output(page, OTHER).wait_for()
        yield address, folder, page
        assert said == []
        assert {urlsplit(url).netloc for url in asked} <= {urlsplit(address).netloc, ""}
        page.close()


def output(page, cell):
    return page.locator(".jp-Notebook:visible .jp-Cell").nth(cell).locator(".jp-OutputArea-output")


def inside(page, cell):
    """The page in the frame of a cell, once it is ready."""
    frame = output(page, cell).locator("iframe").content_frame
    frame.locator("main[data-ready]").wait_for()
    return frame


def run(page, code):
    page.evaluate("code => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({code}).done", code)


def test_every_table_fits_the_output_and_each_of_its_rows_is_one_line(lab):
    _, _, page = lab
    for cell in TABLES:
        shown = output(page, cell)
        shown.scroll_into_view_if_needed()
        assert shown.evaluate("e => e.scrollWidth <= e.clientWidth")
        heights = shown.locator("table").first.evaluate(HEIGHTS)
        assert max(heights) - min(heights) <= 1
        assert max(heights) < 30


def test_a_report_is_shown_in_place_and_its_weights_open(lab):
    _, _, page = lab
    frame = inside(page, REPORT)
    frame.locator(".rows > .row", has_text="fc2.weight").click()
    frame.locator(".detail", has_text="fc2.weight").wait_for()
    assert "3 rows" in output(page, REPORT).locator("p").inner_text()


def test_two_widgets_show_their_own_nets(lab):
    _, _, page = lab
    assert inside(page, WIDGET).locator(".rows > .row").count() == 3
    assert inside(page, OTHER).locator(".rows > .row").first.inner_text().startswith("transformer")


def test_refresh_shows_the_current_numbers_of_a_live_model_and_training_may_ask_for_it(lab):
    _, _, page = lab
    row = inside(page, WIDGET).locator(".rows > .row", has_text="fc2.weight")
    row.get_by_text("1", exact=True).first.wait_for()
    run(page, "net['fc2.weight'] *= -7")
    inside(page, WIDGET).get_by_role("button", name="Refresh").click()
    row.get_by_text("-7", exact=True).first.wait_for()
    run(page, "net['fc2.weight'] *= 2; shown.refresh()")
    row.get_by_text("-14", exact=True).first.wait_for()


def test_the_pages_become_dark_with_the_notebook_and_light_again(lab):
    _, _, page = lab
    for theme, dark in (("JupyterLab Dark", True), ("JupyterLab Light", False)):
        page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
        page.wait_for_function("dark => (document.body.dataset.jpThemeLight === 'false') === dark", arg=dark)
        for cell in (REPORT, WIDGET):
            paper = (
                inside(page, cell)
                .locator("body")
                .evaluate("e => getComputedStyle(e).backgroundColor.match(/[0-9]+/g).map(Number)")
            )
            assert (max(paper) < 60) is dark


def test_a_cell_that_runs_again_has_one_page_which_is_new(lab):
    _, _, page = lab
    inside(page, WIDGET).locator("main").evaluate("e => e.classList.add('old')")
    page.locator(".jp-Notebook:visible .jp-Cell").nth(WIDGET).locator(".jp-InputArea-editor").click()
    page.keyboard.press("Control+Enter")
    output(page, WIDGET).locator("iframe").content_frame.locator("main[data-ready]:not(.old)").wait_for()
    assert output(page, WIDGET).locator("iframe").count() == 1


def test_a_notebook_that_is_not_trusted_keeps_its_tables_and_names_what_it_may_not_show(lab):
    _, folder, page = lab
    trusted = output(page, TABLES[1]).evaluate("e => e.innerText")
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty")
    saved = json.loads((folder / "net.ipynb").read_text())
    saved["cells"][0]["source"] += "# changed by someone else"
    (folder / "other.ipynb").write_text(json.dumps(saved))
    page.evaluate("window.jupyterapp.commands.execute('docmanager:open', { path: 'other.ipynb' })")
    page.wait_for_function("window.jupyterapp.shell.currentWidget.context.path === 'other.ipynb'")
    output(page, REPORT).get_by_text("report of dict: 3 rows").wait_for()
    assert output(page, TABLES[1]).evaluate("e => e.innerText") == trusted
    assert page.locator(".jp-Notebook:visible .jp-RenderedHTML :is(iframe, script, svg)").count() == 0
