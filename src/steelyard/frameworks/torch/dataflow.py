"""The layers that feed each layer of a PyTorch module, followed through one run, function by function.

Each tensor has an origin: the layer or the function that made it, as a rule. A function outside of layers that takes data is a
layer of its own, unless it changes neither the numbers nor their order. A tensor that cannot be followed (from a function
that PyTorch does not intercept, or from numbers that passed through Python) makes the inputs of a layer unknown, not wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast
from weakref import ref

from steelyard.core.dataflow import NOTHING, UNKNOWN, CallGraph, NetInput, inputs_of_net, merged
from steelyard.core.graph import PARAMETER, Layer
from steelyard.core.members import dotted
from steelyard.frameworks.torch.functions import PASSING, Call, described, word_of

if TYPE_CHECKING:
    from weakref import ReferenceType

    import torch

    from steelyard.core.dataflow import Sources
    from steelyard.core.graph import Setting

_READ_OUT = frozenset({"item", "tolist", "numpy", "__array__", "__dlpack__", "__float__", "__int__", "__index__"})
"""Functions that move numbers to Python, without `__bool__`: a branch is not a flow of data."""
_PLACE_OF_AXIS = {"split": 2, "chunk": 2, "tensor_split": 2, "unbind": 1}
"""Functions that split a tensor along an axis, and the place of the axis among their arguments."""
_FIRST_ONLY = frozenset({"to", "type_as", "view_as", "expand_as", "reshape_as"})
"""Functions that take only the dtype, device or shape of their second tensor."""

Output = TypeVar("Output")
"""The result of a layer or a function: a tensor, or a structure that holds tensors."""


class _Origin(NamedTuple):
    """The origin of a tensor: sources of data, and layers whose weights have not met data yet."""

    sources: Sources = NOTHING
    weights: frozenset[str] = frozenset()

    def merged(self, other: _Origin) -> _Origin:
        return _Origin(merged([self.sources, other.sources]), self.weights | other.weights)


class TensorTracer:
    """Follows tensors through one run, and records the `calls` of layers by their names.

    `functions` are the functions that are layers, by name: `prefix` and their own name, which is not one of `taken`.
    `applied` are the functions that apply the weights of each layer outside its calls. `on_called` is called with the name of
    each function that runs and its first result, and with that of each layer whose weights one applies and None.
    With `lists_parts` each part of a tensor that a function splits is a layer of its own, with its place as `index`.
    `called` is invoked in place of every function of PyTorch, `entered` and `left` around each call of a layer.
    """

    __slots__ = (
        "_is_read_out",
        "_is_tensor",
        "_known",
        "_lists_parts",
        "_on_called",
        "_open",
        "_prefix",
        "_taken",
        "applied",
        "calls",
        "functions",
    )

    def __init__(
        self,
        is_tensor: Callable[[object], bool],
        prefix: str = "",
        taken: Iterable[str] = (),
        on_called: Callable[[str, torch.Tensor | None], object] = lambda *_: None,
        *,
        lists_parts: bool = False,
    ) -> None:
        self._lists_parts = lists_parts
        self.calls = CallGraph()
        self.functions: dict[str, Layer] = {}
        self.applied: dict[str, list[Layer]] = {}
        self._prefix = prefix
        self._taken = Counter(taken)
        self._on_called = on_called
        self._is_tensor = is_tensor
        self._known: dict[int, tuple[ReferenceType[torch.Tensor], _Origin, int]] = {}
        self._open: list[tuple[_Origin, list[tuple[torch.Tensor, int]]]] = []
        self._is_read_out = False

    def given(self, tensors: Iterable[torch.Tensor]) -> None:
        """Record the inputs of the net."""
        listed = list(tensors)
        for tensor, sources in zip(listed, inputs_of_net(len(listed)), strict=True):
            self._put([tensor], _Origin(sources))

    def sources_of(self, structure: object) -> Sources:
        """Return the sources of all tensors in a structure, such as the output of the net."""
        return self._origin(self._tensors(structure)).sources

    def held(self, tensors: Iterable[torch.Tensor], owner: str | None = None) -> None:
        """Record the tensors of a module; an operation of these and data counts as a use of the layer `owner`."""
        fresh = [tensor for tensor in tensors if id(tensor) not in self._known]
        self._put(fresh, _Origin(weights=frozenset() if owner is None else frozenset({owner})))

    def constant(self, name: str, tensor: torch.Tensor) -> None:
        """Record a tensor of a module that is not a layer as a layer of its own, into which nothing flows."""
        if id(tensor) not in self._known:
            self.functions[name] = Layer(name, "other", PARAMETER, output_shape=tuple(tensor.shape))
            self._on_called(name, tensor)
            self._put([tensor], _Origin(self.calls.call(name, NOTHING)))

    def entered(self, name: str, taken: object) -> None:
        """Record the beginning of a layer's call."""
        tensors = list(self._tensors(taken))
        origins = [self._origin([tensor]) for tensor in tensors]
        uses = ([one.sources, *(self.calls.use(owner, NOTHING) for owner in sorted(one.weights))] for one in origins)
        own = _Origin(self.calls.call(name, merged(sources for each in uses for sources in each)))
        self._open.append((own, [(tensor, tensor._version) for tensor in tensors]))

    def left(self, given: Any) -> Any:
        """Record the output of a layer, and return it; an input that is returned unchanged is replaced by a view."""
        origin, taken = self._open.pop()
        same = {id(tensor) for tensor, version in taken if tensor._version == version}
        given = self._apart(given, same)
        for tensor, version in taken:
            if tensor._version != version:
                self._overwrite(tensor, origin)
        self._put([tensor for tensor in self._tensors(given) if id(tensor) not in same], origin)
        return given

    def _apart(self, made: Any, same: set[int]) -> Any:
        """Return a view in place of an input that is returned unchanged, which would otherwise have two origins."""
        return made.view_as(made) if self._is_tensor(made) and id(made) in same else made

    def called(self, function: Callable[..., Output], args: Sequence[object], kwargs: Mapping[str, object]) -> Output:
        """Call a function of PyTorch, and record the origin of its results."""
        taken = [(tensor, tensor._version) for tensor in self._tensors((args, kwargs))]
        output = function(*args, **kwargs)
        word = word_of(function)
        written = [tensor for tensor, version in taken if tensor._version != version]
        tensors = [tensor for tensor, _ in taken]
        if self._open:
            self._inside(tensors, written)
            return output
        if word not in PASSING:
            output = self._apart(output, {id(tensor) for tensor, version in taken if tensor._version == version})
        made = list(self._tensors(output))
        if made or written:
            used = tensors if written else _used(word, tensors)
            call = Call(word, args, kwargs, tensors, made[0] if made else written[0])
            origin = self._listed(call, used, self._met(call, used))
            self._put(made, origin)
            if self._lists_parts and word in _PLACE_OF_AXIS and len(made) > 1:
                self._put_parts(call, used, made, origin)
            if word == "_pack_padded_sequence":  # the lengths of the rows do not come from their numbers
                self._put(made[1:], self._origin(tensors[1:]))
            for tensor in written:
                self._overwrite(tensor, origin)
        elif getattr(function, "__name__", "") in _READ_OUT and any(
            t.is_floating_point() and self._is_computed(t) for t in tensors
        ):
            self._is_read_out = True
        return output

    @property
    def is_inside(self) -> bool:
        """Whether a layer is being called, so that functions belong to it."""
        return bool(self._open)

    def _inside(self, tensors: Iterable[torch.Tensor], written: Iterable[torch.Tensor]) -> None:
        """Record the tensors that a layer uses in addition to its arguments, and those that it overwrites."""
        own, _ = self._open[-1]
        call = cast("tuple[str, int]", own.sources[0])
        for tensor in tensors:
            if id(tensor) in self._known:
                self.calls.add(call, self._known[id(tensor)][1].sources)
        for tensor in written:
            if id(tensor) in self._known:
                self._overwrite(tensor, own)

    def _is_computed(self, tensor: torch.Tensor) -> bool:
        return any(not isinstance(each, NetInput) for each in self._origin([tensor]).sources)

    def _met(self, call: Call, tensors: Iterable[torch.Tensor]) -> _Origin:
        """Return the origin of a function's result; a function of data and weights counts as a use of their layer."""
        origin = self._origin(tensors)
        if not (origin.sources and origin.weights):
            return origin
        unseen = (UNKNOWN,) if len(origin.weights) > 1 else NOTHING  # their order is not known
        owners = sorted(origin.weights)
        for owner in owners:
            self.applied.setdefault(owner, []).append(_as_layer(call, owner))
            self._on_called(owner, None)
        return _Origin(merged(self.calls.use(owner, origin.sources + unseen) for owner in owners))

    def _listed(self, call: Call, used: Sequence[torch.Tensor], met: _Origin) -> _Origin:
        """Record a function of data as a layer, and return the origin of its result."""
        taken = self._origin(used)
        if call.word in PASSING or taken.weights or not taken.sources:
            return met
        self._taken[call.word] += 1
        count = self._taken[call.word]
        while count > 1 and f"{call.word}#{count}" in self._taken:
            count += 1
        name = dotted(self._prefix, call.word if count == 1 else f"{call.word}#{count}")
        self._taken[call.word] = count
        self.functions[name] = _as_layer(call, name)
        self._on_called(name, call.output)
        return _Origin(self.calls.call(name, taken.sources))

    def _put_parts(self, call: Call, used: Sequence[torch.Tensor], made: Sequence[torch.Tensor], first: _Origin) -> None:
        """List each part that a function splits off, and record its origin."""
        axis, start = call.argument(_PLACE_OF_AXIS[call.word], "dim", 0) % call.tensors[0].ndim, 0
        for nth, tensor in enumerate(made):
            origin = self._listed(call._replace(output=tensor), used, first) if nth else first
            self._put([tensor], origin)
            source = origin.sources[0] if len(origin.sources) == 1 else None
            layer = self.functions.get(source[0]) if isinstance(source, tuple) and isinstance(source[0], str) else None
            stop = start + (1 if call.word == "unbind" else tensor.shape[axis])
            if layer is not None:
                place: Setting = start if call.word == "unbind" else f"{start}:{stop}"
                layer.settings = {"index": (*[":"] * axis, place, "...")}
            start = stop

    def _origin(self, tensors: Iterable[torch.Tensor]) -> _Origin:
        origin = _Origin((UNKNOWN,) if self._is_read_out else NOTHING)
        for tensor in tensors:
            _, one, _ = self._known.get(id(tensor), (None, _Origin((UNKNOWN,)), 0))
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


def _as_layer(call: Call, name: str) -> Layer:
    """Return a function as a layer; its settings are left out if its arguments are not those that PyTorch documents."""
    layer = Layer(name, "other", call.word)
    layer.input_shape = tuple(call.tensors[0].shape[1:]) if call.tensors else None
    layer.output_shape = tuple(call.output.shape[1:])
    with suppress(Exception):  # a function of a user may have the name of one of PyTorch's
        layer.kind, layer.settings = described(call)
    return layer


def _used(word: str, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the tensors whose numbers a function uses."""
    if word in _FIRST_ONLY:
        return tensors[:1]
    return tensors[1:] if word.endswith("_like") or word.startswith("new_") else tensors
