"""One weight: a run of numbers with its facts."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from steelyard import sizes
from steelyard.dtypes import UNKNOWN, itemsize, numpy_dtype
from steelyard.errors import ShapeError, quoted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike

    from steelyard.core.effective import Derivation
    from steelyard.errors import SteelyardError

    Array = np.ndarray[Any, Any]
    DType = np.dtype[Any]
    Reader = Callable[[int, int], Array]
    """Reads the elements [start, stop) in row-major order, as one axis."""


class Role(StrEnum):
    """The purpose of a weight, whatever its framework calls it."""

    KERNEL = "kernel"
    RECURRENT_KERNEL = "recurrent kernel"
    BIAS = "bias"
    EMBEDDING = "embedding"
    SCALE = "scale"
    OFFSET = "offset"
    MEAN = "mean"
    VARIANCE = "variance"
    COUNT = "count"
    OTHER = "other"


for _role in Role:
    # Python 3.11 calls a function for `Role.OTHER`, which takes as long as to read ten attributes; later ones do this themselves
    type.__setattr__(Role, _role.name, _role)


class Refused:
    """The reader of a weight that is listed, but whose numbers cannot be given: it raises `error`.

    `place` is a key that weights with the same numbers share, such as tied parameters without memory.
    """

    __slots__ = ("error", "place")

    def __init__(self, error: SteelyardError, place: Hashable = None) -> None:
        # traces keep all that a reader knew where it failed, and a file may have many weights that cannot be read
        self.error = error.with_traceback(None)
        if error.__suppress_context__:
            error.__context__ = None
        self.place = place

    def __call__(self, _start: int, _stop: int) -> Array:
        raise self.error.with_traceback(None)  # else each attempt would make it longer


class Weight:
    """A run of numbers with its facts; the numbers are read on demand.

    `name` is the framework's own name. `shape` is in elements. `dtype` is spelled as in NumPy and ml_dtypes
    ("float32", "bfloat16", "int8"). `axes` has a word for each axis ("out in kh kw"), blank if not known.
    `encoding` is the file's own word for its storage of the numbers ("Q4_K"). `tied` is the name of the
    weight whose numbers this one shares; `overlaps` that of an earlier weight in whose memory some of its numbers are.
    `derivation` is how an effective weight is made of stored ones (`Weights.effective`). `trainable` is None if it is not
    known. A weight whose numbers cannot be given is listed too, as `unreadable`.

    Examples:
        >>> import numpy as np
        >>> from steelyard.core.readers import from_array
        >>> w = from_array("fc.weight", np.eye(2, dtype="float32"), role=Role.KERNEL, axes="out in")
        >>> w.shape, w.dtype, w.size, w.nbytes
        ((2, 2), 'float32', 4, 16)
        >>> w.numpy().tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    # Not a dataclass, since importing dataclasses takes longer than the whole core.
    __slots__ = (
        "axes",
        "derivation",
        "dtype",
        "encoding",
        "layer",
        "name",
        "overlaps",
        "read",
        "role",
        "shape",
        "tied",
        "trainable",
    )

    def __init__(  # noqa: PLR0913 - each is a fact, by name
        self,
        *,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        read: Reader,
        role: Role = Role.OTHER,
        layer: str = "",
        axes: str = "",
        trainable: bool | None = None,
        encoding: str = "",
        tied: str | None = None,
        overlaps: str | None = None,
        derivation: Derivation | None = None,
    ) -> None:
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.read = read
        self.role = role
        self.layer = layer
        self.axes = axes
        self.trainable = trainable
        self.encoding = encoding
        self.tied = tied
        self.overlaps = overlaps
        self.derivation = derivation

    def __repr__(self) -> str:
        words = [self.dtype, *([str(self.role)] if self.role != Role.OTHER else [])]
        keys = ("axes", "encoding", "tied", "overlaps", "unreadable")
        facts = [f"{key}={quoted(value)}" for key in keys if (value := getattr(self, key))]
        return f"Weight({quoted(self.name)}, {self.shape}, {', '.join([*words, *facts])})"

    def _repr_html_(self) -> str:
        from steelyard.core.display import weight_html

        return weight_html(self)

    def replace(self, **changes: Any) -> Weight:
        """Return the same weight with other facts; no number is copied."""
        new = Weight.__new__(Weight)  # not by copy.copy, which is slow: a file may have thousands of weights
        new.name, new.shape, new.dtype, new.read = self.name, self.shape, self.dtype, self.read
        new.role, new.layer, new.axes, new.trainable = self.role, self.layer, self.axes, self.trainable
        new.encoding, new.tied, new.overlaps, new.derivation = self.encoding, self.tied, self.overlaps, self.derivation
        for key, value in changes.items():
            setattr(new, key, value)
        return new

    @property
    def ndim(self) -> int:
        """The number of axes; 0 where the shape of a weight that cannot be read is not known."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements; 0 where the shape of a weight that cannot be read is not known."""
        return math.prod(self.shape) if self.shape or self.dtype != UNKNOWN else 0

    @property
    def nbytes(self) -> int:
        """The size of all elements in `dtype`, in bytes."""
        return self.size * itemsize(self.dtype)

    @property
    def unreadable(self) -> str | None:
        """Why the numbers cannot be given, as far as the listing shows; None for a weight that can be read."""
        return str(self.read.error) if isinstance(self.read, Refused) else None

    def numpy(self) -> Array:
        """Return the whole weight in its shape, read-only; a view of the live model if possible."""
        array = self.read(0, self.size).reshape(self.shape)
        view = array.view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        import numpy as np

        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        """Export a copy of the numbers to another library; `torch.as_tensor(weight)` calls this."""
        return self._own_memory().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # the CPU

    def __jax_array__(self) -> Array:  # jnp.asarray(weight) calls this; JAX may keep the memory
        import numpy as np

        return np.array(self.numpy())

    def _own_memory(self) -> Any:
        import numpy as np

        if numpy_dtype(self.dtype).isbuiltin == 1 or "torch" not in sys.modules:
            return np.array(self.numpy())
        return self.to_torch()  # NumPy cannot export the types of ml_dtypes

    def to_torch(self, *, copy: bool | None = True) -> Any:
        """Return a PyTorch tensor of the same shape and dtype, including bfloat16 and the types of 8 bits.

        It has a copy of the numbers. With `copy` None it shares the memory of a live weight where it can, so that writing into
        the tensor changes the model; read-only memory, and that of a device, is copied even then. With `copy` False it must
        share it. Raises `ReadOnlyError` if it cannot, `ShapeError` for a dtype that PyTorch does not have, and
        `MissingExtraError` if it is not installed.

        Examples:
            >>> import steelyard, torch
            >>> model = torch.nn.Linear(2, 2).bfloat16()
            >>> steelyard.weights(model)["bias"].to_torch().dtype
            torch.bfloat16
            >>> steelyard.weights(model)["bias"].to_torch(copy=False).data_ptr() == model.bias.data_ptr()
            True
        """
        from steelyard.core.tensors import tensor_of

        return tensor_of(self, copy=copy)

    def __getitem__(self, index: object) -> Array:
        """Read only a part: `w[3, :5]` returns the first five numbers of the fourth row as an array.

        `index` may have integers, slices and an ellipsis, as in NumPy. Only the runs of numbers that the part touches are
        read, with gaps of at most 2^16 numbers between them. Raises `ShapeError` for any other index, and `OutsideError`,
        which is also an `IndexError`, for an index out of range.

        Examples:
            >>> import steelyard
            >>> import numpy as np
            >>> w = steelyard.weights({"w": np.arange(12).reshape(3, 4)})["w"]
            >>> w[-1, ::2].tolist(), int(w[0, 3])
            ([8, 10], 3)
        """
        from steelyard.core.indexing import read_part

        return read_part(self, index if isinstance(index, tuple) else (index,))

    def blocks(self, limit: int | None = None) -> Iterator[Array]:
        """Yield the elements in row-major order, at most `limit` (about a million) at a time, each block with one axis."""
        if isinstance(self.read, Refused):  # also where there are no elements, so that none is passed over
            raise self.read.error
        limit = sizes.READ_BLOCK if limit is None else limit
        if not hasattr(limit, "__index__") or limit < 1:
            raise ShapeError(f"limit is {quoted(limit)}; a block has at least one element")
        for start in range(0, self.size, limit):
            yield self.read(start, min(start + limit, self.size))


def by_name(weights: Iterable[Weight]) -> dict[str, Weight]:
    """Return weights by their names, in order. Raises `ShapeError` where two have one name."""
    listed = list(weights)
    named = {weight.name: weight for weight in listed}
    if len(named) < len(listed):
        times = Counter(weight.name for weight in listed)
        repeated = next(name for name, count in times.items() if count > 1)
        raise ShapeError(f"two weights are called {quoted(repeated)}; rename one of them")
    return named


def bytes_of(weights: Sequence[Weight]) -> int:
    """Return the size of all weights in bytes."""
    looks = [(weight.shape, weight.dtype) for weight in weights]
    examples = dict(zip(looks, weights, strict=True))  # many are alike
    return sum(times * examples[look].nbytes for look, times in Counter(looks).items())
