"""Rust without `std`: a module of statics, `mod net;` or `include!("net.rs")`.

Symbols are in capitals, as the compiler wants them. A table that has NaN or Inf is made of its bits, which keeps payloads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.device import literals, packed
from steelyard.device.elements import own_bits
from steelyard.device.exported import head
from steelyard.device.symbols import in_comment

if TYPE_CHECKING:
    from steelyard.device.exported import Export, Table
    from steelyard.device.writers import Pieces

TEXTS = ("decimal", "bits", "bin")
PLACES = True
LIMIT = None
RESERVED = ("names", "bytes", "weights", "aligned")

_LINTS = "#[allow(dead_code, clippy::all)]"
_USE = "Rust 1.63 or later, 1.82 with a section; any edition, also without std: mod net;"


def derived(axes: int) -> list[str]:
    """Return the endings of the constants that a table has."""
    return ["_shape"]


def files(export: Export, file: str) -> dict[str, Pieces]:
    """Return the module, and the numbers, if they have a file of their own."""
    own = packed.own_file(export, file, export.options.align)
    return {file: module(export, next(iter(own), "")), **own}


def module(export: Export, numbers: str) -> Iterator[str]:
    """Yield the module of all tables; `numbers` is the name of their own file, if they have one."""
    yield from (f"// {in_comment(line)}".rstrip() + "\n" for line in head(export, _USE))
    if numbers:
        yield from _bytes(export, numbers)
    elif export.options.align:
        yield f"\n{_LINTS}\n#[repr(C, align({export.options.align}))]\npub struct {_wrapper(export)}<T>(pub T);\n"
    offsets = packed.offsets(export.tables, export.options.align)
    for table, offset in zip(export.in_turn(), offsets, strict=True):
        yield from _head(table.symbol, table, f"{table.weight.name}: {table.facts}")
        yield from (_view(export, table, offset) if numbers else _static(export, table))
    for symbol, table in export.ties.items():
        yield from _head(symbol, table, f"{export.true_names[symbol]}: tied to {table.weight.name}")
        yield f"#[allow(unused_imports)]\npub use self::{table.symbol.upper()} as {symbol.upper()};\n"
    if export.options.names:
        listed = "".join(f"    {_string(name)},\n" for name in export.true_names.values())
        yield f"\n{_LINTS}\npub static {export.options.name.upper()}_NAMES: [&str; {len(export.true_names)}] = [\n{listed}];\n"


def _head(symbol: str, table: Table, facts: str) -> Iterator[str]:
    shape = ", ".join(map(str, table.plain.shape))
    yield f"\n// {in_comment(facts)}\n{_LINTS}\n"
    yield f"pub const {symbol.upper()}_SHAPE: [usize; {len(table.plain.shape)}] = [{shape}];\n"


def _type(table: Table) -> str:
    dtype = table.plain.dtype
    return f"{dtype[0]}{dtype.lstrip('abcdefghijklmnopqrstuvwxyz')}"


def _array(table: Table) -> str:
    return f"[{_type(table)}; {table.size}]"


def _static(export: Export, table: Table) -> Iterator[str]:
    options = export.options
    if options.section:
        yield f'#[unsafe(link_section = "{options.section}")]\n'
    wrapper = _wrapper(export) if options.align else ""
    kind = f"{wrapper}<{_array(table)}>" if wrapper else _array(table)
    yield f"{_LINTS}\npub static {table.symbol.upper()}: {kind} = {wrapper}{'(' * bool(wrapper)}"
    if literals.is_float(table.plain) and (options.text == "bits" or not table.finite):
        word = f"u{own_bits(table.plain)[4:]}"
        yield f"unsafe {{ core::mem::transmute::<[{word}; {table.size}], {_array(table)}>([\n"
        yield from literals.lines(table.plain, literals.bits)
        yield f"]) }}{')' * bool(wrapper)};\n"
        return
    yield "[\n"
    yield from literals.lines(table.plain, literals.decimals if literals.is_float(table.plain) else literals.integers)
    yield f"]{')' * bool(wrapper)};\n"


def _wrapper(export: Export) -> str:
    return f"{export.options.name.capitalize().replace('_', '')}Aligned"


def _bytes(export: Export, numbers: str) -> Iterator[str]:
    """Yield the static with the bytes of the file of numbers, aligned for every table."""
    align = max([packed.alignment(table, export.options.align) for table in export.tables], default=1)
    name, size = _wrapper(export), packed.size(export.tables, export.options.align)
    yield f'\n#[cfg(target_endian = "big")]\ncompile_error!({_string(f"{numbers} is little-endian")});\n'
    yield f"{_LINTS}\n#[repr(C, align({align}))]\npub struct {name}<T>(pub T);\n"
    yield f'#[unsafe(link_section = "{export.options.section}")]\n' if export.options.section else ""
    yield f"{_LINTS}\npub static {_bytes_name(export)}: {name}<[u8; {size}]> = {name}(*include_bytes!({_string(numbers)}));\n"


def _bytes_name(export: Export) -> str:
    return f"{export.options.name.upper()}_BYTES"


def _view(export: Export, table: Table, offset: int) -> Iterator[str]:
    start = f"core::ptr::addr_of!({_bytes_name(export)}).cast::<u8>().add({offset})"
    yield f"{_LINTS}\npub static {table.symbol.upper()}: &{_array(table)} = unsafe {{ &*{start}.cast::<{_array(table)}>() }};\n"


def _string(text: str) -> str:
    r"""Return a string literal; lone surrogates, which Rust does not have, become U+FFFD.

    >>> print(_string('a"b\\'), _string("ö"))
    "a\"b\\" "\u{f6}"
    """
    plain = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    shown = (json.dumps(each)[1:-1] if " " <= each <= "~" else f"\\u{{{ord(each):x}}}" for each in plain)
    return f'"{"".join(shown)}"'
