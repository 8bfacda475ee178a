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


def test_a_narrow_dark_page_fits(folder, tmp_path, visit):
    steelyard.history(folder).report(tmp_path / "run.html")
    page = visit((tmp_path / "run.html").as_uri(), width=380, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
