"""Real compilers get the weights' own bytes back from every language, and have nothing to warn of."""

import numpy as np
import pytest
from carried import SHARED
from ml_dtypes import bfloat16
from toolchains import STRICT, micropython, run, tool

import steelyard

GOLDEN = SHARED / "embedded" / "golden" / "x01_traps.safetensors"
FORMS = {"c": ("decimal", "hex", "bits", "bin"), "rust": ("decimal", "bits", "bin"), "python": ("bytes", "decimal", "bin")}


def floats(*bits):
    return np.array(bits, "uint32").view("float32")


TRAPS = {
    "fc.weight": np.linspace(-1, 1, 35).reshape(5, 7).astype("f4") / 3,
    "fc/weight": np.array([1, -0.0, 16777216, 1e10, 1e-30], "f4"),
    "FC.Weight": np.array([1.2345678e-18], "f4"),
    "*/ int main(){}/*": np.ones(1, "f4"),
    'q\\\n#include "x"': np.ones(1, "f4"),
    "what??/": np.ones(1, "f4"),
    "0.weight": np.eye(2, dtype="f4"),
    "Größe/kernel": np.eye(2, dtype="f4"),
    "\ud800": np.ones(1, "f4"),
    "": np.ones(1, "f4"),
    "INFINITY": np.ones(1, "f4"),
    "class": np.ones(1, "f4"),
    "h": np.ones(1, "f4"),
    "names": np.ones(1, "f4"),
    "fc.weight.size": np.ones(1, "f4"),
    "x" * 80 + "a": np.ones(1, "f4"),
    "x" * 80 + "b": np.ones(1, "f4"),
    "odd": floats(0x3F800000, 0x7FC00001, 0xFFC0DEAD, 0x7F800001, 0x7F800000, 0xFF800000),
    "tiny and large": floats(1, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x80000001),
    "double": np.array([1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 2**60]),
    "odd double": np.array([0x7FF8000000000001, 0xFFF0000000000000], "uint64").view("float64"),
    "scalar": np.array(3.5, "f4"),
    "none": np.zeros((0, 4), "f4"),
    "i8": np.array([-128, 127], "int8"),
    "i16": np.array([-32768, 32767], "int16"),
    "i32": np.array([-(2**31), 2**31 - 1, 0], "int32"),
    "i64": np.array([-(2**63), 2**63 - 1, 0], "int64"),
    "u8": np.array([0, 255], "uint8"),
    "u16": np.array([0, 65535], "uint16"),
    "u32": np.array([0, 2**32 - 1], "uint32"),
    "u64": np.array([0, 2**64 - 1], "uint64"),
    "bool": np.array([True, False]),
    "f16": np.array([0.1, 6e-8, 65504, -0.0], "float16"),
    "odd f16": np.array([0x7C01, 0xFE01, 0x7C00], "uint16").view("float16"),
    "bf16": np.array([0.1, 1e-40, 3e38], bfloat16),
    "complex": np.array([1 + 2j, -0.5j], "complex64"),
    "fortran": np.asfortranarray(np.arange(6, dtype="f4").reshape(2, 3) + 0.5),
}


def own_bytes(weights, *, halves="float32"):
    """Return the bytes of all weights in turn; short floats as the float32 that is equal, or as their bits."""
    return b"".join(value_bytes(weight.numpy(), halves) for weight in weights.distinct().values())


def value_bytes(array, halves):
    if array.dtype.itemsize == 2 and array.dtype.kind not in "iu" and halves == "float32":
        bits = [int(each) for each in array.reshape(-1).view("uint16")]
        wide = [each << 16 for each in bits] if array.dtype == bfloat16 else [widened(each) for each in bits]
        return np.array(wide, "uint32").tobytes()
    return array.tobytes()


def widened(half):
    """Return the bits of a float32 that is equal to a float16, by the definition of both."""
    sign, exponent, mantissa = half >> 15 << 31, half >> 10 & 31, half & 1023
    if exponent == 31:
        return sign | 0x7F800000 | mantissa << 13
    value = np.float32(mantissa * 2.0**-24 if not exponent else (1024 + mantissa) * 2.0 ** (exponent - 25))
    return sign | int(value.view("uint32"))


@pytest.fixture(scope="module", params=["own", pytest.param("golden", marks=pytest.mark.shared)])
def traps(request):
    if request.param == "golden":
        return steelyard.weights(GOLDEN)
    shared = np.full((2, 2), 0.25, "f4")
    return steelyard.weights(TRAPS | {"a.tied": shared, "b.tied": shared})


def exported(traps, folder, language, suffix, **options):
    """Export a net in all forms of a language, and return the exports with the bytes that each must have."""
    made = []
    for form in FORMS[language]:
        with pytest.warns(steelyard.errors.NonFiniteWarning):
            made.append(steelyard.export(traps, folder / f"{form}{suffix}", name=form, text=form, names=True, **options))
    return made, b"".join(own_bytes(traps, halves="bits" if form == "bits" else "float32") for form in FORMS[language])


