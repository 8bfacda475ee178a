"""What a page shows before anybody scrolls or searches, in a real browser: pictures, and what is wrong."""

import numpy as np
import pytest
from inspector.browser.looking import DONE, MAP, eventually, go_to, names, net, open_weight, pixels, row, tab
from playwright.sync_api import expect

import steelyard
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.core.weights import Weights


def blocks(count=4, seed=0):
    """Return the arrays of a net of more weights than a page opens by itself."""
    made = np.random.default_rng(seed)
    shapes = {"attn.weight": (64, 192), "attn.bias": (192,), "mlp.weight": (64, 256), "norm.weight": (64,)}
    return {f"h.{nth}.{name}": made.normal(size=shape).astype("f4") for nth in range(count) for name, shape in shapes.items()}


def is_in_sight(page, selector):
    box, size = page.locator(selector).first.bounding_box(), page.viewport_size
    return box["y"] >= 0 and box["y"] + box["height"] <= size["height"] and box["height"] > 80


@pytest.mark.parametrize("size", [(1440, 900), (1024, 700)])
@pytest.mark.parametrize("before", [None, blocks(seed=1)], ids=["one", "two"])
def test_the_heat_map_of_an_open_weight_is_in_sight(open_report, size, before):
    page = open_report(blocks(), before, size=size, spectra="none")
    open_weight(page, "h.2.mlp.weight")
    assert is_in_sight(page, MAP)
    name, drawn = (page.locator(where).first.bounding_box() for where in (".detail h2", MAP))
    assert drawn["y"] - name["y"] < 140


def convolutions(value=1.0):
    kernel = np.zeros((4, 3, 5, 5), "f4")
    kernel[2, 0] = value
    return Weights([from_array("conv.weight", kernel, role=Role.KERNEL, axes="out in kh kw"), from_array("bias", np.ones(4))])


def test_a_convolution_shows_its_filters_first_and_a_pair_what_changed(open_report):
    page = open_report(convolutions())
    expect(page.get_by_role("tab", selected=True)).to_have_text("Filters")
    page = open_report(convolutions(), convolutions(0.5))
    expect(page.get_by_role("tab", selected=True)).to_have_text("Heat map")
    expect(page.locator(".heatmap figcaption").first).to_contain_text("minus")


def test_a_chosen_tab_stays_from_weight_to_weight(open_report):
    page = open_report(net())
    open_weight(page, "stem.conv.weight")
    tab(page, "Spectrum")
    open_weight(page, "head.weight")
    expect(page.get_by_role("tab", selected=True)).to_have_text("Spectrum")
    open_weight(page, "head.weight")
    row(page, "stem.conv.bias").click()
    expect(page.locator(".detail h2")).to_have_text("stem.conv.bias")
    page.wait_for_selector(DONE)
    expect(page.get_by_role("tab", name="Spectrum")).to_have_count(0)


def test_a_picture_in_another_tab_is_drawn_when_it_is_chosen_whatever_happened_before(open_report):
    page = open_report(convolutions(), color_scheme="dark")
    page.wait_for_selector(DONE)
    page.set_viewport_size({"width": 1300, "height": 880})
    page.emulate_media(color_scheme="light")
    tab(page, "Heat map")
    eventually(page, lambda: max(pixels(page, MAP, [(0.02, 0.1)])[0]) > 200)
    tab(page, "Filters")
    page.set_viewport_size({"width": 1500, "height": 880})
    tab(page, "Heat map")

    def apart():
        drawn, holder = (page.locator(where).first.bounding_box()["width"] for where in (MAP, ".heatmap .drawing"))
        return abs(drawn - holder)

    eventually(page, lambda: apart() < 30)  # it is drawn again once its new size is known


def test_texts_of_the_table_are_whole(open_report):
    arrays = {"conv.weight": np.ones((1024, 128, 3, 3), "u1"), "lstm.weight_hh_l0": np.ones((256, 64), "f4"), **blocks()}
    page = open_report(arrays, size=(1700, 900), spectra="none")
    assert (
        page.locator(".rows .word-cell").evaluate_all(
            "(cells) => cells.filter((one) => one.scrollWidth > one.clientWidth).length"
        )
        == 0
    )


