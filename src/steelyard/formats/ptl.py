"""PyTorch Mobile: the tensors of a net in FlatBuffers (`.ptl`), by the names of its state dict; zip archives are of `torch`.

    Module           4 version, 8 numbers of the methods, 10 number of the state, 12 values, 16 storages, 18 types
    IValue           4 kind, 6 value
    TensorMetadata   4 number of the storage, 6 type, 8 offset, 10 lengths, 12 strides, 14 requires grad, 16 quantisation
    QuantizedSchema  4 scheme, 6 scale, 8 zero point, 10 scales, 12 zero points, 14 axis
    Object           4 number of the type, 6 number of the state, 8 numbers of the attributes
    ObjectType       4 name, 8 names of the attributes
    List, Tuple      4 numbers of the items
    Dict             4 numbers of the keys, 6 numbers of the values
    Function         10 numbers of the constants
    StorageData      4 bytes

Values name each other by their numbers. The net's code is not run. Source: `mobile_bytecode.fbs` of PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.flatbuffers import Table, root
from steelyard.codecs.pickle.model_weights import listed
from steelyard.codecs.pickle.values import Global, Persistent, Record
from steelyard.codecs.pickle.walk import TensorWalk
from steelyard.codecs.torch.tensors import TensorDecoder
from steelyard.codecs.torch.words import size_of
from steelyard.errors import FormatError

if TYPE_CHECKING:
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.core.protocols import Scope
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source

SUFFIXES = ()

_MARK = b"PTMF"
_METHODS, _STATE, _VALUES, _STORAGES, _KINDS = 8, 10, 12, 16, 18
_TENSOR, _TEXT, _LIST, _TUPLE, _DICT, _OBJECT, _FUNCTION = 5, 6, 7, 8, 9, 10, 16
_PLAIN = {1: "q", 2: "?", 3: "d"}
"""kinds of values that are a number, and its type"""
_RUNS = {11: "q", 12: "d"}
"""kinds of values that are a list of numbers, and their type"""
_TABLES = (_TENSOR, _TEXT, _LIST, _TUPLE, _DICT, _OBJECT, *_RUNS)
_TYPES = (
    *("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"),
    *("complex32", "complex64", "complex128", "bool", "qint8", "quint8", "qint32", "bfloat16", "quint4x2", "quint2x4"),
)
_QUANTISED = {"qint8": "QInt8", "quint8": "QUInt8", "qint32": "QInt32"}
"""the classes of storages of quantised numbers"""
_PER_TENSOR = (0, 2)


def sniff(source: Source) -> bool:
    """Recognise the identifier of a module."""
    return source.size > 32 and source.head(8)[4:] == _MARK


def read(source: Source, scope: Scope) -> Weights:
    """List the tensors of the state in its order; with scope "all", or if it has none, the constants of the code too."""
    module = root(source)
    held = _Values(source, module)
    state = held.value(module.number(_STATE, "I"))
    walk = TensorWalk(source, held.decoder.decode).through(state)
    if scope == "all" or not any(tensor.in_state_dict for tensor in walk.tensors):
        constants = [constant for method in module.numbers(_METHODS, "I") for constant in held.constants(method)]
        walk.tensors += TensorWalk(source, held.decoder.decode).through({"constants": constants}).tensors
    return listed(source, state, walk, scope, {"format": "PyTorch Mobile", "bytecode version": str(module.number(4, "I"))})


class _Values:
    """The values of a module, which become those that a pickle of it would have: objects and tensors are records of calls."""

    __slots__ = ("_made", "_module", "_open", "_source", "_storages", "_types", "_values", "decoder")

    def __init__(self, source: Source, module: Table) -> None:
        self._source = source
        self._values = list(module.tables(_VALUES))
        self._storages = [table.vector(4, 1) for table in module.tables(_STORAGES)]
        self._types = [(table.text(4), [*table.texts(8)]) for table in module.tables(_KINDS)]
        self._made: dict[int, Pickled] = {}
        self._open = 0
        self.decoder = TensorDecoder(source, self._storage)

    def value(self, number: int) -> Pickled:
        """Return a value by its number. Raises `FormatError` where it is not there, or nested too deep."""
        if number in self._made:
            return self._made[number]
        if number >= len(self._values):
            raise FormatError(self._source.name, f"names the value {number:,} of {len(self._values):,}")
        if self._open > limits.RECURSION:
            raise FormatError(self._source.name, f"has values in values at more than {limits.RECURSION} levels")
        self._open += 1
        self._made[number] = None  # one that contains itself is not entered again
        self._made[number] = self._of_kind(self._values[number])
        self._open -= 1
        return self._made[number]

    def constants(self, number: int) -> list[Pickled]:
        """Return the constants of a function."""
        function = self._values[number] if number < len(self._values) else None
        table = function.table(6) if function is not None and function.number(4, "B") == _FUNCTION else None
        return self._items(table, 10) if table else []

    def _items(self, table: Table, field: int) -> list[Pickled]:
        return [self.value(number) for number in table.numbers(field, "I")]

    def _of_kind(self, value: Table) -> Pickled:  # noqa: PLR0911 - one for each kind
        kind = value.number(4, "B")
        if kind in _PLAIN:
            place = value.target(6)
            return value.data.number(place, _PLAIN[kind]) if place else None
        table = value.table(6) if kind in _TABLES else None
        if table is None:
            return None
        if kind == _TENSOR:
            return self._tensor(table)
        if kind == _TEXT:
            return table.text(4)
        if kind == _OBJECT:
            return self._object(table)
        if kind in _RUNS:
            return list(table.numbers(4, _RUNS[kind]))
        if kind == _DICT:
            keys, values = self._items(table, 4), self._items(table, 6)
            self._check(len(keys), len(values), table)
            return {key: member for key, member in zip(keys, values, strict=True) if isinstance(key, (str, int))}
        items = self._items(table, 4)
        return tuple(items) if kind == _TUPLE else items

    def _object(self, table: Table) -> Record:
        number = table.number(4, "I")
        if number >= len(self._types):
            raise FormatError(self._source.name, f"names the type {number:,} of {len(self._types):,}", table.at)
        name, attributes = self._types[number]
        module, _, last = name.rpartition(".")
        made = Record(Global(module, last), ())
        places = table.numbers(8, "I")
        if places:
            self._check(len(attributes), len(places), table)
            made.state = dict(zip(attributes, map(self.value, places), strict=True))
        else:
            made.state = self.value(table.number(6, "I"))
        return made

    def _check(self, names: int, values: int, table: Table) -> None:
        if names != values:
            raise FormatError(self._source.name, f"has {names:,} names for {values:,} values", table.at)

    def _tensor(self, table: Table) -> Record:
        kind, scheme, number = table.number(6, "b"), table.table(16), table.number(4, "I")
        word = _TYPES[kind] if 0 <= kind < len(_TYPES) else f"type {kind}"
        stored = Global("torch", f"{_QUANTISED.get(word, 'Untyped') if scheme else 'Untyped'}Storage")
        size = self._storages[number][1] if number < len(self._storages) else 0
        if scheme and word in _QUANTISED:
            size //= size_of(word)
        storage = Persistent(("storage", stored, number, "cpu", size))
        place = storage, table.number(8, "i"), table.numbers(10, "i"), table.numbers(12, "i")
        if scheme:
            return Record(Global("torch._utils", "_rebuild_qtensor"), (*place, self._scheme(scheme), False, None))
        trains = bool(table.number(14, "B")) or None  # an inference net has detached its parameters
        return Record(Global("torch._utils", "_rebuild_tensor_v3"), (*place, trains, None, Global("torch", word)))

    def _scheme(self, table: Table) -> Pickled:
        place = table.position(6, 8)
        scale, zero = (table.data.number(place, "d") if place else 0.0), table.number(8, "i")
        if table.number(4, "b") in _PER_TENSOR:
            return Global("torch", "per_tensor_affine"), scale, zero
        scales, zeros = table.table(10), table.table(12)
        both = [self._tensor(each) if each else None for each in (scales, zeros)]
        return Global("torch", "per_channel_affine"), *both, table.number(14, "i")

    def _storage(self, key: str | int, _word: str, _count: int) -> Source:
        if not isinstance(key, int) or key >= len(self._storages):
            raise FormatError(self._source.name, f"names the storage {key} of {len(self._storages):,}")
        return self._source.part(*self._storages[key])
