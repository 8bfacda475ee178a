"""Each operation in C computes what its NumPy twin does: the same bits, or the last digits apart where it calls libm."""

import math
from itertools import product

import numpy as np
import pytest
from c_programs import compiled, numbers, program
from toolchains import STRICT, run, tool

from steelyard.device.exported import Options
from steelyard.device.forward.c.curves import LIBM
from steelyard.device.forward.forward import Choices
from steelyard.device.program.activations import CURVES, SETTINGS, Activation
from steelyard.device.program.attention import Attention, MatMul
from steelyard.device.program.linear import Affine, Conv, ConvTranspose, Dense, Embedding, Prelu
from steelyard.device.program.norms import GroupNorm, LayerNorm, Softmax
from steelyard.device.program.recurrent import Recurrent
from steelyard.device.program.resampling import Resample
from steelyard.device.program.shaping import Combine, Concatenate, Constant, Permute, Reshape, Scale, Select
from steelyard.device.program.windows import GlobalPool, Pad, Pool, Upsample

ACTIVATED = {
    "hard_tanh": {"lowest": -0.5, "highest": 0.5},
    "softplus": {"beta": 2.0, "threshold": 1.0},
    "clipped_relu": {"highest": 0.5},
}


def convolutions():
    for rank, channels, groups, padding in product((1, 2, 3), ("first", "last"), (1, 2, 4), (0, 1)):
        shape = (4, *range(5, 5 + rank)) if channels == "first" else (*range(5, 5 + rank), 4)
        kernel, bias = numbers(8 if groups == 2 else 4, 4 // groups, *range(2, 2 + rank)), numbers(8 if groups == 2 else 4)
        strides, dilation = (2, 1, 1)[:rank], (1, 2, 1)[:rank]
        around = ((padding, 2 * padding),) * rank
        yield program(Conv(kernel, bias if padding else None, strides, around, dilation, groups, channels), inputs=(shape,))
    yield program(Conv(numbers(2, 2, 3), None, (1,), ((0, 0),), (1,), 2, "first"), inputs=((4, 6),))  # one output of a group


def transposed():
    for rank, channels, groups in product((1, 2), ("first", "last"), (1, 2)):
        shape, rest = (4, *range(3, 3 + rank)), (2, 1)[:rank]
        lengths = tuple((length - 1) * step + 3 - 1 + 2 for length, step in zip(shape[1:], rest, strict=True))
        kernel = numbers(4, 6 // groups, *(3,) * rank)
        operation = ConvTranspose(kernel, numbers(6), rest, (1,) * rank, lengths, (1,) * rank, groups, channels)
        yield program(operation, inputs=(shape if channels == "first" else (*shape[1:], 4),))
    depthwise = ConvTranspose(numbers(4, 1, 3), numbers(4), (2,), (1,), (8,), (1,), 4, "first")
    yield program(depthwise, inputs=((4, 3),))


def pools():
    for word, channels, padding, counted in product(("max", "average"), ("first", "last"), (0, 1), (False, True)):
        shape = (2, 6, 5) if channels == "first" else (6, 5, 2)
        yield program(Pool(word, (3, 2), (2, 2), ((padding, padding),) * 2, (1, 1), counted, channels), inputs=(shape,))
        yield program(GlobalPool(word, counted, channels), inputs=(shape,))
    yield program(Scale("add", 1.0), Pool("max", (2, 2), (2, 2), ((0, 0),) * 2, (1, 1), True, "first"), Scale("multiply", 3.0))


def norms():
    yield program(Affine(numbers(3), numbers(3), 1))
    yield program(Affine(numbers(4), numbers(4), 2), Prelu(numbers(3), 1))
    for centres, scale in product((True, False), (True, False)):
        yield program(LayerNorm(numbers(4) if scale else None, numbers(4) if scale and centres else None, 4, 1e-5, centres))
    yield program(LayerNorm(numbers(16), numbers(16), 16, 1e-3, True))
    for axis in (1, 3):
        yield program(GroupNorm(numbers(4), numbers(4), 2, 1e-5, axis), inputs=((4, 2, 4),))
    yield program(GroupNorm(None, None, 3, 1e-5, 1))


def shapes():
    yield program(Permute((3, 1, 2)), Permute((2, 1, 3)))
    yield program(Select((slice(0, 3, 2), slice(1, 4, 1), 2)))
    yield program(Scale("add", 1.0), Select((2, slice(0, 4, 1), slice(0, 4, 1))), Scale("multiply", 2.0))
    yield program([Scale("divide", 3.0), 0], [Concatenate(1), 0, 1], [Concatenate(3), 2, 2, 2])
    yield program([Scale("add", 1.0), 0], [Scale("divide", 3.0), 0], [Concatenate(1), 1, 2, 0], Scale("multiply", 2.0))
    yield program(Pad(((0, 0), (1, 2), (0, 3)), 0.5))
    for mode in ("edge", "reflect", "symmetric", "wrap"):
        yield program(Pad(((0, 0), (1, 2), (0, 3)), 0.0, mode))
    yield program(Upsample((2, 3), "first"))
    yield program(Resample(np.array([[0, 1], [1, 3], [2, 2]]), numbers(3, 2), 2))
    yield program([MatMul(), 0, 1], inputs=((3, 4, 5), (1, 5, 2)))
    yield program([MatMul(), 0, 1], inputs=((4, 5), (5, 2)))
    yield program(Upsample((2, 3), "last"))
    yield program(Reshape((4, 12)), Dense(numbers(5, 12), numbers(5)), Reshape((20,)))
    yield program([Constant(numbers(3, 4, 4)), 0], [Combine("subtract"), 0, 1])
    yield program(Scale("maximum", 0.25), Scale("minimum", 0.5), Scale("subtract", 0.5))
    for word in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "average"):
        yield program([Scale("add", 1.0), 0], [Combine(word), 0, 1, 0])
    yield program([GlobalPool("average", True, "first"), 0], [Combine("multiply"), 0, 1], [Combine("multiply"), 1, 2])
    yield program([Dense(numbers(4, 4), None), 0], [Activation("relu", {}), 1], [Combine("add"), 2, 0], [Combine("add"), 3, 3])


def activations(words):
    for word in words:
        before = [Scale("maximum", 0.5)] if word == "square_root" else []
        yield program(*before, Activation(word, ACTIVATED.get(word, SETTINGS.get(word, {}))))


def bounds():
    for lowest, highest in ((-math.inf, 0.5), (-0.5, math.inf), (-math.inf, math.inf)):
        yield program(Activation("hard_tanh", {"lowest": lowest, "highest": highest}))


def recurrent():
    for kind, backward, returns in product(("rnn", "lstm", "gru", "gru before"), (False, True), ("last", "all", "all reversed")):
        gates = {"rnn": 1, "lstm": 4}.get(kind, 3)
        arrays = numbers(gates, 4, 3), numbers(gates, 4, 4), numbers(gates, 4), numbers(4) if kind == "gru" else None
        words = ("relu", "hard_sigmoid") if backward else ("tanh", "sigmoid")
        yield program(Recurrent(kind.partition(" ")[0], *arrays, *words, backward, returns), inputs=((5, 3),))


def attentions():
    for heads, causal in product((2, 0), (False, True)):
        given = ((3, 8), (5, 4), (5, 6)) if heads else ((2, 3, 4), (1, 5, 4), (1, 5, 3))
        yield program([Attention(heads, 1 if heads else 0, causal), 0, 1, 2], inputs=given)
        yield program([Attention(0, 0, causal), 0, 1, 2], inputs=((2, 3, 4), (2, 5, 4), (2, 5, 3)))
        yield program([Attention(4, 4, causal), 0, 1, 2], inputs=((3, 8), (5, 8), (5, 8)))


def without_libm():
    yield from convolutions()
    yield from transposed()
    yield from pools()
    yield from norms()
    yield from shapes()
    yield from activations(word for word in CURVES if word not in LIBM and word != "linear")
    yield from bounds()
    yield program(Embedding(numbers(7, 3)), Reshape((15,)), inputs=((5,),))


def with_libm():
    yield from activations(word for word in CURVES if word in LIBM)
    yield from (program(Softmax(word, axis)) for word in ("softmax", "log_softmax") for axis in (1, 2, 3))
    yield from recurrent()
    yield from attentions()


@pytest.mark.parametrize(("dtype", "accumulate"), [(None, "float"), (None, "double"), ("float64", "float")])
def test_operations_without_libm_have_the_bits_of_their_twins(dtype, accumulate, tmp_path):
    programs = list(without_libm())
    made, expected = compiled(programs, tmp_path, Options(dtype=dtype), Choices(True, accumulate))
    for known, one, other in zip(programs, made, expected, strict=True):
        assert np.array_equal(one.view(f"u{one.itemsize}"), other.reshape(-1).view(f"u{one.itemsize}")), known


@pytest.mark.parametrize(("dtype", "accumulate"), [(None, "double"), ("float64", "float")])
def test_operations_with_libm_are_as_near_to_their_twins_as_libraries_are(dtype, accumulate, tmp_path):
    programs = list(with_libm())
    made, expected = compiled(programs, tmp_path, Options(dtype=dtype), Choices(True, accumulate))
    for known, one, other in zip(programs, made, expected, strict=True):
        apart = np.abs(one - other.reshape(-1)).max() / np.abs(other).max()
        assert apart <= (1e-14 if dtype else 1e-6), known


def test_operations_with_our_own_functions_have_the_bits_of_their_twins(tmp_path):
    programs = list(with_libm())
    made, expected = compiled(programs, tmp_path, Options(), Choices(libm=False))
    for known, one, other in zip(programs, made, expected, strict=True):
        assert np.array_equal(one.view("u4"), other.reshape(-1).view("u4")), known


@pytest.mark.parametrize("compiler", ["clang", "g++", "arm-none-eabi-gcc", "avr-gcc"])
def test_other_compilers_have_nothing_to_warn_of(compiler, tmp_path):
    programs = [*list(without_libm())[::3], *with_libm()]
    compiled(programs, tmp_path, Options(), Choices(libm=compiler != "avr-gcc"), run_them=False)
    language = ["-x", "c++", "-std=c++11"] if compiler == "g++" else ["-std=c99"]
    flags = ["-Wall", "-Wextra"] if compiler == "avr-gcc" else STRICT  # the pgmspace of avr-libc does not count here
    text = (tmp_path / "driver.c").read_text().replace("65536", "4096")
    (tmp_path / "driver.c").write_text(text)
    run(tool(compiler), *language, *flags, "-fsyntax-only", "driver.c", cwd=tmp_path)


def test_cppcheck_has_nothing_to_say(tmp_path):
    programs = [*list(without_libm())[::12], *list(with_libm())[::4]]
    compiled(programs, tmp_path, Options(), Choices(), run_them=False)
    files = [f"n{at}.c" for at in range(len(programs))]
    ignored = ("missingIncludeSystem", "unusedFunction", "unmatchedSuppression")
    run(
        tool("cppcheck"),
        "--enable=all",
        *(f"--suppress={word}" for word in ignored),
        "--std=c99",
        "--quiet",
        *files,
        cwd=tmp_path,
    )
