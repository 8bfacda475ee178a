"""Reports of many rows in a real browser, on the screen and on paper."""

import numpy as np
from inspector.browser.looking import DONE, column, go_to, names
from playwright.sync_api import expect

from steelyard.inspector import report_data as data_of_reports
from steelyard.inspector.index import open_source, rows_of
from steelyard.inspector.report import document
from steelyard.inspector.report_data import report_data

WEIGHTS = [np.random.default_rng(nth).normal(size=(4, 6)).astype("f4") for nth in range(8)]
WIDEST = int(np.argmax([weight.std() for weight in WEIGHTS]))


def large(tmp_path, count):
    """Return a page with this number of rows, which repeat the details of eight weights."""
    source = open_source({f"w{nth}": weight for nth, weight in enumerate(WEIGHTS)})
    rows, pairing = rows_of([source])
    data = report_data([source], rows, pairing, spectra="none")
    index = data.index
    again = [nth % 8 for nth in range(count)]
    index["columns"] = {key: [column[nth] for nth in again] for key, column in index["columns"].items()}
    index["columns"]["name"] = [f"model.layers.{nth // 10}.block_{nth % 10}.attention.projection.weight" for nth in range(count)]
    index["columns"]["layer"] = [name.rpartition(".")[0] for name in index["columns"]["name"]]
    for key in ("size", "bytes"):
        index["columns"][key] = np.array(index["columns"][key], "f8")
    index["columns"]["start"] = np.cumsum(index["columns"]["size"]) - index["columns"]["size"]
    cells = index["spark"]["cells"].reshape(8, -1)
    index["spark"]["cells"] = np.concatenate([cells[nth] for nth in again])
    path = tmp_path / "large.html"
    path.write_text("".join(document("large", index, data.net, {"details": [data.details[nth] for nth in again]})), "utf-8")
    return path


def test_ten_thousand_rows_are_few_elements_and_are_sorted_and_filtered_as_a_whole(visit, tmp_path):
    page = visit(large(tmp_path, 10_000).as_uri())
    grid = page.get_by_role("grid", name="Weights")
    assert grid.get_attribute("aria-rowcount") == "10001"
    page.locator(".head").get_by_role("button", name="std").click()
    first = page.locator(".rows > .row[aria-rowindex='2'] .name")
    expect(first).to_have_attribute("title", f"model.layers.{WIDEST // 10}.block_{WIDEST % 10}.attention.projection.weight")
    search = page.locator("input[type=search]").first
    search.fill("99.block_7")
    expect(grid).to_have_attribute("aria-rowcount", "11")  # of layers 99, 199, ... 999
    search.fill("")
    search.blur()
    expect(grid).to_have_attribute("aria-rowcount", "10001")
    page.keyboard.press("w")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    page.wait_for_selector(DONE)
    assert page.evaluate("document.getElementsByTagName('*').length") < 2000
    go_to(page, "model.layers.999.block_9.attention.projection.weight[3, 5]")
    expect(page.locator(".place")).to_contain_text("is entry 239,999 of the vector")


def test_scrolling_shows_the_rows_at_that_position(visit, tmp_path):
    page = visit(large(tmp_path, 3000).as_uri())
    page.get_by_role("grid", name="Weights").evaluate("(grid) => { grid.scrollTop = 26 * 1500; }")
    middle = page.locator(".rows > .row[aria-rowindex='1512']")
    expect(middle.locator(".name")).to_have_attribute("title", "model.layers.151.block_0.attention.projection.weight")
    shown = [(int(each.get_attribute("aria-rowindex")) - 2) for each in page.locator(".rows > .row").all()]
    assert min(shown) > 1400
    assert sorted(shown) == list(range(min(shown), max(shown) + 1))


def test_a_row_without_details_has_no_axis_that_would_look_like_a_distribution_of_no_numbers(open_report, monkeypatch):
    monkeypatch.setattr(data_of_reports, "DETAILED", 2)
    chance = np.random.default_rng(0)
    page = open_report({f"w{nth}": chance.normal(size=(4, 6 + nth)) * 2000 for nth in range(4)})
    drawn = "(all) => all.map((one) => one.getContext('2d').getImageData(0, 0, one.width, one.height).data.some(Boolean))"
    assert page.locator(".rows .spark-cell canvas").evaluate_all(drawn) == [False, False, True, True]
    assert all(1000 < float(text) < 3000 and "e" not in text for text in column(page, "std"))


def test_a_row_without_details_has_the_statistics_of_the_table_in_its_panel(open_report, monkeypatch):
    monkeypatch.setattr(data_of_reports, "DETAILED", 1)
    page = open_report({"large": np.eye(9, dtype="f4"), "small": np.array([[-3.0, 0.0], [1.0, 2.0]], "f4")})
    page.get_by_role("row").filter(has_text="small").click()
    shown = page.locator("dl.statistics div")
    expect(shown).to_have_count(6)
    assert dict(each.split("\n") for each in shown.all_inner_texts())["min"] == "-3"
    expect(page.get_by_text("details of the 1 largest of 2 weights").last).to_be_visible()
    expect(page.locator(".trouble")).to_have_count(0)  # it is no fault of the weight
    assert [each.split("\n")[0] for each in shown.all_inner_texts()] == ["min", "max", "mean", "std", "l2", "zeros"]


def test_a_printed_page_has_all_rows_and_is_white(open_report):
    arrays = {f"layer.{nth}.weight": np.ones(4) for nth in range(120)}
    page = open_report(arrays, color_scheme="dark", spectra="none")
    assert len(names(page)) < 120
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert names(page) == list(arrays)
    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--panel').trim()") == "#ffffff"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert len(names(page)) < 120
    assert page.pdf().startswith(b"%PDF")


def test_a_page_of_very_many_rows_prints_the_first_and_notes_it(visit, tmp_path):
    page = visit(large(tmp_path, 700).as_uri())
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert len(names(page)) == 500
    expect(page.locator(".controls .status")).to_have_text("700 weights; the first 500 are printed")
