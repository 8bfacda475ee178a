"""What axe-core finds in the states of the page: nothing, in every view of a net, every tab of a weight, light and dark."""

import axe
import numpy as np
import pytest
from inspector.browser.looking import DONE, go_to
from inspector.browser.test_screens import transformer
from playwright.sync_api import expect

import steelyard


def with_axe(page, scheme="light"):
    """Load axe-core into a page; in a dark one it only looks at the colours, since all else is as in a light one."""
    axe.load(page)
    page.dark = scheme == "dark"
    return page


def found_by_axe(page):
    return axe.faults(page, "html", contrast_only=page.dark)


def faults(page):
    """Return the faults in each view of the net, by its title."""
    found = {}
    for view in page.locator(".switcher button").all():
        view.click()
        expect(page.locator(".later > .none[role=status]")).to_have_count(0)
        found[view.text_content()] = found_by_axe(page)
    return found


def faults_of(page, name):
    """Return the faults in each tab of a weight, by their titles."""
    found = {}
    go_to(page, name)
    expect(page.locator(".detail h2")).to_have_text(name)
    page.wait_for_selector(DONE)
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.wait_for_selector(DONE)
        found[name, tab.text_content()] = found_by_axe(page)
    return found


def none_in(found, *titles):
    """Fail unless there are these states, and no fault in any of them."""
    assert {title if isinstance(title, str) else title[1] for title in found} == set(titles)
    assert {title: faults for title, faults in found.items() if faults} == {}


def net():
    """Return a net whose weights have every tab: images, heads, points, filters, heat maps and spectra."""
    made = np.random.default_rng(3)
    arrays = {"fc.weight": made.normal(size=(8, 784)), "conv.weight": made.normal(size=(6, 3, 5, 5))}
    arrays |= {f"h.{nth}.attn.{word}_proj.weight": made.normal(size=(16, 16)) for nth in range(2) for word in "qkvo"}
    return {name: array.astype("f4") for name, array in arrays.items()} | transformer(before=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_states_of_a_report_have_no_fault(open_report, scheme):
    page = with_axe(open_report(transformer(), transformer(before=True), color_scheme=scheme), scheme)
    none_in(faults(page), "Distributions", "Blocks", "Size", "Architecture")
    none_in(faults_of(page, "h.4.mlp.weight"), "Heat map", "Statistics", "Spectrum")
    page.get_by_role("button", name="Full page").click()
    assert found_by_axe(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_states_of_a_live_page_have_no_fault(open_served, tmp_path, scheme):
    steelyard.save(net(), tmp_path / "net.safetensors")
    page = with_axe(open_served(tmp_path / "net.safetensors", color_scheme=scheme), scheme)
    none_in(faults(page), "Distributions", "Blocks", "Size", "Architecture")
    names = "fc.weight", "conv.weight", "h.0.attn.q_proj.weight", "wte.weight"
    found = {state: wrong for name in names for state, wrong in faults_of(page, name).items()}
    none_in(found, "Heat map", "Images", "Filters", "Heads", "Points", "Spectrum", "Values")


def test_a_net_without_blocks_in_a_narrow_window_has_no_fault(open_report):
    page = with_axe(open_report({f"name{nth}": np.ones(2 + nth) for nth in range(5)}, size=(390, 844)))
    none_in(faults(page), "Distributions", "Blocks", "Size", "Architecture")
    page.get_by_role("button", name="Keys").click()
    assert found_by_axe(page) == []
