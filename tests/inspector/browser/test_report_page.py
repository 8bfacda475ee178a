"""The page of a report in a real browser, compared with NumPy's answers."""

import numpy as np
import pytest
from inspector.browser.looking import DONE, column, contrasts, go_to, names, net, open_weight, row, tab
from playwright.sync_api import expect

import steelyard
from steelyard.core.readers import from_array
from steelyard.core.weight import Refused
from steelyard.core.weights import Weights
from steelyard.errors import FormatError


def sort_by(page, title):
    """Press the button of a column by its key: columns that are cut are hidden once the page has scrolled, maybe under a mouse."""
    page.get_by_role("columnheader", name=title, exact=True).get_by_role("button").press("Enter")


def test_the_table_sorts_by_any_column_both_ways_and_back_to_the_order_of_the_file(open_report):
    arrays = net()
    page = open_report(arrays)
    for title, key in {"std": np.std, "mean": np.mean, "min": np.min, "size": np.size}.items():
        rising = sorted(arrays, key=lambda name, key=key: key(arrays[name].astype("f8")))
        sort_by(page, title)
        found = names(page)
        assert [key(arrays[name].astype("f8")) for name in found] == [key(arrays[name].astype("f8")) for name in rising[::-1]]
        assert page.get_by_role("columnheader", name=title, exact=True).get_attribute("aria-sort") == "descending"
        sort_by(page, title)
        assert [key(arrays[name].astype("f8")) for name in names(page)] == [key(arrays[name].astype("f8")) for name in rising]
        sort_by(page, title)
        assert names(page) == list(arrays)


def test_names_are_sorted_by_the_numbers_in_them(open_report):
    page = open_report({f"layer.{nth}.weight": np.ones(2) for nth in (10, 9, 2)})
    page.get_by_role("columnheader", name="weight", exact=True).get_by_role("button").click()
    assert names(page) == ["layer.2.weight", "layer.9.weight", "layer.10.weight"]


def test_the_table_shows_the_statistics_that_numpy_computes(open_report):
    arrays = net()
    page = open_report(arrays)
    for title, key in {"min": np.min, "mean": np.mean, "max": np.max, "std": np.std}.items():
        shown = [float(text) for text in column(page, title)]
        assert shown == pytest.approx([key(array.astype("f8")) for array in arrays.values()], rel=6e-3, abs=1e-6)
    assert column(page, "shape")[0].replace("\u200a", "") == "8×3×5×5"
    assert column(page, "role")[:2] == ["kernel", "bias"]


def test_numbers_of_the_table_are_not_cut_and_without_room_keep_their_sign(open_report):
    arrays = {
        "small": np.array([-0.00125, -0.0001115], "f4"),
        "tiny": np.array([-1.11e-299, -1.12e-300]),
        "huge": np.array([-3.21e30, 3.21e30], "f4"),
        "whole": np.array([-999_999, 999_999], "i4"),
    }
    page = open_report(arrays, {name: array * 2 for name, array in arrays.items()})
    cells = page.locator(".rows .number-cell")
    assert sorted(column(page, "min"), key=float) == ["-3.21e+30", "-999999", "-0.00125", "-1.11e-299"]
    cut = "(cells) => cells.filter((cell) => cell.scrollWidth > cell.clientWidth).length"
    assert cells.evaluate_all(cut) == 0
    assert page.locator(".head .spark-cell").evaluate_all(cut) == 0
    hidden = """(cell) => {
        cell.style.width = "30px";
        const text = document.createRange();
        text.selectNodeContents(cell);
        return cell.getBoundingClientRect().left - text.getBoundingClientRect().left;
    }"""
    assert cells.filter(has_text="-1.11e-299").first.evaluate(hidden) <= 0


def test_a_filter_keeps_the_names_with_all_of_its_words(open_report):
    page = open_report(net())
    page.get_by_label("Filter names").fill("BODY bias")
    assert names(page) == ["body.0.fc.bias", "body.1.fc.bias"]
    expect(page.locator(".controls .status")).to_have_text("2 weights of 7")
    assert page.get_by_role("grid", name="Weights").get_attribute("aria-rowcount") == "3"


