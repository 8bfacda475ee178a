"""The layers that feed each layer of a PyTorch module, followed through one run, function by function.

Each tensor has an origin: the layers from whose outputs it was computed. A tensor that cannot be followed (from a function
that PyTorch does not intercept, or from numbers that passed through Python) makes the inputs of a layer unknown, not wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import ref

from steelyard.core.dataflow import INPUT, NOTHING, UNKNOWN, CallGraph

if TYPE_CHECKING:
    from weakref import ReferenceType

    import torch

_READ_OUT = frozenset({"item", "tolist", "numpy", "__array__", "__dlpack__", "__float__", "__int__", "__index__"})
"""Functions that move numbers to Python, without `__bool__`: a branch is not a flow of data."""
_FIRST_ONLY = frozenset({"to", "type_as", "view_as", "expand_as", "reshape_as"})
"""Functions that take only the dtype, device or shape of their second tensor."""

Output = TypeVar("Output")
"""The result of a layer or a function: a tensor, or a structure that holds tensors."""


class _Origin(NamedTuple):
    """The origin of a tensor: sources of data, and layers whose weights have not met data yet."""

    sources: frozenset[Any] = NOTHING
    weights: frozenset[str] = frozenset()

    def merged(self, other: _Origin) -> _Origin:
        return _Origin(self.sources | other.sources, self.weights | other.weights)


class TensorTracer:
    """Follows tensors through one run, and records the `calls` of layers by their names.

    `called` is invoked in place of every function of PyTorch, `entered` and `left` around each call of a layer.
    """

    __slots__ = ("_is_read_out", "_is_tensor", "_known", "_open", "calls")

    def __init__(self, is_tensor: Callable[[object], bool]) -> None:
        self.calls = CallGraph()
        self._is_tensor = is_tensor
        self._known: dict[int, tuple[ReferenceType[torch.Tensor], _Origin, int]] = {}
        self._open: list[tuple[_Origin, list[tuple[torch.Tensor, int]]]] = []
        self._is_read_out = False

    def given(self, tensors: Iterable[torch.Tensor]) -> None:
        """Record the inputs of the net."""
        self._put(tensors, _Origin(frozenset({INPUT})))

    def held(self, tensors: Iterable[torch.Tensor], owner: str | None = None) -> None:
        """Record the tensors of a module; an operation of these and data counts as a use of the layer `owner`."""
        fresh = [tensor for tensor in tensors if id(tensor) not in self._known]
        self._put(fresh, _Origin(weights=frozenset() if owner is None else frozenset({owner})))

    def entered(self, name: str, taken: object) -> None:
        """Record the beginning of a layer's call."""
        tensors = list(self._tensors(taken))
        origin = self._origin(tensors)
        for owner in origin.weights:
            origin = origin.merged(_Origin(self.calls.use(owner, NOTHING)))
        own = _Origin(self.calls.call(name, origin.sources))
        self._open.append((own, [(tensor, tensor._version) for tensor in tensors]))

    def left(self, given: Any) -> Any:
        """Record the output of a layer, and return it; an input that is returned unchanged is replaced by a view."""
        origin, taken = self._open.pop()
        same = {id(tensor) for tensor, version in taken if tensor._version == version}
        if self._is_tensor(given) and id(given) in same:
            given = given.view_as(given)
        for tensor, version in taken:
            if tensor._version != version:
                self._overwrite(tensor, origin)
        self._put([tensor for tensor in self._tensors(given) if id(tensor) not in same], origin)
        return given

    def called(self, function: Callable[..., Output], args: Iterable[object], kwargs: Mapping[str, object]) -> Output:
        """Call a function of PyTorch, and record the origin of its results."""
        taken = [(tensor, tensor._version) for tensor in self._tensors((args, kwargs))]
        output = function(*args, **kwargs)
        word = getattr(function, "__name__", "")
        written = [tensor for tensor, version in taken if tensor._version != version]
        tensors = [tensor for tensor, _ in taken]
        if self._open:
            self._inside(tensors, written)
            return output
        made = list(self._tensors(output))
        if made or written:
            origin = self._met(tensors if written else _used(word, tensors))
            self._put(made, origin)
            if word == "_pack_padded_sequence":  # the lengths of the rows do not come from their numbers
                self._put(made[1:], self._origin(tensors[1:]))
            for tensor in written:
                self._overwrite(tensor, origin)
        elif word in _READ_OUT and any(t.is_floating_point() and self._origin([t]).sources - {INPUT} for t in tensors):
            self._is_read_out = True
        return output

    def _inside(self, tensors: Iterable[torch.Tensor], written: Iterable[torch.Tensor]) -> None:
        """Record the tensors that a layer uses in addition to its arguments, and those that it overwrites."""
        own, _ = self._open[-1]
        (call,) = own.sources
        for tensor in tensors:
            if id(tensor) in self._known:
                self.calls.add(call, self._known[id(tensor)][1].sources)
        for tensor in written:
            if id(tensor) in self._known:
                self._overwrite(tensor, own)

    def _met(self, tensors: Iterable[torch.Tensor]) -> _Origin:
        """Return the origin of a function's result; a function of data and weights counts as a use of their layer."""
        origin = self._origin(tensors)
        if not (origin.sources and origin.weights):
            return origin
        unseen = frozenset({UNKNOWN}) if len(origin.weights) > 1 else NOTHING  # their order is not known
        uses = (self.calls.use(owner, origin.sources | unseen) for owner in origin.weights)
        return _Origin(NOTHING.union(*uses))

    def _origin(self, tensors: Iterable[torch.Tensor]) -> _Origin:
        origin = _Origin(frozenset({UNKNOWN}) if self._is_read_out else NOTHING)
        for tensor in tensors:
            _, one, _ = self._known.get(id(tensor), (None, _Origin(frozenset({UNKNOWN})), 0))
            origin = origin.merged(one)
        return origin

    def _put(self, tensors: Iterable[torch.Tensor], origin: _Origin) -> None:
        for tensor in tensors:
            gone = partial(self._forget, id(tensor))
            self._known[id(tensor)] = ref(tensor, gone), origin, tensor.untyped_storage().data_ptr()

    def _forget(self, key: int, _: object) -> None:
        self._known.pop(key, None)

    def _overwrite(self, tensor: torch.Tensor, origin: _Origin) -> None:
        """Record new numbers in a tensor, and in the tensors that share its memory."""
        storage, place = tensor.untyped_storage().data_ptr(), (tensor.data_ptr(), tensor.numel())
        sharing = [(held(), before) for held, before, memory in self._known.values() if memory == storage != 0]
        for other, before in sharing:
            if other is not None:
                is_same = (other.data_ptr(), other.numel()) == place
                self._put([other], origin if is_same else before.merged(origin))
        self._put([tensor], origin)

    def _tensors(self, structure: object) -> Iterator[torch.Tensor]:
        if self._is_tensor(structure):
            yield structure
        elif isinstance(structure, (Mapping, list, tuple)):
            for item in structure.values() if isinstance(structure, Mapping) else structure:
                yield from self._tensors(item)


def _used(word: str, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the tensors whose numbers a function uses."""
    if word in _FIRST_ONLY:
        return tensors[:1]
    return tensors[1:] if word.endswith("_like") or word.startswith("new_") else tensors