@pytest.mark.parametrize("page_of", ["report", "served"])
def test_each_row_has_a_tiny_picture_of_its_weight(open_report, open_served, tmp_path, page_of):
    halves = np.ones((40, 40), "f4") * np.repeat([-1, 1], 20)[None].astype("f4")
    np.savez(tmp_path / "net.npz", halves=halves, lost=np.array([[np.nan, 1.0]]), **blocks())
    page = (open_report if page_of == "report" else open_served)(tmp_path / "net.npz")
    left, right = 13 + 5, 33 - 5
    canvas = '.row:has([title="halves"]) .thumb-cell canvas'
    eventually(page, lambda: len(set(map(tuple, pixels(page, canvas, [(left / 46, 0.5), (right / 46, 0.5)])))) == 2)
    (red, _, blue), (warm, _, cold) = pixels(page, canvas, [(left / 46, 0.5), (right / 46, 0.5)])
    assert blue > red + 40
    assert warm > cold + 40
    canvas = '.row:has([title="lost"]) .thumb-cell canvas'
    eventually(page, lambda: pixels(page, canvas, [(19 / 46, 0.5)])[0] != pixels(page, canvas, [(27 / 46, 0.5)])[0])
    red, green, blue = pixels(page, canvas, [(19 / 46, 0.5)])[0]
    assert green > red + 40


def test_the_full_page_belongs_to_the_picture_until_escape(open_report):
    page = open_report(blocks())
    open_weight(page, "h.2.mlp.weight")
    before = page.locator(MAP).bounding_box()
    page.get_by_role("button", name="Full page").click()
    eventually(page, lambda: page.locator(MAP).bounding_box()["width"] > before["width"] * 1.5)
    assert page.locator(MAP).bounding_box()["height"] > before["height"] * 1.5
    assert is_in_sight(page, MAP)
    for part in (".page-head", ".overview", ".weights", ".layers"):
        expect(page.locator(part)).to_be_hidden()
    page.set_viewport_size({"width": 1280, "height": 1200})
    eventually(page, lambda: page.locator(MAP).bounding_box()["height"] > before["height"] * 2.2)
    page.keyboard.press("Escape")
    expect(page.locator(".weights")).to_be_visible()
    expect(page.locator(".detail")).to_be_visible()
    page.keyboard.press("f")
    page.keyboard.press("w")
    expect(page.get_by_role("grid", name="Weights")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".detail")).to_be_hidden()


def test_a_small_net_opens_with_its_first_matrix_where_there_is_room(open_report):
    arrays = {"count": np.int64(3), "bias": np.ones(3), "fc.weight": np.ones((3, 3))}
    page = open_report(arrays)
    page.wait_for_selector(DONE)
    expect(page.locator(".detail h2")).to_have_text("fc.weight")
    assert page.evaluate("location.hash") == ""
    assert page.evaluate("document.activeElement === document.body")
    expect(open_report(arrays, size=(390, 800)).locator(".detail")).to_be_hidden()
    expect(open_report(blocks(), spectra="none").locator(".detail")).to_be_hidden()


@pytest.mark.parametrize("page_of", ["report", "served"])
def test_what_is_wrong_is_red_on_top_and_opens_at_its_place(open_report, open_served, tmp_path, page_of):
    arrays = blocks()
    arrays["h.2.attn.bias"][17] = np.nan
    arrays["h.3.norm.weight"][3] = np.inf
    np.savez(tmp_path / "net.npz", **arrays)
    page = (open_report if page_of == "report" else open_served)(tmp_path / "net.npz")
    expect(page.locator(".more")).to_have_text("and 1 other weight", timeout=20_000)  # a live page reads one by one
    fault = page.locator(".fault")
    expect(fault).to_contain_text("h.2.attn.bias is not finite: 1 NaN, first at [17]")
    red, green, blue = fault.evaluate("(one) => getComputedStyle(one).color.match(/\\d+/g).map(Number)")
    assert red > green + 80
    assert red > blue + 80
    fault.click()
    expect(page.locator(".detail h2")).to_have_text("h.2.attn.bias")
    expect(page.locator(".place b")).to_have_text("h.2.attn.bias[17]")
    expect(page.locator(".place")).to_contain_text("not finite" if page_of == "report" else "nan")
    page.locator(".more").click()
    eventually(page, lambda: names(page) == ["h.2.attn.bias", "h.3.norm.weight"])


