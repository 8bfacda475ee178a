"""Merges of small nets: formulas by hand, laws, names, rows, ties, random masks."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import steelyard
from steelyard import sizes
from steelyard.editing.merging.methods import METHODS
from steelyard.errors import ShapeError

floats = arrays(np.float32, (3, 4), elements=st.floats(-8, 8, width=16))
nets = st.lists(floats, min_size=3, max_size=4)


def net(seed, shape=(40, 30), dtype="float32"):
    return {"layers.0.attn.weight": np.random.default_rng(seed).standard_normal(shape).astype(dtype)}


def only(merged):
    (weight,) = merged.values()
    return weight.numpy()


def top(delta, count):
    kept = np.zeros(delta.size, bool)
    kept[np.argsort(-np.abs(delta).ravel(), kind="stable")[:count]] = True
    return np.where(kept.reshape(delta.shape), delta, 0)


@settings(max_examples=12, deadline=None)
@given(nets)
def test_with_weight_1_and_density_1_methods_of_changes_are_task_arithmetic(values):
    base, *models = ({"w": value} for value in values)
    expected = only(steelyard.merge(base, *models, method="task"))
    for method in ("dare", "breadcrumbs"):
        np.testing.assert_array_equal(only(steelyard.merge(base, *models, method=method, density=1)), expected)
    one = only(steelyard.merge(base, models[0], method="task"))
    for method in ("ties", "dare_ties", "breadcrumbs_ties"):
        np.testing.assert_array_equal(only(steelyard.merge(base, models[0], method=method)), one)


@settings(max_examples=12, deadline=None)
@given(floats)
def test_the_mean_of_one_model_is_that_model_whatever_its_weight(value):
    np.testing.assert_array_equal(only(steelyard.merge({"w": value}, weights=0.3)), value)
    np.testing.assert_array_equal(only(steelyard.merge({"w": value}, {"w": value}, weights=[0.3, 0.7], exact=True)), value)


@settings(max_examples=12, deadline=None)
@given(nets, st.floats(0.05, 1))
def test_an_exact_merge_does_not_depend_on_the_order_of_models(values, density):
    base, *models = ({"w": value} for value in values)
    for method in ("ties", "dare", "model_stock"):
        chosen = {} if method == "model_stock" else {"density": density}
        one, other = (
            only(steelyard.merge(base, *order, method=method, exact=True, **chosen)) for order in (models, models[::-1])
        )
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_ties_is_its_formula_also_where_a_bracket_or_the_whole_weight_is_too_large_to_hold(monkeypatch):
    base, a, b = (next(iter(net(seed).values())) for seed in range(3))
    deltas = [top(each - base, 240) for each in (a, b)]
    positive = deltas[0] + deltas[1] >= 0
    agree = [np.where(positive, delta > 0, delta < 0) for delta in deltas]
    added = sum(delta * mask for delta, mask in zip(deltas, agree, strict=True))
    expected = base + added / np.maximum(agree[0] + agree[1].astype(np.float32), 1)
    for sample, held in ((1 << 18, 1 << 20), (256, 1 << 20), (256, 1)):
        monkeypatch.setattr(sizes, "CUT_SAMPLE", sample)
        monkeypatch.setattr(sizes, "CUT_HELD", held)
        monkeypatch.setattr(sizes, "EDIT_BLOCK", 100)
        merged = steelyard.merge(*({"w": each} for each in (base, a, b)), method="ties", density=0.2)
        np.testing.assert_array_equal(only(merged), expected)
        np.testing.assert_array_equal(merged["w"].read(500, 700), expected.ravel()[500:700])


@pytest.mark.parametrize("held", [1 << 20, 1])
def test_of_equal_magnitudes_the_first_are_kept(held, monkeypatch):
    monkeypatch.setattr(sizes, "CUT_HELD", held)
    delta = np.array([1, -2, 2, 2, -2, 1], "float32")
    merged = steelyard.merge({"w": np.zeros(6, "float32")}, {"w": delta}, method="ties", density=0.5)
    assert only(merged).tolist() == [0, -2, 2, 2, 0, 0]


def test_ties_over_the_whole_model_keeps_the_greatest_of_all_weights():
    base = {"a": np.zeros(4, "float32"), "b": np.zeros(4, "float32"), "n": np.array(3)}
    model = {"a": np.array([9, 8, -7, 6], "float32"), "b": np.array([1, 2, 3, -6.5], "float32"), "n": np.array(3)}
    merged = steelyard.merge(base, model, method="ties", density=0.5, scope="model")
    assert merged["a"].numpy().tolist() == [9, 8, -7, 0]
    assert merged["b"].numpy().tolist() == [0, 0, 0, -6.5]
    assert merged["n"].numpy() == 3


def test_signs_are_elected_by_the_sum_or_by_the_number_of_models():
    base, *models = ({"w": np.array([value], "float32")} for value in (0, 5, -1, -2))
    assert only(steelyard.merge(base, *models, method="ties")) == 5
    assert only(steelyard.merge(base, *models, method="ties", majority="frequency")) == -1.5


def test_slerp_stays_on_the_arc_where_the_mean_does_not():
    a, b = {"w": np.array([1, 0], "float32")}, {"w": np.array([0, 1], "float32")}
    np.testing.assert_allclose(only(steelyard.merge(a, b, method="slerp", t=1 / 3)), [np.sqrt(3) / 2, 0.5], rtol=1e-6)
    np.testing.assert_allclose(only(steelyard.merge(a, b, method="nuslerp", weights=[2, 1])), [np.sqrt(3) / 2, 0.5], rtol=1e-6)
    based = steelyard.merge({"w": np.zeros(2, "float32")}, a, b, method="nuslerp", weights=[2, 1])
    np.testing.assert_allclose(only(based), [np.sqrt(3) / 2, 0.5], rtol=1e-6)


def test_the_stock_of_models_is_drawn_to_the_base_by_the_angle_between_them():
    base, a, b = ({"w": np.array(each, "float32")} for each in ([0, 0], [1, 0], [1, 1]))
    cosine = np.sqrt(0.5)
    expected = 2 * cosine / (1 + cosine) * np.array([1, 0.5])
    np.testing.assert_allclose(only(steelyard.merge(base, a, b, method="model_stock")), expected, rtol=1e-6)


def test_random_masks_do_not_depend_on_the_order_of_models_or_on_files(tmp_path):
    base, a, b = net(0), net(1), net(2)
    steelyard.save(base, tmp_path / "base.safetensors")
    steelyard.save(b, tmp_path / "b.safetensors", shard_size=1000)
    expected = only(steelyard.merge(base, a, b, method="dare", density=0.3, seed=7))
    sources = (tmp_path / "base.safetensors", tmp_path / "b.safetensors.index.json", a)
    np.testing.assert_allclose(only(steelyard.merge(*sources, method="dare", density=0.3, seed=7)), expected, atol=1e-6)
    parts = [steelyard.merge(base, a, b, method="dare", density=0.3, seed=7)["layers.0.attn.weight"].read(*run) for run in RUNS]
    np.testing.assert_array_equal(np.concatenate(parts), expected.ravel())
    assert (only(steelyard.merge(base, a, b, method="dare", density=0.3, seed=8)) != expected).any()
    kept = only(steelyard.merge(base, a, method="dare", density=0.3, rescale=False)) != only(steelyard.weights(base))
    assert 0.2 < kept.mean() < 0.4


RUNS = ((0, 1), (1, 13), (13, 700), (700, 1200))


def test_dropped_changes_are_made_up_for_by_the_norm_or_by_the_density():
    base, a = {"w": np.zeros(1000, "float32")}, {"w": np.ones(1000, "float32")}
    plain, norm, density = (only(steelyard.merge(base, a, method="dare", density=0.25, rescale=how)) for how in RESCALES)
    kept = plain.sum()
    np.testing.assert_allclose([norm.sum(), density.sum()], [1000, 4 * kept], rtol=1e-5)


RESCALES = (False, "norm", "density")


def test_given_masks_replay_a_merge():
    base, a = {"w": np.zeros(4, "float32")}, {"w": np.array([1, 2, 3, 4], "float32")}
    masks = [{"w": np.array([True, False, False, True])}]
    merged = steelyard.merge(base, a, method="dare", density=0.5, masks=masks, rescale="density")
    assert only(merged).tolist() == [2, 0, 0, 8]
    with pytest.raises(ShapeError, match=r"mask of w has shape \[3\]"):
        only(steelyard.merge(base, a, method="dare", density=0.5, masks=[{"w": np.ones(3)}]))


def test_types_are_promoted_computed_in_float32_and_rounded_once():
    halves = [{"w": np.full(1, 1 + 2**-7, "float32")} for _ in range(2)]
    made = [steelyard.weights(halves[0]).astype("bfloat16"), steelyard.weights(halves[1]).astype("float16")]
    assert steelyard.merge(*made)["w"].dtype == "float32"
    assert steelyard.merge(made[0], made[0])["w"].dtype == "bfloat16"
    assert steelyard.merge(*halves, dtype="bfloat16")["w"].dtype == "bfloat16"


def test_tied_weights_are_merged_once_and_written_once(tmp_path):
    def tied(seed):
        shared = np.random.default_rng(seed).standard_normal((5, 3)).astype("float32")
        return {"0.weight": shared, "1.weight": shared}

    merged = steelyard.merge(tied(0), tied(1))
    assert merged["1.weight"].tied == "0.weight"
    steelyard.save(merged, tmp_path / "net.safetensors")
    assert (tmp_path / "net.safetensors").stat().st_size < 2 * 15 * 4 + 2000
    np.testing.assert_array_equal(steelyard.weights(tmp_path / "net.safetensors")["1.weight"].numpy(), merged["0.weight"].numpy())
    once = {"0.weight": tied(1)["0.weight"]}  # as a file that stores tied weights once
    np.testing.assert_array_equal(steelyard.merge(tied(0), once)["1.weight"].numpy(), merged["0.weight"].numpy())


def test_a_name_that_a_model_lacks_is_an_error_or_that_of_the_base_or_skipped():
    base = {"a": np.array([0.0]), "b": np.array([0.0])}
    one, other = {"a": np.array([3.0]), "b": np.array([3.0])}, {"a": np.array([3.0])}
    with pytest.raises(ShapeError, match=r"model 3 does not have the names of the first: it lacks b"):
        steelyard.merge(base, one, other)
    with pytest.raises(ShapeError, match=r"model 2 .* has b"):
        steelyard.merge(other, base)
    assert steelyard.merge(base, one, other, missing="base")["b"].numpy() == 1
    assert steelyard.merge(base, one, other, missing="skip")["b"].numpy() == 1.5
    assert steelyard.merge(base, one, other, missing="skip", weights=[1, 2, 9])["b"].numpy() == 2
    left = steelyard.merge(other, base, missing="base")
    assert [*left] == ["a"]
    assert left.meta["notes"] == ["model 2 has b, which the first lacks and the merge leaves out"]


def test_a_longer_embedding_keeps_the_rows_of_the_base():
    base, longer = {"e": np.zeros((2, 2), "float32")}, {"e": np.ones((3, 2), "float32")}
    with pytest.raises(ShapeError, match=r"e has shape \[2, 2\], in model 2 \[3, 2\]; rows="):
        steelyard.merge(base, longer)
    assert steelyard.merge(base, longer, rows="base")["e"].numpy().tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert steelyard.merge(longer, base, rows="base")["e"].numpy().tolist() == [[0.5, 0.5], [0.5, 0.5], [1, 1]]
    with pytest.raises(ShapeError, match="shape"):
        steelyard.merge(base, {"e": np.ones((2, 3), "float32")}, rows="base")


def test_parameters_may_differ_between_weights():
    names = ("embed", "layers.0.attn", "layers.1.attn", "layers.2.mlp", "head")
    a, b = ({name: np.full(2, value, "float32") for name in names} for value in (0.0, 1.0))

    def first(**chosen):
        return [float(weight.numpy()[0]) for weight in steelyard.merge(a, b, **chosen).values()]

    assert first(weights=[1, 3]) == [0.75] * 5
    assert first(method="task", weights=[[0, 1]]) == [0, 0, 0.5, 1, 1]
    assert first(method="task", weights=[{"*attn": 0.25, "*mlp": [0, 4]}]) == [1, 0.25, 0.25, 4, 1]
    assert first(method="task", per={"*attn": 0.5}) == [1, 0.5, 0.5, 1, 1]
    assert first(method="task", per={"*attn": {"weights": [0.5]}}, weights=2) == [2, 0.5, 0.5, 2, 2]
    a = {name: np.array([1, 0], "float32") for name in names}
    assert first(method="slerp", t=0, per={"layers.*": 1}) == [1, 1, 1, 1, 1]


REFUSED = [
    ({"method": "magic"}, "the methods are linear"),
    ({"density": 0.5}, "linear takes no density; it is a parameter of ties"),
    ({"method": "slerp"}, "slerp needs t"),
    ({"method": "ties", "majority": "all"}, "majority is 'all'"),
    ({"method": "ties", "density": [0.5, 0.5]}, "density has 2 entries for 1 model;"),
    ({"method": "ties", "density": 1.5}, "density is 1.5; it is a share, from 0 to 1"),
    ({"method": "breadcrumbs", "gamma": -0.1}, "gamma is -0.1; it is a share"),
    ({"weights": "many"}, "weights is 'many'"),
    ({"weights": [1, None]}, "weights is 'None'"),
    ({"method": "model_stock"}, "at least 2 models beside the base, and 1 is given"),
    ({"method": "passthrough"}, "merges 1 model, and 2 are given"),
    ({"missing": "ignore"}, "missing is 'ignore'"),
    ({"method": "dare", "seed": 0.5}, "seed is '0.5'"),
    ({"scale": [1, 2]}, "scale is"),
    ({"per": 3}, "per is '3'"),
    ({"per": {"*": {"density": 1}}}, "per has 'density'"),
    ({"dtype": "int8"}, "dtype is 'int8'"),
    ({"method": "ties", "scope": "model", "density": [[0.1, 0.9]]}, "one density for all weights"),
]


@pytest.mark.parametrize(("chosen", "message"), REFUSED)
def test_parameters_that_do_not_fit_are_refused_by_name(chosen, message):
    nets = ({f"layers.{at}.fc": np.ones(2) for at in range(2)} for _ in range(2))
    with pytest.raises(ShapeError, match=message):
        steelyard.merge(*nets, **chosen)


def test_numbers_may_be_those_of_numpy_and_the_recipe_has_plain_ones():
    weights, per = np.array([0.5, 2], "float32"), {"*attn*": {"weights": np.array([1, 2])}}
    merged = steelyard.merge(net(0), net(1), weights=weights, per=per, scale=np.float32(0.5))
    recipe = json.loads(merged.meta["merge"])
    assert [model["parameters"]["weight"] for model in recipe["models"]] == [0.5, 2]
    assert recipe["per"] == {"*attn*": {"weights": [1, 2]}}


def test_what_is_no_merge_is_refused():
    with pytest.raises(ShapeError, match=r"merge\(\*models\)"):
        steelyard.merge([net(0), net(1)])
    with pytest.raises(ShapeError, match="complex numbers"):
        steelyard.merge({"w": np.ones(2, "complex64")}, {"w": np.ones(2, "complex64")})


def test_a_merge_of_live_nets_is_assigned_to_one_and_refuses_nets_that_train_on():
    import torch

    a, b = (torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)) for _ in range(2))
    b(torch.ones(4, 3))
    merged = steelyard.merge(a, b)
    assert "1.num_batches_tracked" in merged.meta["notes"][0]
    expected = (a[0].weight + b[0].weight).detach() / 2
    steelyard.weights(a).assign(merged.copy())
    torch.testing.assert_close(a[0].weight.detach(), expected)
    with pytest.raises(ShapeError, match="has changed"):
        merged["0.weight"].numpy()


def test_models_of_several_formats_are_merged(tmp_path):
    expected = steelyard.merge(net(0), net(1), net(2))
    paths = [tmp_path / name for name in ("a.pt", "b.npz", "c.h5")]
    for seed, path in enumerate(paths):
        steelyard.save(net(seed), path)
    merged = steelyard.merge(*paths)
    np.testing.assert_array_equal(only(merged), only(expected))
    for suffix in ("safetensors", "pt", "npz", "h5", "gguf"):
        steelyard.save(merged, tmp_path / f"out.{suffix}")
        np.testing.assert_array_equal(only(steelyard.weights(tmp_path / f"out.{suffix}")), only(expected))


def test_a_method_of_changes_needs_a_base():
    with pytest.raises(ShapeError, match="ties adds to a base"):
        steelyard.merge(None, net(0), net(1), method="ties")


def test_integers_are_those_of_the_first_and_a_note_names_those_that_differ():
    a, b = ({"w": np.ones(1), "n": np.array(value)} for value in (7, 9))
    merged = steelyard.merge(a, b)
    assert merged["n"].numpy() == 7
    assert "n" in merged.meta["notes"][0]


def test_a_packed_net_is_refused():
    packed = {"fc.weight": np.ones((2, 3), "int8"), "fc.SCB": np.ones(2, "float32")}
    with pytest.raises(ShapeError, match="packed by bitsandbytes"):
        steelyard.merge(packed, packed)


def test_the_recipe_is_in_the_metadata_also_of_files(tmp_path):
    merged = steelyard.merge(net(0), net(1), method="ties", density=0.5)
    assert json.loads(merged.meta["merge"]) == {
        "merge_method": "ties",
        "base_model": "model 1",
        "models": [{"model": "model 2", "parameters": {"density": 0.5}}],
    }
    steelyard.save(merged, tmp_path / "out.safetensors")
    assert json.loads(steelyard.weights(tmp_path / "out.safetensors").meta["merge"])["merge_method"] == "ties"


def test_weights_that_add_up_to_0_are_noted():
    merged = steelyard.merge(net(0), net(1), weights=[1, -1])
    assert "add up to 0" in merged.meta["notes"][0]


def test_every_method_reads_any_run_of_a_weight_alike(monkeypatch):
    monkeypatch.setattr(sizes, "EDIT_BLOCK", 64)
    base, a, b = (net(seed, (7, 6, 5)) for seed in range(3))
    for name, method in METHODS.items():
        sources = {1: [a], 2: [a, b]}.get(method.most, [base, a, b])
        chosen = {"density": 0.4} if "density" in method.takes else {"t": 0.3} if "t" in method.takes else {}
        for along in ("weight", "row", "column") if "along" in method.takes else (None,):
            weight = steelyard.merge(*sources, method=name, along=along, **chosen)["layers.0.attn.weight"]
            parts = [weight.read(start, min(start + 13, 210)) for start in range(0, 210, 13)]
            np.testing.assert_array_equal(np.concatenate(parts), weight.numpy().ravel())
