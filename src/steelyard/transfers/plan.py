"""The plan of a transfer: which weight goes where and how it is turned, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

from steelyard.core.readers import Live
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import AmbiguityError, ShapeError, printable
from steelyard.transfers.layers.settings import check_settings, differences
from steelyard.transfers.pairing import Choice, Pair, fitting, pair
from steelyard.transfers.pairing.moves import Move, described, moves, neutral
from steelyard.transfers.pairing.reordering import refuse_unclear, reorderings
from steelyard.transfers.pairing.unassigned import unassigned_pairs
from steelyard.transfers.rules import checked_names, read_json

if TYPE_CHECKING:
    import os

    from steelyard.core.axes import Part
    from steelyard.core.weight import Array
    from steelyard.transfers.layers.layer_weights import LayerWeights
    from steelyard.transfers.pairing.net import Net


Resize = Literal["pad", "truncate"]


class Settings(TypedDict):
    """The patterns of the layers that a transfer is limited to or leaves out, and how sizes may change."""

    only: list[str]
    skip: list[str]
    resize: Resize | None


class Decisions(TypedDict):
    """A saved plan: the keyword arguments of `transfer` and `plan_transfer` that give the same plan again."""

    pairs: dict[str, str]
    only: list[str]
    skip: list[str]
    resize: Resize | None


class PlanRow(NamedTuple):
    """One weight of the target: its source weights, the change of layout, and the evidence for the pairing."""

    sources: tuple[str, ...]
    target: str
    layout: str
    note: str


class TransferPlan:
    """Which weights go where; it prints as a table, and `apply` carries it out, all or nothing.

    `rows` has an entry for each weight of the target, `pairs` one for each layer: a dict of names that may be edited and
    passed to `steelyard.plan_transfer`. `unchanged` lists the weights of the target that keep their numbers, `unused`
    those of the source that go nowhere, `notes` the settings in which the two nets differ.
    """

    __slots__ = (
        "_layers",
        "_leftover",
        "_moves",
        "notes",
        "pairs",
        "rows",
        "settings",
        "source",
        "target",
        "unchanged",
        "unused",
    )

    def __init__(self, source: Net, target: Net, pairs: list[Pair], settings: Settings) -> None:
        check_settings(pairs)
        refuse_unclear(source, target, pairs)
        self.source = source
        self.target = target
        self.settings = settings
        told = (each for each in pairs if each.source.kind != "other" or each.why == "given")  # others are no layers
        self.pairs = {each.source.name: each.target.name for each in told}
        self._layers = pairs
        self._moves: dict[str, list[Move]] = {}
        self._leftover: list[tuple[str, Part]] = []
        turned = reorderings(source, target, pairs)
        for each in pairs:
            self._add(each, turned.get(id(each.target), ()))
        reasons = {name: each.why for each in reversed(pairs) for name in each.target.weights}
        self.rows = [self._row(name, reasons.get(name, "")) for name in self._moves]
        self.notes = differences(source, target, pairs)
        named = {name for each in pairs for name in each.source.weights}
        self.unused = [weight.name for weight in source.listed if _counts(weight) and weight.name not in named]
        self.unchanged = [name for name, weight in target.weights.items() if name not in self._moves and not weight.tied]

    def _add(self, each: Pair, turned: tuple[Any, ...]) -> None:
        source, target = _reading(each)
        made, over = moves(source, target, turned, self.settings["resize"])
        for move in made:
            self._moves.setdefault(move.target.weight.name, []).append(move)
        slots = {id(part): slot for (slot, _), part in source.parts.items()}
        self._leftover += [(slots[id(part)], part) for part in over]

    def _row(self, name: str, why: str) -> PlanRow:
        made = self._moves[name]
        sources = dict.fromkeys(weight.name for move in made for part in move.sources for weight in part.weights)
        return PlanRow(tuple(sources), name, "; ".join(dict.fromkeys(filter(None, map(described, made)))), why)

    def layer_names(self) -> Iterator[tuple[str, str]]:
        """Yield the names of each pair of layers as their graphs have them."""
        for source, target, _ in self._layers:
            if source.graph_layer and target.graph_layer:
                yield source.graph_layer.name, target.graph_layer.name

    def with_pairs(self, pairs: Mapping[str, str]) -> TransferPlan:
        """Return the same plan with other partners for some layers."""
        targets = {each.target.name: each.target for each in self._layers}
        made = [
            Pair(each.source, targets[pairs[each.source.name]], "the outputs agree") if each.source.name in pairs else each
            for each in self._layers
        ]
        return TransferPlan(self.source, self.target, made, self.settings)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        rows = [row._asdict() for row in self.rows]
        return {"pairs": self.pairs, "rows": rows, "unchanged": self.unchanged, "unused": self.unused, "notes": self.notes}

    def __repr__(self) -> str:
        from steelyard.text.plan import table

        return table(self)

    def _repr_html_(self) -> str:
        from steelyard.text.results import plan_html

        return plan_html(self)

    def arrays(self) -> dict[str, Array]:
        """Return the numbers of each weight of the target that the plan names, in its shape and dtype."""
        read = _reader(each.source for each in self._layers)
        self._check_left(read)
        return {name: self._made(self.target.weights[name], made, read) for name, made in self._moves.items()}

    def _made(self, weight: Weight, made: list[Move], read: Any) -> Array:
        import numpy as np

        from steelyard.core.casting import converted
        from steelyard.dtypes import numpy_dtype

        dtype = numpy_dtype(weight.dtype)
        covered = sum(int(np.prod(move.target.shape, dtype=np.int64)) for move in made)
        array = np.empty(weight.shape, dtype) if covered == weight.size else weight.numpy().copy()
        for move in made:
            move.target.write(array, converted(weight.name, move.values(read), dtype))
        return array

    def _check_left(self, read: Any) -> None:
        """Refuse to drop numbers that mean something."""
        for slot, part in self._leftover:
            if not neutral(part, slot, read(part.weight.name)):
                raise ShapeError(
                    f"{printable(part.weight.name)} holds a {slot} for which the target has no place, and it is not all "
                    f"{'ones' if slot == 'scale' else 'zeros'}; nothing was written"
                )

    def apply(self) -> Any:
        """Put the numbers into the target, all or nothing, and return it (a new one where models are immutable).

        A target that is a file gives `Weights` with its names and the new numbers, to be saved.
        """
        weights = self.target.weights
        if self._in_memory():
            self._write()
            return weights.assign({})
        arrays = self.arrays()
        if weights._assign is not None:
            return weights.assign(arrays)
        return replaced(weights, arrays)

    def _in_memory(self) -> bool:
        """Tell whether numbers can be written where they belong at once: nothing of it can fail half-way."""
        sources = [weight for made in self._moves.values() for move in made for part in move.sources for weight in part.weights]
        targets = [self.target.weights[name] for name in self._moves]
        if self.target.weights._assign is None or len({weight.dtype for weight in (*sources, *targets)}) > 1:
            return False
        if not all(isinstance(weight.read, Live) for weight in (*sources, *targets)):
            return False
        return _addresses(sources).isdisjoint(_addresses(targets))

    def _write(self) -> None:
        read = _reader(each.source for each in self._layers)
        self._check_left(read)
        for name, made in self._moves.items():
            weight = self.target.weights[name]
            array = weight.read(0, weight.size).reshape(weight.shape)
            for move in made:
                move.target.write(array, move.values(read))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the decisions as JSON: the pairs of layers, the patterns of `only` and `skip`, and `resize`."""
        from steelyard.storage.atomic import replacing

        decisions: Decisions = {"pairs": self.pairs, **self.settings}
        with replacing(path) as file:
            file.write(json.dumps(decisions, indent=1).encode())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Decisions:
        """Return the decisions that `save` wrote, as keyword arguments of `transfer` and `plan_transfer`.

        A JSON object of nothing but names, ``{"fc1": "dense"}``, is read as the pairs. Raises `ShapeError` for anything else.
        """
        content = read_json(path, "the plan")
        if not isinstance(content.get("pairs"), dict):
            content = {"pairs": content}
        resize = content.get("resize") or None
        return {
            "pairs": checked_names(content["pairs"], "pairs"),
            "only": list(content.get("only") or ()),
            "skip": list(content.get("skip") or ()),
            "resize": resize,
        }


