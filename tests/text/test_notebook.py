"""Weights as HTML: escaped, without scripts, foldable, limited in size, and read only if they are small."""

import re
from itertools import count

import numpy as np
import pytest
from htmlread import Page

import steelyard
from steelyard import Weight, Weights
from steelyard.core.readers import from_array
from steelyard.core.weight import Refused
from steelyard.errors import FormatError
from steelyard.numerics.summary import summarise
from steelyard.text import notebook
from steelyard.text.rows import measured, rows_of
from steelyard.text.sparkline import ABOVE, BARS, BELOW, WIDTH, bars
from steelyard.text.table import axis_end, listing
from steelyard.text.terminal import Screen

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "\"' onmouseover='x",
    "a\x1b[2J\u202eb",
    "&lt;b&gt;",
    "</td></table>",
    "</details></summary>",
]


def page(weights):
    return Page(steelyard.weights(weights)._repr_html_())


def unread(name, shape, dtype="float32"):
    """A weight that fails the test when it is read."""

    def read(start, stop):
        pytest.fail(f"{name} was read")

    return Weight(name=name, shape=shape, dtype=dtype, read=read)


def test_a_table_has_every_weight_and_the_totals():
    read = page({"fc": {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)}})
    assert read.rows[0][:4] == ["name", "shape", "role", "size"]
    assert read.rows[1][:4] == ["fc.kernel", "2×3", "kernel", "6"]
    assert "fc.bias" in read.cells
    assert read.captions[0] == "2 weights, 9 parameters, 72 bytes, float64"


def test_a_dtype_that_all_weights_have_is_in_the_caption_and_others_are_in_a_column():
    read = page({"a": np.zeros(2, "f4"), "b": np.zeros(3, "f2")})
    assert [row[2] for row in read.rows] == ["dtype", "float32", "float16"]
    assert read.captions == ["2 weights, 3 parameters, 2 other numbers, 14 bytes"]


def test_a_row_is_one_line_and_a_long_name_is_cut_but_whole_when_pointed_at():
    long = "model.layers.11.a_very_long_name_of_a_part.another_long_name_of_it.some_more.weight_of_the_gate_of_an_expert"
    text = steelyard.weights({long: np.eye(3), "b": np.zeros(2)})._repr_html_()
    assert f'title="{long}"' in text
    read = Page(text)
    assert re.fullmatch("model.layers.*….*_of_an_expert", read.rows[1][0])
    cells = re.findall(r'<t[dh][^>]*style="([^"]*)">([^<]*)<', text)
    assert all("white-space:" in style for style, shown in cells if re.search(r".[^\w.,]", shown))


def test_signed_numbers_are_tinted_by_their_size_and_bars_by_their_side():
    text = steelyard.weights({"a.w": np.linspace(-2, 1, 16).reshape(4, 4), "b.w": np.zeros(1)})._repr_html_()
    tints = dict(re.findall(r"background-color:(#[0-9a-f]{8});[^>]*>([^<]*)<", text))
    assert {colour[:7]: shown for colour, shown in tints.items()} == {"#2b6cb0": "-0.5", "#c2571a": "1"}
    assert '<td style="text-align:right;background-color:#2b6cb066;">-2</td>' in text
    below, above = re.findall(r'<span style="color:(#[0-9a-f]{6});">[^<]*<', text)[:2]
    assert (below, above) == ("#2b6cb0", "#c2571a")


def test_its_cells_equal_those_of_the_table_in_the_terminal():
    weights = steelyard.weights({"fc.kernel": np.random.default_rng(0).normal(size=(20, 30)), "out.bias": np.zeros(30)})
    in_terminal = "\n".join(listing(weights, Screen(), stats=list(measured(rows_of(weights)))))
    cells = [cell.strip() for cell in page(weights).cells if cell]
    assert len(cells) == 3 * 8
    assert all(cell in in_terminal for cell in cells)


