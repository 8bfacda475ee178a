"""The test of a forward pass in Python: examples with the outputs of the net, and the sums of the bits of all tables."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.device.exported import head
from steelyard.device.forward.checksum import table_sum
from steelyard.device.symbols import in_comment

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.exported import Export
    from steelyard.device.forward.forward import Forward

_TEST = """

def sum_of(table):
    data, total = bytes(table), 2166136261
    size = len(data) // len(table)
    for at in range(0, len(data), size):
        word = data[at] | data[at + 1] << 8 | (data[at + 2] << 16 | data[at + 3] << 24 if size == 4 else 0)
        total = (total ^ word) * 16777619 & 0xFFFFFFFF
    return total


def error_of(made, expected):
    apart = largest = 0.0
    for one, other in zip(made, expected):
        apart = max(apart, abs(one - other)) if one == one else float("inf")
        largest = max(largest, abs(other))
    return apart / (largest or 1.0)


def test():
    error = 0.0
    for symbol, total in tables:
        if sum_of(getattr(net, symbol)) != total:
            raise ValueError("the numbers of " + symbol + " are not those that were exported")
    made = [[] for _ in expected]
    for example in range({examples}):
        given = [data[example * (len(data) // {examples}) : (example + 1) * (len(data) // {examples})] for data in inputs]
        found = net.run(*given)
        for listed, output in zip(made, found if isinstance(found, tuple) else (found,)):
            listed += list(output)
    for listed, output in zip(made, expected):
        error = max(error, error_of(listed, output))
    if not error <= {tolerance!r}:
        raise ValueError("the outputs are off by %g of the largest, more than {tolerance:g}" % error)
    print("{name}: error %.3g of the largest output in {examples} examples, tolerance {tolerance:.3g}: passed" % error)


test()
"""


def test(export: Export, forward: Forward, stem: str) -> Iterator[str]:
    """Yield the file of the test, which runs when it is imported."""
    yield from (f"# {in_comment(line)}".rstrip() + "\n" for line in head(export, f"python {stem}_test.py, or MicroPython"))
    yield f'from array import array\n\nnet = __import__("{stem}")\n'
    for word, arrays in (("inputs", forward.proof.inputs), ("expected", forward.proof.outputs)):
        yield f"{word} = (\n"
        for array in arrays:
            yield from _array(array)
        yield ")\n"
    yield "tables = (\n"
    yield from (f'    ("{table.symbol}", {table_sum(table)}),\n' for table in export.tables)
    yield ")\n"
    proof = forward.proof
    yield (
        _TEST.replace("{examples}", str(len(proof.inputs[0])))
        .replace("{tolerance!r}", repr(proof.tolerance))
        .replace("{tolerance:g}", f"{proof.tolerance:g}")
        .replace("{tolerance:.3g}", f"{proof.tolerance:.3g}")
        .replace("{name}", export.options.name)
    )


def _array(array: Array) -> Iterator[str]:
    code, kind = ("i", "<i4") if array.dtype.kind in "iub" else ("f", "<f4")
    data = array.reshape(prod(array.shape)).astype(kind).tobytes()
    yield f'    array("{code}", (\n'
    yield from (f'        b"{_escaped(data[at : at + 32])}"\n' for at in range(0, len(data), 32))
    yield "    )),\n"


def _escaped(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)
