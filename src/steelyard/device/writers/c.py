"""C99, which C++11 and Arduino's compilers take too: a header with tables, or a header and the file that defines them.

Every symbol is an array, also of a scalar, but for a weight without numbers, which C does not have: that has a size only. A
table that a decimal cannot write, since it has NaN or Inf, is a union of the bits and the floats: `net_x.f[i]`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.device import literals, packed
from steelyard.device.elements import own_bits
from steelyard.device.exported import head
from steelyard.device.symbols import in_comment, in_string
from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.device.exported import Export, Table
    from steelyard.device.writers import Pieces

TEXTS = ("decimal", "hex", "bits", "bin")
PLACES = True
LIMIT = 31
"""Characters of an external name that C99 guarantees to distinguish."""
RESERVED = ("h", "names", "weights", "place", "bin", "doubles")

_TYPES = {"float32": "float", "float64": "double"}
_ENDINGS = {"float32": "f", "uint32": "u", "uint64": "ULL", "int64": "LL"}
_LEAST = {"int32": "(-2147483647 - 1)", "int64": "(-9223372036854775807LL - 1)"}
"""The least integers, which have no literal: the sign is an operator, and the number without it does not fit."""
_USE = "C99 or later, C++{} or later: cc -std=c99 -Wall -Wextra -pedantic"
_BIN = """\
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the numbers are little-endian"
#endif
#ifndef {macro} /* the path of the numbers; or pass -I with their folder */
#define {macro} "{file}"
#endif
"""
_INCBIN = """\
__asm__(".section {section},\\"a\\"\\n.balign {align}\\n{public}{symbol}:\\n"
        ".incbin \\"" {macro} "\\", {offset}, {size}\\n.previous\\n");
