"""The page of the local server in a real browser, which requests every number when it is shown."""

import re
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from inspector.browser.looking import DONE, MAP, column, eventually, go_to, hover_cell, names, open_weight, tab
from playwright.sync_api import expect

import steelyard


def net():
    made = np.random.default_rng(0)
    return {
        "fc1.weight": made.normal(size=(300, 200)).astype("f4"),
        "fc1.bias": made.normal(size=300).astype("f4"),
        "wide.weight": made.normal(size=(40, 3000)).astype("f2"),
        "count": np.int64(12345678901234567),
    }


@pytest.fixture
def arrays():
    return net()


@pytest.fixture
def path(arrays, tmp_path):
    steelyard.save(arrays, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def shown(page):
    """Return the numbers in the grid of values by their row and column."""
    cells = page.evaluate(
        "() => [...document.querySelectorAll('.value')].map((cell) => [cell.dataset.y, cell.dataset.x, cell.textContent])"
    )
    return {(int(y), int(x)): text for y, x, text in cells}


def read_grid(page):
    """Return the numbers in the grid once all of them have arrived."""
    eventually(page, lambda: shown(page) and "…" not in shown(page).values())
    return shown(page)


def asked(page, what):
    """Return the parameters of a request as words by name."""
    found = [urlsplit(url) for url in page.asked if f"/api/{what}" in url]
    return [{key: value for key, (value,) in parse_qs(each.query).items()} for each in found]


def test_statistics_are_requested_for_visible_rows_and_fill_the_table(open_served, path, arrays):
    page = open_served(path)
    eventually(page, lambda: all(column(page, "std")))
    for title, key in {"min": np.min, "mean": np.mean, "max": np.max, "std": np.std}.items():
        assert [float(text) for text in column(page, title)] == pytest.approx(
            [float(key(arrays[name].astype("f8"))) for name in names(page)], rel=6e-3, abs=1e-6
        )


def test_the_grid_shows_the_true_numbers_at_any_scroll_position(open_served, path, arrays):
    page = open_served(path)
    open_weight(page, "fc1.weight")
    tab(page, "Values")
    array = arrays["fc1.weight"]
    first = read_grid(page)
    assert (0, 0) in first
    page.locator(".values").evaluate("(grid) => { grid.scrollTop = grid.scrollHeight; grid.scrollLeft = grid.scrollWidth; }")
    eventually(page, lambda: (299, 199) in shown(page))
    last = read_grid(page)
    for found in (first, last):
        assert len(found) > 20
        assert {place: str(array[place]) for place in found} == found
    window = asked(page, "values")[0]
    assert int(window["bottom"]) * int(window["right"]) < array.size


def test_keys_move_the_cursor_of_the_grid_which_names_its_place(open_served, path, arrays):
    page = open_served(path)
    open_weight(page, "fc1.weight")
    tab(page, "Values")
    page.locator(".values").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "End", "PageDown"):
        page.keyboard.press(key)
    read_grid(page)
    place, _, number = page.locator(".numbers .readout").inner_text().partition(" = ")
    row, last = map(int, re.findall(r"\d+", place.removeprefix("fc1.weight")))
    assert row > 5
    assert last == 199
    assert number.split()[0] == str(arrays["fc1.weight"][row, last])
    assert f"entry {row * 200 + 199} " in number


def test_an_index_shows_its_number_and_marks_it_in_the_grid(open_served, path, arrays):
    page = open_served(path)
    go_to(page, "wide.weight[33, 2900]")
    number = str(arrays["wide.weight"][33, 2900])
    expect(page.locator(".place")).to_contain_text(f": {number}")
    page.wait_for_selector(DONE)
    tab(page, "Values")
    expect(page.locator(".value.here")).to_have_text(number)
    go_to(page, "count[]")
    expect(page.locator(".place")).to_contain_text("12345678901234567")


def test_zooming_requests_a_window_until_each_cell_is_one_number(open_served, path, arrays):
    page = open_served(path)
    go_to(page, "fc1.weight[250, 150]")
    page.wait_for_selector(DONE)
    expect(page.locator(".heatmap .caption")).to_contain_text("each cell is one number")
    array = arrays["fc1.weight"]
    expect(page.locator(".heatmap .readout")).to_have_text(re.compile(r"^\[250, 150\]"))
    assert float(page.locator(".heatmap .readout").inner_text().split("]")[1]) == pytest.approx(float(array[250, 150]), rel=1e-3)
    window = {side: int(asked(page, "picture")[-1][side]) for side in ("top", "left", "bottom", "right")}
    assert window["top"] <= 250 < window["bottom"]
    assert window["left"] <= 150 < window["right"]
    rows, columns = window["bottom"] - window["top"], window["right"] - window["left"]
    hover_cell(page, MAP, (2, 3), (rows, columns))
    index, number = page.locator(".heatmap .readout").inner_text().split("]")
    assert index == f"[{window['top'] + 2}, {window['left'] + 3}"
    assert float(number) == pytest.approx(float(array[window["top"] + 2, window["left"] + 3]), rel=1e-3)


