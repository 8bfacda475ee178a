"""A survey finds in one pass what check, stats and picture find in separate passes."""

from itertools import pairwise

import numpy as np
import pytest

import steelyard
from steelyard.core.readers import from_array
from steelyard.core.weight import Refused, Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError
from steelyard.measures.check.health import judged
from steelyard.measures.check.survey import glances, looks
from steelyard.numerics.picture import Drawing, change, part_of_matrix, picture
from steelyard.text.rows import rows_of

BLOCK = {
    "fc.weight": (4, 4),
    "fc.bias": (4,),
    "conv.weight": (4, 2, 3, 3),
    "l.kernel": (3, 8),
    "l.recurrent_kernel": (2, 8),
    "l.bias": (8,),
}


@pytest.fixture
def ill():
    """A net with a defect in most weights."""
    chance = np.random.default_rng(0)
    dead = chance.standard_normal((64, 32)).astype("f4")
    dead[::3] = 0
    same = chance.standard_normal((16, 32)).astype("f4")
    same[5] = same[2]
    broken = chance.standard_normal((8, 8)).astype("f4")
    broken[3, 4], broken[5, 5] = np.nan, np.inf
    embedding = chance.standard_normal((100, 8)).astype("f4")
    embedding[20:90] = 0
    return Weights(
        [
            from_array("dead.weight", dead, role=Role.KERNEL, axes="out in", layer="dead"),
            from_array("same.weight", same, role=Role.KERNEL, axes="out in", layer="same"),
            from_array("broken.weight", broken, role=Role.KERNEL, axes="out in", layer="broken"),
            from_array("flat.weight", np.ones((8, 8), "f4"), role=Role.KERNEL, axes="out in", layer="flat"),
            from_array("bn.var", np.array([1.0, -1.0, 0.5], "f4"), role=Role.VARIANCE, axes="out", layer="bn"),
            from_array("bn.steps", np.array(7), role=Role.COUNT, layer="bn"),
            from_array("words.weight", embedding, role=Role.EMBEDDING, axes="vocab out", layer="words"),
            from_array("half.weight", np.full((8, 8), 65504, "f2"), role=Role.KERNEL, axes="out in", layer="half"),
            from_array("empty", np.zeros((0, 4), "f4")),
            Weight(name="lost", shape=(3, 3), dtype="float32", read=Refused(FormatError("net.pt", "is cut off", 17))),
            Weight(name="text", shape=(2,), dtype="object", read=lambda a, b: np.array(["a", "b"], object)[a:b]),
        ]
    )


def test_the_findings_are_those_of_check_with_health(ill):
    found = [str(each.to_dict()) for look in looks(ill.values(), ill, lambda w: (8, 8)) for each in look.findings]
    asked = [str(each.to_dict()) for each in steelyard.check(ill, health=True).findings]
    assert len(asked) >= 8
    assert sorted(found) == sorted(asked)


def test_without_health_the_findings_are_those_of_check(ill):
    found = [str(each.to_dict()) for look in looks(ill.values(), ill, lambda w: (8, 8), facts={}) for each in look.findings]
    asked = [str(each.to_dict()) for each in steelyard.check(ill).findings]
    assert len(asked) == 3
    assert sorted(found) == sorted(asked)


def test_the_statistics_equal_those_of_stats_and_the_picture_that_of_picture(ill):
    good = ill.select([name for name in ill if name not in ("lost", "text")])
    figures = steelyard.stats(good)
    for look in looks(good.values(), good, lambda w: (5, 7)):
        name, moments = look.weight.name, look.summary.moments
        assert (moments.count, moments.minimum, moments.mean, look.summary.nan) == (
            figures[name].count,
            figures[name].min,
            figures[name].mean,
            figures[name].nan,
        )
        np.testing.assert_array_equal(look.picture.values, picture(look.weight, 5, 7).values)


def test_an_unreadable_weight_has_its_error_and_does_not_stop_the_survey(ill):
    found = {look.weight.name: look for look in looks(ill.values(), ill, lambda w: (8, 8))}
    assert list(found) == list(ill)
    assert str(found["lost"].error) == "net.pt: is cut off (at byte 17)"
    assert str(found["text"].error) == "text holds no numbers"
    assert [name for name, look in found.items() if look.error] == ["lost", "text"]
    assert found["lost"].picture is None


def test_large_weights_that_two_threads_share_come_in_order(tmp_path):
    chance = np.random.default_rng(1)
    net = {f"w{nth}": chance.standard_normal((300, 300 + nth)).astype("f4") for nth in range(12)}
    steelyard.save(net, tmp_path / "net.safetensors")
    weights = steelyard.weights(tmp_path / "net.safetensors")
    found = list(looks(weights.values(), weights, lambda w: (30, 30)))
    assert [look.weight.name for look in found] == list(weights)
    for look in found:
        assert look.summary.moments.maximum == net[look.weight.name].max()
        assert np.abs(look.picture.values).max() == np.abs(net[look.weight.name]).max()


