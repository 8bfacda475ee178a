"""Pictures of units, heads and embeddings: dots and words read back, compared with the arrays of the frameworks."""

import keras
import numpy as np
import pytest
import torch

import steelyard
from steelyard import Role, Weights, plot
from steelyard.core.readers import from_array
from steelyard.errors import AmbiguityError, ShapeError
from steelyard.plot.canvas import inks, signed_colours
from tests.plot.test_drawn import tiles_of, words, written


def mlp(inputs=784, units=5):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(inputs, units), torch.nn.ReLU(), torch.nn.Linear(units, 3))


# filters of dense layers


def test_the_first_layer_of_a_net_on_images_is_drawn_as_images_and_the_title_says_how():
    net = mlp()
    ax = plot.filters(net)
    assert ax.get_title() == "0.weight: 784 inputs taken as 28 \u00d7 28"
    own = net[0].weight.detach().numpy().reshape(5, 28, 28)
    found = tiles_of(ax, (28, 28), 3, 5, fine=2)
    expected = signed_colours(inks(ax))((own / np.abs(own).max() + 1) / 2)
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert "5 units of 28 \u00d7 28" in written(ax)


def test_a_grid_gives_the_sides_and_colours_are_red_green_and_blue():
    model = keras.Sequential([keras.Input((4 * 6 * 3,)), keras.layers.Dense(4)])
    kernel = model.layers[0].kernel.numpy()
    ax = plot.filters(model, grid=(4, 6, 3))
    own = kernel.T.reshape(4, 4, 6, 3)
    np.testing.assert_allclose(tiles_of(ax, (4, 6), 2, 4)[..., :3], 0.5 + own / np.abs(own).max() / 2, atol=0.01)
    assert "72 inputs as 4 \u00d7 6 \u00d7 3" in ax.get_title()


@pytest.mark.parametrize(
    ("source", "how", "message"),
    [
        (mlp(65), {}, "none is a convolution of images"),
        (mlp(), {"grid": (28, 27)}, "none is a dense kernel with 756 inputs, 28 \u00d7 27"),
        (mlp(), {"grid": (28,)}, "it must be the height and width of an image"),
        (mlp(), {"name": "2.weight"}, r"2.weight of shape \[3, 5\] and role kernel is not a convolution"),
    ],
)
def test_what_is_no_image_is_refused(source, how, message):
    with pytest.raises(ShapeError, match=message):
        plot.filters(source, **how)


def test_a_net_with_an_embedding_or_a_convolution_has_no_images_but_those_that_are_named():
    dense = from_array("fc.weight", np.ones((5, 64)), role=Role.KERNEL, axes="out in")
    table = from_array("wte.weight", np.ones((9, 4)), role=Role.EMBEDDING)
    conv = from_array("conv.weight", np.ones((2, 1, 3, 3)), role=Role.KERNEL, axes="out in kh kw")
    with pytest.raises(ShapeError, match="there is nothing to draw"):
        plot.filters(Weights([table, dense]))
    assert plot.filters(Weights([table, dense]), "fc.weight").get_title().startswith("fc.weight: 64 inputs")
    assert plot.filters(Weights([dense, conv])).get_title() == "conv.weight"


# heads


def panels(ax):
    return [image.get_array() for image in ax.images]


def test_panels_are_the_heads_of_pytorch_s_layer_with_one_scale_and_their_norms():
    torch.manual_seed(0)
    layer = torch.nn.MultiheadAttention(24, 4)
    ax = plot.heads(torch.nn.ModuleDict({"attn": layer}))
    own = [*layer.in_proj_weight.detach().chunk(3), layer.out_proj.weight.detach().T]
    expected = np.concatenate([matrix.reshape(4, 6, 24).numpy() for matrix in own])
    np.testing.assert_array_equal(np.transpose(panels(ax), (0, 2, 1)), expected)
    assert len({image.get_clim() for image in ax.images}) == 1
    assert [label.get_text() for label in ax.get_yticklabels()] == ["queries", "keys", "values", "output"]
    assert {f"{np.linalg.norm(head):.3g}" for head in expected} <= set(words(ax))
    assert "4 heads of 6 dimensions (across) and 24 inputs (down); below each its norm" in written(ax)