def c_program(exports):
    """Return a program that writes all arrays; the names of tied weights are used too."""
    headers = [name for made in exports for name in map(name_of, made.files) if name.endswith((".h", ".hpp"))]
    lines = [f'#include "{name}"' for name in headers]
    puts = [
        f"    if (fwrite(&{t.symbol}, 1, sizeof {t.symbol}, stdout) != sizeof {t.symbol}) return 1;"
        for made in exports
        for t in made.tables
        if t.size
    ]
    ties = [f"    (void){symbol};" for made in exports for symbol in made.ties]
    return "\n".join(["#include <stdio.h>", *lines, "int main(void) {", *puts, *ties, "    return 0;", "}", ""])


def name_of(path):
    return path.rpartition("/")[2]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_c99_has_the_weights_own_bytes(traps, compiler, tmp_path):
    headers, expected = exported(traps, tmp_path, "c", ".h")
    with pytest.warns(steelyard.errors.NonFiniteWarning):
        two = steelyard.export(traps, tmp_path / "two.c", name="two", section=".flash", align=16)
    (tmp_path / "main.c").write_text(c_program([*headers, two]))
    run(tool(compiler), "-std=c99", *STRICT, "main.c", "two.c", "-o", "main", cwd=tmp_path)
    assert run(tmp_path / "main", cwd=tmp_path) == expected + own_bytes(traps)


def test_cpp_11_has_the_weights_own_bytes(traps, tmp_path):
    headers, _ = exported(traps, tmp_path, "c", ".hpp")
    decimal, _, *others = headers  # before C++17 there are no floats in hexadecimal
    with pytest.warns(steelyard.errors.NonFiniteWarning):
        plain = steelyard.export(traps, tmp_path / "plain.h", name="plain", progmem=True)
    (tmp_path / "main.cc").write_text(c_program([decimal, *others, plain]))
    run(tool("g++"), "-std=c++11", *STRICT, "main.cc", "-o", "main", cwd=tmp_path)
    bits = own_bytes(traps, halves="bits")
    assert run(tmp_path / "main", cwd=tmp_path) == own_bytes(traps) + bits + 2 * own_bytes(traps)


RUST = """
use std::io::Write;
fn put<T>(numbers: &[T]) {{
    let size = core::mem::size_of_val(numbers);
    std::io::stdout().write_all(unsafe {{ core::slice::from_raw_parts(numbers.as_ptr().cast::<u8>(), size) }}).unwrap();
}}
{modules}
fn main() {{
{puts}
}}
"""


def test_rust_has_the_weights_own_bytes(traps, tmp_path):
    modules, expected = exported(traps, tmp_path, "rust", ".rs")
    with pytest.warns(steelyard.errors.NonFiniteWarning):
        placed = steelyard.export(traps, tmp_path / "placed.rs", name="placed", align=32)
    puts = [f"    put(&{made.options.name}::{t.symbol.upper()}[..]);" for made in modules for t in made.tables]
    puts += [f"    put(&placed::{t.symbol.upper()}.0[..]);" for t in placed.tables]
    puts += [f"    assert!({made.options.name}::{made.options.name.upper()}_NAMES.len() == {len(traps)});" for made in modules]
    ties = [(made.options.name, symbol.upper(), t.symbol.upper()) for made in modules for symbol, t in made.ties.items()]
    puts += [f"    assert!({name}::{tie} == {name}::{own});" for name, tie, own in ties]
    names = "\n".join(f"mod {made.options.name};" for made in (*modules, placed))
    (tmp_path / "main.rs").write_text(RUST.format(modules=names, puts="\n".join(puts)))
    run(tool("rustc"), "-D", "warnings", "main.rs", "-o", "main", cwd=tmp_path)
    assert run(tmp_path / "main", cwd=tmp_path) == expected + own_bytes(traps)


PYTHON = """
import sys, binascii
sys.path.append("/")
for name, symbols in {symbols!r}:
    module = __import__(name)
    for symbol in symbols:
        print(binascii.hexlify(bytes(getattr(module, symbol))).decode(), end="")
print("")
"""


def test_micropython_has_the_weights_own_bytes_and_so_has_python(traps, tmp_path):
    modules, expected = exported(traps, tmp_path, "python", ".py")
    script = PYTHON.format(symbols=[(made.options.name, [t.symbol for t in made.tables]) for made in modules])
    files = sorted({file for made in modules for file in made.files})
    assert bytes.fromhex(micropython(script, files, tmp_path)) == expected
    found = b""
    for made in modules:
        module = {"__file__": made.files[0]}
        exec((tmp_path / name_of(made.files[0])).read_text(), module)
        found += b"".join(bytes(module[t.symbol]) for t in made.tables)
        assert module[f"{made.options.name}_names"] == tuple(traps)
        assert all(module[symbol] is module[t.symbol] for symbol, t in made.ties.items())
        assert all(module[f"{t.symbol}_shape"] == t.plain.shape for t in made.tables)
    assert found == expected