def test_numbers_of_a_small_model_are_shown_with_histograms_on_one_axis():
    read = page({"fc": {"kernel": np.linspace(-1, 1, 1700).reshape(17, 100), "bias": np.full(3, 0.5)}})
    assert read.rows[0][4:] == [" -1      0       1", "min", "mean", "max"]
    assert read.rows[1][4].strip() == "█" * 17
    assert read.rows[2][4].strip() == "▁▁▁▁▁▁▁▁▁▁▁▁█▁▁▁▁"
    assert read.rows[2][5:] == ["0.5", "0.5", "0.5"]


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text_everywhere(name, many):
    weights = {f"{name}.{letter}.{2 * i}": np.array([np.nan]) for letter in ("ab" if many else "a") for i in range(30)}
    weights[name] = np.zeros(2)
    read = page(weights)
    assert not set("\x1b\u202e") & set(read.text)
    if name.isprintable():
        assert name in read.cells
    assert ("details" in read.tags) is many


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text_in_the_display_of_one_weight(name):
    read = Page(from_array(name, np.eye(2), layer=name, tied=name, axes=f"{name} in", encoding=name)._repr_html_())
    assert not set("\x1b\u202e") & set(read.text)
    if name.isprintable():
        assert read.captions[0] == name
        assert read.text.count(name) == 6


def test_there_is_no_script_no_drawing_and_no_link():
    text = steelyard.weights({"w": np.zeros(2)})._repr_html_()
    assert not re.search(r"<script|<svg|<img|<link|<style|href|src=|url\(", text)


def test_no_text_has_a_colour_of_its_own_but_the_bars_of_histograms():
    text = from_array("w", np.eye(3))._repr_html_() + steelyard.weights({"w": np.eye(3)})._repr_html_()
    for coloured in re.findall(r"<[^>]*[^-]color:[^>]*>([^<]*)<", text):
        assert set(coloured) <= {*BARS, BELOW, ABOVE, " "}


def test_a_layer_shows_its_table_and_the_heat_map_of_its_kernel_and_a_net_does_not():
    net = steelyard.weights({"fc1": {"weight": np.eye(3), "bias": np.zeros(3)}, "fc2": {"weight": np.ones((2, 3))}})
    read = Page(net.layer("fc1")._repr_html_())
    assert [caption.partition(",")[0] for caption in read.captions] == ["2 weights", "weight"]
    assert read.captions[1] == "weight, drawn as 3 × 3: each cell is one number"
    assert len(Page(net._repr_html_()).captions) == 1


def test_cells_of_a_heat_map_have_no_text():
    text = from_array("w", np.eye(3))._repr_html_()
    assert not re.findall(r"<td[^>]*background-color[^>]*>[^<]", text)


def test_repeated_blocks_are_folded():
    read = page({f"h.{i}.w": np.zeros(2) for i in range(12)})
    assert "h.[0-11].w" in read.cells
    assert "12 ×" in read.cells


def test_many_rows_are_folded_by_layer():
    weights = {f"net.{part}.{chr(97 + i)}.w": np.zeros(i + 1) for part in ("encoder", "decoder") for i in range(25)}
    read = page(weights)
    assert read.tags.count("details") == 2
    assert read.summaries[0].startswith("net.encoder · 25 weights, 325 numbers ")
    assert "histograms reach from -1 to 1" in read.text
    assert len([cell for cell in read.cells if cell.startswith("net.")]) == 50


def test_a_layer_of_many_rows_has_folded_layers_within():
    weights = {
        f"{part}/{i}/{chr(97 + j)}": np.zeros((i + 1, j + 1)) for part in ("one", "two") for i in range(9) for j in range(5)
    }
    weights |= {"head": np.zeros(3), "bias": np.zeros(2)}
    read = page(weights)
    assert [title.partition(" ")[0] for title in read.summaries] == [
        "one",
        *(f"one/{i}" for i in range(9)),
        "two",
        *(f"two/{i}" for i in range(9)),
    ]
    assert read.rows[-2][0] == "head"  # alone in its layer, so it is not folded