"""
_PROGMEM = """\
#if defined(__AVR__)
#include <avr/pgmspace.h>
#elif defined(ARDUINO)
#include <Arduino.h>
#endif
#ifndef PROGMEM
#define PROGMEM
#endif
"""


def derived(axes: int) -> list[str]:
    """Return the endings of the macros that a table has."""
    return ["_size", "_union", *(f"_dim{axis}" for axis in range(axes))]


def files(export: Export, file: str) -> dict[str, Pieces]:
    """Return a header; or a definition and its header; and the numbers, if they have a file of their own."""
    stem, suffix = os.path.splitext(file)
    included_name(stem, file)
    found: dict[str, Pieces]
    if suffix.lower() == ".c":
        found = {file: _source(export, stem), f"{stem}.h": _header(export)}
    else:
        found = {file: _alone(export, stem, constant="constexpr" if suffix.lower() == ".hpp" else "const")}
    if export.options.text == "bin":
        found[f"{stem}.bin"] = packed.content(export.tables, export.options.align)
    return found


def included_name(stem: str, file: str) -> str:
    """Return the name of a file without its suffix, which C must be able to include; raises `ShapeError` for others."""
    if set(stem) & set('"\\\n\r'):
        raise ShapeError(f"{printable(file)} cannot be the name of a file that C includes; choose another")
    return stem


def _alone(export: Export, stem: str, *, constant: str) -> Iterator[str]:
    """Yield a header with the tables themselves, of which each file that includes it has its own."""
    yield from opening(export)
    yield start_of_bin(export, stem)
    for table, offset in placed(export):
        yield from facts(export, table)
        yield from definition(export, table, f"static {constant}", offset)
    yield from ending(export)


def _header(export: Export) -> Iterator[str]:
    """Yield a header with declarations only."""
    yield from opening(export)
    yield '#ifdef __cplusplus\nextern "C" {\n#endif\n'
    for table in export.tables:
        yield from facts(export, table)
        yield f"extern const {declared(export, table)};\n" if table.size else ""
    if export.options.names:
        yield f"\nextern const char *const {export.options.name}_names[{len(export.true_names)}];\n"
    yield "\n#ifdef __cplusplus\n}\n#endif\n"
    yield from ending(export, names=False)


def _source(export: Export, stem: str) -> Iterator[str]:
    """Yield the file that defines the tables of its header."""
    yield comment(export)
    yield f'#include "{stem}.h"\n'
    yield start_of_bin(export, stem)
    for table, offset in placed(export):
        yield from definition(export, table, "const", offset)
    if export.options.names:
        yield from _names(export, "const char *const")


def comment(export: Export) -> str:
    """Return the comment at the beginning of a file."""
    use = _USE.format(17 if export.options.text == "hex" else 11)  # before, C++ has no floats in hexadecimal
    lines = (f" * {in_comment(line)}".rstrip() for line in head(export, use))
    return "/*\n" + "\n".join(lines) + "\n */\n"


def opening(export: Export) -> Iterator[str]:
    """Yield the beginning of a header: its comment, guard, includes, and the macros that its arrays use."""
    options = export.options
    guard = f"{options.name}_h".upper()
    yield f"{comment(export)}#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n"
    yield _PROGMEM if options.progmem else ""
    if options.section or options.align:
        words = [f'section("{options.section}")'] if options.section else []
        words += [f"aligned({options.align})"] if options.align else []
        yield f"#define {_place(export)} __attribute__(({', '.join(words)}))\n"
    if any(table.plain.dtype == "float64" and table.size for table in export.tables):
        yield "/* a compiler whose double has 4 bytes, as that of AVR, stops here: export with dtype float32 */\n"
        yield f"typedef char {options.name}_doubles[sizeof(double) == 8 ? 1 : -1];\n"


def _place(export: Export) -> str:
    return f"{export.options.name}_place".upper()


def ending(export: Export, *, names: bool = True) -> Iterator[str]:
    """Yield the end of a header: tied weights, true names if they are asked for, and the end of the guard."""
    for symbol, table in export.ties.items():
        yield f"\n/* {in_comment(export.true_names[symbol])}: tied to {in_comment(table.weight.name)} */\n"
        yield from _sizes(symbol, table)
        yield f"#define {symbol} {table.symbol}\n" if table.size else ""
    if names and export.options.names:
        yield from _names(export, "static const char *const")
    yield "\n#endif\n"


def _names(export: Export, kind: str) -> Iterator[str]:
    """Yield the true names, in the order of the weights, as UTF-8."""
    yield f"\n{kind} {export.options.name}_names[{len(export.true_names)}] = {{\n"
    yield from (f'    "{in_string(name)}", /* {symbol} */\n' for symbol, name in export.true_names.items())
    yield "};\n"


def facts(export: Export, table: Table) -> Iterator[str]:
    """Yield what stands before an array: its true name and facts, its lengths, and its union if it has one."""
    yield f"\n/* {in_comment(table.weight.name)}: {in_comment(table.facts)} */\n"
    yield from _sizes(table.symbol, table)
    if table.size and is_union(export, table):
        bits = f"{own_bits(table.plain)}_t u[{table.size}]"
        yield f"union {table.symbol}_union {{ {bits}; {_type(table)} f[{table.size}]; }}; /* {table.symbol}.f is the array */\n"


def _sizes(symbol: str, table: Table) -> Iterator[str]:
    yield f"#define {symbol.upper()}_SIZE {table.size}\n"
    yield from (f"#define {symbol.upper()}_DIM{axis} {length}\n" for axis, length in enumerate(table.plain.shape))


def is_union(export: Export, table: Table) -> bool:
    """Whether the bits of floats are written: as asked, or since NaN and Inf have no literal."""
    text = export.options.text
    return literals.is_float(table.plain) and (text == "bits" or (text != "bin" and not table.finite))


def _type(table: Table) -> str:
    return _TYPES.get(table.plain.dtype, f"{table.plain.dtype}_t")


def declared(export: Export, table: Table) -> str:
    """Return the declaration of a table without its storage class and its numbers."""
    if is_union(export, table):
        return f"union {table.symbol}_union {table.symbol}"
    return f"{_type(table)} {table.symbol}[{table.size}]"


def placed(export: Export) -> Iterator[tuple[Table, int]]:
    """Yield each table with its offset in a file of all numbers."""
    return zip(export.in_turn(), packed.offsets(export.tables, export.options.align), strict=True)


def definition(export: Export, table: Table, kind: str, offset: int) -> Iterator[str]:
    """Yield the definition of a table, unless it has no numbers."""
    if not table.size:
        return
    if export.options.text == "bin":
        yield f"extern const {declared(export, table)};\n" if kind.startswith("static") else ""
        yield _included(export, table, offset, hidden=kind.startswith("static"))
        return
    union = is_union(export, table)
    words = [f" {_place(export)}" if export.options.section or export.options.align else ""]
    words += [" PROGMEM"] if export.options.progmem else []
    kind = kind.replace("constexpr", "const") if union else kind
    yield f"{kind} {declared(export, table)}{''.join(words)} = {{{'{' * union}\n"
    yield from _numbers(export, table, union=union)
    yield f"}}{'}' * union};\n"


def _numbers(export: Export, table: Table, *, union: bool) -> Iterator[str]:
    dtype = table.plain.dtype
    ending = _ENDINGS.get(own_bits(table.plain) if union else dtype, "")
    if union:
        return literals.lines(table.plain, lambda run: literals.bits(run, ending))
    if literals.is_float(table.plain):
        text = literals.hexadecimals if export.options.text == "hex" else literals.decimals
        return literals.lines(table.plain, lambda run: text(run, ending))
    return literals.lines(table.plain, lambda run: _integers(run, dtype, ending))


def _integers(run: Array, dtype: str, ending: str) -> list[str]:
    words = literals.integers(run, ending)
    if dtype in _LEAST:
        for at in (run == -(2 ** (8 * run.itemsize - 1))).nonzero()[0].tolist():
            words[at] = _LEAST[dtype]
    return words


def _included(export: Export, table: Table, offset: int, *, hidden: bool) -> str:
    """Return the assembler that puts the numbers of a table into the object file; a hidden symbol is of this file only."""
    return _INCBIN.format(
        section=export.options.section or ".rodata",
        align=packed.alignment(table, export.options.align),
        public="" if hidden else f".global {table.symbol}\\n",
        symbol=table.symbol,
        macro=_bin(export),
        offset=offset,
        size=table.nbytes,
    )


def _bin(export: Export) -> str:
    return f"{export.options.name}_bin".upper()


def start_of_bin(export: Export, stem: str) -> str:
    """Return the lines that include the file of the numbers; blank if there is none."""
    if export.options.text != "bin":
        return ""
    return _BIN.format(macro=_bin(export), file=f"{stem}.bin")


def with_numbers(export: Export, file: str, stem: str, *parts: Pieces) -> dict[str, Pieces]:
    """Return a definition, its header and its test by their names, and the numbers if they have a file of their own."""
    found = dict(zip((file, f"{stem}.h", f"{stem}_test.c"), parts, strict=True))
    if export.options.text == "bin":
        found[f"{stem}.bin"] = packed.content(export.tables, export.options.align)
    return found