def test_a_role_keeps_its_weights(open_report):
    page = open_report(net())
    page.get_by_label("Role").select_option("bias")
    assert names(page) == [name for name in net() if name.endswith("bias")]


def test_the_switch_of_findings_keeps_the_weights_with_findings(open_report):
    arrays = {**net(), "body.0.fc.bias": np.array([1.0, np.nan, np.inf], "f4")}
    page = open_report(arrays)
    page.get_by_role("button", name="with findings").click()
    found = {each.name for each in steelyard.check(arrays, health=True).findings if each.name}
    assert set(names(page)) == found
    open_weight(page, "body.0.fc.bias")
    assert "not finite" in page.get_by_role("list", name="Findings").inner_text()


def test_the_tree_opens_and_a_layer_narrows_the_table(open_report):
    page = open_report(net())
    tree = page.get_by_role("tree", name="Layers")
    body = tree.get_by_role("treeitem").filter(has_text="body")
    assert body.get_attribute("aria-expanded") == "false"
    body.locator(".name").click()
    assert body.get_attribute("aria-expanded") == "true"
    assert names(page) == [name for name in net() if name.startswith("body.")]
    page.get_by_role("button", name="body  ×").click()
    assert names(page) == list(net())


def test_a_weight_opens_from_the_tree(open_report):
    page = open_report(net())
    tree = page.get_by_role("tree", name="Layers")
    tree.get_by_role("treeitem").filter(has_text="head").locator(".twist").click()
    tree.locator(".leaf").filter(has_text="weight").click()
    expect(page.locator(".detail h2")).to_have_text("head.weight")


def test_a_click_on_the_overview_opens_the_weight_at_that_position(open_report):
    page = open_report(net())
    strip = page.get_by_role("slider", name="Overview of all weights")
    box = strip.bounding_box()
    page.mouse.click(box["x"] + 60 + (box["width"] - 70) * 2.5 / 7, box["y"] + 60)
    expect(page.locator(".detail h2")).to_have_text("body.0.fc.weight")


def test_the_index_box_finds_an_index_and_shows_the_number_of_its_entry(open_report):
    arrays = net()
    page = open_report(arrays)
    go_to(page, "body.1.fc.weight[3, 7]")
    page.wait_for_selector(DONE)
    before = sum(array.size for array in list(arrays.values())[:4])
    place = page.locator(".place")
    expect(place).to_contain_text(f"body.1.fc.weight[3, 7] is entry {before + 3 * 24 + 7:,} of the vector")
    index, number = page.locator(".heatmap .readout").inner_text().replace("about", "").split("]")
    assert index == "[3, 7"
    assert float(number) == pytest.approx(float(arrays["body.1.fc.weight"][3, 7]), abs=0.2)


def test_the_index_box_finds_entries_as_locate_does_and_counts_tied_weights_once(open_report):
    made = np.random.default_rng(1)
    embedding = made.normal(size=(5, 3))
    weights = Weights(
        [
            from_array("emb.weight", embedding),
            from_array("out.weight", embedding, tied="emb.weight"),
            from_array("out.bias", made.normal(size=5)),
            from_array("scalar", np.float64(2.0)),
            from_array("h.10.w", np.ones(2)),  # shown after h.9, but before it in the vector
            from_array("h.9.w", np.ones(3)),
        ]
    )
    page = open_report(weights)
    for entry in (0, 14, 15, 19, 20, 22, 23, 25):
        name, index = weights.locate(entry)
        go_to(page, str(entry))
        expect(page.locator(".place b")).to_have_text(f"{name}[{', '.join(map(str, index))}]")
    go_to(page, "26")
    expect(page.locator("#place-status")).to_have_text("The vector has entries 0 to 25.")


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("head.weight[10, 0]", "Axis 0 of head.weight has entries 0 to 9."),
        ("head.weight[1]", "head.weight has 2 axes: [10, 40]; the index has 1."),
        ("head.weight[-1, 0]", "[-1, 0] is not an index: use whole numbers from 0, as in [3, 7]."),
        ("tail.weight", "No weight is called tail.weight."),
        ("", "Enter a name, an index such as fc1.weight[3, 7], or the number of an entry."),
    ],
)
def test_the_index_box_explains_invalid_input(open_report, asked, answer):
    page = open_report(net(), spectra="none")
    go_to(page, asked)
    expect(page.locator("#place-status")).to_have_text(answer)
    expect(page.locator(".detail h2")).to_have_text("stem.conv.weight")  # as before


