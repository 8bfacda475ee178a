"""Our own elementary functions are as near as they say, and have the same bits in NumPy, C, Rust and Python."""

import array
import math

import numpy as np
import pytest
from toolchains import STRICT, run, tool

from steelyard.device.forward.math import NEEDS, ULPS, c, numbers, python, rust, sources
from steelyard.device.program import Program, Step
from steelyard.device.program.activations import Activation

FUNCTIONS = ("exp", "expm1", "tanh", "log", "log1p", "erf")
ODD = np.array(
    [0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 88.722839, 88.7229, -103.98, 1e-45, -1e-45, 3.4e38, 1.17549435e-38], "f4"
)
RNG = np.random.default_rng(0)
SAMPLE = np.concatenate(
    [
        ODD,
        *(RNG.normal(0, scale, 3000).astype("f4") for scale in (0.1, 1, 5, 40)),
        RNG.integers(0, 2**32, 4000, "uint32").view("f4"),
    ]
)
"""Floats of all sizes, and more of those that nets have."""
EXACT = {"exp": np.exp, "expm1": np.expm1, "tanh": np.tanh, "log": np.log, "log1p": np.log1p, "erf": np.vectorize(math.erf)}


def same(one, other):
    """Whether two arrays have the same bits, but for those of NaN."""
    return bool(np.all((one.view("uint32") == other.view("uint32")) | (np.isnan(one) & np.isnan(other))))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_twin_of_a_function_is_off_by_fewer_ulps_than_it_says(name):
    with np.errstate(all="ignore"):
        exact, made = EXACT[name](SAMPLE.astype("float64")), getattr(numbers, name)(SAMPLE)
        short = exact.astype("float32")
    usual = np.isfinite(short)
    np.testing.assert_array_equal(made[~usual], short[~usual])
    ulps = np.abs(made[usual] - exact[usual]) / np.spacing(np.maximum(np.abs(short[usual]), np.finfo("f4").tiny)).astype(
        "float64"
    )
    assert ulps.max() <= ULPS


def test_functions_take_arrays_of_any_shape_in_float32_only():
    assert numbers.exp(np.zeros((), "float32")) == 1
    assert numbers.tanh(np.zeros((0, 3), "float32")).shape == (0, 3)
    with pytest.raises(TypeError, match="take float32, not float64"):
        numbers.exp(np.zeros(2))


C = """
#include <stdint.h>
#include <stdio.h>
#include <string.h>
{texts}
int main(void)
{{
    float x, made[7];
    double wide;
    while (fread(&x, sizeof x, 1, stdin) == 1) {{
{calls}
        wide = net_sqrt64((double)x);
        fwrite(made, sizeof made, 1, stdout);
        fwrite(&wide, sizeof wide, 1, stdout);
    }}
    return 0;
}}
"""
RUST = """
use std::io::{{Read, Write}};
{texts}
fn main() {{
    let mut given = Vec::new();
    std::io::stdin().read_to_end(&mut given).unwrap();
    let mut made = Vec::new();
    for each in given.chunks(4) {{
        let x = f32::from_le_bytes([each[0], each[1], each[2], each[3]]);
        for y in [{calls}] {{
            made.extend_from_slice(&y.to_le_bytes());
        }}
        made.extend_from_slice(&net_sqrt64(f64::from(x)).to_le_bytes());
    }}
    std::io::stdout().write_all(&made).unwrap();
}}
"""


def compiled(language, folder):
    """Return what a program in C or Rust computes of the sample: all functions, then the two roots."""
    if language == "c":
        calls = "\n".join(f"        made[{at}] = net_{name}(x);" for at, name in enumerate((*FUNCTIONS, "sqrt")))
        (folder / "main.c").write_text(C.format(texts="".join(sources(NEEDS, c.TEXTS, "net", c.literal)), calls=calls))
        run(tool("gcc"), "-std=c99", "-O2", "-ffp-contract=off", *STRICT, "main.c", "-o", "main", cwd=folder)
    else:
        calls = ", ".join(f"net_{name}(x)" for name in (*FUNCTIONS, "sqrt"))
        (folder / "main.rs").write_text(RUST.format(texts="".join(sources(NEEDS, rust.TEXTS, "net", rust.literal)), calls=calls))
        run(tool("rustc"), "-O", "-D", "warnings", "main.rs", "-o", "main", cwd=folder)
    (folder / "sample").write_bytes(SAMPLE.tobytes())
    made = run("sh", "-c", "./main < sample", cwd=folder)
    return np.frombuffer(made, [("own", "<f4", 7), ("root", "<f8")])


@pytest.mark.parametrize("language", ["c", "rust"])
def test_compiled_functions_have_the_bits_of_the_twin(language, tmp_path):
    made = compiled(language, tmp_path)
    for at, name in enumerate(FUNCTIONS):
        assert same(made["own"][:, at].copy(), getattr(numbers, name)(SAMPLE)), name
    with np.errstate(invalid="ignore"):
        assert same(made["own"][:, 6].copy(), np.sqrt(SAMPLE))
        np.testing.assert_array_equal(made["root"], np.sqrt(SAMPLE.astype("float64")))


def of_python(number):
    """Return the functions in Python, where a float is `number`; NumPy's float32 is that of most boards."""
    constants = python.Constants("net_c")
    texts = "".join(sources(NEEDS, python.TEXTS, "net", constants.literal))
    module = {"ldexp": lambda y, k: number(math.ldexp(y, k)), "net_infinity": number("inf"), "frexp": lambda x: frexp(x, number)}
    module["array"] = lambda code, data: [number(each) for each in array.array(code, data)]
    exec(constants.definition() + "\n" + texts, module)
    return module


def frexp(x, number):
    mantissa, power = math.frexp(x)
    return number(mantissa), power


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_in_python_have_the_bits_of_the_twin_where_a_float_has_32_bits(name):
    sample = SAMPLE[::4]
    with np.errstate(all="ignore"):
        own = of_python(np.float32)[f"net_{name}"]
        made = np.array([own(x) for x in sample], "float64")
        short = made.astype("float32")
    np.testing.assert_array_equal(made, short.astype("float64"))
    assert same(short, getattr(numbers, name)(sample))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_in_python_are_as_near_where_a_float_has_64_bits(name):
    own = of_python(float)[f"net_{name}"]
    sample = SAMPLE[len(ODD) : 12000 : 5]
    sample = np.abs(sample) if name == "log" else np.maximum(sample, np.float32(-0.9)) if name == "log1p" else sample
    made = np.array([own(float(x)) for x in sample])
    with np.errstate(over="ignore"):
        exact = EXACT[name](sample.astype("float64"))
    usual = exact < 3e38
    np.testing.assert_allclose(made[usual], exact[usual], rtol=1.5e-7, atol=1e-37)


def test_a_program_runs_with_our_own_functions():
    program = Program(["x"], [(5,)], [Step("act", Activation("sigmoid", {}), (0,), (5,))], [1])
    x = np.array([[-100, -1, 0, 0.3, 9]], "float32")
    assert same(program.run(x, libm=False), np.float32(1) / (np.float32(1) + numbers.exp(-x)))
    assert np.array_equal(program.run(x, dtype="float64", libm=False), program.run(x, dtype="float64"))
