r"""MicroPython, and Python: a module of arrays from `array`, made of bytes.

MicroPython reads decimals with a small error, and a float of its own has 30 bits on many boards; the bytes of an array are
kept. ``text="decimal"`` is for reading, and exact in CPython only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.device import literals, packed
from steelyard.device.exported import head
from steelyard.device.symbols import in_comment

if TYPE_CHECKING:
    from steelyard.device.exported import Export, Table
    from steelyard.device.writers import Pieces

TEXTS = ("bytes", "decimal", "bin")
PLACES = False
LIMIT = None
RESERVED = ("names", "file", "read")

_CODES = {
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
"""The types of `array.array`."""
_USE = "MicroPython on little-endian boards, which all of its ports are, or Python"
_READ = """
{name}_file = __file__[: __file__.rfind("/") + 1] + {file!r}


def {name}_read(code, offset, count, size):
    numbers = array(code, bytes(count * size))
    with open({name}_file, "rb") as file:
        file.seek(offset)
        if file.readinto(numbers) != count * size:
            raise OSError({name}_file + " is too short")
    return numbers
"""


def derived(axes: int) -> list[str]:
    """Return the endings of the names that a table has."""
    return ["_shape"]


def files(export: Export, file: str) -> dict[str, Pieces]:
    """Return the module, and the numbers, if they have a file of their own."""
    own = packed.own_file(export, file, None)
    return {file: module(export, next(iter(own), "")), **own}


def module(export: Export, numbers: str) -> Iterator[str]:
    """Yield the module of all tables; `numbers` is the name of their own file, if they have one."""
    yield from (f"# {in_comment(line)}".rstrip() + "\n" for line in head(export, _USE))
    yield "from array import array\n"
    if numbers:
        yield _READ.format(name=export.options.name, file=numbers)
    for table, offset in zip(export.in_turn(), packed.offsets(export.tables, None), strict=True):
        yield f"\n# {in_comment(table.weight.name)}: {in_comment(table.facts)}\n{table.symbol}_shape = {table.plain.shape!r}\n"
        yield from _numbers(export, table, offset)
    for symbol, table in export.ties.items():
        yield f"\n# {in_comment(export.true_names[symbol])}: tied to {in_comment(table.weight.name)}\n"
        yield f"{symbol}_shape = {table.symbol}_shape\n{symbol} = {table.symbol}\n"
    if export.options.names:
        yield f"\n{export.options.name}_names = (\n"
        yield from (f"    {name!a},\n" for name in export.true_names.values())
        yield ")\n"


def _numbers(export: Export, table: Table, offset: int) -> Iterator[str]:
    code, text = _CODES[table.plain.dtype], export.options.text
    start = f'{table.symbol} = array("{code}"'
    if not table.size:
        yield f"{start})\n"
    elif text == "bin":
        size = table.nbytes // table.size
        yield f'{table.symbol} = {export.options.name}_read("{code}", {offset}, {table.size}, {size})\n'
    elif text == "bytes" or not table.finite:
        yield f"{start}, (\n"
        yield from (f'    b"{line}"\n' for line in literals.escapes(table.plain))
        yield "))\n"
    else:
        yield f"{start}, (\n"
        yield from literals.lines(table.plain, literals.decimals if literals.is_float(table.plain) else literals.integers)
        yield "))\n"
