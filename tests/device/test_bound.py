"""The a-priori bound is above the error of every operation, in float32 and with sums in double, in any order of the sums."""

import numpy as np
import pytest
from random_programs import PROGRAMS, chain, conv, draw, graph, recurrent

from steelyard.device.forward.bound import RULES, error_bound
from steelyard.device.program.activations import Activation
from steelyard.device.program.linear import Dense
from steelyard.device.program.norms import LayerNorm, Softmax
from steelyard.device.program.shaping import Combine
from steelyard.errors import ShapeError


def listed(made):
    return made if isinstance(made, list) else [made]


def error_of(program, inputs, reference=None, **arithmetic):
    """Return the largest difference from float64 as a share of the largest output."""
    pairs = zip(
        listed(program.run(*inputs, **arithmetic)), listed((reference or program).run(*inputs, dtype="float64")), strict=True
    )
    return max(float(np.abs(one - other).max() / np.abs(other).max()) for one, other in pairs)


@pytest.mark.parametrize("kind", PROGRAMS)
def test_the_error_of_every_operation_is_below_its_bound(kind):
    program, inputs = PROGRAMS[kind]
    for arithmetic in ({}, {"accumulate": "float64"}, {"libm": False}):
        bound = error_bound(program, *inputs, accumulate=arithmetic.get("accumulate"))
        assert error_of(program, inputs, **arithmetic) <= bound < 1e-3


def test_the_programs_above_have_all_operations():
    assert {type(step.operation) for program, _ in PROGRAMS.values() for step in program.steps} == set(RULES)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_the_bound_follows_errors_through_a_net(scale):
    layers = [conv((4, 2, 3, 3)), Activation("mish", {}), LayerNorm(draw(4), None, 4, 1e-5, True)]
    program, (x,) = chain((2, 6, 6), *layers, Activation("tanh", {}), Dense(draw(3, 4), draw(3)), Softmax("softmax", 3))
    bound = error_bound(program, scale * x)
    assert error_of(program, [scale * x]) <= bound < 1


def test_the_bound_holds_for_any_order_of_the_sums():
    first, second = Dense(draw(60, 40), draw(60)), Dense(draw(5, 60), draw(5))
    program, (x,) = chain((40,), first, Activation("gelu", {}), second)
    bound = error_bound(program, x)
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(60)
        turned = [
            first._replace(kernel=first.kernel[order], bias=first.bias[order]),
            second._replace(kernel=second.kernel[:, order]),
        ]
        other, _ = chain((40,), turned[0], Activation("gelu", {}), turned[1])
        assert error_of(other, [x], program) <= bound


def test_the_bound_holds_for_fused_products():
    kernel, bias = draw(5, 200), draw(5)
    program, (x,) = chain((200,), Dense(kernel, bias))
    sums = np.broadcast_to(bias, (3, 5)).astype("float32")
    for place in range(200):  # the product of two float32 is exact in float64
        sums = (sums + x[:, place, None].astype("float64") * kernel[:, place]).astype("float32")
    exact = program.run(x, dtype="float64")
    assert np.abs(sums - exact).max() / np.abs(exact).max() <= error_bound(program, x)


def test_the_bound_counts_weights_that_are_rounded():
    program, (x,) = chain((1,), Dense(np.full((1, 1), 1 + 2.0**-24 - 2.0**-40), None))
    x = np.ones_like(x)
    assert 2.0**-26 < error_of(program, [x]) <= error_bound(program, x) < 2.0**-21


def test_a_sum_in_double_has_a_narrower_bound_and_a_wider_libm_a_wider_one():
    program, (x,) = chain((9,), Dense(draw(5, 9), draw(5)), Activation("tanh", {}))
    bounds = [error_bound(program, x, accumulate="float64"), error_bound(program, x), error_bound(program, x, ulps=1000)]
    assert bounds == sorted(bounds)
    assert bounds[2] > 10 * bounds[1] > 12 * bounds[0]


def test_the_bound_of_a_recurrent_net_stays_near_the_range_of_its_state():
    program, (x,) = chain((200, 3), recurrent("lstm", 3, 8))
    wild = program.steps[0].operation
    wild = wild._replace(recurrent_kernel=20 * wild.recurrent_kernel)
    assert error_bound(chain((200, 3), wild)[0], x) < 6


def test_nothing_is_claimed_where_a_divisor_may_be_zero():
    program, (x,) = graph([(2,)], (Combine("subtract"), 0, 0), (Combine("divide"), 0, 1))
    assert error_bound(program, x) == np.inf


def test_an_activation_that_jumps_may_jump_elsewhere_on_a_device():
    program, _ = chain((1,), Dense(np.ones((1, 1), "f4"), None), Activation("threshold", {"threshold": 0.5, "value": 9.0}))
    assert error_bound(program, np.array([[0.5]], "f4")) > 0.9
    assert error_bound(program, np.array([[0.6]], "f4")) < 1e-6


def test_an_operation_without_a_rule_is_refused_by_the_name_of_its_step():
    program, (x,) = chain((3,), Dense(draw(2, 3), None))
    program.steps = (program.steps[0]._replace(operation=object()),)
    with pytest.raises(ShapeError, match="'step 0': the error of object is not bounded"):
        error_bound(program, x)
