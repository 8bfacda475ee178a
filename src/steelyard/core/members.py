"""The weights of containers and wrappers: those of their members, by name.

A wrapper of one model adds nothing to the names; a container of several prefixes each member's weights with its name.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.core.assign import plain
from steelyard.core.net_facts import noted
from steelyard.core.overlaps import Spans
from steelyard.core.plugins import framework_of
from steelyard.core.readers import Live, Memory, Placed, from_array
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Refused, Weight

if TYPE_CHECKING:
    from steelyard.core.effective import Pieces
    from steelyard.core.held import Link
    from steelyard.core.weight import Array


def meta_of(model: object) -> dict[str, Any]:
    """Return the metadata of the weights of a live model."""
    meta: dict[str, Any] = getattr(framework_of(model), "meta", lambda _: {})(model)
    return meta


def member_notes(members: Iterable[tuple[str, object]]) -> dict[str, Any]:
    """Return the metadata of a container: the notes of its members, each of which begins with the path that it is about."""
    notes = [dotted(name, note) for name, member in members for note in noted(meta_of(member))]
    return {"notes": notes} if notes else {}


def member_weights(members: Iterable[tuple[str, object]]) -> Iterator[Weight]:
    """List the weights of the members of a container, each under its member's name."""
    for name, member in members:
        for weight in framework_of(member).weights(member):
            yield prefixed(name, weight)


def derive_members(members: Iterable[tuple[str, object]], pieces: Pieces, dot: str = ".") -> Iterator[Weight]:
    """Yield the effective weights that only the members know, each under its member's name and a dot."""
    for name, member in members:
        derive = getattr(framework_of(member), "derive", None)
        if derive is None:
            continue
        start = f"{name}{dot}" if name else ""
        own = pieces.below(start)
        for weight in derive(member, own):
            facts = weight.derivation
            own.taken.update(facts.parts, facts.activations)
            parts, about = (tuple(start + each for each in named) for named in (facts.parts, facts.activations))
            layer = start + weight.layer if weight.layer else name
            facts = facts._replace(parts=parts, activations=about)
            yield weight.replace(name=start + weight.name, layer=layer, derivation=facts)


def prefixed(prefix: str, weight: Weight) -> Weight:
    """Prefix the names of a weight, of its layer and of the weight to which it is tied with a member's name."""
    return weight.replace(
        name=dotted(prefix, weight.name),
        layer=dotted(prefix, weight.layer) if weight.name else layer_of(prefix),
        tied=None if weight.tied is None else dotted(prefix, weight.tied),
        overlaps=None if weight.overlaps is None else dotted(prefix, weight.overlaps),
    )


def assign_members(members: Iterable[tuple[str, object]], arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Assign each member its arrays, and return the members that had any by name (new objects if they are immutable)."""
    changed = {}
    for name, member in members:
        own = {
            key[len(name) :].removeprefix("."): array
            for key, array in arrays.items()
            if key == name or key.startswith(f"{name}." if name else "")
        }
        if own:
            changed[name] = framework_of(member).assign(member, own)
    return changed


def while_held(weight: Weight, check: Callable[[], None]) -> Weight:
    """Call `check` before the weight is read or written; it raises if the wrapper has replaced its model.

    Wrappers whose `fit` makes a new model need this, so that the abandoned model is neither read nor written.
    """
    read = weight.read
    if isinstance(read, Refused):
        return weight
    if isinstance(read, Live):
        return weight.replace(read=Live(_CheckedMemory(read.memory, check)))
    return weight.replace(read=Placed(read, read.place if isinstance(read, Placed) else None, check))


class _CheckedMemory:
    """Memory with a check that it still belongs to the wrapper's model."""

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

    @property
    def link(self) -> Link | None:
        return self._memory.link


def with_ties(weights: Iterable[Weight]) -> Iterator[Weight]:
    """Tie each weight to an earlier one with the same memory, shape and dtype, and note an earlier one that it overlaps.

    Memory is the same by address and strides, on any device, or by the key that the reader gives. Weights without elements are
    tied only by such a key.
    """
    first: dict[tuple[Hashable, tuple[int, ...], str], str] = {}
    listed: list[Weight] = []
    spans = Spans()
    for weight in weights:
        place = None if weight.tied is not None else spans.add(len(listed), weight)
        owner = weight.name if place is None else first.setdefault((place, weight.shape, weight.dtype), weight.name)
        listed.append(weight if owner == weight.name else weight.replace(tied=owner))
    for later, earlier in spans.overlaps(listed):
        listed[later] = listed[later].replace(overlaps=listed[earlier].name)
    return iter(listed)


def weights_of_arrays(arrays: Mapping[str, object], axes: Mapping[str, str]) -> Iterator[Weight]:
    """List arrays or tensors as weights, with layer and role from their names; arrays in the same memory are tied."""
    listed = (from_array(n, plain(a), layer=layer_of(n), axes=axes.get(n, "")) for n, a in arrays.items())
    return with_ties(infer_roles(listed))


def dotted(prefix: str, name: str) -> str:
    """Join a member's name and a name within it by a dot; either may be blank."""
    return f"{prefix}.{name}" if prefix and name else prefix or name
