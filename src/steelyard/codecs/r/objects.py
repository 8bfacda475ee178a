"""The objects of an R serialization, one after another, read without recursion and without running any.

Each kind of object that holds others is a generator: it yields what it finds, and is sent the finished value. One loop keeps
the stack of them, so objects may be nested to any depth.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeAlias

from steelyard.codecs.r import altrep as r_altrep
from steelyard.codecs.r import bytecode as r_bytecode
from steelyard.codecs.r.strings import CHARSXP, check_text, decoded
from steelyard.codecs.r.values import S4, VALUES, Environment, Opaque, Pairlist, Symbol, Vector
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.codecs.r.ascii import Ascii
    from steelyard.codecs.r.binary import Binary
    from steelyard.codecs.r.budget import Budget
    from steelyard.codecs.r.values import Attributes, Value

    Item: TypeAlias = "Value | Steps"
    Steps: TypeAlias = Generator[Item, Value, Value]

IS_OBJECT, HAS_ATTRIBUTES, HAS_TAG = 1 << 8, 1 << 9, 1 << 10
ACTIVE_BINDING = 1 << 27
"""The bit of a pairlist's cell, in a frame, whose value is the function that makes the value."""

NULL, LISTSXP, LANGSXP = 254, 2, 6

_SINGLE = {
    253: "global environment",
    252: "unbound value",
    251: "missing argument",
    250: "base namespace",
    242: "empty environment",
    241: "base environment",
}
_NUMBERS = {10: "logical", 13: "integer", 14: "double", 15: "complex", 24: "raw"}
_LISTS = {19: "list", 20: "expression"}
_NAMED = {249: "namespace", 248: "package", 247: "persistent name"}
_BUILTINS = {7: "special", 8: "builtin"}
_CELLS = {
    3: ("closure", ("environment", "formals", "body")),
    5: ("promise", ("environment", "value", "expression")),
    6: ("language", ("tag", "function", "arguments")),
    17: ("dots", ("tag", "first", "rest")),
}
"""What the tag, the head and the tail of these cells are."""

COST = 320
"""Bytes of memory that an object takes, more or less."""
CELL = 16


