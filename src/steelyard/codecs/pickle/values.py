"""The values of a decoded pickle: plain data, and inert stand-ins for classes, calls, references and long byte strings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from typing import TypeAlias, TypeGuard

    from steelyard.codecs.torch.tensors import TensorDecoder
    from steelyard.storage.source import Source

    Pickled: TypeAlias = (
        "bool | int | float | str | bytes | list[Pickled] | tuple[Pickled, ...] | dict[Key, Pickled]"
        " | Global | Record | Persistent | Boxed | Blob | None"
    )
    """All that a decoded pickle consists of."""
    Key: TypeAlias = "bool | int | float | str | bytes | Global | Record | Persistent | Boxed | None"

BOXED_THRESHOLD = 1 << 60
"""Integers this large are boxed before use as dict keys, to prevent hash-collision attacks."""

NESTED_THRESHOLD = 8
"""Bytes of a byte string above which an audit looks for a pickle in it."""

ITEM_COST = 64
"""bytes of memory that an item of a dict takes"""


class Global:
    """The name of a class or function. `text` is its spelling in Python; `plain` means that a call of it makes plain data."""

    __slots__ = ("module", "name", "plain", "text")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name
        self.text = f"{module}.{name}"
        self.plain = self.text in PLAIN

    def __repr__(self) -> str:
        return self.text


class Record:
    """A call that is recorded, not made: its target and its arguments.

    `state` is the state that the object would be given afterwards; `items` would be appended to it, and `entries` set by key.
    """

    __slots__ = ("_added", "args", "call", "state")

    def __init__(self, call: Pickled, args: Pickled) -> None:
        self.call = call
        self.args = args
        self.state: Pickled = None
        self._added: tuple[list[Pickled], dict[Key, Pickled]] | None = None

    def __repr__(self) -> str:
        return f"Record({self.text})"

    @property
    def text(self) -> str:
        """The name of the target; empty if the target is itself computed."""
        return self.call.text if isinstance(self.call, Global) else ""

    @property
    def items(self) -> list[Pickled]:
        """The values that would be appended, in order."""
        return self._filled()[0]

    @property
    def entries(self) -> dict[Key, Pickled]:
        """The values that would be set by key, in order."""
        return self._filled()[1]

    def _filled(self) -> tuple[list[Pickled], dict[Key, Pickled]]:
        if self._added is None:
            self._added = [], {}
        return self._added

    @property
    def added(self) -> bool:
        """Whether anything was appended or set."""
        return self._added is not None

    def build_cost(self, state: Pickled) -> int:
        """Return how many bytes `built`, and then `attributes`, may take for a copy of the state."""
        if type(state) is tuple:
            return ITEM_COST * sum(len(part) for part in state[:2] if type(part) is dict)
        return ITEM_COST * (len(self.state) + len(state)) if type(state) is dict and type(self.state) is dict else 0

    def built(self, state: Pickled) -> None:
        """Take a state; a second one adds to the first, as it would to the attributes of the object."""
        if type(state) is dict and type(self.state) is dict:
            self.state = {**self.state, **state}
        elif self.state is None:
            self.state = state
        else:
            self.state = (self.state, state)

    @property
    def attributes(self) -> dict[Key, Pickled]:
        """The state as the attributes of the object: a dict, or a dict and one of slots."""
        if type(self.state) is dict:
            return self.state
        if type(self.state) is tuple and len(self.state) == 2:
            return {key: value for part in self.state if isinstance(part, dict) for key, value in part.items()}
        return {}


class Persistent:
    """A reference to something outside the pickle: the storage of a tensor.

    `home` decodes the references of another file than the pickle's own, where a file of torch is nested in a pickle.
    """

    __slots__ = ("home", "key")

    def __init__(self, key: Pickled, home: TensorDecoder | None = None) -> None:
        self.key = key
        self.home = home


def class_of(record: Record) -> Global | None:
    """Return the class of a pickled object, however the pickle makes it; None when the class is computed."""
    target = record.call
    if record.text in ("copyreg._reconstructor", "copy_reg._reconstructor", "copyreg.__newobj__") and is_args(record.args):
        target = record.args[0]
    if isinstance(target, Persistent) and is_args(target.key, 2) and target.key[0] in ("module", b"module"):
        target = target.key[1]  # before 1.6, torch stored the source text of a class together with its name
    return target if isinstance(target, Global) else None


def is_args(value: Pickled, least: int = 1) -> TypeGuard[tuple[Pickled, ...]]:
    """Whether a value is a tuple of at least `least` values."""
    return type(value) is tuple and len(value) >= least


def shape_of(value: Pickled) -> Pickled:
    """Return a shape as a tuple: `torch.Size` is pickled as a call, and old files have lists."""
    if isinstance(value, Record) and value.text == "torch.Size" and is_args(value.args) and len(value.args) == 1:
        value = value.args[0]
    return tuple(value) if isinstance(value, list) else value


class Boxed:
    """A dict key that must not be hashed by its value: a tuple may be nested deeper than the C stack."""

    __slots__ = ("value",)

    def __init__(self, value: Pickled) -> None:
        self.value = value


class Blob:
    """A byte string that was left in the file."""

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


def as_source(value: Pickled, within: Source) -> Source | None:
    """Return bytes, a blob or Latin-1 text of a pickle as a source; None for anything else."""
    if isinstance(value, Blob):
        return value.part()
    if isinstance(value, str):
        try:
            value = value.encode("latin-1")
        except UnicodeEncodeError:
            return None
    return from_bytes(value, within.name, within=within) if isinstance(value, bytes) else None


def as_key(key: Pickled) -> Key:
    """Return a key that is safe to hash. Raises `TypeError` for a type that Python does not hash."""
    if type(key) is int:
        return key if -BOXED_THRESHOLD < key < BOXED_THRESHOLD else Boxed(key)
    if isinstance(key, (tuple, Blob)):
        return Boxed(key)
    if isinstance(key, (list, dict)):
        raise TypeError(f"uses a {type(key).__name__} as the key of a dict")
    return key


def append(target: Pickled, items: list[Pickled]) -> None:
    """Append a value to a list, or to the items of a record."""
    if isinstance(target, list):
        target.extend(items)
    elif isinstance(target, Record):
        target.items.extend(items)
    else:
        raise TypeError(f"appends to a {type(target).__name__}")


_DICTS = {"collections.OrderedDict", "collections.Counter", "builtins.dict", "__builtin__.dict"}
_LISTS = {f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "frozenset", "list", "tuple")}
_BYTES = {f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("bytearray", "bytes")}
PLAIN = {*_DICTS, *_LISTS, *_BYTES, "collections.defaultdict", "_codecs.encode"}
"""Calls of these make plain data if their arguments are those of a pickle of plain data."""


def copy_cost(args: Pickled) -> int:
    """Return how many bytes `plain_data` may take for a copy of the arguments."""
    if not isinstance(args, tuple):
        return 0
    return sum(len(arg) * (1 if isinstance(arg, str) else ITEM_COST) for arg in args if isinstance(arg, (str, list, tuple)))


def plain_data(target: Global, args: Pickled) -> Pickled:
    """Return the plain data that a harmless call stands for: a dict, a list, bytes; None for any other call.

    An argument that is the data already is returned unchanged.
    """
    if not isinstance(args, tuple):
        return None
    name = target.text
    if name in _DICTS:
        return {} if not args else _dict(args[0]) if len(args) == 1 else None
    if name == "collections.defaultdict":
        return {} if len(args) <= 1 else _dict(args[1])
    if name in _LISTS:
        return [] if not args else args[0] if len(args) == 1 and isinstance(args[0], (list, tuple)) else None
    return _bytes(args)


def _dict(pairs: Pickled) -> dict[Key, Pickled] | None:
    """Return a dict; Python 2 wrote an OrderedDict as a list of lists of two."""
    if isinstance(pairs, dict):
        return pairs
    couples = (
        [pair for pair in pairs if isinstance(pair, (list, tuple)) and len(pair) == 2] if isinstance(pairs, (list, tuple)) else []
    )
    if not isinstance(pairs, (list, tuple)) or len(couples) < len(pairs):
        return None
    return {as_key(key): value for key, value in couples}


def _bytes(args: tuple[Pickled, ...]) -> bytes | Blob | None:
    """Evaluate `bytes()`, `bytearray(b"...")`, `_codecs.encode("...", "latin1")` and `bytearray("...", "latin-1")`."""
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