def test_a_sound_net_has_no_line_of_findings(open_report):
    page = open_report(blocks(), spectra="none")
    expect(page.locator(".faults")).to_be_hidden()
    expect(page.get_by_role("button", name="with findings")).to_be_hidden()


def test_back_closes_the_open_weight_and_a_link_opens_it(open_report):
    page = open_report(blocks(), spectra="none")
    address = page.url
    open_weight(page, "h.0.mlp.weight")
    open_weight(page, "h.1.mlp.weight")
    linked = page.url
    page.go_back()
    expect(page.locator(".detail")).to_be_hidden()
    assert page.url == address
    page.go_forward()
    expect(page.locator(".detail h2")).to_have_text("h.1.mlp.weight")
    page.keyboard.press("Escape")
    expect(page.locator(".detail")).to_be_hidden()
    page.goto("about:blank")
    page.goto(linked)
    expect(page.locator(".detail h2")).to_have_text("h.1.mlp.weight")


def test_escape_leaves_the_filter_and_clears_it(open_report):
    page = open_report(blocks(), spectra="none")
    page.keyboard.press("/")
    page.keyboard.type("norm")
    page.keyboard.press("Escape")
    assert len(names(page)) == 16
    page.keyboard.press("g")
    expect(page.locator("#place")).to_be_focused()
    expect(page.get_by_label("Filter names")).to_have_value("")


def test_one_number_and_equal_numbers_are_a_sentence_and_no_histogram(open_report):
    page = open_report({"scale": np.float32(146.25), "ones": np.ones(12, "f4")})
    open_weight(page, "scale")
    expect(page.locator(".spread")).to_contain_text("The number is 146.3.")
    row(page, "ones").click()
    expect(page.locator(".spread")).to_contain_text("All numbers are 1.")


def test_a_file_without_weights_says_so(open_report):
    page = open_report(Weights([]))
    assert (
        page.locator(".table").evaluate("(one) => getComputedStyle(one, '::after').content") == '"There are no weights to show."'
    )


def test_weights_of_a_file_are_named_by_it_and_others_are_not(open_report, tmp_path):
    steelyard.save(blocks(), tmp_path / "mine.npz")
    weights = steelyard.weights(tmp_path / "mine.npz")
    expect(open_report(weights.select(role="kernel"), spectra="none").locator("h1")).to_have_text("mine.npz")
    expect(open_report((weights + weights) / 2, spectra="none").locator("h1")).to_have_text("weights")


def test_an_entry_that_a_report_cannot_show_names_the_command_that_prints_it(open_report):
    page = open_report({"w": np.random.default_rng(0).normal(size=(900, 900))}, spectra="none")
    go_to(page, "w[450, 7]")
    expect(page.locator(".place")).to_contain_text("steelyard show FILE 'w[450,7]' prints it")


def test_the_bars_of_change_are_as_high_as_the_changes(open_report):
    old = {"a": np.ones(64), "b": np.ones(64), "c": np.ones(64), "d": np.ones(64)}
    page = open_report({"a": old["a"] * 1.5, "b": old["b"] * 1.25, "c": old["c"] * 1.01, "d": old["d"]}, old, spectra="none")
    highs = page.locator(".strip canvas").evaluate(
        """(canvas) => {
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
        copy.drawImage(canvas, 0, 0);
        const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
        const isBar = (at) => data[at + 1] > data[at] + 60 && data[at + 3] > 200;
        return [0, 1, 2, 3].map((nth) => {
            const x = Math.floor(60 + ((nth + 0.5) / 4) * (canvas.width - 70));
            let count = 0;
            for (let y = 130; y < canvas.height; y += 1) count += isBar((y * canvas.width + x) * 4);
            return count;
        });
        }"""
    )
    assert highs[0] == pytest.approx(26, abs=1)
    assert highs[1] == pytest.approx(highs[0] / 2, abs=1)
    assert 0 < highs[2] <= 2
    assert highs[3] == 0


