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
from steelyard.device.program.shaping import Combine, Reshape, Scale, Select
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


STEPS = [Activation("relu", {}), Softmax("softmax", 1), Dense(numbers(4, 4), None), Scale("multiply", 2.0), Combine("add"),
         Reshape((4,)), Select((slice(0, 4, 1),))]  # fmt: skip


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
    memory, x = planned(made), numbers(4)
    memories = {"input": [x.copy()], "output": [np.full(4, np.nan, "f4") for _ in made.outputs]}
    memories["scratch"] = [np.full(memory.size, np.nan, "f4")]

    def at(value):
        place = memory.places[value]
        number = 0 if place.memory == "scratch" else place.number
        return memories[place.memory][number][place.offset : place.offset + 4]

    for count, step in enumerate(made.steps, start=1):
        at(count)[:] = step.operation.run([at(place)[None].copy() for place in step.inputs], Arithmetic())[0]
    wanted = made.run(x[None])
    for one, other in zip(memories["output"], wanted if isinstance(wanted, list) else [wanted], strict=True):
        np.testing.assert_array_equal(one, other[0])
    np.testing.assert_array_equal(memories["input"][0], x)
