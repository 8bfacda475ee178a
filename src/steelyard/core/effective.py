"""The weights that a net computes with, made of the pieces that it stores.

A quantised layer stores packed words and their scales, a pruned one a kernel and its mask, a normalised one a direction and
its length. A scheme (`steelyard/schemes`) finds such pieces by their names and makes the weight of them, when it is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from steelyard.core.plugins import load, names, table
from steelyard.core.roles import infer_roles, layer_of, leaf_of
from steelyard.core.selection import STATE_ROLES
from steelyard.core.weight import Refused, Role, Weight
from steelyard.dtypes import UNKNOWN, is_floating, itemsize
from steelyard.errors import FileMissingError, FormatError, ShapeError, SteelyardError, UnreadableError, printable

if TYPE_CHECKING:
    from steelyard.core.protocols import NamesInOrder, Scheme
    from steelyard.core.weight import Reader
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source

Setting = str | int | float | bool | None
_HALVES = {"float16", "bfloat16"}


class Derivation(NamedTuple):
    """How an effective weight is made of stored ones.

    `scheme` is its name with what distinguishes it ("GPTQ 4 bits"); `parts` are the names of the stored weights that it
    replaces, `settings` the words of a config that were used; `assumed` has a sentence for each fact that no file proves.
    `activations` are stored weights about the inputs or outputs of the layer, which are not shown among effective ones.
    """

    scheme: str
    parts: tuple[str, ...]
    settings: Mapping[str, Setting] = {}
    assumed: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()


class Pieces:
    """The stored weights of a net, by their names; schemes look for those that they understand.

    `taken` has the names of those that a scheme has replaced. `meta` is the metadata of the weights. For a `listing` a scheme
    reads no numbers but those that its shapes need. `assumed` has sentences that are true for all weights of the scheme that
    looks at present.
    """

    __slots__ = ("_leaves", "_weights", "assumed", "listing", "taken")

    def __init__(self, weights: Weights, *, listing: bool = False) -> None:
        self._weights = weights
        self.listing = listing
        self._leaves: dict[str, list[str]] = {}
        self.taken: set[str] = set()
        self.assumed: tuple[str, ...] = ()
        for name in weights:
            self._leaves.setdefault(leaf_of(name), []).append(name)

    @property
    def meta(self) -> dict[str, object]:
        """The metadata of the weights."""
        return self._weights.meta

    @property
    def live(self) -> bool:
        """Whether the numbers may change after they are listed, so that nothing made of them is kept."""
        return self._weights.live

    @property
    def leaves(self) -> Collection[str]:
        """The last words of all names."""
        return self._leaves

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._weights if name not in self.taken)

    def get(self, name: str) -> Weight | None:
        """Return the stored weight of this name; None if there is none, or a scheme has taken it."""
        return self._weights[name] if name in self._weights and name not in self.taken else None

    def of(self, stem: str, *leaves: str) -> tuple[Weight | None, ...]:
        """Return the weights of a layer by the last words of their names, None for those that it does not have."""
        return tuple(self.get(joined(stem, leaf)) for leaf in leaves)

    def stems(self, leaf: str) -> list[str]:
        """Return what comes before this last word and a dot in the names of weights; blank for the word alone.

        Schemes join the names of what they need by dots; words behind a slash are those of other frameworks, or of CTranslate2.
        """
        named = [name for name in self._leaves.get(leaf, ()) if name not in self.taken]
        return [name[: -len(leaf) - 1] for name in named if name == leaf or name.endswith(f".{leaf}")]

    def below(self, start: str) -> Pieces:
        """Return the pieces of a member of a container, whose names begin so, by the names that the member gives them."""
        inside = ((name.removeprefix(start), self._weights[name]) for name in self if name.startswith(start))
        own = [
            weight.replace(name=name, tied=None if weight.tied is None else weight.tied.removeprefix(start))
            for name, weight in inside
        ]
        return Pieces(self._weights.with_weights(own), listing=self.listing)

    def beside(self, name: str) -> Source | None:
        """Open another file of the folder that the weights are from; None if there is none, or they are not of a local file."""
        opener = self._weights._net.beside
        if opener is None or self._weights.remote:
            return None
        try:
            return opener(name)
        except (FileMissingError, FormatError):
            return None


def joined(stem: str, leaf: str) -> str:
    """Return the name of a weight of a layer; a layer without a name has weights of one word."""
    return f"{stem}.{leaf}" if stem else leaf


def derived(
    name: str,
    shape: tuple[int, ...],
    read: Reader,
    derivation: Derivation,
    *,
    dtype: str = "float32",
    role: Role = Role.OTHER,
    axes: str = "",
) -> Weight:
    """Return an effective weight; role and axes are inferred from its name where they are not given."""
    return Weight(
        name=name, shape=shape, dtype=dtype, read=read, layer=layer_of(name), role=role, axes=axes, derivation=derivation
    )


def refused(name: str, derivation: Derivation, reason: str, shape: tuple[int, ...] = ()) -> Weight:
    """Return an effective weight that cannot be computed, with the reason, which is the end of a sentence about it."""
    error = UnreadableError(f"{printable(name)} is packed by {derivation.scheme}: {reason}")
    return derived(name, shape, Refused(error), derivation, dtype="float32" if shape else UNKNOWN)


def attempted(name: str, derivation: Derivation, make: Callable[[], Weight]) -> Weight:
    """Return the effective weight that `make` makes, or a refused one with the reason for which it raises a `SteelyardError`."""
    try:
        return make()
    except SteelyardError as error:
        return refused(name, derivation, str(error))


def effective(weights: Weights) -> Weights:
    """Return the weights that the net computes with; the body of `Weights.effective`."""
    return replaced(weights, [*derive(weights)])


def in_type_of_scales(made: Weights, stored: Weights) -> Weights:
    """Return effective weights in float16 or bfloat16 where all floats among the pieces of a weight are, those of 8 bits aside.

    Others stay as they are, such as those with scales of float32, or that are made of integers alone.
    """
    from steelyard.core.casting import cast

    halves = {name: _type_of_scales(weight, stored) for name, weight in made.items()}
    return made.with_weights(cast(weight, half) if (half := halves[name]) else weight for name, weight in made.items())


def _type_of_scales(weight: Weight, stored: Mapping[str, Weight]) -> str | None:
    parts = weight.derivation.parts if weight.derivation and weight.dtype == "float32" else ()
    words = {stored[name].dtype for name in parts if name in stored and is_floating(stored[name].dtype)}
    wide = {word for word in words if itemsize(word) > 1}
    return wide.pop() if len(wide) == 1 and wide <= _HALVES else None


def replaced(weights: Weights, made: list[Weight]) -> Weights:
    """Return weights with effective ones in place of the stored ones that they are made of."""
    if not made:
        return weights
    made = [*_of_one_name(made, weights)]
    place = {name: at for at, name in enumerate(weights)}
    at: dict[int, list[Weight]] = {}
    for weight in _tied(made, weights):
        first = min(place[name] for name in cast("Derivation", weight.derivation).parts)
        at.setdefault(first, []).append(weight)  # several may share a part
    hidden = _hidden(made)
    listed: list[Weight] = []
    for number, (name, weight) in enumerate(weights.items()):
        listed.extend(at.get(number, () if name in hidden else (weight,)))
    meta = {**weights.meta, "notes": notes(made)}
    result = weights.with_weights(infer_roles(_untied(listed)), detached=True, meta=meta)
    orders = {word: partial(_in_order, word, order, result) for word, order in result.orders.items()}
    result._net = result._net.replace(orders=orders)
    return result


def _of_one_name(made: list[Weight], stored: Mapping[str, Weight]) -> Iterator[Weight]:
    """Yield effective weights; where several have one name, or a stored weight that stays has it, a refused one instead."""
    hidden = _hidden(made)
    several: dict[str, list[Weight]] = {}
    for weight in made:
        several.setdefault(weight.name, []).append(weight)
    for name, same in several.items():
        stays = (name,) if name in stored and name not in hidden else ()
        if len(same) == 1 and not stays:
            yield same[0]
            continue
        facts = [cast("Derivation", weight.derivation) for weight in same]
        schemes = " and ".join(dict.fromkeys(each.scheme for each in facts))
        parts = (*dict.fromkeys(part for each in facts for part in each.parts), *stays)
        activations = tuple(dict.fromkeys(part for each in facts for part in each.activations))
        reason = "the source has another weight of this name" if stays else "several weights of this name are made"
        yield refused(
            name, Derivation(schemes, parts, activations=activations), f"{reason}, and only one can be that of the layer"
        )


def _hidden(made: Iterable[Weight]) -> set[str]:
    """Return the names of the stored weights that effective ones replace, and those about activations."""
    return {name for w in made if w.derivation for name in (*w.derivation.parts, *w.derivation.activations)}


def _in_order(word: str, order: NamesInOrder, weights: Weights) -> list[str] | None:
    """Return an order with the effective weights in place of their parts.

    Packed weights, which are no parameters of a net, are among the parameters of the plain net by their roles.
    """
    names = order()
    if names is None:
        return None
    made = {name: weight for name, weight in weights.items() if weight.derivation is not None}
    owners = {part: name for name, weight in made.items() for part in cast("Derivation", weight.derivation).parts}
    packed = (name for name, weight in made.items() if weight.role not in (Role.OTHER, *STATE_ROLES))
    listed = dict.fromkeys((*(owners.get(name, name) for name in names), *(packed if word == "parameters" else ())))
    return [name for name in listed if name in weights]


def notes(made: Iterable[Weight]) -> list[str]:
    """Return a sentence for each scheme of effective weights, and for each fact that was assumed."""
    facts = [cast("Derivation", weight.derivation) for weight in made]
    counts = Counter(each.scheme for each in facts)
    named = [f"{count:,} effective weight{'s' * (count > 1)}: {printable(scheme)}" for scheme, count in counts.items()]
    assumed = Counter(sentence for each in facts for sentence in each.assumed)
    return [*named, *(f"assumed for {count:,} of them: {printable(sentence, 1000)}" for sentence, count in assumed.items())]


def derive(weights: Weights, *, listing: bool = False) -> Iterator[Weight]:
    """Yield the effective weights that replace stored ones; a piece is taken by the first scheme that understands it."""
    pieces = Pieces(weights, listing=listing)
    own = weights._net.derive
    if own is not None:
        yield from _taking(pieces, own(pieces))
    for scheme in _schemes(pieces):
        yield from _taking(pieces, scheme.derive(pieces))


def _taking(pieces: Pieces, made: Iterable[Weight]) -> Iterator[Weight]:
    pieces.assumed = ()
    for weight in made:
        facts = weight.derivation
        if facts is None or not facts.parts:
            raise ShapeError(f"{printable(weight.name)} is an effective weight without a derivation from stored ones")
        pieces.taken.update(facts.parts, facts.activations)
        assumed = tuple(dict.fromkeys((*facts.assumed, *pieces.assumed)))
        yield weight.replace(derivation=facts._replace(assumed=assumed)) if pieces.assumed else weight


def _schemes(pieces: Pieces) -> Iterator[Scheme]:
    """Yield the schemes of which a piece has the last word of its name; others are not imported. Those of plug-ins follow."""
    known = table("schemes", "LEAVES")
    for name, words in known.items():
        ends = tuple(word[1:] for word in words if word.startswith("*"))
        if any(word in pieces.leaves for word in words) or (ends and any(leaf.endswith(ends) for leaf in pieces.leaves)):
            yield load("schemes", name)
    yield from (load("schemes", name) for name in names("schemes") if name not in known)


def _tied(made: Iterable[Weight], stored: Mapping[str, Weight]) -> Iterator[Weight]:
    """Tie an effective weight to an earlier one whose pieces its own are tied to."""
    owners: dict[tuple[str, tuple[str, ...]], str] = {}
    for weight in made:
        facts = cast("Derivation", weight.derivation)
        key = facts.scheme, tuple(stored[name].tied or name for name in facts.parts)
        owner = owners.setdefault(key, weight.name)
        yield weight if owner == weight.name or facts.parts == key[1] else weight.replace(tied=owner)


def _untied(listed: list[Weight]) -> list[Weight]:
    """Untie weights from those that are not listed any more."""
    shown = {weight.name for weight in listed}
    return [weight if weight.tied is None or weight.tied in shown else weight.replace(tied=None) for weight in listed]