def test_the_end_of_a_name_is_enough_if_only_one_weight_has_it(open_report):
    page = open_report(net())
    go_to(page, "conv.bias")
    expect(page.locator(".detail h2")).to_have_text("stem.conv.bias")
    go_to(page, "fc.bias")
    expect(page.locator("#place-status")).to_have_text("No weight is called fc.bias.")


def test_two_nets_are_shown_side_by_side_with_the_greatest_change_first(open_report):
    new, old = net(), net()
    del old["stem.conv.bias"]
    old["head.weight"] = old["head.weight"] + 1
    old["body.0.fc.weight"] = old["body.0.fc.weight"] * np.float32(0.99)
    new["body.1.fc.weight"] = np.full_like(new["body.1.fc.weight"], np.nan)
    page = open_report(new, old)
    assert names(page)[:4] == ["stem.conv.bias", "body.1.fc.weight", "head.weight", "body.0.fc.weight"]
    assert column(page, "kind")[:5] == ["added", "changed", "changed", "changed", "equal"]
    one, other = (each["head.weight"].astype("f8").ravel() for each in (old, new))
    assert float(column(page, "relative")[2]) == pytest.approx(np.linalg.norm(other - one) / np.linalg.norm(one), rel=6e-3)
    assert float(column(page, "cosine")[2]) == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-4)
    page.get_by_role("button", name="changed (4)").click()
    assert len(names(page)) == 4


def test_every_action_has_a_key(open_report):
    page = open_report(net())
    page.keyboard.press("/")
    page.keyboard.type("body")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(DONE)
    expect(page.locator(".detail h2")).to_have_text("body.0.fc.bias")
    page.keyboard.press("]")
    expect(page.locator(".detail h2")).to_have_text("body.1.fc.weight")
    page.wait_for_selector(DONE)
    page.get_by_role("tab", selected=True).focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Spectrum")).to_be_focused()
    assert page.get_by_role("tab", name="Spectrum").get_attribute("aria-selected") == "true"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Escape")
    expect(page.locator(".detail")).to_be_hidden()
    page.keyboard.press("t")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    assert names(page) == ["body.1.fc.weight", "body.1.fc.bias"]
    page.keyboard.press("g")
    expect(page.locator("#place")).to_be_focused()
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    expect(page.locator(".place b")).to_have_text("stem.conv.weight[0, 0, 0, 3]")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()


def test_screen_readers_announce_the_row_under_the_cursor(open_report):
    page = open_report(net())
    page.keyboard.press("w")
    page.keyboard.press("End")
    grid = page.get_by_role("grid", name="Weights")
    active = page.locator(f"#{grid.get_attribute('aria-activedescendant')}")
    assert active.get_attribute("aria-rowindex") == "8"
    assert active.locator(".name").get_attribute("title") == "head.weight"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_contrasts_with_its_background(open_report, scheme):
    arrays = {**net(), "head.bias": np.array([1.0, np.nan])}
    page = open_report(arrays, net(1), color_scheme=scheme)
    open_weight(page, "head.weight")
    tab(page, "Statistics")
    found = contrasts(page)
    assert len(found) > 80
    assert found[0][0] >= 4.5, found[:5]


def test_hostile_names_stay_text(open_report):
    hostile = {
        "<img src=x onerror=window.hacked=1>": np.ones(3),
        "</script><script>window.hacked=1</script>": np.ones(3),
        "a.\u202etxt.\u0007gnp": np.ones(3),
        "__proto__.constructor": np.ones(3),
        "${window.hacked=1}": np.ones(3),
        "'\"><b id=injected>": np.ones(3),
    }
    page = open_report(hostile)
    shown = names(page)
    assert shown[:2] == list(hostile)[:2]
    assert shown[2] == "a.\\u202etxt.\\u0007gnp"
    for nth, name in enumerate(shown):
        page.locator(".rows > .row").nth(nth).click()
        expect(page.locator(".detail h2")).to_have_text(name)
    page.get_by_role("tree").locator(".twist").first.click()
    go_to(page, "<img src=x onerror=window.hacked=2>")
    assert page.locator("img, b#injected").count() == 0
    assert page.evaluate("window.hacked") is None