@pytest.mark.parametrize("shape", [(), (1,), (7,), (5, 11), (3, 4, 5), (2, 3, 4, 5), (1, 40), (40, 1)])
def test_a_drawing_is_the_same_from_runs_of_any_length_in_any_order(shape):
    chance = np.random.default_rng(2)
    array = chance.standard_normal(shape)
    weight = from_array("w", array)
    for _ in range(20):
        drawing = Drawing(weight, *chance.integers(1, 12, 2).tolist())
        cuts = np.unique([0, weight.size, *chance.integers(0, weight.size + 1, 4)])
        runs = list(pairwise(cuts))
        for nth in chance.permutation(len(runs)):
            start, stop = map(int, runs[nth])
            drawing.add(array.reshape(-1)[start:stop], start)
        drawn = drawing.picture()
        np.testing.assert_array_equal(drawn.values, picture(weight, *drawn.values.shape).values)


def test_a_change_is_read_as_the_second_minus_the_first_whatever_their_types():
    one, other = np.arange(6).reshape(2, 3).astype("f2"), np.ones((2, 3), "i8")
    np.testing.assert_array_equal(change(from_array("a", one), from_array("b", other)).numpy(), other - one.astype("f8"))
    turned = change(from_array("a", one * 1j), from_array("b", other))
    np.testing.assert_array_equal(turned.numpy(), other - one * 1j)
    assert turned.dtype == "complex128"


def test_a_part_of_the_matrix_has_the_original_numbers():
    array = np.arange(5 * 5000, dtype="f2").reshape(5, 5000)
    for window in ((1, 10, 4, 13), (0, 0, 5, 5000), (2, 7, 2, 9), (4, 4999, 5, 5000)):
        top, left, bottom, right = window
        np.testing.assert_array_equal(part_of_matrix(from_array("w", array), window), array[top:bottom, left:right])


def test_an_invalid_shape_takes_no_memory():
    said = FormatError("net.gguf", "w has a shape which makes no sense")
    huge = Weight(name="w", shape=(1 << 40, 1 << 40), dtype="float32", read=Refused(said), role=Role.KERNEL, axes="out in")
    (found,) = looks([huge], Weights([huge]), lambda w: (10, 10))
    assert found.error is said
    (finding,) = steelyard.check(Weights([huge]), health=True).findings
    assert finding.kind == "unreadable"


def test_a_glance_has_the_statistics_of_each_small_weight_without_findings():
    chance = np.random.default_rng(0)
    arrays = {f"{nth}.weight": chance.normal(size=(8, 4)).astype("f4") for nth in range(50)}
    arrays |= {f"steps.{nth}": np.arange(nth, nth + 3) for nth in range(50)}
    arrays["7.weight"][2], arrays["8.weight"][2, 1], arrays["9.weight"][:] = 0, np.nan, arrays["9.weight"] * 1e30
    weights = steelyard.weights(arrays | {"large.weight": np.ones((50, 50), "f4")})
    seen = list(glances(weights.values(), judged(weights)))
    found = {name: figures for names, columns in seen for name, figures in zip(names, zip(*columns, strict=True), strict=True)}
    ill = {look.weight.name for look in looks(weights.values(), weights, lambda w: (4, 4)) if look.findings}
    assert ill == {"7.weight", "8.weight", "9.weight", "large.weight"}
    assert found.keys() == weights.keys() - ill
    for row in steelyard.stats(weights).rows:
        if row.name in found:
            np.testing.assert_allclose(found[row.name], [row.min, row.max, row.mean, row.std, row.l2, row.zeros], rtol=1e-14)


def test_the_first_of_repeated_blocks_shows_what_the_layers_of_all_imply():
    blocks = {f"h.{nth}.{leaf}": np.ones(shape) for nth in range(5) for leaf, shape in BLOCK.items()}
    levels = {f"lstm.weight_{which}_l{nth}": np.ones((8, 2)) for which in ("ih", "hh") for nth in range(3)}
    levels |= {f"lstm.bias_{which}_l{nth}": np.ones(8) for which in ("ih", "hh") for nth in range(3)}
    listed = {f"net.{leaf}{nth}": np.ones(shape) for leaf, shape in (("w", (3, 4)), ("b", (3,))) for nth in range(3)}
    for net in (listed, blocks, levels, blocks | levels, {"wte.weight": np.ones((9, 4)), **blocks}):
        weights = steelyard.weights(net)
        rows = rows_of(weights)
        assert len(rows) < len(weights)
        facts = [{name: (each.role, each.axes) for name, each in judged(weights, of).items()} for of in (None, rows)]
        assert facts[0] == facts[1]
    assert facts[1]["h.4.l.kernel"] == ("kernel", "in [ifgo]*out") != ("kernel", weights["h.4.l.kernel"].axes)