def test_areas_of_a_notebook_s_histograms_are_counts_and_arrows_mark_the_rest():
    made = np.random.default_rng(0)
    arrays = {
        "uniform.weight": made.uniform(-0.4, 0.4, (200, 100)),
        "normal.weight": made.normal(0, 0.1, (200, 100)),
        "heavy.weight": made.standard_t(1.5, (200, 100)) * 0.05,
    }
    weights = Weights.from_arrays(arrays)
    html, end = weights._repr_html_(), axis_end(list(measured(rows_of(weights))))
    drawn = re.findall(f"([{BELOW} ])([{BARS}]{{{WIDTH}}})([{ABOVE} ])", Page(html).text)
    assert len(drawn) == 3
    for (below, bars_of_it, above), array in zip(drawn, arrays.values(), strict=True):
        counts = np.histogram(array, np.linspace(-end, end, WIDTH + 1))[0]
        levels = np.array([BARS.index(bar) for bar in bars_of_it])
        assert np.abs(levels / 7 - counts / counts.max()).max() <= 1 / 7
        assert (below, above) == (BELOW if array.min() < -end else " ", ABOVE if array.max() > end else " ")


def test_a_folded_layer_shows_the_histogram_of_all_its_numbers():
    weights = {f"{part}.n{i}": np.full(i + 1, sign * i / 29) for part, sign in (("a", -1), ("b", 1)) for i in range(30)}
    read = page(weights)
    for part in "ab":
        whole = np.concatenate([array for name, array in weights.items() if name.startswith(part)])
        title = next(title for title in read.summaries if title.startswith(part))
        assert title.endswith(f" {bars(summarise([from_array('all', whole)]), 1.0)}")


def test_no_more_than_200_rows_are_shown():
    text = steelyard.weights({f"{chr(97 + i % 26)}{i}.w": np.zeros(i + 1) for i in range(2000)})._repr_html_()
    read = Page(text)
    assert read.tags.count("tr") == 200 + read.tags.count("thead")
    assert "... and 1,800 more rows; select(...)" in read.text
    assert "2,000 weights" in read.text
    assert len(text.encode()) < 200 << 10


def test_a_display_stays_below_200_kib_whatever_the_names():
    names = ["".join("&\"'<"[(nth >> bit) % 4] for bit in range(0, 900, 2)) + str(nth) for nth in range(2**20, 2**20 + 300)]
    read = page({name: np.zeros(nth + 1) for nth, name in enumerate(names)})
    assert len(read.source.encode()) < 200 << 10
    shown = read.tags.count("tr") - read.tags.count("thead")
    assert f"... and {300 - shown:,} more rows" in read.text
    assert shown >= 50


def test_names_of_very_many_words_make_a_table():
    assert page({f"{'a.' * 40}{chr(97 + nth)}": np.zeros(nth + 1) for nth in range(60)}).tags.count("tr") == 61


def test_a_large_model_is_not_read():
    weights = Weights([unread("large", (notebook.READ,)), unread("small", (2,))])
    read = page(weights)
    assert "histograms" not in read.text
    assert read.rows[0] == ["name", "shape", "role", "size"]
    assert "the numbers, 537 MB, were not read for this display; steelyard.stats(...) reads them" in read.text


def test_very_many_weights_are_not_read():
    assert "were not read for this display" in page(Weights([unread(str(nth), (1,)) for nth in range(5000)])).text


def test_a_file_on_another_machine_is_not_read(tmp_path):
    from fsspec.implementations.memory import MemoryFileSystem

    steelyard.save({"w": np.ones((300, 300)), "v": np.ones(3)}, tmp_path / "w.npz")
    MemoryFileSystem().pipe("/far/w.npz", (tmp_path / "w.npz").read_bytes())
    far = steelyard.weights("memory://far/w.npz")
    for weights in (far, far.select("w")):
        assert weights.remote
        assert "were not read for this display" in page(weights).text
    near = steelyard.weights(tmp_path / "w.npz")
    assert not near.remote
    assert "were not read for this display" not in page(near).text


