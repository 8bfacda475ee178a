"""Tensors as PyTorch's pickles speak of them: a storage, and how a tensor lies in it.

Nothing is trusted: a tensor that does not fit its storage is listed and refused. Storages are opened when
their numbers are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from steelyard.codecs import limits
from steelyard.codecs.pickle.arrays import SIZE, Found, array_of, is_shape, refused
from steelyard.codecs.pickle.values import Global, Persistent, Record, as_source
from steelyard.codecs.torch.strides import Layout, flagged, pairs, stepped
from steelyard.dtypes import ITEMSIZES, itemsize
from steelyard.errors import FormatError, printable
from steelyard.storage.source import Source, Stored

if TYPE_CHECKING:
    from steelyard.core.weight import Reader

    Nested = Callable[[Source], tuple["Tensors", Any]]
    """Reads a whole file of torch that lies inside a pickle: what tells its tensors, and what it holds."""
    Open = Callable[[Any, str, int], Source]
    """Opens the storage of a key, a type and a number of elements; raises `FormatError` when there is none."""

_STORAGE = ("storage", b"storage")

_STORAGES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Char": "int8",
    "Byte": "uint8",
    "Short": "int16",
    "Int": "int32",
    "Long": "int64",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
    "QInt8": "qint8",
    "QUInt8": "quint8",
    "QInt32": "qint32",
    "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
    "Untyped": "",
}
_NAMES = {"float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32", "short": "int16"}
_NAMES |= {"cfloat": "complex64", "cdouble": "complex128", "chalf": "complex32"}
_CARRIED = {  # how what NumPy has no word for is listed: its own word stands in `stored`
    "qint8": "int8",
    "quint8": "uint8",
    "qint32": "int32",
    "float4_e2m1fn_x2": "uint8",
    "bits8": "uint8",
    **{f"{sign}int{bits}": f"{sign}int8" for sign in ("", "u") for bits in range(1, 8)},
    "complex32": "complex64",
    "quint4x2": "uint8",
    "quint2x4": "uint8",
    "": "uint8",
}
_PACKED = frozenset(("quint4x2", "quint2x4"))
_KNOWN = {word: (size, word) for word, size in ITEMSIZES.items() if word != "object"}
_KNOWN |= {word: (itemsize(listed), listed) for word, listed in _CARRIED.items()} | {"complex32": (4, "complex64")}
"""The bytes of an element of each of torch's types, and as what it is listed."""


