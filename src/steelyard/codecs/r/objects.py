"""The objects of an R serialization, read in order, without recursion and without evaluating any.

Each reader of an object that holds others is a generator: it yields an unfinished object and is sent the finished value.
One loop keeps the stack of generators, so objects may be nested to any depth.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeAlias

from steelyard.codecs import limits
from steelyard.codecs.r.altrep import read_altrep
from steelyard.codecs.r.bytecode import read_bytecode
from steelyard.codecs.r.strings import CHARSXP, check_size, check_text, decoded
from steelyard.codecs.r.values import S4, VALUES, Environment, Opaque, Pairlist, Symbol, Vector
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.codecs.budget import Budget
    from steelyard.codecs.r.ascii import Ascii
    from steelyard.codecs.r.binary import Binary
    from steelyard.codecs.r.values import Attributes, Value

    Item: TypeAlias = "Value | Steps"
    Steps: TypeAlias = Generator[Item, Value, Value]

# Every item begins with the flags word, an int32
#   bits 0-7    type: R's SEXPTYPE (1-25), or a code above 237 that only serialization uses
#   bit 8       the object has a class
#   bit 9       attributes follow (their place depends on the type)
#   bit 10      a pairlist cell has a tag
#   bits 12-27  the general-purpose bits of the object: encoding of a text, bit 27 of a binding in an environment: active
# An item of type 255 is a reference: bits 8-31 are the index, counted from 1, of a symbol, environment, pointer,
# weak reference, namespace or package that was read before; if they are 0, the index follows as int32.
HAS_ATTRIBUTES, HAS_TAG = 1 << 9, 1 << 10
ACTIVE_BINDING = 1 << 27  # the value of the cell is the function that computes the value

NULL, LISTSXP = 254, 2

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
"""The meaning of the tag, the head and the tail of these cells."""

OBJECT_COST = 320  # bytes of memory for an object, roughly
DEEP_COST = 500  # bytes of memory for what reads an object that is deep in others, and the time to release all of these
NULL_COST = 60
CELL_COST = 16
MAX_DIMENSIONS = 1 << 10


class Objects:
    """The state of reading one stream: the cursor, the objects that references may name, and the memory left."""

    __slots__ = ("budget", "file", "native", "notation", "references")

    def __init__(self, notation: Ascii | Binary, budget: Budget, native: str) -> None:
        self.notation = notation
        self.budget = budget
        self.native = native
        self.file = budget.file
        self.references: list[Value] = []

    def read(self) -> Value:
        """Read one object and all objects in it. Raises `FormatError` for a stream that R does not write."""
        item = self.item()
        stack: list[Steps] = []
        while True:
            if item is not None and not isinstance(item, VALUES):
                if len(stack) >= limits.DEPTH:
                    self.budget.spend(DEEP_COST, self.notation.position)
                stack.append(item)
                item = None
            elif not stack:
                return item
            try:
                item = stack[-1].send(item)
            except StopIteration as end:
                stack.pop()
                item = end.value

    def item(self) -> Item:
        """Begin the next object: return it if it holds no other, else the generator that reads it."""
        return self.item_of(self.notation.integer())

    def item_of(self, flags: int) -> Item:
        """Begin an object whose flags are already read."""
        code = flags & 0xFF
        self.budget.spend(NULL_COST if code == NULL else OBJECT_COST, self.notation.position)
        if code == NULL:
            return None
        read = _READ.get(code)
        if read is None:
            raise self.error(f"holds an object of type {code}, which R does not write (damaged, or of a newer R?)")
        return read(self, flags)

    def error(self, what: str) -> FormatError:
        """Return the error for an object that ends at the current position."""
        return FormatError(self.file, what, self.notation.position)

    # Length of a vector
    #   int32  length; or -1 for a long vector, then
    #   int32  high word
    #   int32  low word, unsigned
    def length(self, each: int = 0) -> int:
        """Take the length of a vector; `each` is the minimal size of an element in bytes."""
        length = self.notation.integer()
        if length == -1:
            high, low = self.notation.integer(), self.notation.integer()
            length = (high << 32) + (low & 0xFFFFFFFF)
            if high < 0 or length < 1 << 31:
                raise self.error(f"claims a long vector of {length:,} elements")
        if length < 0:
            raise self.error(f"claims a vector of {length:,} elements")
        if each:
            self.budget.spend(length * CELL_COST, self.notation.position)
            self.notation.check_room(length, each)
        return length

    def text(self) -> str | None:
        """Take an item that has to be a text."""
        flags = self.notation.integer()
        check_text(self.file, flags, self.notation.position)
        return self.text_of(flags)

    def text_of(self, flags: int) -> str | None:
        """Take a text whose flags are already read; None for NA."""
        length = self.notation.integer()
        check_size(self.file, length, self.notation.position)
        if length == -1:
            return None
        self.notation.check_room(length, 1)
        self.budget.spend(length, self.notation.position)
        return decoded(flags, self.notation.text(length), self.native)

    def with_attributes(self, value: Vector | S4 | Opaque, flags: int) -> Item:
        """Return an object whose attributes follow, if the flags have any."""
        return self._attributed(value) if flags & HAS_ATTRIBUTES else value

    def _attributed(self, value: Vector | S4 | Opaque) -> Steps:
        value.attributes = self.attributes(value, (yield self.item()))
        return value

    def attributes(self, value: Value, pairlist: Value) -> Attributes:
        """Return attributes by name; "dim" is checked against the length of the vector."""
        if pairlist is None:
            return {}
        if not isinstance(pairlist, Pairlist):
            raise self.error(f"holds attributes that are not a pairlist but {pairlist!r}")
        attributes = dict(pairlist.pairs())
        if isinstance(value, Vector) and "dim" in attributes:
            self._check_dim(value, attributes["dim"])
        return attributes

    def _check_dim(self, value: Vector, dim: Value) -> None:
        if not isinstance(dim, Vector) or dim.kind not in ("integer", "double") or dim.length > MAX_DIMENSIONS:
            raise self.error(f"holds an array whose dim is {dim!r}")
        size, shape = 1, dim.plain()
        for extent in shape:
            whole = isinstance(extent, int) or (isinstance(extent, float) and extent.is_integer())
            if not whole or extent < 0:
                raise self.error(f"holds an array with an extent of {extent}")
            size = min(size * int(extent), 1 << 64)
        if size != value.length:
            raise self.error(f"holds an array of shape {'x'.join(map(str, shape))} on {value.length:,} elements")
        value.shape = tuple(map(int, shape))


# The readers below begin after the flags of their item.


def _single(objects: Objects, flags: int) -> Item:
    return Opaque(_SINGLE[flags & 0xFF])


# Vector of numbers (logical 10, integer 13, double 14, complex 15, raw 24)
#   length    (see `Objects.length`)
#   elements  int32, int32, double, two doubles, byte
#   item      attributes, if the flags have them
def _numbers(objects: Objects, flags: int) -> Item:
    kind = _NUMBERS[flags & 0xFF]
    length = objects.length()
    numbers = objects.notation.numbers(kind, length, objects.budget)
    vector = Vector(kind, length, numbers=numbers)
    if numbers.source is not objects.notation.source:
        vector.source = vector.offset = None  # parsed from words: no part of the stream has their bytes
    return objects.with_attributes(vector, flags)


# Character vector, of type 16:
#   length
#   texts   each: int32 flags, int32 size (-1 for NA), bytes
#   item    attributes, if the flags have them
def _strings(objects: Objects, flags: int) -> Item:
    length = objects.length(8)
    strings = objects.notation.strings(length, objects.native, objects.budget)
    vector = Vector("character", length, strings=strings)
    vector.source = objects.notation.source
    return objects.with_attributes(vector, flags)


def _text(objects: Objects, flags: int) -> Item:
    """Read a text outside of a vector, which occurs only in bytecode."""
    check_text(objects.file, flags, objects.notation.position)
    return Vector("character", 1, strings=[objects.text_of(flags)])


# List, of type 19, or expression, of type 20:
#   length
#   items   one per element
#   item    attributes, if the flags have them
def _list(objects: Objects, flags: int) -> Steps:
    items: list[Value] = []
    vector = Vector(_LISTS[flags & 0xFF], objects.length(4), items=items)
    for _ in range(vector.length):
        item = objects.item()
        items.append(item if item is None or isinstance(item, VALUES) else (yield item))  # a finished value skips the loop
    if flags & HAS_ATTRIBUTES:
        vector.attributes = objects.attributes(vector, (yield objects.item()))
    return vector


# Pairlist cell, of type 2:
#   item  attributes, if the flags have them
#   item  tag (a symbol, or a reference to one), if the flags have it
#   item  head: the value
#   item  tail: the next cell, or NULL (254)
def _pairlist(objects: Objects, flags: int) -> Steps:
    """Read the cells of a pairlist in a loop, since there may be many thousands."""
    names: list[str] = []
    values: list[Value] = []
    pairlist = Pairlist(names, values)
    while flags & 0xFF == LISTSXP:
        objects.budget.spend(CELL_COST, objects.notation.position)
        attributes = (yield objects.item()) if flags & HAS_ATTRIBUTES else None
        if not values:
            pairlist.attributes = objects.attributes(pairlist, attributes)
        tag = (yield objects.item()) if flags & HAS_TAG else None
        value = yield objects.item()
        names.append(tag.name if isinstance(tag, Symbol) else "")
        values.append(Opaque("active binding", parts={"function": value}) if flags & ACTIVE_BINDING else value)
        flags = objects.notation.integer()
    if flags & 0xFF != NULL:
        names.append("")
        values.append((yield objects.item_of(flags)))
    return pairlist


# Closure (3), promise (5), call (6) or dots (17): as a pairlist cell, whose tag, head and tail mean what `_CELLS` lists
def _cell(objects: Objects, flags: int) -> Steps:
    """Read a closure, a promise or a call, and keep its three parts."""
    kind, parts = _CELLS[flags & 0xFF]
    cell = Opaque(kind)
    if flags & HAS_ATTRIBUTES:
        cell.attributes = objects.attributes(cell, (yield objects.item()))
    tag = (yield objects.item()) if flags & HAS_TAG else None
    head = yield objects.item()
    tail = yield objects.item()
    cell.parts = dict(zip(parts, (tag, head, tail), strict=True))
    return cell


# Symbol, of type 1: a text, its name
def _symbol(objects: Objects, flags: int) -> Item:
    symbol = Symbol(objects.text() or "NA")
    objects.references.append(symbol)
    return symbol


# Environment, of type 4:
#   int32  1 if it is locked
#   item   enclosing environment
#   item   frame: a pairlist of bindings (of an environment without a hash table), or NULL
#   item   hash table: a list of pairlists of bindings, or NULL
#   item   attributes: a pairlist, or NULL
def _environment(objects: Objects, flags: int) -> Steps:
    environment = Environment(locked=bool(objects.notation.integer()))
    objects.references.append(environment)  # before its contents, which may refer to it
    environment.enclosing = yield objects.item()
    frame = yield objects.item()
    table = yield objects.item()
    attributes = yield objects.item()
    chains = (table.items or []) if isinstance(table, Vector) else []
    for cells in (frame, *chains):
        if isinstance(cells, Pairlist):
            for name, value in cells.pairs():
                environment.frame.setdefault(name, value)
    environment.attributes = objects.attributes(environment, attributes)
    return environment


# External pointer, of type 22, without its address:
#   item  protected object
#   item  tag
#   item  attributes, if the flags have them
def _pointer(objects: Objects, flags: int) -> Steps:
    pointer = Opaque("external pointer")
    objects.references.append(pointer)
    protected = yield objects.item()
    tag = yield objects.item()
    pointer.parts = {"protected": protected, "tag": tag}
    if flags & HAS_ATTRIBUTES:
        pointer.attributes = objects.attributes(pointer, (yield objects.item()))
    return pointer


# Weak reference, of type 23: its attributes, if the flags have them
def _weak_reference(objects: Objects, flags: int) -> Item:
    reference = Opaque("weak reference")
    objects.references.append(reference)
    return objects.with_attributes(reference, flags)


# Namespace (249), package (248) or persistent name (247)
#   int32  0
#   int32  number of texts
#   texts  each: int32 flags, int32 size, bytes; a name and, of a namespace, its version
def _named(objects: Objects, flags: int) -> Item:
    """Read a namespace, a package or a persistent name, and keep its first text."""
    if objects.notation.integer() != 0:
        raise objects.error("holds a namespace whose name has attributes, which R does not write")
    count = objects.length(8)
    words = objects.notation.strings(count, objects.native, objects.budget)
    named = Opaque(_NAMED[flags & 0xFF], (words[0] if words else None) or "NA")
    objects.references.append(named)
    return named


# Function of R's own C code (special 7, builtin 8)
#   int32  size of the name in bytes
#   size   the name
def _builtin(objects: Objects, flags: int) -> Item:
    length = objects.notation.integer()
    if length < 0:
        raise objects.error(f"claims a name of {length:,} bytes")
    objects.notation.check_room(length, 1)
    objects.budget.spend(length)
    return Opaque(_BUILTINS[flags & 0xFF], objects.notation.text(length).decode("utf-8", "surrogateescape"))


def _reference(objects: Objects, flags: int) -> Item:
    index = flags >> 8 or objects.notation.integer()
    if not 1 <= index <= len(objects.references):
        raise objects.error(f"refers to object {index:,} of {len(objects.references):,}")
    return objects.references[index - 1]


# S4 object, of type 25: its slots, as attributes
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
    21: read_bytecode,
    22: _pointer,
    23: _weak_reference,
    25: _s4,
    238: read_altrep,
    255: _reference,
}