def replaced(weights: Weights, arrays: Mapping[str, Array]) -> Weights:
    """Return weights with these arrays in place of their numbers; tied ones follow their owner."""
    from steelyard.core.readers import array_reader

    readers = {name: array_reader(array) for name, array in arrays.items()}
    made = (w.replace(read=readers.get(w.tied or w.name, readers.get(w.name, w.read))) for w in weights.values())
    return weights.with_weights(made, detached=True)


def _addresses(weights: Iterable[Weight]) -> set[int]:
    return {weight.read.memory.address() for weight in weights if isinstance(weight.read, Live)}


def _counts(weight: Weight) -> bool:
    return weight.role is not Role.COUNT and not weight.tied


def _reader(layers: Iterable[LayerWeights]) -> Any:
    """Read each weight once; a view where the numbers are in memory."""
    weights = {name: weight for layer in layers for name, weight in layer.weights.items()}
    kept: dict[str, Array] = {}

    def read(name: str) -> Array:
        if name not in kept:
            kept.clear()  # a weight's parts are asked for one after another
            kept[name] = weights[name].numpy()
        return kept[name]

    return read


def _reading(each: Pair) -> tuple[LayerWeights, LayerWeights]:
    """Return the readings of two units that fit; several are fine when they move the numbers alike."""
    found = fitting(each.source, each.target) or [(each.source, each.target)]
    ways = {_way(mine, theirs) for mine, theirs in found}
    if len(ways) > 1:
        kinds = " or ".join(dict.fromkeys(mine.kind for mine, _ in found))
        raise AmbiguityError(
            f"{printable(each.source.name)} and {printable(each.target.name)} may both be {kinds}, or their axes may run in "
            "several ways, and their shapes fit all of them; give a live model on one side, which tells"
        )
    return found[0]


