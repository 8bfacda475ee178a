"""The scratch of a forward pass: values share places in turn, and no step overwrites what is read later."""

import numpy as np
import pytest
from c_programs import numbers, program
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.device.forward.memory import planned
from steelyard.device.forward.preparing import prepared
from steelyard.device.program.activations import Activation
from steelyard.device.program.arithmetic import Arithmetic
from steelyard.device.program.linear import Conv, Dense
from steelyard.device.program.norms import Softmax
from steelyard.device.program.program import Program
from steelyard.device.program.recurrent import Recurrent
from steelyard.device.program.shaping import Combine, Concatenate, Reshape, Scale, Select
from steelyard.device.program.windows import Pool


def conv(outs, ins):
    return Conv(numbers(outs, ins, 3, 3), numbers(outs), (1, 1), ((1, 1), (1, 1)), (1, 1), 1, "first")


POOL = Pool("max", (2, 2), (2, 2), ((0, 0),) * 2, (1, 1), True, "first")


def test_a_pool_takes_over_the_places_of_its_image():
    known = program(conv(8, 1), Activation("relu", {}), POOL, conv(16, 8), POOL, Reshape((256,)), Dense(numbers(10, 256), None),
                    inputs=((1, 16, 16),))  # fmt: skip
    assert planned(known).size == 8 * 16 * 16  # of the first; the second has 8 * 8 * 8 and 16 * 8 * 8


def test_the_output_is_never_a_place_of_larger_values():
    known = program(conv(2, 1), POOL, inputs=((1, 4, 4),))
    assert [place.memory for place in planned(known).places] == ["input", "scratch", "output"]


def test_only_the_last_state_of_a_recurrent_layer_is_kept_where_only_that_is_read():
    arrays = numbers(4, 3, 2), numbers(4, 3, 3), numbers(4, 3)
    known = program(
        Recurrent("lstm", *arrays, None, "tanh", "sigmoid", False, "all"), Select((9, slice(0, 3, 1))), inputs=((10, 2),)
    )
    made = prepared(known, "float32", fold=True)
    assert made.steps[0].operation.returns == "last"
    assert planned(made).size == 6
    x = numbers(1, 10, 2)
    assert np.array_equal(made.run(x), known.run(x))


@pytest.mark.parametrize("outputs", [[1, 1], [0], [1, 0]])
def test_each_output_is_a_value_of_its_own(outputs):
    known = program(Scale("add", 1.0))
    made = prepared(Program(known.input_names, known.input_shapes, known.steps, outputs), "float32", fold=True)
    assert len(set(made.outputs)) == len(outputs)
    assert [planned(made).places[place].memory for place in made.outputs] == ["output"] * len(outputs)


def test_values_that_are_joined_are_written_into_their_places():
    dense = [Dense(numbers(3, 4), None), 0], [Dense(numbers(5, 4), None), 0]
    known = program(*dense, [Activation("relu", {}), 2], [Concatenate(1), 1, 3], Dense(numbers(2, 8), None), inputs=((4,),))
    memory = planned(known)
    assert [place.offset for place in memory.places[1:5]] == [0, 3, 3, 0]
    assert (memory.size, memory.idle) == (8, {3})


def test_inputs_tables_and_values_along_a_later_axis_are_copied_when_they_are_joined():
    known = program([Scale("add", 1.0), 0], [Concatenate(1), 0, 1], [Scale("add", 1.0), 2], [Concatenate(2), 2, 3],
                    inputs=((2, 2),))  # fmt: skip
    memory = planned(known)
    assert memory.places[1] == memory.places[2].after(4)
    assert memory.places[3].memory == "scratch"
    assert not memory.idle


def test_values_are_joined_by_copies_where_that_takes_less_scratch():
    layers = [[Dense(numbers(outs, ins), None), place] for outs, ins, place in ((2, 4, 0), (30, 4, 0), (4, 30, 2), (8, 4, 3))]
    known = program(*layers, [Concatenate(1), 4, 1], Dense(numbers(2, 10), None), inputs=((4,),))
    assert planned(known).size == 2 + 30 + 4
    assert not planned(known).idle


STEPS = [Activation("relu", {}), Softmax("softmax", 1), Dense(numbers(4, 4), None), Scale("multiply", 2.0), Combine("add"),
         Reshape((4,)), Select((slice(0, 4, 1),))]  # fmt: skip
PARTS = [Activation("relu", {}), Scale("multiply", 2.0), Concatenate(1), Concatenate(1), Combine("add"), "part", "from one on"]
"""Steps for values of any length."""


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=9), st.data())
def test_values_that_are_read_later_keep_their_places(steps, data):
    listed = []
    for count, (operation, first, second) in enumerate(steps, start=1):
        places = (first % count, second % count) if isinstance(operation, Combine) else (first % count,)
        listed.append([operation, *places])
    known = program(*listed, inputs=((4,),))
    outputs = data.draw(st.lists(st.integers(0, len(steps)), min_size=1, max_size=3))
    made = prepared(Program(known.input_names, known.input_shapes, known.steps, outputs), "float32", fold=True)
    check(made, 4)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(PARTS), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=10), st.data())
def test_values_that_are_joined_keep_their_places(steps, data):
    listed, sizes = drawn(steps)
    known = program(*listed, inputs=((sizes[0],),))
    outputs = data.draw(st.lists(st.integers(0, len(listed)), min_size=1, max_size=3))
    check(prepared(Program(known.input_names, known.input_shapes, known.steps, outputs), "float32", fold=True), 3)


def drawn(steps):
    """Return steps as `program` takes them, each with its inputs, and the lengths of all values."""
    sizes, listed = [3], []
    for kind, first, second in steps:
        one, other = first % len(sizes), second % len(sizes)
        size = sizes[one]
        if isinstance(kind, Combine):
            listed.append([kind, one, [place for place, each in enumerate(sizes) if each == size][-1]])
        elif isinstance(kind, Concatenate):
            listed.append([kind, one, other])
            size += sizes[other]
        elif isinstance(kind, str):
            start = int(kind == "from one on")
            listed.append([Select((slice(start, max(start + 1, size - 1 + start), 1),)) if size > 1 else Reshape((1,)), one])
            size = max(size - 1, 1)
        else:
            listed.append([kind, one])
        sizes.append(size)
    return listed, sizes


def check(made, ins):
    """Run a program whose values are in their places, and compare its outputs."""
    memory, x = planned(made), numbers(ins)
    sizes = [ins, *(step.shape[0] for step in made.steps)]
    memories = {"input": [x.copy()], "output": [np.full(sizes[each], np.nan, "f4") for each in made.outputs]}
    memories["scratch"] = [np.full(memory.size, np.nan, "f4")]

    def at(value):
        place = memory.places[value]
        number = 0 if place.memory == "scratch" else place.number
        return memories[place.memory][number][place.offset : place.offset + sizes[value]]

    for count, step in enumerate(made.steps, start=1):
        if count - 1 not in memory.idle:
            at(count)[:] = step.operation.run([at(place)[None].copy() for place in step.inputs], Arithmetic())[0]
    wanted = made.run(x[None])
    for one, other in zip(memories["output"], wanted if isinstance(wanted, list) else [wanted], strict=True):
        np.testing.assert_array_equal(one, other[0])
    np.testing.assert_array_equal(memories["input"][0], x)
