"""The properties of every `Weights`, whatever its source; here over plain arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import steelyard
from steelyard import Role, Weight, sizes
from steelyard.core.casting import common_dtype
from steelyard.errors import LossyError, MixedDtypeWarning, ReadOnlyError, ShapeError, UnknownModelError, WeightNotFoundError


def net():
    rng = np.random.default_rng(0)
    return {
        "fc1": {"weight": rng.normal(size=(5, 4)).astype("f4"), "bias": rng.normal(size=5).astype("f4")},
        "bn": {"weight": np.ones(5, "f4"), "bias": np.zeros(5, "f4"), "running_mean": np.zeros(5, "f4")},
        "fc2": {"weight": rng.normal(size=(2, 5)).astype("f4"), "bias": np.zeros(2, "f4")},
    }


def test_the_mapping_keeps_names_and_order():
    w = steelyard.weights(net())
    assert list(w) == ["fc1.weight", "fc1.bias", "bn.weight", "bn.bias", "bn.running_mean", "fc2.weight", "fc2.bias"]
    assert (len(w), w.size, w.nbytes) == (7, 52, 208)
    assert "fc1.bias" in w
    assert "fc9.bias" not in w


def test_roles_are_inferred_from_names_and_neighbours():
    roles = {name: str(weight.role) for name, weight in steelyard.weights(net()).items()}
    assert roles == {
        "fc1.weight": "kernel",
        "fc1.bias": "bias",
        "bn.weight": "scale",
        "bn.bias": "offset",
        "bn.running_mean": "mean",
        "fc2.weight": "kernel",
        "fc2.bias": "bias",
    }


def test_a_missing_name_suggests_the_nearest_ones():
    with pytest.raises(WeightNotFoundError, match=r"no weight is called 'fc1.wieght'; did you mean 'fc1.weight'"):
        steelyard.weights(net())["fc1.wieght"]


def test_the_name_of_a_layer_is_answered_with_how_to_select_its_weights():
    w = steelyard.weights({"fc1": {"weight": np.ones(2), "bias": np.ones(1)}, "a/b": np.ones(1)})
    with pytest.raises(WeightNotFoundError, match=r"no weight is called 'fc1'; select\('fc1\.\*'\) has those below it"):
        w["fc1"]
    assert [*w.select("fc1.*")] == ["fc1.weight", "fc1.bias"]
    with pytest.raises(WeightNotFoundError, match=r"select\('a/\*'\) has those below it"):
        w["a"]
    with pytest.raises(WeightNotFoundError, match=r"no weight is called ''$"):
        w[""]


def test_select_takes_names_roles_and_layers_together():
    w = steelyard.weights(net())
    assert list(w.select("fc*")) == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    assert list(w.select(role="kernel")) == ["fc1.weight", "fc2.weight"]
    assert list(w.select(role=["scale", Role.OFFSET])) == ["bn.weight", "bn.bias"]
    assert list(w.select(role="bias", layer="fc2")) == ["fc2.bias"]
    with pytest.raises(ShapeError, match="'kernal' is not a role; the roles are"):
        w.select(role="kernal")


def test_select_takes_a_function_of_a_weight():
    w = steelyard.weights(net())
    assert list(w.select(lambda weight: weight.ndim == 2)) == ["fc1.weight", "fc2.weight"]
    assert list(w.select(lambda weight: weight.ndim == 2, layer="fc2")) == ["fc2.weight"]


def test_a_name_with_brackets_selects_itself():
    w = steelyard.weights({"layers[0]": np.zeros(2), "layers[1]": np.zeros(2)})
    assert list(w.select("layers[0]")) == ["layers[0]"]


def test_layers_group_the_weights_in_order():
    layers = steelyard.weights(net()).layers
    assert list(layers) == ["fc1", "bn", "fc2"]
    assert list(layers["fc1"]) == ["weight", "bias"]


def test_rename_takes_a_prefix_off_and_assign_still_reaches_the_model():
    model = {"module": net()}
    w = steelyard.weights(model).rename(r"module\.(.*)", r"\1")
    assert list(w)[:2] == ["fc1.weight", "fc1.bias"]
    assert list(w.layers) == ["fc1", "bn", "fc2"]
    w.assign({"fc1.bias": np.arange(5)})
    assert model["module"]["fc1"]["bias"].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ShapeError, match="two weights are called 'x'"):
        w.rename(".*", "x")


def test_the_vector_is_each_weight_flattened_in_the_listed_order():
    model = net()
    arrays = [array for layer in model.values() for array in layer.values()]
    w = steelyard.weights(model)
    assert np.array_equal(w.to_vector(), np.concatenate([a.ravel() for a in arrays]))
    assert np.array_equal(w.to_vector(order="F"), np.concatenate([a.ravel(order="F") for a in arrays]))
    for _ in range(3):  # the first time by address, then by cached views
        out = np.full(w.size, np.nan, "f4")
        assert w.to_vector(out=out) is out
        assert np.array_equal(out, w.to_vector())


def test_the_vector_is_a_copy_and_the_views_are_read_only():
    model = net()
    w = steelyard.weights(model)
    vector = w.to_vector()
    vector[:] = 9
    assert model["fc1"]["weight"].max() < 9
    assert np.shares_memory(w["fc1.weight"].numpy(), model["fc1"]["weight"])
    with pytest.raises(ValueError, match="read-only"):
        w["fc1.weight"].numpy()[0] = 1


def test_out_must_fit():
    w = steelyard.weights(net())
    with pytest.raises(ShapeError, match=r"out has shape \(3,\)"):
        w.to_vector(out=np.zeros(3, "f4"))
    strided = np.zeros(104, "f4")[::2]
    assert np.array_equal(w.to_vector(out=strided), w.to_vector())
    with pytest.raises(ShapeError, match="order is 'K'"):
        w.to_vector(order="K")


@pytest.mark.parametrize("order", ["C", "F"])
def test_from_vector_and_assign_bring_a_vector_back(order):
    w, other = steelyard.weights(net()), net()
    vector = np.random.default_rng(1).normal(size=52).astype("f4")
    back = w.from_vector(vector, order)
    assert np.array_equal(back.to_vector(order), vector)
    assert [(x.name, x.shape, x.dtype, x.role) for x in back.values()] == [(x.name, x.shape, x.dtype, x.role) for x in w.values()]
    target = steelyard.weights(other)
    assert target.assign(vector, order) is other
    assert np.array_equal(target.to_vector(order), vector)
    vector[:] = 0
    assert target.to_vector().any()
    assert back.to_vector().any()


@pytest.mark.parametrize("length", [0, 51, 53])
def test_a_vector_of_the_wrong_length_is_refused_and_nothing_written(length):
    w = steelyard.weights(net())
    before = w.to_vector()
    for put in (w.assign, w.from_vector):
        with pytest.raises(ShapeError, match=rf"the vector has shape \({length},\), these 7 weights take \(52,\)"):
            put(np.zeros(length, "f4"))
    assert np.array_equal(w.to_vector(), before)


def test_nothing_is_written_when_one_of_many_values_is_wrong():
    w = steelyard.weights(net())
    before = w.to_vector()
    wrong = [
        ({"fc1.bias": np.ones(5), "fc2.weight": np.ones((5, 2))}, r"fc2.weight has shape \(2, 5\), the value has \(5, 2\)"),
        ({"fc1.bias": np.ones(5), "fc3.bias": np.ones(5)}, "no weight is called 'fc3.bias'"),
    ]
    for values, message in wrong:
        with pytest.raises(ShapeError, match=message):
            w.assign(values)
    assert np.array_equal(w.to_vector(), before)


def test_an_assigned_part_leaves_the_rest_untouched():
    model = net()
    w = steelyard.weights(model)
    rest = w.select("bn.*").to_vector()
    kernels = w.select(role="kernel")
    kernels.assign(np.zeros(kernels.size, "f4"))
    assert not model["fc1"]["weight"].any()
    assert np.array_equal(w.select("bn.*").to_vector(), rest)
    mask = {"fc1.bias": np.array([1, 0, 1, 0, 1])}
    w.assign({name: w[name].numpy() * m for name, m in mask.items()})
    assert model["fc1"]["bias"][1] == 0


def test_values_that_are_views_of_the_model_itself_are_safe():
    model = {"a": np.arange(3.0), "b": np.arange(3.0, 6.0)}
    w = steelyard.weights(model)
    w.assign({"a": w["b"], "b": w["a"].numpy()})
    assert model["a"].tolist() == [3, 4, 5]
    assert model["b"].tolist() == [0, 1, 2]


def test_tied_weights_are_listed_and_counted_once():
    table = np.ones((4, 2), "f4")
    model = {"emb": {"weight": table}, "head": {"weight": table}}
    w = steelyard.weights(model)
    assert w["head.weight"].tied == "emb.weight"
    assert (w.size, w.to_vector().shape) == (8, (8,))
    assert w.select("head*").size == 8
    w.assign({"head.weight": np.zeros((4, 2))})
    assert not table.any()
    with pytest.raises(ShapeError, match="share one memory, but the values differ"):
        w.assign({"emb.weight": np.zeros((4, 2)), "head.weight": np.ones((4, 2))})
    assert np.array_equal(w.copy()["head.weight"].numpy(), table)


def test_a_copy_is_detached_and_cannot_be_assigned_to():
    model = net()
    best = steelyard.weights(model).copy()
    model["fc1"]["weight"][:] = 7
    assert best["fc1.weight"].numpy().max() < 7
    with pytest.raises(ReadOnlyError, match="belong to no model"):
        best.assign({})
    steelyard.weights(model).assign(best)
    assert model["fc1"]["weight"].max() < 7


def test_locate_returns_the_weight_and_index_of_an_entry():
    w = steelyard.weights(net())
    vector, columns = w.to_vector(), w.to_vector(order="F")
    for index in (0, 19, 20, 51, -1):
        name, place = w.locate(index)
        assert vector[index] == w[name].numpy()[place]
        name, place = w.locate(index, order="F")
        assert columns[index] == w[name].numpy()[place]
    with pytest.raises(ShapeError, match="entry 52 is outside the vector, which has 52 entries"):
        w.locate(52)


def test_an_empty_model_is_an_empty_weights():
    for nothing in ({}, [], ()):
        w = steelyard.weights(nothing)
        assert (len(w), w.size, w.to_vector().shape) == (0, 0, (0,))
        assert "0 weights" in repr(w) or "no weights" in repr(w)


def test_weights_without_elements_take_no_room_in_the_vector():
    w = steelyard.weights({"none": np.zeros((0, 3)), "one": np.zeros(()), "wide": np.zeros((2, 0, 4))})
    assert w.to_vector().shape == (1,)
    assert w.locate(0) == ("one", ())
    w.assign([5.0])
    assert w["one"].numpy() == 5


def test_mixed_types_go_through_a_type_that_holds_all_and_come_back_exactly():
    model = {"step": np.array(3, "i8"), "w": np.array([0.1, -2.5], "f4")}
    w = steelyard.weights(model)
    with pytest.warns(MixedDtypeWarning, match=r"the vector is float64, though the floats are float32, .*'step'; w.parameters"):
        vector = w.to_vector()
    assert vector.dtype == "f8"
    assert w.parameters.to_vector().dtype == "f4"
    assert np.array_equal(w.from_vector(vector)["w"].numpy(), model["w"])
    vector[0] = 3.5
    with pytest.raises(LossyError, match=r"step: 3.5 at \[0\] does not fit into int64"):
        w.assign(vector)
    assert model["step"] == 3


@given(
    st.lists(hnp.arrays(st.sampled_from(["f4", "f8", "i4", "f2", "u1"]), hnp.array_shapes(min_dims=0, min_side=0)), max_size=5)
)
def test_any_arrays_come_back_from_their_vector_bit_for_bit(arrays):
    w = steelyard.weights(arrays)
    if not all(np.isfinite(a).all() for a in arrays):
        return  # NaN has no integer; covered above
    wide = common_dtype(weight.dtype for weight in w.values())
    for order in ("C", "F"):
        vector = w.to_vector(order, wide)
        back = w.from_vector(vector, order)
        for name, array in zip(w, arrays, strict=True):
            assert back[name].numpy().tobytes() == array.tobytes()
    for index in range(vector.size):
        name, place = w.locate(index, "F")
        assert vector[index] == w[name].numpy()[place]


def test_a_layer_has_names_of_its_own_and_assigning_reaches_the_model():
    model = net()
    w = steelyard.weights(model)
    layer = w.layer("fc1")
    assert list(layer) == list(w.layers["fc1"]) == ["weight", "bias"]
    assert layer["weight"].layer == ""
    layer.assign({"bias": np.arange(5)})
    assert model["fc1"]["bias"].tolist() == [0, 1, 2, 3, 4]
    layer.assign(layer.to_vector() * 2)
    assert model["fc1"]["bias"].tolist() == [0, 2, 4, 6, 8]
    with pytest.raises(WeightNotFoundError, match="no layer is called 'fc3'; did you mean"):
        w.layer("fc3")


def test_weights_of_one_layer_are_tied_within_it_and_names_that_would_become_one_stay_whole():
    shared = np.ones(3, "f4")
    w = steelyard.weights({"a": {"x": shared, "y": shared}, "b": {"x": shared}})
    assert w.layer("a")["y"].tied == "x"
    assert w.layer("b")["x"].tied == "a.x"
    w = steelyard.Weights([Weight(name=name, shape=(1,), dtype="int8", read=bytes, layer="a") for name in ("a.x", "a/x")])
    assert list(w.layer("a")) == ["a.x", "a/x"]


def test_astype_casts_floats_as_they_are_read_and_assigns_in_the_model_s_own_types():
    model = {"w": np.array([1.0, 2.5], "f4"), "steps": np.array([3], "i8")}
    w = steelyard.weights(model).astype("float64")
    assert [each.dtype for each in w.values()] == ["float64", "int64"]
    model["w"][0] = 7.0
    assert w["w"].numpy().tolist() == [7.0, 2.5]
    assert w.assign({"w": np.array([0.1, 0.2]), "steps": [4]}) is model
    assert model["w"].tolist() == np.array([0.1, 0.2], "f4").tolist()
    with pytest.raises(LossyError):
        w.assign({"w": [1e300, 0.0]})
    with pytest.raises(LossyError, match=r"1e\+300|does not fit into float16"):
        steelyard.weights({"w": np.array([1e30])}).astype("float16").to_vector()
    for dtype in ("int8", "float4_e2m1fn", "float", "float33"):
        with pytest.raises(ShapeError, match=f"floats cannot be cast to '{dtype}'; the types are float16"):
            w.astype(dtype)


def test_arrays_become_weights_with_the_given_axes():
    kernel = np.ones((3, 2), "f4")
    w = steelyard.Weights.from_arrays({"fc.weight": kernel, "fc.bias": np.zeros(3), "same": kernel}, axes={"fc.weight": "out in"})
    assert [(x.name, str(x.role), x.layer, x.axes, x.tied) for x in w.values()] == [
        ("fc.weight", "kernel", "fc", "out in", None),
        ("fc.bias", "bias", "fc", "out", None),
        ("same", "other", "", "", "fc.weight"),
    ]
    assert np.shares_memory(w["fc.weight"].numpy(), kernel)
    with pytest.raises(UnknownModelError):
        steelyard.Weights.from_arrays({"a": np.array(["x"])})


def test_parameters_and_buffers_are_distinguished_by_roles_without_a_framework():
    w = steelyard.weights(net())
    assert list(w.buffers) == ["bn.running_mean"]
    assert list(w.parameters) == [name for name in w if name != "bn.running_mean"]
    unknown = steelyard.weights({f"x{nth}": np.zeros(2) for nth in range(7)})
    with pytest.raises(
        ShapeError,
        match=r"it is not known whether these are parameters or buffers: x0, x1, x2, x3, x4 and 2 more; select weights by name",
    ):
        unknown.parameters  # noqa: B018 - asking is what fails
    with pytest.raises(ShapeError, match=r"buffers: \(unnamed\); select"):
        _ = steelyard.weights(np.ones(2)).parameters


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_vector_is_moved_by_two_threads_and_no_weight_is_left_out(monkeypatch, order):
    monkeypatch.setattr(sizes, "COPY_THRESHOLD", 7)
    for count in (1, 2, 3, 8):
        model = {str(nth): np.arange(nth * 10, nth * 10 + 6, dtype="f4").reshape(2, 3) for nth in range(count)}
        w = steelyard.weights(model)
        moved = w.to_vector(order)
        assert np.array_equal(moved, np.concatenate([array.ravel(order) for array in model.values()]))
        w.assign(moved + 1, order)
        assert np.array_equal(w.to_vector(order), moved + 1)


def test_an_order_that_is_neither_by_rows_nor_by_columns_is_refused_everywhere():
    w = steelyard.weights(net())
    for ask in (lambda: w.locate(0, "K"), lambda: w.from_vector(w.to_vector(), "K"), lambda: w.assign(w.to_vector(), "K")):
        with pytest.raises(ShapeError, match="order is 'K'"):
            ask()


def test_a_layer_with_a_kernel_and_a_scale_keeps_its_bias():
    """A dense layer with weight norm has both."""
    w = steelyard.weights({"fc": {"kernel": np.ones((2, 2)), "scale": np.ones(2), "bias": np.ones(2)}})
    assert str(w["fc.bias"].role) == "bias"
    w = steelyard.weights({"bn": {"scale": np.ones(2), "bias": np.ones(2)}})
    assert str(w["bn.bias"].role) == "offset"


@pytest.mark.parametrize("dtype", ["float64", "float16", None])
def test_a_vector_has_the_type_that_is_asked_for_or_the_one_that_holds_all(dtype):
    found = steelyard.weights({"a": np.ones(2, "f4"), "b": np.ones(3, "f2")}).to_vector(dtype=dtype)
    assert found.dtype == (dtype or "float32")
    assert found.tolist() == [1] * 5


def test_a_list_of_arrays_is_assigned_by_place_or_refused_whole():
    model = {"a": np.zeros((2, 3)), "b": np.zeros(3, "f4")}
    model["again"] = model["a"]
    w = steelyard.weights(model)
    w.assign([np.ones((2, 3)), [1.0, 2.0, 3.0]])
    assert model["a"].all()
    assert model["b"].tolist() == [1, 2, 3]
    for values, message in (
        ([np.zeros((2, 3))], r"the list has 1 arrays, but there are 2 weights; pass one for each"),
        ([np.zeros(3), np.zeros((2, 3))], r"a has shape \(2, 3\), the value has \(3,\)"),
        ([np.zeros((2, 3)), [[1.0], [1.0, 2.0]]], r"the value for b is a ragged list"),
    ):
        with pytest.raises(ShapeError, match=message):
            w.assign(values)
    with pytest.raises(ShapeError, match="a list of arrays has none"):
        w.assign([np.zeros((2, 3)), np.zeros(3)], "F")
    assert model["b"].tolist() == [1, 2, 3]


def test_a_model_that_is_nested_too_deeply_is_an_error_in_one_line():
    nested = inner = {}
    for _ in range(5000):
        inner["a"] = inner = {}
    inner["w"] = np.ones(2)
    with pytest.raises(UnknownModelError, match="the dict is nested too deeply"):
        steelyard.weights(nested)


def test_totals_count_what_the_facts_show_where_a_file_does_not_show_the_order_of_the_parameters():
    def unknown():
        raise ShapeError("conv may be a frozen parameter or a buffer")

    arrays = {"fc.weight": np.zeros((2, 3), "f4"), "conv": np.zeros(4, "f4")}
    listed = steelyard.Weights(steelyard.weights(arrays).values(), orders={"parameters": unknown})
    assert listed.counts == (6, 0, 4)
    with pytest.raises(ShapeError, match="frozen"):
        _ = listed.parameters