class Objects:
    """The state of reading one stream: its place, the objects that may be referred to, and what memory is left."""

    __slots__ = ("budget", "file", "native", "notation", "references")

    def __init__(self, notation: Ascii | Binary, budget: Budget, native: str) -> None:
        self.notation = notation
        self.budget = budget
        self.native = native
        self.file = budget.file
        self.references: list[Value] = []

    def read(self) -> Value:
        """Read one object with all that it holds. Raises `FormatError` for whatever no R has written."""
        found = self.item()
        stack: list[Steps] = []
        while True:
            if found is not None and not isinstance(found, VALUES):
                stack.append(found)
                found = None
            elif not stack:
                return found
            try:
                found = stack[-1].send(found)
            except StopIteration as end:
                stack.pop()
                found = end.value

    def item(self) -> Item:
        """Begin the next object: return it when it holds no other, else its generator."""
        return self.item_of(self.notation.integer())

    def item_of(self, flags: int) -> Item:
        """Begin an object whose flags were taken already."""
        code = flags & 0xFF
        if code == NULL:
            return None
        self.budget.charge(COST, self.notation.position)
        read = _READ.get(code)
        if read is None:
            raise self.error(f"holds an object of type {code}, which R does not write (damaged, or of a newer R?)")
        return read(self, flags)

    def error(self, what: str) -> FormatError:
        """Make the error for what was found just before this place."""
        return FormatError(self.file, what, self.notation.position)

    def length(self, each: int = 0) -> int:
        """Take the length of a vector, which may be a long one; `each` is the least bytes of an element."""
        length = self.notation.integer()
        if length == -1:
            high, low = self.notation.integer(), self.notation.integer()
            length = (high << 32) + (low & 0xFFFFFFFF)
            if high < 0 or length < 1 << 31:
                raise self.error(f"claims a long vector of {length:,} elements")
        if length < 0:
            raise self.error(f"claims a vector of {length:,} elements")
        if each:
            self.budget.charge(length * CELL, self.notation.position)
            self.notation.room(length, each)
        return length

    def text(self) -> str | None:
        """Take an item that must be a text."""
        flags = self.notation.integer()
        check_text(self.file, flags, self.notation.position)
        return self.text_of(flags)

    def text_of(self, flags: int) -> str | None:
        """Take the text whose flags were taken already; None is NA."""
        length = self.notation.integer()
        if length < 0:
            if length != -1:
                raise self.error(f"claims a text of {length:,} bytes")
            return None
        self.notation.room(length, 1)
        self.budget.charge(length, self.notation.position)
        return decoded(flags, self.notation.text(length), self.native)

    def with_attributes(self, value: Vector | S4 | Opaque, flags: int) -> Item:
        """Return an object behind which its attributes follow, if any do."""
        return self._attributed(value) if flags & HAS_ATTRIBUTES else value

    def _attributed(self, value: Vector | S4 | Opaque) -> Steps:
        value.attributes = self.attributes(value, (yield self.item()))
        return value

    def attributes(self, value: Value, found: Value) -> Attributes:
        """Return attributes by name, those of a vector checked against it."""
        if found is None:
            return {}
        if not isinstance(found, Pairlist):
            raise self.error(f"holds attributes that are no pairlist but {found!r}")
        attributes = dict(found.pairs())
        if isinstance(value, Vector) and "dim" in attributes:
            self._check_dim(value, attributes["dim"])
        return attributes

    def _check_dim(self, value: Vector, dim: Value) -> None:
        if not isinstance(dim, Vector) or dim.kind not in ("integer", "double") or dim.length > 1 << 10:
            raise self.error(f"holds an array whose dim is {dim!r}")
        size, shape = 1, dim.plain()
        for extent in shape:
            whole = isinstance(extent, int) or (isinstance(extent, float) and extent.is_integer())
            if not whole or extent < 0:
                raise self.error(f"holds an array with an extent of {extent}")
            size = min(size * int(extent), 1 << 64)
        if size != value.length:
            raise self.error(f"holds an array of shape {'x'.join(map(str, shape))} on {value.length:,} elements")


def _single(objects: Objects, flags: int) -> Item:
    return Opaque(_SINGLE[flags & 0xFF])


def _numbers(objects: Objects, flags: int) -> Item:
    kind = _NUMBERS[flags & 0xFF]
    length = objects.length()
    numbers = objects.notation.numbers(kind, length, objects.budget)
    vector = Vector(kind, length, numbers=numbers)
    if numbers.source is not objects.notation.source:
        vector.source = vector.offset = None  # made of words, they lie nowhere in the stream as they are in memory
    return objects.with_attributes(vector, flags)


def _strings(objects: Objects, flags: int) -> Item:
    length = objects.length(8)
    strings = objects.notation.strings(length, objects.native, objects.budget)
    return objects.with_attributes(Vector("character", length, strings=strings), flags)


def _text(objects: Objects, flags: int) -> Item:
    """A text alone, as bytecode holds it."""
    check_text(objects.file, flags, objects.notation.position)
    return Vector("character", 1, strings=[objects.text_of(flags)])


def _list(objects: Objects, flags: int) -> Steps:
    items: list[Value] = []
    vector = Vector(_LISTS[flags & 0xFF], objects.length(4), items=items)
    for _ in range(vector.length):
        item = objects.item()
        items.append(item if item is None or isinstance(item, VALUES) else (yield item))  # a value need not go round the loop
    if flags & HAS_ATTRIBUTES:
        vector.attributes = objects.attributes(vector, (yield objects.item()))
    return vector


def _pairlist(objects: Objects, flags: int) -> Steps:
    """The cells of a pairlist in a loop: there may be many thousands."""
    names: list[str] = []
    values: list[Value] = []
    found = Pairlist(names, values)
    while flags & 0xFF == LISTSXP:
        objects.budget.charge(CELL, objects.notation.position)
        attributes = (yield objects.item()) if flags & HAS_ATTRIBUTES else None
        if not values:
            found.attributes = objects.attributes(found, attributes)
        tag = (yield objects.item()) if flags & HAS_TAG else None
        value = yield objects.item()
        names.append(tag.name if isinstance(tag, Symbol) else "")
        values.append(Opaque("active binding", parts={"function": value}) if flags & ACTIVE_BINDING else value)
        flags = objects.notation.integer()
    if flags & 0xFF != NULL:
        names.append("")
        values.append((yield objects.item_of(flags)))
    return found


