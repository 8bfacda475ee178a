"""The test that is written with a forward pass: it passes, and fails when one bit of any table, or an output, is another."""

import subprocess

import numpy as np
import pytest
from c_programs import exported, numbers, program
from toolchains import STRICT, run, tool

from steelyard.device.export import write
from steelyard.device.exported import Options
from steelyard.device.forward.c import files
from steelyard.device.forward.forward import Choices
from steelyard.device.program.activations import Activation
from steelyard.device.program.linear import Dense, Embedding
from steelyard.device.program.program import Program
from steelyard.device.program.recurrent import Recurrent
from steelyard.device.program.resampling import Resample
from steelyard.device.program.shaping import Combine, Reshape


def net():
    """Return a net of two inputs, one of rows of a table, and two outputs, one of which is the other before its activation."""
    arrays = numbers(4, 3, 2), numbers(4, 3, 3), numbers(4, 3)
    steps = [
        [Embedding(numbers(5, 2)), 1],
        Recurrent("lstm", *arrays, None, "tanh", "sigmoid", False, "last"),
        [Dense(numbers(3, 4), numbers(3)), 0],
        [Combine("add"), 3, 4],
        Activation("relu", {}),
        Resample(np.array([[0, 1], [1, 2], [2, 2], [0, 2]]), numbers(4, 2), 1),
        Reshape((2, 2)),
    ]
    made = program(*steps, inputs=((4,), (6,)))
    return Program(made.input_names, made.input_shapes, made.steps, [5, 8])


FORMS = [Options(), Options(dtype="float64"), Options(text="bits"), Options(text="bin")]


@pytest.fixture(scope="module", params=FORMS, ids=lambda options: f"{options.dtype} {options.text}")
def tested(request, tmp_path_factory):
    """A net with its compiled test."""
    folder = tmp_path_factory.mktemp("net")
    made = exported(net(), 0, request.param._replace(text=request.param.text or "decimal"), Choices())
    made.files = tuple(str(folder / name) for name in files(made, made.forward, "net.c"))
    write(made, str(folder / "net.c"))
    run(
        tool("gcc"),
        "-std=c99",
        *([] if request.param.text == "bin" else STRICT),
        "net.c",
        "net_test.c",
        "-lm",
        "-o",
        "test",
        cwd=folder,
    )
    return made, folder


def test_it_passes_and_states_the_error(tested):
    made, folder = tested
    said = run("./test", cwd=folder).decode()
    assert "passed" in said
    assert f"in {len(made.forward.proof.outputs[0])} examples" in said


def test_it_fails_when_one_bit_of_a_table_is_another(tested):
    made, folder = tested
    whole = (folder / "test").read_bytes()
    assert len(made.tables) >= 8
    for table in made.tables:
        numbers_of_table = np.concatenate([*table.plain.blocks()]).tobytes()
        start = whole.index(numbers_of_table)
        changed = bytearray(whole)
        changed[start + table.nbytes - table.nbytes // table.size] ^= 1  # the lowest bit of its last number
        (folder / "changed").write_bytes(changed)
        (folder / "changed").chmod(0o755)
        done = subprocess.run(["./changed"], cwd=folder, capture_output=True, check=False)
        assert done.returncode == 1
        assert f"the numbers of {table.symbol} are not" in done.stdout.decode()


def test_it_fails_when_an_output_is_another(tested):
    made, folder = tested
    whole = bytearray((folder / "test").read_bytes())
    outputs = made.forward.proof.outputs[1].astype(made.forward.arithmetic.numbers)
    start = whole.index(outputs.tobytes()) + int(np.abs(outputs).argmax()) * outputs.itemsize
    whole[start + outputs.itemsize - 2] ^= 1
    (folder / "other").write_bytes(whole)
    (folder / "other").chmod(0o755)
    assert subprocess.run(["./other"], cwd=folder, capture_output=True, check=False).returncode == 1
