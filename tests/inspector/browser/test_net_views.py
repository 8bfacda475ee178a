"""The views of the whole net in a real browser: the grid of blocks, the sizes, and the architecture."""

import numpy as np
import pytest
from inspector.browser.looking import contrasts, eventually, go_to, tab
from inspector.browser.test_screens import transformer
from playwright.sync_api import expect

import steelyard

KINDS = ["Blocks", "Size", "Architecture"]


def view(page, title):
    """Choose a view of the net."""
    page.locator(".switcher").get_by_role("button", name=title, exact=True).click()
    expect(page.locator(".later > .none[role=status]")).to_have_count(0)


def cells(page):
    """Return the texts of the visible rows of the grid."""
    return page.locator(".block-rows > .block-row").evaluate_all(
        "(rows) => rows.sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map((row) => [...row.children].map((one) => one.textContent))"
    )


def open_name(page):
    return page.locator(".detail h2").text_content()


@pytest.mark.parametrize(("word", "key"), [("std", "std"), ("norm", "norm"), ("sparsity", "zeros"), ("nonfinite", "lost")])
def test_the_cells_are_those_of_steelyard_grid(open_report, word, key):
    arrays = transformer() | {"h.1.mlp.weight": np.tile(np.array([0, 1], "f4"), (64, 128))}
    page = open_report(arrays, spectra="none")
    view(page, "Blocks")
    page.get_by_label("What the cells show").select_option(key)
    found = steelyard.grid(arrays, value=word)
    shown = [[float(text.rstrip("%")) / (100 if "%" in text else 1) for text in row[1:]] for row in cells(page)]
    assert [row[0] for row in cells(page)] == found.rows
    assert shown == [[pytest.approx(cell.value, rel=0.006) for cell in row] for row in found.cells]


def test_parts_that_share_a_cell_have_the_statistic_of_all_their_numbers(open_report):
    made = np.random.default_rng(1)
    parts = [
        f"l.{nth}.{part}.weight"
        for nth in range(3)
        for part in ("q", "k", "v", "o", "norm", *(f"experts.{one}.{word}" for one in range(8) for word in ("up", "down")))
    ]
    arrays = {name: made.normal(nth % 7, 1 + nth, (6, 5)) for nth, name in enumerate(parts)}
    page = open_report(arrays, spectra="none")
    view(page, "Blocks")
    for key, word in (("std", "std"), ("norm", "norm"), ("max", "max_abs")):
        page.get_by_label("What the cells show").select_option(key)
        found = steelyard.grid(arrays, value=word)
        place = [len(cell.names) for cell in found.cells[0]].index(8)
        assert [float(row[place + 1]) for row in cells(page)] == [
            pytest.approx(row[place].value, rel=0.006) for row in found.cells
        ]


def test_a_pair_shows_what_changed_and_a_cell_opens_its_weight(open_report):
    page = open_report(transformer(), transformer(before=True), spectra="none")
    view(page, "Blocks")
    found = steelyard.grid(transformer(), before=transformer(before=True))
    place = found.columns.index("mlp.weight")
    assert float(cells(page)[4][place + 1]) == pytest.approx(found.cells[4][place].value, rel=0.006)
    changed = page.locator(f"#block-4-{place}")
    changed.hover()
    expect(page.locator(".summary")).to_contain_text("h.4.mlp.weight")
    expect(page.locator(".summary")).to_contain_text(
        "relative change 1.1" if found.cells[4][place].value > 1 else "relative change"
    )
    page.get_by_label("What the cells show").select_option("rank")
    expect(changed).to_have_text("1")
    assert cells(page)[3][place + 1] == "0"
    changed.click()
    assert open_name(page) == "h.4.mlp.weight"
    expect(page.locator(f"#block-2-{found.columns.index('proj.bias')}.lost")).to_have_count(1)


def test_the_grid_is_used_by_keys_alone(open_report):
    page = open_report(transformer(before=True), spectra="none")
    page.keyboard.press("v")
    expect(page.locator(".blocks")).to_be_visible()
    page.keyboard.press("o")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    active = page.locator(".blocks").get_attribute("aria-activedescendant")
    assert active == "block-1-1"
    expect(page.locator(".summary")).to_contain_text("h.1.")
    page.keyboard.press("Enter")
    assert open_name(page) in page.locator(".summary").text_content()