def test_the_buttons_zoom_in_and_back_to_the_whole(open_served, path):
    page = open_served(path)
    open_weight(page, "wide.weight")
    caption = page.locator(".heatmap .caption")
    whole = caption.inner_text()
    page.get_by_role("button", name="Zoom in").click()
    expect(caption).to_contain_text("rows 10–29, columns 750–2,249 of 40 rows")
    page.locator(MAP).focus()
    page.keyboard.press("0")
    expect(caption).to_have_text(whole)


def test_dragging_over_a_part_zooms_into_it(open_served, path):
    page = open_served(path)
    open_weight(page, "fc1.weight")
    canvas = page.locator(MAP)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.up()
    eventually(page, lambda: asked(page, "picture"))
    window = asked(page, "picture")[-1]
    assert (window["top"], window["left"]) == ("0", "0")
    assert int(window["bottom"]) == pytest.approx(150, abs=8)
    assert int(window["right"]) == pytest.approx(100, abs=8)


@pytest.mark.parametrize("form", ["npy", "npz", "safetensors"])
def test_a_download_contains_the_weight(open_served, path, arrays, tmp_path, form):
    page = open_served(path)
    open_weight(page, "wide.weight")
    with page.expect_download() as download:
        page.locator(".detail .downloads").get_by_role("link", name=f".{form}").click()
    kept = tmp_path / f"kept.{form}"
    download.value.save_as(kept)
    found = np.load(kept) if form == "npy" else next(iter(steelyard.weights(kept).arrays().values()))
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, arrays["wide.weight"])


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_all_weights_can_be_downloaded(open_served, path, arrays, tmp_path, form):
    page = open_served(path)
    page.locator(".menu summary").click()
    with page.expect_download() as download:
        page.locator(".menu").get_by_role("link", name=f".{form}").click()
    kept = tmp_path / f"kept.{form}"
    download.value.save_as(kept)
    found = steelyard.weights(kept).arrays()
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_two_files_are_compared_row_by_row(open_served, path, arrays, tmp_path):
    old = {**arrays, "fc1.weight": arrays["fc1.weight"] + np.float32(0.5)}
    del old["fc1.bias"]
    steelyard.save(old, tmp_path / "old.npz")
    page = open_served(path, tmp_path / "old.npz")
    eventually(page, lambda: all(column(page, "kind")))
    assert dict(zip(names(page), column(page, "kind"), strict=True)) == {
        "fc1.weight": "changed",
        "fc1.bias": "added",
        "wide.weight": "equal",
        "count": "equal",
    }
    open_weight(page, "fc1.weight")
    expect(page.locator(".heatmap")).to_have_count(3)
    difference = page.locator(".heatmap").first
    expect(difference.locator(".legend")).to_contain_text(re.compile(r"^-0\.5000?\s*0\.5000?$"), use_inner_text=True)
    go_to(page, "fc1.weight[7, 9]")
    one, other = str(arrays["fc1.weight"][7, 9]), str(old["fc1.weight"][7, 9])
    expect(page.locator(".place")).to_contain_text(f"{one} in model.safetensors, {other} in old.npz")
    expect(difference.locator(".readout")).to_have_text(re.compile(r"^\[7, 9\] +-0\.5000?$"))


def test_numbers_are_read_only_when_they_are_shown(open_served, tmp_path):
    steelyard.save({f"layer.{nth}.weight": np.ones((1 << 19,), "f4") for nth in range(150)}, tmp_path / "large.npz")
    page = open_served(tmp_path / "large.npz")
    assert len(asked(page, "detail")) == 0
    open_weight(page, "layer.3.weight")
    assert asked(page, "detail") == [{"row": "3", "side": "0"}]
    in_sight = len(names(page))
    eventually(page, lambda: len(asked(page, "statistics")) >= 10)
    assert max(int(each["row"]) for each in asked(page, "statistics")) < in_sight


def test_a_file_that_changed_on_the_disk_is_reported(open_served, path):
    page = open_served(path)
    eventually(page, lambda: all(column(page, "std")))
    path.write_bytes(b"not a file of weights")
    page.locator(".rows > .row").nth(1).click()
    expect(page.locator(".trouble")).to_contain_text("changed on the disk")
    page.said.clear()  # the browser itself logs each refusal