def test_a_small_file_is_read_once_for_the_display():
    reads = count()

    def read(start, stop):
        next(reads)
        return np.ones(stop - start, "f4")

    assert page(Weights([Weight(name="w", shape=(1000,), dtype="float32", read=read)])).rows[1][-3:] == ["1", "1", "1"]
    assert next(reads) == 1


def test_a_weight_that_cannot_be_read_is_reported_and_the_others_are_shown():
    broken = Refused(FormatError("net.bin", "the file ends <here>"))
    weights = Weights([Weight(name="bad", shape=(2,), dtype="float32", read=broken), from_array("good", np.ones(2))])
    read = page(weights)
    assert "cannot be read" in read.rows[1]
    assert read.rows[2][-1] == "1"
    assert "bad cannot be read: net.bin: the file ends <here>" in read.text
    assert "the numbers cannot be read: net.bin: the file ends <here>" in Page(weights["bad"]._repr_html_()).text


def test_nan_is_reported_in_live_weights():
    assert "w is not finite: 1 NaN, first at [1]" in page({"w": np.array([0.0, np.nan])}).text


def test_nan_is_reported_in_live_weights_that_are_too_large_for_a_histogram(monkeypatch):
    monkeypatch.setattr(notebook, "READ", 10)
    read = page({"w": np.array([0.0, np.nan])})
    assert "w is not finite: 1 NaN, first at [1]" in read.text
    assert "were not read for this display" in read.text


def test_an_empty_model_is_displayed_as_such():
    assert page({}).text == "no weights"


def test_a_tied_weight_names_its_owner():
    shared = np.zeros((2, 2))
    read = page({"a.w": shared, "b.w": shared})
    place = read.rows[0].index("tied to")
    assert [row[place] for row in read.rows[1:]] == ["", "a.w"]


def test_one_weight_shows_its_facts_its_statistics_a_heat_map_and_the_numbers():
    values = np.array([[1.0, -3.0, 0.0], [2.0, 2.0, 0.5]], "f2")
    read = Page(from_array("fc.weight", values, layer="fc", role=steelyard.Role.KERNEL, axes="out in")._repr_html_())
    facts = {row[0]: row[1] for row in read.rows if len(row) == 2}
    assert facts["shape"] == "2×3  out in"
    assert facts["numbers"] == "min -3  mean 0.4167  max 2"
    assert (
        facts["spread"]
        == f"std {values.astype(float).std():.4g}  q05 -3  median 0.5  q95 2  l2 {np.linalg.norm(values.astype(float)):.4g}  zeros 1"
    )
    assert read.captions == ["fc.weight", "fc.weight, drawn as 2 × 3: each cell is one number"]
    assert "[[ 1.  -3.   0. ]\n [ 2.   2.   0.5]]" in read.text
    assert read.summaries == ["numbers"]


def test_one_large_weight_is_not_read():
    read = Page(unread("large", (notebook.READ,))._repr_html_())
    assert read.captions == ["large"]
    assert "the numbers, 537 MB, were not read for this display" in read.text
    assert read.tags.count("table") == 1


def test_one_weight_stays_below_200_kib_and_reports_where_it_is_not_finite():
    values = np.random.default_rng(0).normal(size=(96, 48, 3, 3))
    values[5, 4, 2, 1] = np.inf
    read = Page(from_array("conv", values)._repr_html_())
    assert len(read.source.encode()) < 200 << 10
    assert "conv is not finite: 1 Inf, first at [5, 4, 2, 1]" in read.text
    assert read.cells.count("×") == 1


@pytest.mark.parametrize(
    "values", [np.zeros((0, 3)), np.array(2.5), np.array([1 + 2j, 3j]), np.array([True, False]), np.full(3, np.nan)]
)
def test_any_kind_of_weight_is_shown(values):
    read = Page(from_array("w", values)._repr_html_())
    assert "numbers" in read.summaries
    assert page({"w": values}).rows[1][0] == "w"
