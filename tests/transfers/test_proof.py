"""Outputs are compared in one layout, and only equal ones prove a transfer."""

import numpy as np
import pytest

from steelyard.core.graph import Graph, Layer, Run
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.transfers.pairing.net import Net
from steelyard.transfers.planning import Options, make_plan
from steelyard.transfers.proof import Proof, are_constant, compared, not_run

X = np.arange(6.0).reshape(2, 3) + 1


def dense():
    made = [
        from_array(f"{name}.weight", np.zeros(shape), role=Role.KERNEL, axes="out in")
        for name, shape in (("a", (2, 3)), ("b", (4, 2)))
    ]
    return Net(Weights(made), Graph([Layer("a", "dense"), Layer("b", "dense")]))


def conv(channels):
    made = [from_array("c.weight", np.zeros((2, 3, 2, 2)), role=Role.KERNEL, axes="out in kh kw")]
    return Net(Weights(made), Graph([Layer("c", "conv")], channels=channels, is_execution_order=True))


def proof(before, after, source=None, target=None, tolerance=1e-5, layers=({}, {})):
    plan, _ = make_plan(source or dense(), target or dense(), Options())
    return compared(plan, Run(before, layers[0]), Run(after, layers[1]), tolerance)


def test_the_largest_difference_is_taken_over_the_largest_output_of_the_source():
    found = proof([X], [X + 0.3], tolerance=0.06)
    assert (found.max_abs, found.max_rel) == pytest.approx((0.3, 0.05))
    assert found.proven
    assert not proof([X], [X + 0.3], tolerance=0.04).proven
    assert proof([X], [X], tolerance=0.0).proven
    assert proof([X, X], [X, X + 0.6]).max_rel == pytest.approx(0.1)
    assert proof([X * 0], [X * 0 + 0.5]).max_rel == 0.5, "over one where the source gives zeros"
    assert proof([X[:0]], [X[:0]]).proven


def test_numbers_that_are_not_finite_must_be_the_same():
    strange = np.array([1.0, np.nan, np.inf])
    assert proof([strange], [strange.copy()]).proven
    assert proof([strange], [np.array([1.0, np.nan, -np.inf])]).max_rel == np.inf
    assert proof([np.ones(3)], [strange]).max_rel == np.inf


def test_outputs_of_other_numbers_or_shapes_prove_nothing():
    assert str(proof([X], [X, X])) == "not proven: the source has 1 outputs, the target 2"
    assert "outputs of the source have shapes [2, 3], those of the target [3, 2]" in str(proof([X], [X.T]))
    assert not proof([X], [X.T]).proven
    assert proof([X, np.array(["text"])], [X]).proven, "only numbers are compared"


def test_images_are_compared_with_their_channels_in_one_place():
    image = np.arange(2 * 2 * 5 * 4.0).reshape(2, 2, 5, 4)
    moved = np.moveaxis(image, 1, -1)
    assert proof([image], [moved], conv("first"), conv("last")).proven
    assert proof([moved], [image], conv("last"), conv("first")).proven
    cube = np.arange(2 * 2 * 2 * 2.0).reshape(2, 2, 2, 2)
    assert proof([cube], [np.moveaxis(cube, 1, -1)], conv("first"), conv("last")).proven, "the shape does not show it"
    assert not proof([cube], [cube], conv("first"), conv("last")).proven
    assert proof([cube], [cube], conv("first"), conv("first")).proven
    assert proof([cube], [cube]).proven


def test_the_first_layer_apart_is_the_first_in_the_order_of_execution_above_the_tolerance():
    outputs = {"a": X, "b": X, "odd": X}
    found = proof([X], [X], layers=(outputs, {"a": X, "b": X + 0.6}))
    assert [(each.source, each.target, each.error) for each in found.layers] == [("a", "a", 0), ("b", "b", pytest.approx(0.1))]
    assert found.first_apart.source == "b"
    assert proof([X], [X], layers=(outputs, outputs)).first_apart is None
    assert proof([X], [X], layers=(outputs, {"a": X * np.nan})).first_apart.source == "a"
    assert proof([X], [X], layers=(outputs, {"a": X.T})).layers == []
    image = np.arange(40.0).reshape(1, 2, 5, 4)
    moved = np.moveaxis(image, 1, -1)
    assert proof([X], [X], conv("first"), conv("last"), layers=({"c": image}, {"c": moved})).layers[0].error == 0


def test_a_proof_prints_what_it_found_and_why_not():
    assert str(proof([X], [X + 0.3])).startswith("refuted: the outputs differ by 0.3, which is 0.05 of the largest")
    assert str(proof([X], [X])).startswith("proven: ")
    assert str(not_run(["a", "b"])) == "not proven: a and b cannot be run, so the outputs were not compared"
    assert Proof("why").to_dict() == {
        "proven": False, "why": "why", "tolerance": 0.0, "max_abs": None, "max_rel": None, "layers": [],
    }  # fmt: skip
    assert proof([X], [X]).to_dict()["max_abs"] == 0


@pytest.mark.parametrize(
    ("outputs", "inputs", "constant"),
    [
        ([np.tile([1.0, 2.0], (3, 1))], X.T, True),  # each sample gives the bias
        ([X.T], X.T, False),
        ([np.tile([1.0, 2.0], (3, 1)), X.T], X.T, False),  # one output depends on the inputs
        ([np.full((3, 2), np.nan)], X.T, True),
        ([np.array([[1.0, 2.0]])], X[:1], False),  # one sample shows no dependence on the input
        ([np.array([[2.0, 2.0]])], X[:1], True),
        ([np.array([[5.0]])], X[:1], False),
        ([np.zeros((1, 1))], X[:1], True),
        ([np.full((3, 1), 5.0)], np.ones((3, 2)), True),
        ([np.tile([1.0, 2.0], (3, 1))], np.ones((3, 2)), False),  # the samples are the same
        ([X[:0]], X, True),
    ],
)
def test_outputs_are_constant_if_no_sample_differs_from_another(outputs, inputs, constant):
    assert are_constant(Run(outputs, {}), [inputs]) is constant