def _cell(objects: Objects, flags: int) -> Steps:
    """A closure, a promise, a call: three parts that are kept as they are."""
    kind, parts = _CELLS[flags & 0xFF]
    found = Opaque(kind)
    if flags & HAS_ATTRIBUTES:
        found.attributes = objects.attributes(found, (yield objects.item()))
    tag = (yield objects.item()) if flags & HAS_TAG else None
    head = yield objects.item()
    tail = yield objects.item()
    found.parts = dict(zip(parts, (tag, head, tail), strict=True))
    return found


def _symbol(objects: Objects, flags: int) -> Item:
    found = Symbol(objects.text() or "NA")
    objects.references.append(found)
    return found


def _environment(objects: Objects, flags: int) -> Steps:
    found = Environment(locked=bool(objects.notation.integer()))
    objects.references.append(found)  # before what it holds, which may refer to it
    found.enclosing = yield objects.item()
    frame = yield objects.item()
    table = yield objects.item()
    attributes = yield objects.item()
    chains = (table.items or []) if isinstance(table, Vector) else []
    for cells in (frame, *chains):
        if isinstance(cells, Pairlist):
            for name, value in cells.pairs():
                found.frame.setdefault(name, value)
    found.attributes = objects.attributes(found, attributes)
    return found


def _pointer(objects: Objects, flags: int) -> Steps:
    found = Opaque("external pointer")
    objects.references.append(found)
    protected = yield objects.item()
    tag = yield objects.item()
    found.parts = {"protected": protected, "tag": tag}
    if flags & HAS_ATTRIBUTES:
        found.attributes = objects.attributes(found, (yield objects.item()))
    return found


def _weak_reference(objects: Objects, flags: int) -> Item:
    found = Opaque("weak reference")
    objects.references.append(found)
    return objects.with_attributes(found, flags)


def _named(objects: Objects, flags: int) -> Item:
    """A namespace, a package or a persistent name: a few texts, with a zero before them."""
    if objects.notation.integer() != 0:
        raise objects.error("holds names with names of their own, which R does not write")
    count = objects.length(8)
    words = objects.notation.strings(count, objects.native, objects.budget)
    found = Opaque(_NAMED[flags & 0xFF], (words[0] if words else None) or "NA")
    objects.references.append(found)
    return found


def _builtin(objects: Objects, flags: int) -> Item:
    length = objects.notation.integer()
    if length < 0:
        raise objects.error(f"claims a name of {length:,} bytes")
    objects.notation.room(length, 1)
    objects.budget.charge(length)
    return Opaque(_BUILTINS[flags & 0xFF], objects.notation.text(length).decode("utf-8", "surrogateescape"))


def _reference(objects: Objects, flags: int) -> Item:
    index = flags >> 8 or objects.notation.integer()
    if not 1 <= index <= len(objects.references):
        raise objects.error(f"refers to object {index:,} of {len(objects.references):,}")
    return objects.references[index - 1]


def _s4(objects: Objects, flags: int) -> Item:
    return objects.with_attributes(S4(), flags)


_READ: dict[int, Callable[[Objects, int], Item]] = {
    **dict.fromkeys(_SINGLE, _single),
    **dict.fromkeys(_NUMBERS, _numbers),
    **dict.fromkeys(_LISTS, _list),
    **dict.fromkeys(_NAMED, _named),
    **dict.fromkeys(_BUILTINS, _builtin),
    **dict.fromkeys(_CELLS, _cell),
    1: _symbol,
    LISTSXP: _pairlist,
    4: _environment,
    CHARSXP: _text,
    16: _strings,
    21: r_bytecode.bytecode,
    22: _pointer,
    23: _weak_reference,
    25: _s4,
    238: r_altrep.altrep,
    255: _reference,
}