class Tensors:
    """Tells what the records of one pickle stand for. `source` is for messages, `open_storage` gives the bytes."""

    __slots__ = ("_layouts", "_opened", "_words", "byteorder", "nested", "open_storage", "source")

    def __init__(self, source: Source, open_storage: Open, byteorder: str = "<", nested: Nested | None = None) -> None:
        self.source = source
        self.open_storage = open_storage
        self.byteorder = byteorder
        self.nested = nested
        self._opened: dict[Any, Any] = {}
        self._words: dict[Global, str] = {}
        self._layouts: dict[tuple[int, int], Layout] = {}

    def found(self, value: Any) -> Found | None:
        """Return the tensor or array that a value stands for; None when it stands for something else."""
        if type(value) is not Record:
            return self._bare_storage(value) if type(value) is Persistent else None
        call = value.call
        make = _MAKERS.get(call.text) if type(call) is Global else None
        if make is None:
            return array_of(value, self.source)
        try:
            return make(self, *value.args)
        except FormatError as error:
            return refused(self.source, str(error).removeprefix(f"{printable(self.source.name)}: "))
        except (TypeError, ValueError, AttributeError) as error:
            return refused(self.source, f"the arguments of {value.text} are computed or make no sense: {printable(error, 100)}")

    def strided(
        self,
        storage: Any,
        offset: Any,
        shape: Any,
        stride: Any,
        requires_grad: Any = None,
        _hooks: Any = None,
        metadata: Any = None,
        dtype: str = "",
    ) -> Found:
        """`_rebuild_tensor_v2`: where a tensor begins in its storage, its shape and its steps, in elements."""
        source, word, count = self._storage(storage)
        layout = self._layouts.get((id(shape), id(stride))) or self._layout(shape, stride)
        if dtype:
            word, count = dtype, count if word else count // size_of(dtype)
        if layout is None or type(offset) is not int or offset < 0:
            return refused(self.source, f"shape {printable(shape, 80)}, strides {printable(stride, 80)} or offset make no sense")
        size, listed = _KNOWN.get(word) or _unknown(word)
        last = offset + layout.extent if layout.extent else 0
        if last > count or last * size > source.size:
            what = f"ends at element {last:,} of a storage that has {min(count, source.size // size):,}"
            return refused(self.source, what, layout.shape, listed)
        trainable = requires_grad if type(requires_grad) is bool else None
        return self._view(source, word, offset, layout, _flags(metadata) if metadata else "", trainable)

    def _layout(self, shape: Any, stride: Any) -> Layout | None:
        """Look at a shape and its steps once: a model repeats them. None when they make no sense."""
        sizes, steps = _numbers(shape), _numbers(stride)
        if not is_shape(sizes) or not is_shape(steps) or len(sizes) != len(steps):
            return None
        layout = Layout(sizes, steps)
        if sizes is shape and steps is stride:  # the layout keeps both alive, so that no other takes their place
            self._layouts[id(shape), id(stride)] = layout
        return layout

    def _view(self, source: Source, word: str, offset: int, layout: Layout, flags: str, trainable: Any) -> Found:
        size, listed = _KNOWN[word]
        shape, total = layout.shape, layout.spread * ITEMSIZES[listed]
        if total > limits.DENSE and (total >= SIZE or (layout.extent and limits.is_bomb(total, source.size))):
            what = f"shape {list(shape)} makes {total:,} bytes of {source.size:,}; refused"
            return refused(self.source, what, shape, listed)
        if word in _PACKED:
            return refused(self.source, f"is packed as {word}, which is not read", shape, listed, word)
        half = word == "complex32"
        begin = offset * size
        flat = Stored(source, begin if layout.contiguous else 0, "float16" if half else listed, self.byteorder)
        read: Reader = pairs(flat) if half else flat
        if not layout.contiguous:
            read = stepped(read, offset, shape, layout.stride)
        if flags:
            read = flagged(read, flags)
        place = (id(source), begin, shape, layout.stride, word + flags) if layout.extent else None
        return Found(shape, listed, read, place, word if listed != word else "", trainable)

    def _storage(self, value: Any) -> tuple[Source, str, int]:
        """Return a storage's bytes, its type ("" when it has none) and its number of elements."""
        if type(value) is Persistent:
            return (value.home or self)._referred(value.key)
        if isinstance(value, Record) and value.text == "torch.storage._load_from_bytes":
            data = as_source(value.args[0], self.source.name) if type(value.args) is tuple and len(value.args) == 1 else None
            if data is not None:
                return self._nested(id(value), data)
        if isinstance(value, Record) and value.attributes.get("_untyped_storage") is not None:
            return self._storage(value.attributes["_untyped_storage"])
        raise FormatError(self.source.name, "its storage is computed by a call, which is not made")

    def _nested(self, key: Any, data: Source) -> tuple[Source, str, int]:
        if key not in self._opened:
            if self.nested is None:
                raise FormatError(self.source.name, "files of torch lie too deep in one another")
            tensors, value = self.nested(data)
            self._opened[key] = tensors._storage(value)
        opened: tuple[Source, str, int] = self._opened[key]
        return opened

    def _referred(self, key: Any) -> tuple[Source, str, int]:
        view = None
        if type(key) is tuple and len(key) == 5:
            mark, kind, name, _, count = key
        elif type(key) is tuple and len(key) == 6:
            mark, kind, name, _, count, view = key
        else:
            mark = kind = name = count = None
        if mark not in _STORAGE or type(kind) is not Global or type(name) not in (str, int):
            raise FormatError(self.source.name, f"its storage is called {printable(key, 80)}, which is no name of a storage")
        if type(count) is not int or count < 0:
            raise FormatError(self.source.name, f"its storage has {printable(count, 40)} elements")
        word = self._words.get(kind) or self._words.setdefault(kind, storage_dtype(kind))
        source = self._opened.get(name)
        if source is None:
            source = self._opened[name] = self.open_storage(name, word, count)
        return (source, word, count) if view is None else self._view_of_storage(source, word, name, view)

    def _view_of_storage(self, source: Source, word: str, name: Any, view: Any) -> tuple[Source, str, int]:
        """Return the part of a storage that older files name: a key, an offset and a length, in elements."""
        if type(view) is not tuple or len(view) != 3 or any(type(i) is not int or i < 0 for i in view[1:]):
            raise FormatError(self.source.name, f"a view of a storage is {printable(view, 80)}")
        _, offset, length = view
        found = self._opened.get((name, offset, length))
        if found is None:
            size = size_of(word)
            found = self._opened[name, offset, length] = source.part(offset * size, length * size)
        return found, word, length

    def _bare_storage(self, value: Persistent) -> Found | None:
        if type(value.key) is tuple and value.key and value.key[0] in ("module", b"module"):
            return None  # the class of a module, with its source text
        try:
            _, word, count = self._storage(value)
            return self.strided(value, 0, (count // size_of(word or "uint8"),), (1,), dtype=word or "uint8")
        except FormatError as error:
            return refused(self.source, str(error))


def storage_dtype(kind: Global) -> str:
    """Return the type of the elements of a storage class; "" for one that has none.

    >>> storage_dtype(Global("torch", "FloatStorage"))
    'float32'
    """
    name = kind.name.rpartition(".")[2].removesuffix("Storage")
    if kind.module.partition(".")[0] != "torch" or name not in _STORAGES:
        raise FormatError("the pickle", f"its storage is a {printable(kind.text)}, which is no known type")
    return _STORAGES[name]


def _dtype(value: Any) -> str:
    """Return the word of `torch.float8_e4m3fn` and the like."""
    if not isinstance(value, Global) or value.module != "torch":
        raise FormatError("the pickle", f"is of type {printable(value, 60)}, which is no type of torch")
    word = _NAMES.get(value.name, value.name)
    size_of(word)
    return word


def size_of(word: str) -> int:
    """Return the bytes of an element of one of torch's types."""
    return (_KNOWN.get(word) or _unknown(word))[0]


def _unknown(word: str) -> NoReturn:
    """Say that torch has no such type, or none that is read."""
    raise FormatError("the pickle", f"is of type {printable(word)}, which is not known")


def _listed(word: str) -> str:
    """Return how the elements of one of torch's types are listed."""
    return _CARRIED.get(word, word)


def _numbers(value: Any) -> Any:
    """Return a shape as a tuple: a `torch.Size` is a call, a list was usual once."""
    if isinstance(value, Record) and value.text == "torch.Size" and type(value.args) is tuple and len(value.args) == 1:
        value = value.args[0]
    return tuple(value) if type(value) is list else value


def _flags(metadata: Any) -> str:
    if type(metadata) is not dict:
        return ""
    return "".join(flag for flag in ("conj", "neg") if metadata.get(flag) is True)


def _v3(  # noqa: PLR0913, PLR0917 - the arguments of torch's own function
    tensors: Tensors, storage: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, metadata: Any = None
) -> Found:
    """Types newer than storages with a type: these have bytes only."""
    return tensors.strided(storage, offset, shape, stride, grad, hooks, metadata, _dtype(dtype))


def _parameter(tensors: Tensors, data: Any, requires_grad: Any = True, *_: Any) -> Found | None:
    found = tensors.found(data)
    if found is not None:
        found.trainable = requires_grad is not False
    return found


def _subclass(tensors: Tensors, make: Any, kind: Any, args: Any, state: Any = None) -> Found | None:
    """A subclass of a tensor: the function that makes its plain tensor, and that one's arguments."""
    return tensors.found(Record(make, args))


def _quantised(tensors: Tensors, storage: Any, offset: Any, shape: Any, stride: Any, parameters: Any, *_: Any) -> Found:
    """The whole numbers that are stored; `stored` says how to make real ones of them."""
    found = tensors.strided(storage, offset, shape, stride)
    method, scale, zero, *axis = parameters
    if method.name == "per_tensor_affine":
        if type(scale) not in (int, float) or type(zero) is not int:
            raise ValueError("a scale or a zero point is no number")
        found.encoding += f" scale={scale!r} zero_point={zero}"
        return found
    scales, zeros = tensors.found(scale), tensors.found(zero)
    (place,) = axis
    if type(place) is not int or not 0 <= place < len(found.shape) or scales is None or zeros is None:
        raise ValueError(f"axis {printable(place, 20)} of the scales is none of shape {found.shape}")
    if not scales.shape == zeros.shape == (found.shape[place],):
        raise ValueError(f"{scales.shape} scales for axis {place} of shape {found.shape}")
    found.encoding += f" scales along axis {place}"
    return found


def _sparse(tensors: Tensors, layout: Any, data: Any) -> Found:
    """A sparse tensor as a dense one, if that is not much more than what is stored."""
    from steelyard.codecs.torch.sparse import dense

    return dense(tensors, layout, data)


def _without_numbers(tensors: Tensors, dtype: Any, shape: Any, *_: Any) -> Found:
    return refused(
        tensors.source, "is on the meta device: the file has no numbers of it", _numbers(shape), _listed(_dtype(dtype))
    )


def _lazy(tensors: Tensors, *_: Any) -> Found:
    return refused(tensors.source, "is lazy and has no shape yet; run one batch through the model and save it again")


def _from_array(tensors: Tensors, data: Any, dtype: Any = None, *_: Any) -> Found | None:
    return tensors.found(data)


_MAKERS: dict[str, Callable[..., Found | None]] = {
    "torch._utils._rebuild_tensor": Tensors.strided,
    "torch._utils._rebuild_tensor_v2": Tensors.strided,
    "torch._utils._rebuild_tensor_v3": _v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch._tensor._rebuild_from_type": _subclass,
    "torch._utils._rebuild_qtensor": _quantised,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_sparse_csr_tensor": _sparse,
    "torch._utils._rebuild_meta_tensor_no_storage": _without_numbers,
    "torch.nn.parameter.UninitializedParameter": _lazy,
    "torch.nn.parameter.UninitializedBuffer": _lazy,
    "torch._utils._rebuild_device_tensor_from_numpy": _from_array,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _from_array,
}
