"""Decodes the tensors of PyTorch's pickles: calls that rebuild a strided view of a storage.

Nothing is trusted: a tensor that does not fit its storage is listed and refused. A storage is opened when its first
tensor is decoded, and its numbers are read on request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.pickle.arrays import MAX_BYTES, PickledTensor, array_of, is_shape, plain_number, refused
from steelyard.codecs.pickle.quantised import NUMBER
from steelyard.codecs.pickle.values import Global, Persistent, Record, as_source, is_args, shape_of
from steelyard.codecs.torch.distributed import is_dtensor, whole
from steelyard.codecs.torch.quantised import quantised
from steelyard.codecs.torch.strides import Strided, complex_halves, flagged, stepped, unpacked
from steelyard.codecs.torch.words import KNOWN, PACKED, dtype_of, listed_as, size_of, storage_dtype, unknown
from steelyard.dtypes import ITEMSIZES, UNKNOWN
from steelyard.errors import FormatError, printable
from steelyard.storage.source import Source, Stored

if TYPE_CHECKING:
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.core.weight import Reader

    Nested = Callable[[Source], tuple["TensorDecoder", Pickled]]
    """Opens a whole file of torch that is nested in a pickle: the decoder of its tensors, and its root."""
    OldTensor = tuple[Persistent, int, tuple[int, ...], tuple[int, ...]]
    """A tensor of PyTorch 0.1: its storage, the offset, the shape and the strides."""
    Open = Callable[[str | int, str, int], Source]
    """Opens the storage of a key, a dtype and a number of elements; raises `FormatError` if there is none."""

_STORAGE = ("storage", b"storage")
_NESTED = "torch.storage._load_from_bytes"
_JAGGED = "torch.nested._internal.nested_tensor.NestedTensor"


class TensorDecoder:
    """Makes tensors of the records of one pickle. `source` is for messages, `open_storage` gives the bytes.

    `old` has the tensors of PyTorch 0.1, to which a pickle refers by their numbers.
    """

    __slots__ = ("_inner", "_opened", "_parts", "_views", "_words", "byteorder", "nested", "old", "open_storage", "source")

    def __init__(
        self,
        source: Source,
        open_storage: Open,
        byteorder: str = "<",
        nested: Nested | None = None,
        old: Mapping[int, OldTensor] | None = None,
    ) -> None:
        self.old = old
        self.source = source
        self.open_storage = open_storage
        self.byteorder = byteorder
        self.nested = nested
        self._opened: dict[str | int, Source] = {}
        self._parts: dict[tuple[str | int, int, int], Source] = {}
        self._inner: dict[int, tuple[Source, str, int]] = {}
        self._words: dict[Global, str] = {}
        self._views: dict[tuple[int, int], Strided] = {}

    def decode(self, value: Pickled) -> PickledTensor | None:
        """Return the tensor or array that a value stands for; None for any other value."""
        if type(value) is not Record:
            return self._bare_storage(value) if type(value) is Persistent else None
        call = value.call
        make = _MAKERS.get(call.text) if type(call) is Global else None
        if make is None:
            return self._other(value)
        try:
            return make(self, *(value.args if isinstance(value.args, tuple) else ()))
        except FormatError as error:
            return self._refused(error)
        except (TypeError, ValueError, AttributeError) as error:
            return refused(self.source, f"the arguments of {value.text} are computed or invalid: {printable(error, 100)}")

    def _other(self, value: Record) -> PickledTensor | None:
        """Return an array, a number, or a storage with a file of its own inside the pickle; None for any other value."""
        if value.call is NUMBER and is_args(value.args, 2):
            number, dtype = value.args
            return plain_number(number, str(dtype)) if isinstance(number, (int, float)) else None
        return self._bare_storage(value) if value.text == _NESTED else array_of(value, self.source)

    def strided(
        self,
        storage: Pickled,
        offset: Pickled,
        shape: Pickled,
        stride: Pickled,
        requires_grad: Pickled = None,
        _hooks: Pickled = None,
        metadata: Pickled = None,
        dtype: str = "",
    ) -> PickledTensor:
        """`_rebuild_tensor_v2`: a strided view of a storage. Offset and strides are in elements."""
        try:
            source, word, count = self._storage(storage)
        except FormatError as error:
            return self._refused(error, shape, dtype or _word_of(storage))
        view = self._views.get((id(shape), id(stride))) or self._strided(shape, stride)
        if dtype:
            word, count = dtype, count if word else count // size_of(dtype)
        if view is None or type(offset) is not int or offset < 0:
            return refused(self.source, f"shape {printable(shape, 80)}, strides {printable(stride, 80)} or offset are invalid")
        size, listed = KNOWN.get(word) or unknown(word)
        last = offset + view.extent if view.extent else 0
        if word in PACKED:
            return self._packed(source, word, offset, view)
        if last > count or last * size > source.size:
            what = f"ends at element {last:,} of a storage that has {min(count, source.size // size):,}"
            return refused(self.source, what, view.shape, listed)
        trainable = True if requires_grad is True else None  # state_dict() detaches tensors, so False shows nothing
        return self._view(source, word, offset, view, _flags(metadata) if metadata else "", trainable)

    def _strided(self, shape: Pickled, stride: Pickled) -> Strided | None:
        """Check a shape and its strides, once for each pair: a model repeats them. None if they are invalid."""
        sizes, steps = shape_of(shape), shape_of(stride)
        if not is_shape(sizes) or not is_shape(steps) or len(sizes) != len(steps):
            return None
        view = Strided(sizes, steps)
        if sizes is shape and steps is stride:  # the view keeps both alive, so their ids stay theirs
            self._views[id(shape), id(stride)] = view
        return view

    def _view(self, source: Source, word: str, offset: int, view: Strided, flags: str, trainable: bool | None) -> PickledTensor:
        size, listed = KNOWN[word]
        shape, total = view.shape, view.size * ITEMSIZES[listed]
        if total > limits.DENSE and (total >= MAX_BYTES or (view.extent and limits.is_bomb(total, source.size))):
            what = f"shape {list(shape)} makes {total:,} bytes of {source.size:,}; refused, see steelyard.limits"
            return refused(self.source, what, shape, listed)
        Budget(self.source).spend_read(total)
        half = word == "complex32"
        begin = offset * size
        flat = Stored(source, begin if view.contiguous else 0, "float16" if half else listed, self.byteorder)
        read: Reader = complex_halves(flat) if half else flat
        if not view.contiguous:
            read = stepped(read, offset, shape, view.stride)
        if flags:
            read = flagged(read, flags)
        memory = (id(source), begin, size, shape, view.steps, word + flags) if view.extent else None
        return PickledTensor(shape, listed, read, memory, word if listed != word else "", trainable)

    def _packed(self, source: Source, word: str, offset: int, view: Strided) -> PickledTensor:
        """Unpack a tensor with several numbers in a byte."""
        shape, each = view.shape, PACKED[word]
        if offset or not view.contiguous:
            return refused(
                self.source, f"is a part of another tensor that is packed as {word}, which is not read", shape, "uint8"
            )
        if -(-view.extent // each) > source.size:
            what = f"has {view.extent:,} numbers, and its storage {source.size:,} bytes with {each} each"
            return refused(self.source, what, shape, "uint8", word)
        Budget(self.source).spend_read(view.size)
        memory = (id(source), 0, 1, shape, view.steps, word) if view.extent else None
        return PickledTensor(shape, "uint8", unpacked(Stored(source, 0, "uint8"), 8 // each), memory, word)

    def _storage(self, value: Pickled) -> tuple[Source, str, int]:
        """Return a storage's bytes, its type ("" when it has none) and its number of elements."""
        if type(value) is Persistent:
            old = self._old(value.key)
            return (value.home or self)._referred(old[0].key if old else value.key)
        if self.old is not None and is_args(value, 5):
            return self._referred(value)
        if isinstance(value, Record) and value.text == _NESTED:
            data = as_source(value.args[0], self.source) if is_args(value.args) and len(value.args) == 1 else None
            if data is not None:
                return self._nested(id(value), data)
        if isinstance(value, Record) and value.attributes.get("_untyped_storage") is not None:
            return self._storage(value.attributes["_untyped_storage"])
        raise FormatError(self.source.name, "its storage is computed by a call, which is not made")

    def _nested(self, key: int, data: Source) -> tuple[Source, str, int]:
        if key not in self._inner:
            if self.nested is None:
                raise FormatError(self.source.name, "too many levels of nested files of torch")
            decoder, value = self.nested(data)
            self._inner[key] = decoder._storage(value)
        return self._inner[key]

    # The key of a storage, as torch writes it:
    #   "storage"   a word
    #   class       torch.FloatStorage and the like, which gives the dtype
    #   name        of the member of the archive; an integer in files before 1.6
    #   device      "cpu", "cuda:0"; not used
    #   count       number of elements
    #   view        before 0.4, None or (name, offset, length): the tensor has a part of the storage
    def _referred(self, key: Pickled) -> tuple[Source, str, int]:
        """Return the bytes of the storage that a key refers to, its dtype, and its number of elements."""
        mark, kind, name, _, count, view = (*key, None)[:6] if is_args(key, 5) and len(key) < 7 else (None,) * 6
        if mark not in _STORAGE or not isinstance(kind, Global) or not (type(name) is str or type(name) is int):
            raise FormatError(self.source.name, f"its storage has the invalid key {printable(key, 80)}")
        if type(count) is not int or count < 0:
            raise FormatError(self.source.name, f"its storage has {printable(count, 40)} elements")
        word = self._words.get(kind) or self._words.setdefault(kind, storage_dtype(kind))
        source = self._opened.get(name)
        if source is None:
            source = self._opened[name] = self.open_storage(name, word, count)
        return (source, word, count) if view is None else self._view_of_storage(source, word, name, view)

    def _view_of_storage(self, source: Source, word: str, name: str | int, view: Pickled) -> tuple[Source, str, int]:
        """Return a part of a storage, which older files describe by a key, an offset and a length in elements."""
        _, offset, length = view if is_args(view, 3) and len(view) == 3 else (None, None, None)
        if type(offset) is not int or type(length) is not int or min(offset, length) < 0:
            raise FormatError(self.source.name, f"a view of a storage is {printable(view, 80)}")
        part = self._parts.get((name, offset, length))
        if part is None:
            size = size_of(word)
            part = self._parts[name, offset, length] = source.part(offset * size, length * size)
        return part, word, length

    def _bare_storage(self, value: Persistent | Record) -> PickledTensor | None:
        """Return a storage that no tensor views: all its elements, which of an untyped one are bytes."""
        if type(value) is Persistent and is_args(value.key) and (value.key[0] in ("module", b"module") or self.old is not None):
            return None  # the class of a module, with its source text
        old = self._old(value.key) if type(value) is Persistent else None
        if old is not None:
            return self.strided(*old)
        try:
            _, word, count = self._storage(value)
            return self.strided(value, 0, (count,), (1,), dtype="" if word else "uint8")
        except FormatError as error:
            return self._refused(error)

    def _old(self, key: Pickled) -> OldTensor | None:
        """Return the tensor or storage of PyTorch 0.1 with this number."""
        number = key if self.old is not None and isinstance(key, (str, int)) else ""
        return self.old.get(int(number)) if self.old is not None and str(number).isdecimal() else None

    def _refused(self, error: FormatError, shape: Pickled = (), word: str = UNKNOWN) -> PickledTensor:
        what = str(error).removeprefix(f"{printable(self.source.name)}: ")
        return refused(self.source, what, shape_of(shape), listed_as(word))


