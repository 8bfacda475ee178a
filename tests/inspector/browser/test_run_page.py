"""The page of a run in a browser: the slider moves what is shown, a weight is chosen, and a live run grows."""

import numpy as np
import pytest

import steelyard


@pytest.fixture
def folder(tmp_path):
    record(tmp_path / "a", range(12))
    return tmp_path / "a"


def record(folder, steps):
    rng = np.random.default_rng(0)
    with steelyard.record(folder) as rec:
        for step in steps:
            w = rng.standard_normal((8, 9)) + step
            rec(step, {"fc.weight": w, "<b>bias": np.full(4, float(step))}, metrics={"loss": 1 / (1 + step)})


def test_the_slider_shows_each_step_and_a_click_another_weight(folder, tmp_path, visit):
    steelyard.history(folder).report(tmp_path / "run.html")
    page = visit((tmp_path / "run.html").as_uri())
    assert page.locator("output").text_content().startswith("11")
    assert page.locator("tbody tr").nth(1).locator(".number").first.text_content() == "22"
    page.locator("#step").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.locator("output").text_content().startswith("1  ·  loss 0.5")
    assert page.locator("tbody tr").nth(1).locator(".number").first.text_content() == "2"
    before = page.locator("figure canvas").nth(2).screenshot()
    page.get_by_role("button", name="<b>bias").click()
    assert page.locator("figure h2").nth(2).text_content() == "norm of <b>bias"
    assert page.locator("figure canvas").nth(2).screenshot() != before
    assert page.evaluate("document.activeElement.textContent") == "<b>bias"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


WATCH = """() => {
    const own = CanvasRenderingContext2D.prototype.fillText;
    globalThis.written = [];
    CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
        globalThis.written.push(text);
        own.call(this, text, ...rest);
    };
}"""


def test_an_axis_has_digits_enough_to_tell_its_ends_apart_and_the_slider_reaches_its_own(tmp_path, visit):
    with steelyard.record(tmp_path / "a", settings={"lr": 0.1}) as rec:
        for step in range(3):
            rec(step, {"w": np.full(9, 10 + step / 100)})
    steelyard.history(tmp_path / "a").report(tmp_path / "run.html")
    page = visit((tmp_path / "run.html").as_uri())
    assert page.locator(".run-head p").all_text_contents()[1:] == ["lr 0.1"]
    page.evaluate(WATCH)
    page.locator("#step").focus()
    page.keyboard.press("Home")
    assert {"30", "30.03", "30.06"} <= set(page.evaluate("globalThis.written"))
    box = page.locator("#step").bounding_box()
    page.mouse.click(box["x"] + box["width"] - 1, box["y"] + box["height"] / 2)
    assert page.locator("output").text_content().startswith("2")
    sides = "(slider) => ['paddingLeft', 'borderLeftWidth'].map((side) => getComputedStyle(slider)[side])"
    assert page.locator("#step").evaluate(sides) == ["0px", "0px"]


def test_a_narrow_dark_page_fits(folder, tmp_path, visit):
    steelyard.history(folder).report(tmp_path / "run.html")
    page = visit((tmp_path / "run.html").as_uri(), width=380, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