def _way(source: LayerWeights, target: LayerWeights) -> tuple[Any, ...]:
    """Say how the numbers of each part move, so that two readings can be told to do the same."""
    return tuple((slot, part.runs(source.parts[slot])) for slot, part in target.parts.items() if slot in source.parts)


def make_plan(
    source: Net,
    target: Net,
    *,
    pairs: Mapping[str, str],
    only: Sequence[str],
    skip: Sequence[str],
    resize: Resize | None = None,
    guess: bool = False,
) -> tuple[TransferPlan, list[Choice]]:
    """Pair two nets and return the plan, and the choices that were guessed when `guess` allows it.

    Raises `AmbiguityError` for layers that nothing tells apart, `ShapeError` for layers without a partner.
    """
    sources = [layer for layer in source.layers if not layer.tied and not _left_out(layer, only, skip)]
    targets = [layer for layer in target.layers if not layer.tied and not _left_out(layer, only, skip)]
    found = pair(source, target, pairs, sources, targets)
    made = list(found.pairs)
    if resize:
        made += _by_name(found.sources, found.targets)
    equal = [choice for choice in found.choices if len(choice.sources) == len(choice.targets)]
    if equal and not guess:
        raise AmbiguityError(_open(equal))
    made += [each for choice in equal for each in choice.suggested]
    _refuse_unpaired(made, sources, targets, only)
    made += unassigned_pairs(source, target, pairs, lambda weight: not _named_out([weight.name], only, skip))
    settings: Settings = {"only": list(only), "skip": list(skip), "resize": resize}
    return TransferPlan(source, target, made, settings), equal


def _left_out(layer: LayerWeights, only: Sequence[str], skip: Sequence[str]) -> bool:
    own = [layer.graph_layer.name] if layer.graph_layer else []
    return _named_out([layer.name, *own, *layer.weights], only, skip)


def _named_out(names: list[str], only: Sequence[str], skip: Sequence[str]) -> bool:
    if only and not _any(names, only):
        return True
    return _any(names, skip)


def _any(names: Iterable[str], patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}[./]*") for name in names for pattern in patterns)


def _by_name(sources: list[LayerWeights], targets: list[LayerWeights]) -> Iterator[Pair]:
    """Pair layers of different sizes, which only `resize` allows: those of one name, or the only ones of a kind."""
    for target in targets:
        same = [reading for layer in sources for reading in (layer, *layer.alternatives) if reading.kind == target.kind]
        named = [layer for layer in same if layer.name == target.name] or same
        if len(named) == 1:
            yield Pair(named[0], target, "the only one of its kind and name")


def _refuse_unpaired(made: list[Pair], sources: list[LayerWeights], targets: list[LayerWeights], only: Sequence[str]) -> None:
    mine = _without([each.source for each in made], sources)
    theirs = _without([each.target for each in made], targets)
    if not mine and not theirs:
        return
    first = (theirs or mine)[0]
    side, other = ("target", "source") if theirs else ("source", "target")
    others = ", ".join(_told(layer) for layer in (mine if theirs else theirs)[:3]) or "none"
    raise ShapeError(
        f"{_told(first)} of the {side} has no partner in the {other}, where are left: {others} "
        f"({len(theirs)} layers of the target and {len(mine)} of the source in all); "
        "leave it out with skip=, or name its partner with pairs="
    )


def _without(done: Iterable[LayerWeights], layers: list[LayerWeights]) -> list[LayerWeights]:
    names = {layer.name for layer in done}
    return [layer for layer in layers if layer.name not in names]


def _told(layer: LayerWeights) -> str:
    shapes = ", ".join(f"{slot} {list(part.shape)}" for (slot, _), part in list(layer.parts.items())[:2])
    return f"{printable(layer.name)!r} ({layer.kind}: {shapes})"


def _open(choices: list[Choice]) -> str:
    first = choices[0]
    mine = ", ".join(printable(layer.name) for layer in first.sources[:6])
    theirs = ", ".join(printable(layer.name) for layer in first.targets[:6])
    more = f" (and {len(choices) - 1} more groups)" if len(choices) > 1 else ""
    return (
        f"nothing tells which of {mine} is which of {theirs}: they are of one kind and shape{more}; "
        "say it with pairs= or rules=, or give probe= inputs, so that the outputs tell"
    )
