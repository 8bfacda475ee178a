"""What a pickle speaks of, as plain data: names, calls that are not made, references, bytes left where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from steelyard.storage.source import Source

BIG = 1 << 60
"""Numbers from here on are no keys of a dict as they are: many of them can be made to share one hash."""


class Global:
    """The name of a class or a function. `text` is how Python would write it, `plain` whether it makes plain data."""

    __slots__ = ("module", "name", "plain", "text")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name
        self.text = f"{module}.{name}"
        self.plain = self.text in PLAIN

    def __repr__(self) -> str:
        return self.text


class Record:
    """A call that is not made: what would be called, with which arguments.

    `state` is what the object would get afterwards; `items` are what would be appended to it, and `entries`
    what would be set in it by key.
    """

    __slots__ = ("_added", "args", "call", "state")

    def __init__(self, call: Any, args: Any) -> None:
        self.call = call
        self.args = args
        self.state: Any = None
        self._added: tuple[list[Any], dict[Any, Any]] | None = None

    def __repr__(self) -> str:
        return f"Record({self.text})"

    @property
    def text(self) -> str:
        """The name of what would be called, or nothing when that is itself computed."""
        return self.call.text if isinstance(self.call, Global) else ""

    @property
    def items(self) -> list[Any]:
        """What would be appended, in order."""
        return self._filled()[0]

    @property
    def entries(self) -> dict[Any, Any]:
        """What would be set by key, in order."""
        return self._filled()[1]

    def _filled(self) -> tuple[list[Any], dict[Any, Any]]:
        if self._added is None:
            self._added = [], {}
        return self._added

    @property
    def added(self) -> bool:
        """Whether anything was appended or set."""
        return self._added is not None

    def built(self, state: Any) -> None:
        """Take a state; a second one adds to the first, as it would to the attributes of the object."""
        if type(state) is dict and type(self.state) is dict:
            self.state = {**self.state, **state}
        elif self.state is None:
            self.state = state
        else:
            self.state = (self.state, state)

    @property
    def attributes(self) -> dict[Any, Any]:
        """The state as the attributes of the object: a dict, or a dict and one of slots."""
        if type(self.state) is dict:
            return self.state
        if type(self.state) is tuple and len(self.state) == 2:
            plain = [part for part in self.state if type(part) is dict]
            return {key: value for part in plain for key, value in part.items()}
        return {}


class Persistent:
    """A reference to something outside the pickle: a storage of a tensor. `home` is the file that it refers to,
    where that is another one than the pickle's own.
    """

    __slots__ = ("home", "key")

    def __init__(self, key: Any, home: Any = None) -> None:
        self.key = key
        self.home = home


def class_of(record: Record) -> Global | None:
    """Return the class of a pickled object, whichever way the pickle makes it; None when it is computed."""
    target = record.call
    if record.text in ("copyreg._reconstructor", "copy_reg._reconstructor", "copyreg.__newobj__") and record.args:
        target = record.args[0]
    if (
        isinstance(target, Persistent)
        and type(target.key) is tuple
        and len(target.key) > 1
        and target.key[0] in ("module", b"module")
    ):
        target = target.key[1]  # streams of torch keep the source text of a class beside its name
    return target if isinstance(target, Global) else None


class Boxed:
    """A key of a dict that must not be hashed by its value: a tuple may be nested deeper than the C stack."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Blob:
    """A run of bytes that was left in the file."""

    __slots__ = ("length", "offset", "source")

    def __init__(self, source: Source, offset: int, length: int) -> None:
        self.source = source
        self.offset = offset
        self.length = length

    def __len__(self) -> int:
        return self.length

    def part(self) -> Source:
        """Return the bytes as a source of their own."""
        return self.source.part(self.offset, self.length)


def as_source(value: Any, name: str) -> Source | None:
    """Return bytes, a blob or Latin-1 text as a source; None for anything else."""
    if isinstance(value, Blob):
        return value.part()
    if isinstance(value, str):
        try:
            value = value.encode("latin-1")
        except UnicodeEncodeError:
            return None
    return from_bytes(bytes(value), name) if isinstance(value, (bytes, bytearray)) else None


def as_key(key: Any) -> Any:
    """Return a key that is safe to hash. Raises `TypeError` for what Python would not take as a key."""
    kind = type(key)
    if kind is str or (kind is int and -BIG < key < BIG) or kind in _HASHED:
        return key
    if kind in (tuple, int, Blob):
        return Boxed(key)
    raise TypeError(f"uses a {kind.__name__} as the key of a dict")


_HASHED = frozenset((bytes, bool, float, type(None), Global, Record, Persistent, Boxed))


def added(target: Any, items: list[Any]) -> None:
    """Append to a list or to an object that is not made."""
    if type(target) is list:
        target.extend(items)
    elif isinstance(target, Record):
        target.items.extend(items)
    else:
        raise TypeError(f"appends to a {type(target).__name__}")


_DICTS = {"collections.OrderedDict", "collections.Counter", "builtins.dict", "__builtin__.dict"}
_LISTS = {f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "frozenset", "list", "tuple")}
_BYTES = {f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("bytearray", "bytes")}
PLAIN = {*_DICTS, *_LISTS, *_BYTES, "collections.defaultdict", "_codecs.encode"}
"""What stands for plain data when it is called as a pickle of plain data calls it."""


def cost(args: Any) -> int:
    """Return how many things `made` may have to copy."""
    return sum(len(arg) for arg in args if isinstance(arg, (str, list, tuple))) if args and type(args) is tuple else 0


def made(target: Global, args: Any) -> Any:
    """Return the plain data that a harmless call stands for: a dict, a list, bytes; None for any other call.

    What is data already is not copied.
    """
    if type(args) is not tuple:
        return None
    name = target.text
    if name in _DICTS:
        return {} if not args else _dict(args[0]) if len(args) == 1 else None
    if name == "collections.defaultdict":
        return {} if len(args) <= 1 else _dict(args[1])
    if name in _LISTS:
        return [] if not args else args[0] if len(args) == 1 and type(args[0]) in (list, tuple) else None
    return _bytes(args)


def _dict(pairs: Any) -> dict[Any, Any] | None:
    """Python 2 wrote an OrderedDict as a list of lists of two."""
    if type(pairs) is dict:
        return pairs
    if type(pairs) not in (list, tuple) or any(type(pair) not in (list, tuple) or len(pair) != 2 for pair in pairs):
        return None
    return {as_key(key): value for key, value in pairs}


def _bytes(args: tuple[Any, ...]) -> Any:
    """`bytes()`, `bytearray(b"...")`, `_codecs.encode("...", "latin1")` and `bytearray("...", "latin-1")`."""
    if not args:
        return b""
    if len(args) == 1 and isinstance(args[0], (bytes, Blob)):
        return args[0]
    if len(args) == 2 and isinstance(args[0], str) and args[1] in ("latin1", "latin-1"):
        try:
            return args[0].encode("latin-1")
        except UnicodeEncodeError:
            return None
    return None