def _word_of(storage: Pickled) -> str:
    """Return the type of a storage that cannot be opened, as far as its reference shows."""
    kind = storage.key[1] if isinstance(storage, Persistent) and is_args(storage.key, 2) else None
    try:
        return (storage_dtype(kind) or UNKNOWN) if isinstance(kind, Global) else UNKNOWN
    except FormatError:
        return UNKNOWN


def _flags(metadata: Pickled) -> str:
    if not isinstance(metadata, dict):
        return ""
    return "".join(flag for flag in ("conj", "neg") if metadata.get(flag) is True)


def _v3(  # noqa: PLR0913, PLR0917 - the arguments of torch's own function
    decoder: TensorDecoder,
    storage: Pickled,
    offset: Pickled,
    shape: Pickled,
    stride: Pickled,
    grad: Pickled,
    hooks: Pickled,
    dtype: Pickled,
    metadata: Pickled = None,
) -> PickledTensor:
    """Decode a type newer than typed storages, whose storage is untyped bytes."""
    return decoder.strided(storage, offset, shape, stride, grad, hooks, metadata, dtype_of(dtype))


def _parameter(decoder: TensorDecoder, data: Pickled, requires_grad: Pickled = True, *_: Pickled) -> PickledTensor | None:
    tensor = decoder.decode(data)
    if tensor is not None:
        tensor.trainable = requires_grad is not False
    return tensor