def test_a_hundred_blocks_scroll_in_their_view_with_their_names_and_heads(open_report):
    arrays = {f"h.{nth}.{part}.weight": np.ones((3, 3)) for nth in range(100) for part in map("part{}".format, range(14))}
    page = open_report(arrays, spectra="none", size=(390, 844))
    view(page, "Blocks")
    assert page.locator(".block-rows > .block-row").count() < 60
    head, grid = page.locator(".block-heads"), page.locator(".blocks")
    grid.evaluate("(grid) => grid.scrollTo(400, 99 * 22)")
    eventually(page, lambda: any(row[0] == "h.99" for row in cells(page)))
    assert head.bounding_box()["y"] == pytest.approx(grid.bounding_box()["y"], abs=2)
    name = page.locator(".block-row:has-text('h.99') .block-name")
    assert name.bounding_box()["x"] == pytest.approx(grid.bounding_box()["x"], abs=2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_served_page_fills_the_grid_with_what_it_reads(open_served, tmp_path):
    arrays = transformer(before=True)
    steelyard.save(arrays, tmp_path / "net.safetensors")
    page = open_served(tmp_path / "net.safetensors", height=500)
    view(page, "Blocks")
    found = steelyard.grid(arrays)
    eventually(page, lambda: all("\u2013" not in row for row in cells(page)))
    assert [float(text) for text in cells(page)[5][1:]] == [pytest.approx(cell.value, rel=0.006) for cell in found.cells[5]]
    for title in ("Size", "Architecture"):
        view(page, title)
    expect(page.locator(".summary")).to_have_text("the layers by their names; how they are connected is not known")
    shown = page.locator(".layer-line").evaluate_all(
        "(lines) => lines.map((line) => line.firstChild.textContent.split('\\u00d7')[0])"
    )
    assert shown == [row.label for row in steelyard.architecture(arrays)]
    expect(page.locator(".layer-line.block")).to_contain_text("\u00d7\u200a6")
    attention = page.locator(".layer-line:has-text('attn')")
    expect(attention).to_contain_text("weight 64\u200a\u00d7\u200a192, bias 192")
    page.locator(".layer-line.block").press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(".detail h2")).to_have_text("h.0.attn.weight")


def test_the_areas_of_layers_are_their_shares(open_report):
    page = open_report(transformer(before=True), spectra="none")
    view(page, "Size")
    found = {row.label: row for row in steelyard.size(transformer(before=True)).rows if row.depth == 0}
    area = {
        name: page.locator(f".tile:has-text('{name}')").first.evaluate("(one) => one.offsetWidth * one.offsetHeight")
        for name in ("wte", "h.[0-5]")
    }
    assert area["h.[0-5]"] / area["wte"] == pytest.approx(found["h.[0-5]"].share / found["wte"].share, rel=0.05)
    page.locator(".tile:has-text('wte')").first.hover()
    expect(page.locator(".summary")).to_contain_text(f"wte  ·  38,400 parameters, {100 * found['wte'].share:.3g}%")
    page.locator(".bars button:has-text('wpe')").click()
    assert open_name(page) == "wpe.weight"


def test_types_that_fit_into_a_memory_are_marked(open_report):
    page = open_report(transformer(before=True), spectra="none")
    view(page, "Size")
    found = steelyard.size(transformer(before=True))
    page.get_by_label("fits into").fill("0.0005")
    rows = page.locator(".types tbody tr")
    fits = {row.locator("th").text_content() for row in rows.all() if row.locator("td").nth(1).text_content() == "yes"}
    assert fits == set(found.fits(0.0005))
    expect(rows.nth(0)).to_contain_text(f"{found.nbytes / 1e6:.3g} MB")


def test_layers_are_in_order_with_what_feeds_them_and_open_their_weights(open_report):
    torch = pytest.importorskip("torch")

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

        def forward(self, x):
            return x + self.two(torch.relu(self.one(x)))

    net = torch.nn.Sequential(*[Block() for _ in range(4)])
    page = open_report(steelyard.weights(net), spectra="none")
    view(page, "Architecture")
    expect(page.locator(".net-view")).to_contain_text("\u00d7\u200a4")
    page.locator("button.layer-line").nth(1).click()
    assert open_name(page) == "0.two.weight"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_can_be_read_and_fits_narrow_windows(open_report, scheme):
    hostile = {f"h.{nth}.<b>\u202e{'x' * 300}.{part}": np.ones((4, 4)) for nth in range(2) for part in ("weight", "<img src=x>")}
    page = open_report(transformer(before=True) | hostile, spectra="none", color_scheme=scheme, size=(390, 844))
    for title in KINDS:
        view(page, title)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.locator("img, b:has(img)").count() == 0
        worst = [found for found in contrasts(page) if found[0] < 4.5]
        assert worst == [], title


def test_units_heads_and_points_are_pictures_of_their_weights(open_served, tmp_path):
    made = np.random.default_rng(2)
    arrays = {f"attn.{word}_proj.weight": made.normal(size=(16, 16)).astype("f4") for word in "qkvo"}
    arrays |= {"embed.weight": made.normal(size=(90, 16)).astype("f4"), "fc.weight": made.normal(size=(4, 768)).astype("f4")}
    steelyard.save(arrays, tmp_path / "net.safetensors")
    page = open_served(tmp_path / "net.safetensors")
    for name, title in (("fc.weight", "Images"), ("embed.weight", "Points"), ("attn.q_proj.weight", "Heads")):
        go_to(page, name)
        expect(page.locator(".detail h2")).to_have_text(name)
        tab(page, title)
        if title == "Images":
            page.get_by_label("Sides of the image").select_option(label="24\u200a\u00d7\u200a32")
            expect(page.locator(".filters .caption")).to_contain_text("their inputs taken as 24\u200a\u00d7\u200a32")
        if title == "Points":
            page.locator(".scatter canvas").press("End")
            expect(page.locator(".scatter .readout")).to_contain_text("row 89")
    expect(page.locator(".head-panel")).to_contain_text("the number of heads of attn is not known")
    page.locator(".head-panel input").fill("4")
    page.locator(".head-panel input").blur()
    expect(page.locator(".filters .caption")).to_contain_text("queries: 4 heads")