def test_numbers_of_the_grid_have_the_colours_of_their_sign(open_served, tmp_path):
    np.savez(tmp_path / "net.npz", w=np.array([[-1.0, 0.0], [0.5, np.nan]]))
    page = open_served(tmp_path / "net.npz")
    page.wait_for_selector(DONE)
    tab(page, "Values")
    expect(page.locator(".value").first).to_have_text("-1.0")
    eventually(page, lambda: "…" not in page.locator(".view").inner_text())
    found = page.locator(".value").evaluate_all(
        "(cells) => cells.map((cell) => getComputedStyle(cell).backgroundColor.match(/[\\d.]+/g).map(Number))"
    )
    assert found[0][2] > found[0][0] + 20
    assert found[2][0] > found[2][2] + 8
    assert found[1] == found[3] == [0, 0, 0, 0]


def heads(value=1.0):
    """Return a small net with a layer that has weights beside a layer, and one bias with an entry of this value."""
    made = np.random.default_rng(0)
    names = {"tok.weight": (8, 6), "attn.in_proj_weight": (18, 6), "attn.in_proj_bias": (18,), "attn.out_proj.weight": (6, 6)}
    net = {name: made.normal(size=shape).astype("f4") for name, shape in names.items()}
    return {**net, "head.bias": np.array([0.5, value, 2], "f4")}


def test_a_small_pair_opens_with_its_greatest_change_and_says_what_is_not_finite(open_report):
    page = open_report(heads(np.nan), heads())
    expect(page.locator(".detail h2")).to_have_text("head.bias")
    expect(page.locator(".change")).to_contain_text("1 of 3 entries changed (33.3%) · 1 of them NaN or infinite on a side")
    page = open_report(heads(), heads())
    expect(page.locator(".detail h2")).to_have_text("tok.weight")


def test_the_maps_of_an_equal_pair_have_one_size(open_report):
    page = open_report(heads(), heads())
    page.wait_for_selector(DONE)
    one, other = (page.locator(MAP).nth(nth).bounding_box() for nth in range(2))
    assert (one["width"], one["height"]) == (other["width"], other["height"])


def test_the_weights_of_a_layer_with_layers_have_a_band_below_the_overview(open_report):
    page = open_report(heads(), size=(1280, 900))
    shares = [(nth + 0.5) / 5 for nth in range(5)]
    canvas = page.locator(".overview canvas").first
    box = canvas.bounding_box()
    left, right = 72, 20
    spots = [
        ((left + share * (box["width"] - left - right)) / box["width"], (box["height"] - 8) / box["height"]) for share in shares
    ]
    eventually(page, lambda: pixels(page, ".overview canvas", spots)[0] != pixels(page, ".overview canvas", [(0.001, 0.001)])[0])
    (nothing,) = pixels(page, ".overview canvas", [(0.001, 0.001)])
    assert all(spot != nothing for spot in pixels(page, ".overview canvas", spots))


def test_a_name_from_right_to_left_is_whole_and_leaves_the_numbers_next_to_it_in_their_order(open_report):
    page = open_report({"שכבה.0.משקל": np.linspace(-2, 1, 12, dtype="f4").reshape(3, 4)})
    expect(page.locator(".summary")).to_have_text(
        "\u2068שכבה.0.משקל\u2069  ·  \u20683\u200a×\u200a4\u2069  ·  \u2068-2 … 1\u2069"
    )
    assert page.evaluate(
        "() => [...document.querySelectorAll('.rows .name span')].every((part) => part.scrollWidth <= part.clientWidth)"
    )


def test_a_net_without_weights_has_no_overview_and_one_layer_has_its_part(open_report):
    page = open_report({})
    expect(page.locator(".weights")).to_be_visible()
    expect(page.locator(".overview")).to_be_hidden()
    page = open_report({"w": np.ones((3, 4), "f4")})
    page.get_by_role("button", name="Blocks").click()
    expect(page.locator(".summary")).to_contain_text("1 layer and its 1 part:")