def _subclass(
    decoder: TensorDecoder, make: Pickled, kind: Pickled, args: Pickled, held: Pickled = None, *_: Pickled
) -> PickledTensor | None:
    """Decode a subclass of a tensor from the function that makes its plain tensor, and the arguments of that function."""
    if is_dtensor(kind):
        return whole(decoder.source, decoder.decode, args, held)
    if isinstance(kind, Global) and kind.text == _JAGGED:
        return _of_tensors(decoder)
    return decoder.decode(Record(make, args))


def _sparse(decoder: TensorDecoder, layout: Pickled, data: Pickled) -> PickledTensor:
    """Decode a sparse tensor as a dense one, unless that is a bomb."""
    from steelyard.codecs.torch.sparse import dense

    return dense(decoder.source, decoder.decode, layout, data)


def _on_meta(decoder: TensorDecoder, dtype: Pickled, shape: Pickled, *_: Pickled) -> PickledTensor:
    return refused(
        decoder.source, "is on the meta device: the file has no numbers of it", shape_of(shape), listed_as(dtype_of(dtype))
    )


def _lazy(decoder: TensorDecoder, *_: Pickled) -> PickledTensor:
    return refused(decoder.source, "is lazy and has no shape yet; run one batch through the model and save it again")


def _of_tensors(decoder: TensorDecoder, *_: Pickled) -> PickledTensor:
    """A nested tensor: the numbers of several tensors in one buffer, with their shapes in further tensors."""
    what = "is a nested tensor, whose parts have shapes of their own; save the tensors of its unbind() instead"
    return refused(decoder.source, what, encoding="nested")


def _from_array(decoder: TensorDecoder, data: Pickled, *_: Pickled) -> PickledTensor | None:
    return decoder.decode(data)


_MAKERS: dict[str, Callable[..., PickledTensor | None]] = {
    "torch._utils._rebuild_tensor": TensorDecoder.strided,
    "torch._utils._rebuild_tensor_v2": TensorDecoder.strided,
    "torch._utils._rebuild_tensor_v3": _v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch._tensor._rebuild_from_type": _subclass,
    "torch._utils._rebuild_qtensor": quantised,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_sparse_csr_tensor": _sparse,
    "torch._utils._rebuild_meta_tensor_no_storage": _on_meta,
    "torch._utils._rebuild_nested_tensor": _of_tensors,
    "torch.nn.parameter.UninitializedParameter": _lazy,
    "torch.nn.parameter.UninitializedBuffer": _lazy,
    "torch._utils._rebuild_device_tensor_from_numpy": _from_array,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _from_array,
}
