"""The plan of a transfer, made before anything is written: which weight goes where, and its change of layout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

from steelyard.core.readers import Live
from steelyard.core.weight import Role, Weight
from steelyard.errors import ShapeError, printable
from steelyard.text.units import with_article
from steelyard.transfers.assembly import AssembledReader, assembled, read_once
from steelyard.transfers.layers.settings import check_settings, differences
from steelyard.transfers.orders import notes_of_orders
from steelyard.transfers.pairing import Pair, interpretation_of
from steelyard.transfers.pairing.moves import Move, Reordering, described, is_neutral, moves
from steelyard.transfers.pairing.reordering import refuse_unclear, reorderings
from steelyard.transfers.rules import checked_names, read_json

if TYPE_CHECKING:
    import os

    from steelyard.core.axes import Part
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights
    from steelyard.core.wrappers import Wrapping
    from steelyard.transfers.pairing.moves import Arrays
    from steelyard.transfers.pairing.net import Net


Resize = Literal["pad", "truncate"]


class Settings(TypedDict):
    """The patterns of the layers that a transfer includes or excludes, and how it may change sizes."""

    only: list[str]
    skip: list[str]
    resize: Resize | None


class Decisions(TypedDict):
    """A saved plan: the keyword arguments of `transfer` and `plan_transfer` that reproduce it."""

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
    """The plan of a transfer: which weight goes where. It prints as a table, and `apply` executes it, all or nothing.

    `rows` has an entry for each weight of the target, `pairs` one for each layer: a dict of names that may be edited and
    passed to `steelyard.plan_transfer`. `unchanged` lists the weights of the target that keep their numbers, `unused`
    the weights of the source that go nowhere, `notes` the settings in which the two nets differ. `wrapped` has the words of
    wrappers without which names were paired, None where there are none.
    """

    __slots__ = (
        "_layer_pairs",
        "_moves",
        "_without_place",
        "notes",
        "pairs",
        "rows",
        "settings",
        "source",
        "target",
        "unchanged",
        "unused",
        "wrapped",
    )

    def __init__(self, source: Net, target: Net, pairs: list[Pair], settings: Settings, wrapped: Wrapping | None = None) -> None:
        check_settings(pairs)
        refuse_unclear(source, target, pairs)
        self.source = source
        self.target = target
        self.settings = settings
        self.wrapped = wrapped
        # an unassigned weight is listed as a layer only if the user named its partner
        listed = (each for each in pairs if each.source.kind != "other" or each.why == "given")
        self.pairs = {each.source.name: each.target.name for each in listed}
        self._layer_pairs = pairs
        self._moves: dict[str, list[Move]] = {}
        self._without_place: list[tuple[str, Part]] = []
        changes = reorderings(source, target, pairs)
        for each in pairs:
            self._add(each, changes.get(id(each.target), ()))
        # the first pair of a weight counts, as of a stacked layer, whose levels are several pairs of one weight
        evidence = {name: each.why for each in reversed(pairs) for name in each.target.weights}
        self.rows = [self._row(name, evidence.get(name, "")) for name in self._moves]
        self.notes = [*differences(source, target, pairs), *notes_of_orders(source, target, pairs)]
        named = {name for each in pairs for name in each.source.weights}
        self.unused = [weight.name for weight in source.listed if _counts(weight) and weight.name not in named]
        self.unchanged = [name for name, weight in target.weights.items() if name not in self._moves and not weight.tied]

    def _add(self, each: Pair, changes: tuple[Reordering, ...]) -> None:
        source, target = interpretation_of(each)
        made, without_place = moves(source, target, changes, self.settings["resize"])
        for move in made:
            self._moves.setdefault(move.target.weight.name, []).append(move)
        self._without_place += [(purpose, source.parts[purpose, gate]) for purpose, gate in without_place]

    def _row(self, name: str, why: str) -> PlanRow:
        made = self._moves[name]
        sources = dict.fromkeys(weight.name for move in made for part in move.sources for weight in part.weights)
        return PlanRow(tuple(sources), name, "; ".join(dict.fromkeys(filter(None, map(described, made)))), why)

    def layer_names(self) -> Iterator[tuple[str, str]]:
        """Yield the names of each pair of layers in their graphs."""
        for source, target, _ in self._layer_pairs:
            if source.graph_layer and target.graph_layer:
                yield source.graph_layer.name, target.graph_layer.name

    def with_pairs(self, pairs: Mapping[str, str]) -> TransferPlan:
        """Return the same plan with other partners for some layers."""
        targets = {each.target.name: each.target for each in self._layer_pairs}
        made = [
            Pair(each.source, targets[pairs[each.source.name]], "the outputs agree") if each.source.name in pairs else each
            for each in self._layer_pairs
        ]
        return TransferPlan(self.source, self.target, made, self.settings, self.wrapped)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain Python, for JSON."""
        rows = [row._asdict() for row in self.rows]
        lists = {"unchanged": self.unchanged, "unused": self.unused, "notes": self.notes}
        return {"pairs": self.pairs, "rows": rows, **lists, "prefixes": self.wrapped and self.wrapped.to_dict()}

    def __repr__(self) -> str:
        from steelyard.text.plan import table

        return table(self)

    def _repr_html_(self) -> str:
        from steelyard.text.results import plan_html

        return plan_html(self)

    def weights(self) -> Weights:
        """Return the source in the layout of the target: lazy weights by the target's names, in the source's own dtypes.

        These are the weights that the plan fills, detached from both models. Each is assembled when it is read, in float64
        if it is a sum or a norm of several weights. The checks of `apply` are not made.

        Examples:
            >>> import numpy as np
            >>> from steelyard import plan_transfer
            >>> plan = plan_transfer({"fc.weight": np.array([[1.0, 2.0]])}, into={"fc": {"kernel": np.zeros((2, 1), "float32")}})
            >>> laid_out = plan.weights()["fc.kernel"]
            >>> laid_out.numpy().tolist(), laid_out.dtype
            ([[1.0], [2.0]], 'float64')
        """
        sources = self._sources()
        laid_out = []
        for name, made in self._moves.items():
            target = self.target.weights[name]
            read = AssembledReader(target, made, sources)
            laid_out.append(target.replace(dtype=read.dtype, read=read, tied=None))
        return self.target.stored(self.target.weights.with_weights(laid_out, detached=True, live=False))

    def arrays(self) -> dict[str, Array]:
        """Return the numbers of each weight that the plan fills, in the target's shape and dtype.

        Raises `LossyError` for a number that the dtype cannot hold, `ShapeError` for numbers that would be lost.
        """
        read = read_once(self._sources())
        self._refuse_losses(read)
        return {name: _converted(self.target.weights[name], made, read) for name, made in self._moves.items()}

    def _sources(self) -> dict[str, Weight]:
        return {name: weight for each in self._layer_pairs for name, weight in each.source.weights.items()}

    def _refuse_losses(self, read: Arrays) -> None:
        """Raise `ShapeError` if numbers that change the outputs have no place in the target."""
        for purpose, part in self._without_place:
            if not is_neutral(part, purpose, read(part.weight.name)):
                neutral = "ones" if purpose == "scale" else "zeros"
                raise ShapeError(
                    f"{printable(part.weight.name)} holds {with_article(purpose)} for which the target has no place, and it is "
                    f"not all {neutral}; nothing was written"
                )

    def apply(self) -> Any:
        """Put the numbers into the target, all or nothing, and return it (a new model if models are immutable).

        If the target is a file, the result is `Weights` with its names and the new numbers, to be saved. Raises `LossyError`
        and `ShapeError` as `arrays` does.
        """
        weights = self.target.weights
        if self._in_memory():
            self._write()
            return weights.assign({})
        arrays = self.arrays()
        if weights.has_model:
            return weights.assign(arrays)
        return self.target.stored(replaced(weights, arrays))

    def _in_memory(self) -> bool:
        """Whether numbers can be copied directly into the target: then no copy can fail after another was made."""
        sources = [weight for made in self._moves.values() for move in made for part in move.sources for weight in part.weights]
        targets = [self.target.weights[name] for name in self._moves]
        if self.settings["resize"] or not self.target.weights.has_model:
            return False
        # a cast may fail after other weights were written
        if len({weight.dtype for weight in (*sources, *targets)}) > 1:
            return False
        if not all(isinstance(weight.read, Live) for weight in (*sources, *targets)):
            return False
        # a net whose own memory is the source would be overwritten while it is read
        return _addresses(sources).isdisjoint(_addresses(targets))

    def _write(self) -> None:
        read = read_once(self._sources())
        self._refuse_losses(read)
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

        A JSON object of names only, such as ``{"fc1": "dense"}``, is read as the pairs. Raises `ShapeError` for anything else.
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


def _converted(target: Weight, made: list[Move], read: Arrays) -> Array:
    """Return the numbers of a weight of the target in its own dtype; raises `LossyError` if it cannot represent them."""
    from steelyard.core.casting import converted
    from steelyard.dtypes import numpy_dtype

    dtype = numpy_dtype(target.dtype)
    return assembled(target, made, read, dtype, lambda part: converted(target.name, part, dtype))


def _counts(weight: Weight) -> bool:
    return weight.role is not Role.COUNT and not weight.tied
