"""Forward passes in Python pass their tests in CPython and MicroPython, and have the twin's bits where a float has 32."""

import math

import numpy as np
import pytest
from forwards import exported, word_of
from random_programs import PROGRAMS, chain, draw
from toolchains import micropython

from steelyard.device.forward.proof import twin
from steelyard.device.program.linear import Dense

SCRIPT = "import sys\nsys.path.append('/')\nfor name in {names!r}:\n    __import__(name + '_test')\n"


def emulated(path):
    """Return a module whose floats are those of most boards: float32 of NumPy."""
    text = path.read_text().replace("from array import array\n", "").replace("from math import frexp, ldexp, sqrt\n", "")

    def array(code, given):
        kind = {"f": "float32", "i": "int32", "H": "uint16"}[code]
        return np.frombuffer(given, kind).copy() if isinstance(given, bytes) else np.array(given, kind)

    def frexp(x):
        mantissa, power = math.frexp(x)
        return np.float32(mantissa), power

    module = {"array": array, "memoryview": lambda given: given, "sqrt": np.sqrt, "frexp": frexp}
    module["ldexp"] = lambda y, k: np.float32(math.ldexp(y, k))
    exec(text, module)
    return module


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The forward passes of all programs."""
    folder = tmp_path_factory.mktemp("python")
    pairs = {word_of(kind): program for kind, program in PROGRAMS.items()}
    return folder, {name: exported(*pair, folder / f"{name}.py") for name, pair in pairs.items()}


def test_every_operation_passes_its_test_in_micropython(written, tmp_path):
    _, made = written
    printed = micropython(SCRIPT.format(names=list(made)), [file for each in made.values() for file in each.files], tmp_path)
    assert printed.count("passed") == len(made)


def test_every_operation_has_the_bits_of_the_twin_where_a_float_has_32(written):
    folder, made = written
    for name, each in made.items():
        module, forward = emulated(folder / f"{name}.py"), each.forward
        for example in range(len(forward.proof.inputs[0])):
            with np.errstate(all="ignore"):
                found = module["run"](*(array[example].reshape(-1) for array in forward.proof.inputs))
            for one, other in zip(found if isinstance(found, tuple) else (found,), twin(forward), strict=True):
                np.testing.assert_array_equal(one, other[example].reshape(-1), name)


def test_the_test_of_a_net_passes_in_python_and_fails_when_one_bit_of_a_weight_is_another(tmp_path, monkeypatch, capsys):
    program, probe = chain((3,), Dense(np.array([[0.5, 1e-30, 2]], "float32"), draw(1)))
    exported(program, probe, tmp_path / "bitten.py")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("bitten_test")
    assert "passed" in capsys.readouterr().out
    text = (tmp_path / "bitten.py").read_text()
    data = "".join(f"\\x{byte:02x}" for byte in np.float32(1e-30).tobytes())
    changed = text.replace(data, data[:3] + ("1" if data[3] != "1" else "2") + data[4:])
    assert changed != text
    (tmp_path / "nibbled.py").write_text(changed)
    test = (tmp_path / "bitten_test.py").read_text().replace('"bitten"', '"nibbled"')
    (tmp_path / "nibbled_test.py").write_text(test)
    with pytest.raises(ValueError, match="the numbers of net_step_0_kernel are not those that were exported"):
        __import__("nibbled_test")