def test_heads_beyond_the_limit_are_counted_and_a_single_kernel_fills_rows():
    net = {"attn.q_proj.weight": np.ones((40, 8)), "attn.k_proj.weight": np.ones((4, 8))}
    ax = plot.heads(net, heads=20, limit=3)
    assert len(panels(ax)) == 3 + 2
    assert "the first 3 of 20 heads" in written(ax)
    assert "2 heads of keys" in written(ax)
    single = plot.heads(net, "attn.q_proj.weight", heads=20, limit=12)
    assert [label.get_text() for label in single.get_yticklabels()] == ["head 0", "head 8"]
    assert len(panels(single)) == 12


def test_the_caption_counts_cells_beyond_the_scale():
    kernel = np.tile([1.0, -1.0], (20, 10))
    kernel[3, 4] = 100.0
    ax = plot.heads({"attn.q_proj.weight": kernel}, "attn.q_proj.weight", heads=2)
    assert ax.images[0].get_clim() == (-1.0, 1.0)
    assert "1 cell beyond \u00b11" in written(ax)


# embeddings


def test_points_are_the_rows_on_two_components_and_the_axes_give_their_shares():
    torch.manual_seed(0)
    table = torch.nn.Embedding(50, 8)
    ax = plot.embedding(table)
    own = table.weight.detach().numpy().astype(float)
    centred = own - own.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    offsets = ax.collections[0].get_offsets()
    np.testing.assert_allclose(np.abs(offsets), np.abs(left[:, :2] * values[:2]), atol=1e-5)
    shares = values**2 / (values**2).sum()
    assert f"first component: {shares[0]:.1%} of the variance" in written(ax)
    assert f"second component: {shares[1]:.1%} of the variance" in written(ax)
    assert "50 rows of 8 numbers" in written(ax)
    assert not ax.lines


def test_the_rows_of_positions_are_joined_in_their_order():
    places = np.arange(200)[:, None] / 1000 ** (np.arange(0, 16, 2) / 16)
    ax = plot.embedding({"wpe": np.concatenate([np.sin(places), np.cos(places)], axis=1)}, "wpe")
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), ax.collections[0].get_offsets())
    assert "each joined with the next" in written(ax)


def test_labels_are_those_of_all_points_or_of_distant_ones():
    array = np.random.default_rng(0).standard_normal((500, 6))
    array[7] *= 30
    names = [f"word {nth}" for nth in range(500)]
    few = plot.embedding({"wte": array[:20]}, "wte", labels=names[:20])
    assert set(names[:20]) <= set(words(few))
    many = plot.embedding({"wte": array}, "wte", labels=names)
    written_names = set(words(many)) & set(names)
    assert "word 7" in written_names
    assert 5 < len(written_names) <= 60


def test_the_only_embedding_is_drawn_and_of_several_one_must_be_named():
    one, two = (from_array(name, np.eye(4), role=Role.EMBEDDING) for name in ("wte", "wpe"))
    fc = from_array("fc", np.eye(4), role=Role.KERNEL)
    assert plot.embedding(Weights([fc, one])).get_title() == "wte"
    assert plot.embedding(Weights([fc, one]), "fc").get_title() == "fc"
    with pytest.raises(AmbiguityError, match="each of 2 weights is an embedding: wte, wpe; name one of them"):
        plot.embedding(Weights([one, two]))
    with pytest.raises(ShapeError, match="none is an embedding"):
        plot.embedding(Weights([fc]))
    with pytest.raises(ShapeError, match="labels has 2 names, but wte has 4 rows"):
        plot.embedding(Weights([one]), labels=["a", "b"])


def test_rows_with_nan_are_left_out_and_counted():
    array = np.random.default_rng(0).standard_normal((30, 4))
    array[3, 2] = np.nan
    ax = plot.embedding({"wte": array}, "wte", labels=[str(nth) for nth in range(30)])
    assert "1 of them with NaN or Inf, left out" in written(ax)
    assert "3" not in {text.get_text() for text in ax.texts}


def test_an_embedding_of_a_file_is_read_like_that_of_the_live_net(tmp_path):
    table = torch.nn.Embedding(30, 4)
    steelyard.save(table, tmp_path / "net.safetensors")
    drawn = [plot.embedding(source, "weight").collections[0].get_offsets() for source in (table, tmp_path / "net.safetensors")]
    np.testing.assert_array_equal(*drawn)