def test_a_narrow_window_does_not_scroll_sideways(open_report):
    page = open_report(net(), net(1), size=(700, 900))
    open_weight(page, "head.weight")
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    for part in (".overview", ".weights", ".detail", ".layers"):
        expect(page.locator(part)).to_be_visible()


def test_a_weight_that_cannot_be_read_shows_the_reason(open_report):
    weight = from_array("w", np.ones(4)).replace(read=Refused(FormatError("w.bin", "the file ends in the middle", 8)))
    page = open_report(Weights([weight, from_array("v", np.ones(4))]))
    row(page, "w").click()
    expect(page.locator(".trouble")).to_contain_text("the file ends in the middle")


def test_a_long_name_is_cut_first_where_all_begin_alike(open_report):
    page = open_report({f"transformer.h.{block}.attn.c_attn.weight": np.zeros((2, 2)) for block in range(3)})
    parts = page.locator(".table .rows .name").nth(1).locator("span").all()
    assert [part.text_content() for part in parts] == ["transformer.h.", "1.", "attn.c_attn.weight"]
    page.evaluate("document.querySelector('.table').style.setProperty('--name', '200px')")
    widths = [part.evaluate("span => [span.clientWidth, span.scrollWidth]") for part in parts]
    assert widths[0][0] < widths[0][1]
    assert [shown for shown, _ in widths[1:]] == [whole for _, whole in widths[1:]]


def test_long_names_are_cut_before_their_ends(open_report):
    name = "encoder." + "very_deeply_nested_block." * 6 + "attention.weight"
    page = open_report({name: np.ones(3)})
    tail = row(page, name).locator(".tail")
    expect(tail).to_have_text("attention.weight")
    cell, end = (page.locator(where).first.bounding_box() for where in (".rows .name-cell", ".rows .name .tail"))
    assert end["x"] + end["width"] <= cell["x"] + cell["width"]
    assert row(page, name).locator(".head").evaluate("(head) => head.scrollWidth > head.clientWidth")


@pytest.mark.parametrize("width", [1280, 1100, 390])
def test_numbers_are_whole_or_hidden_at_any_scroll_position(open_report, width):
    new = net()
    page = open_report(new, {name: array * np.float32(1.01) for name, array in new.items()}, size=(width, 900), spectra="none")
    open_weight(page, "head.weight")
    page.get_by_role("grid", name="Weights").scroll_into_view_if_needed()
    found = page.evaluate(
        """async () => {
        const grid = document.querySelector(".table");
        const row = grid.querySelector(".rows > .row");
        const found = [];
        for (let left = 0; left < grid.scrollWidth; left += 19) {
            grid.scrollLeft = left;
            await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
            for (const cell of row.querySelectorAll(".number-cell, .word-cell")) {
                const text = document.createRange();
                text.selectNodeContents(cell);
                const box = text.getBoundingClientRect();
                const isSeen = (x) => cell.contains(document.elementFromPoint(x, box.top + box.height / 2));
                found.push([cell.textContent, cell.ariaColIndex, isSeen(box.left + 1), isSeen(box.right - 1)]);
            }
        }
        return found;
        }"""
    )
    assert {text for text, _, starts, ends in found if starts != ends} == set()
    assert {column for _, column, starts, _ in found if starts} == {column for _, column, _, _ in found}


def test_what_loading_the_file_would_run_is_visible_without_a_click(open_report, tmp_path):
    import io
    import zipfile

    import torch

    held = io.BytesIO()
    torch.save({"w": torch.ones(3)}, held)
    with zipfile.ZipFile(held) as good, zipfile.ZipFile(tmp_path / "evil.pt", "w") as evil:
        for name in good.namelist():
            data = good.read(name)
            evil.writestr(name, b"\x80\x02cos\nsystem\nU\x01x\x85R0" + data[2:] if name.endswith("data.pkl") else data)
    page = open_report(tmp_path / "evil.pt")
    expect(page.locator(".notes .runs")).to_be_visible()
    expect(page.locator(".notes .runs")).to_contain_text("would have run os.system('x')")
