"""Live models: one file a framework, called by its import name.

An adapter is a module with the two functions of `Adapter`. It is loaded when an object of its framework is
handed over, so it may import that framework at its top. A wrapper of one thing adds nothing to the names; a
container of many puts each member's name before its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ref

from steelyard.core.plugins import adapter_of
from steelyard.core.readers import Live, Memory
from steelyard.core.roles import layer_of
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights

if TYPE_CHECKING:
    from steelyard.core.weight import Array


class Adapter(Protocol):
    """What a module in `steelyard/models` (or behind an entry point `steelyard.models`) offers.

    One whose arrays are kept in plain dicts and lists that are one model (JAX's trees) may also have
    `tree_adapter(leaf) -> str | None`: the adapter that a container of nothing but such leaves goes to as a whole.
    One whose models have other orders than the listed one may have `orders(model)`, a mapping of a word to a function
    that gives the names in that order: `to_vector(tensor_order=word)` goes by it.
    """

    def weights(self, model: Any, /) -> Iterable[Weight]:
        """List the weights in the framework's own order, by its own names."""

    def assign(self, model: Any, arrays: Mapping[str, Array], /) -> Any:
        """Put arrays of the right shape and dtype into the model, and return it; immutable ones return a new one."""


def weights_of(model: Any) -> Weights:
    """Return the weights of a live model, of a wrapper around one, or of a container of several."""
    adapter = adapter_of(model)
    orders = getattr(adapter, "orders", None)
    return Weights(
        adapter.weights(model),
        meta=_meta(adapter, model),
        assign=lambda arrays: adapter.assign(model, arrays),
        live=True,
        orders=orders(model) if orders else None,
    )


def meta_of(model: Any) -> dict[str, Any]:
    """Return what the adapter of a live model says of its weights as a whole."""
    found: dict[str, Any] = getattr(adapter_of(model), "meta", lambda _: {})(model)
    return found


def _meta(adapter: Adapter, model: Any) -> Callable[[], dict[str, Any]] | None:
    """Put off what few ask for; a copy of the weights keeps this, and must not keep the model."""
    if not hasattr(adapter, "meta"):
        return None
    held = ref(model)

    def meta() -> dict[str, Any]:
        alive = held()
        return {} if alive is None else meta_of(alive)

    return meta


def member_weights(members: Iterable[tuple[str, Any]]) -> Iterator[Weight]:
    """List the weights of the members of a container, each under its member's name."""
    for name, member in members:
        for weight in adapter_of(member).weights(member):
            yield prefixed(name, weight)


def prefixed(prefix: str, weight: Weight) -> Weight:
    """Put a member's name before a weight, its layer and what it is tied to."""
    return weight.replace(
        name=joined(prefix, weight.name),
        layer=joined(prefix, weight.layer) if weight.name else layer_of(prefix),
        tied=None if weight.tied is None else joined(prefix, weight.tied),
    )


def assign_members(members: Iterable[tuple[str, Any]], arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Hand each member its arrays, and return by name those that had any (new objects where they are immutable)."""
    changed = {}
    for name, member in members:
        own = {
            key[len(name) :].removeprefix("."): array
            for key, array in arrays.items()
            if key == name or key.startswith(f"{name}." if name else "")
        }
        if own:
            changed[name] = adapter_of(member).assign(member, own)
    return changed


def while_held(weight: Weight, check: Callable[[], None]) -> Weight:
    """Call `check` before the weight is read or written: it raises when its holder has put another in its place.

    For wrappers whose `fit` makes a new model inside, so that nobody reads or writes the one that is left.
    """
    read = weight.read
    if isinstance(read, Live):
        return weight.replace(read=Live(_Held(read.memory, check)))

    def checked(start: int, stop: int) -> Array:
        check()
        return read(start, stop)

    return weight.replace(read=checked)


class _Held:
    """Memory that is checked to belong to the model still."""

    __slots__ = ("_check", "_memory")

    def __init__(self, memory: Memory, check: Callable[[], None]) -> None:
        self._memory = memory
        self._check = check

    def array(self) -> Array:
        self._check()
        return self._memory.array()

    def address(self) -> int:
        self._check()
        return self._memory.address()

    def check(self) -> None:
        self._check()
        self._memory.check()


def with_ties(weights: Iterable[Weight]) -> Iterator[Weight]:
    """Mark each weight that lies in the same memory as an earlier one, and is of its shape and type."""
    first: dict[tuple[int, tuple[int, ...], str], str] = {}
    for weight in weights:
        if weight.tied is not None or not isinstance(weight.read, Live) or not weight.size:
            yield weight
            continue
        owner = first.setdefault((weight.read.memory.address(), weight.shape, weight.dtype), weight.name)
        yield weight if owner == weight.name else weight.replace(tied=owner)


def joined(prefix: str, name: str) -> str:
    """Put a member's name before one inside it; either may be blank."""
    return f"{prefix}.{name}" if prefix and name else prefix or name
