"""The test of a forward pass in Rust: examples with the bits that the twin gives, and the sums of the bits of all tables."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.device import literals
from steelyard.device.exported import head
from steelyard.device.forward.checksum import table_sum
from steelyard.device.forward.proof import twin
from steelyard.device.forward.rust.source import shapes
from steelyard.device.forward.spelling import pointer
from steelyard.device.symbols import in_comment

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.exported import Export
    from steelyard.device.forward.forward import Forward

_HEAD = """
// Compares {file} with the operations of the net in NumPy, bit for bit: rustc --test {test} && ./{program}

#![allow(dead_code, clippy::all)]

#[path = "{file}"]
mod net;

fn sum_of(bits: impl Iterator<Item = u32>) -> u32 {{
    bits.fold(2166136261, |sum, word| (sum ^ word).wrapping_mul(16777619))
}}

fn same(made: &[f32], expected: &[u32]) -> bool {{
    made.iter().zip(expected).all(|(one, bits)| *one == f32::from_bits(*bits) || one.to_bits() == *bits)
}}
"""


def test(export: Export, forward: Forward, file: str) -> Iterator[str]:
    """Yield the file of the test."""
    stem = file.rpartition(".")[0]
    yield from (f"// {in_comment(line)}".rstrip() + "\n" for line in head(export, "rustc --test"))
    yield _HEAD.format(file=file, test=f"{stem}_test.rs", program=f"{stem}_test")
    names = [f"net::{name}" for name in shapes(export, forward)]
    count = len(forward.proof.inputs[0])
    arrays = [*forward.proof.inputs, *twin(forward)]
    for number, (name, array) in enumerate(zip(names, arrays, strict=True)):
        yield f"\nstatic EXAMPLES_{number + 1}: [[{_type(forward, number)}; {name}]; {count}] = [\n"
        yield from _rows(array.reshape(count, prod(array.shape[1:])))
        yield "];\n"
    yield from _tables(export)
    yield from _run(export, forward, names)


def _type(forward: Forward, number: int) -> str:
    return "i32" if number in forward.integers else "u32"


def _rows(array: Array) -> Iterator[str]:
    for row in array.astype("int32" if array.dtype.kind in "iub" else "float32"):
        words = literals.integers(row) if row.dtype.kind == "i" else literals.bits(row)
        yield "    [\n"
        yield from (f"        {', '.join(words[at : at + literals.LINE])},\n" for at in range(0, len(words), literals.LINE))
        yield "    ],\n"


def _tables(export: Export) -> Iterator[str]:
    yield "\n#[test]\nfn the_tables_have_their_bits() {\n"
    for table in export.tables:
        wrapped = ".0" if export.options.align and export.options.text != "bin" else ""
        symbol = table.symbol.upper()
        bits = "number.to_bits()" if table.plain.dtype == "float32" else "*number as u32"
        words = f"net::{symbol}{wrapped}.iter().map(|number| {bits})"
        yield f'    assert_eq!(sum_of({words}), {table_sum(table)}, "{symbol}");\n'
    yield "}\n"


def _run(export: Export, forward: Forward, names: list[str]) -> Iterator[str]:
    """Yield the test that runs all examples."""
    inputs, outputs = len(forward.program.input_names), len(forward.program.outputs)
    yield f"\n#[test]\nfn the_outputs_have_the_bits_of_the_twin() {{\n    for example in 0..{len(forward.proof.inputs[0])} {{\n"
    words = []
    for number in range(inputs):
        word = pointer(forward, "input", number)
        words.append(f"&{word}")
        read = "EXAMPLES_{0}[example]" if number in forward.integers else "EXAMPLES_{0}[example].map(f32::from_bits)"
        yield f"        let {word} = {read.format(number + 1)};\n"
    for number in range(outputs):
        word = pointer(forward, "output", number)
        words.append(f"&mut {word}")
        yield f"        let mut {word} = [f32::NAN; {names[inputs + number]}];\n"
    scratch = f"&mut [f32::NAN; net::{export.options.name.upper()}_SCRATCH]"
    yield f"        net::run({', '.join([*words, scratch])});\n"
    for number in range(outputs):
        word = pointer(forward, "output", number)
        expected = f"&EXAMPLES_{inputs + number + 1}[example]"
        yield f'        assert!(same(&{word}, {expected}), "example {{}}: {{:?}}", example, {word});\n'
    yield "    }\n}\n"
