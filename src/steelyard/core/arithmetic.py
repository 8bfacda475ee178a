"""What the operators of `Weights` do, and `combine`: weights made of several others, by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.core.computed import Computed, held, promoted
from steelyard.core.net_facts import noted
from steelyard.core.packing import packed
from steelyard.core.plugins import couples
from steelyard.core.selection import NAMED, refuse_unreadable
from steelyard.core.stacked import relaid
from steelyard.dtypes import is_inexact, itemsize
from steelyard.errors import OperandError, ShapeError, first_of, printable, quoted

if TYPE_CHECKING:
    from steelyard.core.computed import Function
    from steelyard.core.weight import Array, Weight
    from steelyard.core.weights import Weights

    Make = Callable[[Sequence[Weight]], Weight]
    """Makes a weight of those that are paired, one of each source; the first has the facts."""
    Pairs = list[tuple[Weight, ...]]


def added(one: Weights, other: object) -> Weights:
    """Return the sum of two weights."""
    if isinstance(other, int) and other == 0:  # with which `sum` begins
        return one
    return edited(_two(one, "+", other), by_blocks(lambda _, blocks: np.add(blocks[0], blocks[1], out=blocks[0])))


def subtracted(one: Weights, other: object) -> Weights:
    """Return the difference of two weights."""
    return edited(_two(one, "-", other), by_blocks(lambda _, blocks: np.subtract(blocks[0], blocks[1], out=blocks[0]), wide=True))


def multiplied(one: Weights, factor: object) -> Weights:
    """Return weights times a number."""
    number = _number(one, "*", factor)
    return edited((one,), by_blocks(lambda _, blocks: np.multiply(blocks[0], number, out=blocks[0])))


def divided(one: Weights, divisor: object) -> Weights:
    """Return weights divided by a number."""
    number = _number(one, "/", divisor)
    if number == 0:
        raise ZeroDivisionError("weights cannot be divided by 0")
    return edited((one,), by_blocks(lambda _, blocks: np.divide(blocks[0], number, out=blocks[0])))


def negated(one: Weights) -> Weights:
    """Return weights with the opposite signs."""
    return edited((one,), by_blocks(lambda _, blocks: np.negative(blocks[0], out=blocks[0])))


def combined(
    function: Callable[..., Any],
    models: Sequence[Weights],
    *,
    align: bool = False,
    exact: bool = False,
    elementwise: bool | None = None,
) -> Weights:
    """Return weights with what a function makes of several; see `Weights.combine`."""
    for model in models:
        if not isinstance(model, type(models[0])):
            raise OperandError(f"combine takes Weights, not {_kind(model)}; pass steelyard.weights(...) of it")
    if not callable(function):
        raise OperandError(f"{quoted(function)} is not a function; pass one that takes arrays and returns one")
    blocks = isinstance(function, np.ufunc) if elementwise is None else elementwise
    make = partial(_called, function, exact=exact, whole=not blocks)
    return edited(models, make, align=align)


def _called(function: Callable[..., Any], inputs: Sequence[Weight], *, exact: bool, whole: bool) -> Weight:
    first = inputs[0]

    def call(_: int, blocks: list[Array]) -> Array:
        given = [block.reshape(first.shape) for block in blocks] if whole else blocks
        made = np.asarray(function(*given))
        if made.shape != given[0].shape:
            raise ShapeError(
                f"the function returned shape {list(made.shape)} for {printable(first.name)}, not {list(given[0].shape)}"
            )
        return made.reshape(-1)

    return by_blocks(call, exact=exact, whole=whole)(inputs)


def by_blocks(function: Function, *, exact: bool = False, whole: bool = False, wide: bool = False) -> Make:
    """Return a function that makes a weight of several by their blocks, or as a `whole`; see `core.computed`.

    Its type is the promoted one, or with `wide` at least float32. Integers are those of the first.
    """

    def make(inputs: Sequence[Weight]) -> Weight:
        dtype = promoted(weight.dtype for weight in inputs)
        if not is_inexact(dtype):
            return inputs[0]
        dtype = "float32" if wide and itemsize(dtype) < 4 else dtype
        return inputs[0].replace(dtype=dtype, read=Computed(inputs, function, dtype, exact=exact, whole=whole))

    return make


def edited(
    models: Sequence[Weights], make: Make, *, align: bool = False, notes: Sequence[str] = (), kept: str = "first"
) -> Weights:
    """Return weights that `make` makes of those of the same name, with the names, the facts and the graph of the first.

    Weights that are tied in all of them are made once, and tied. `notes` are added to the metadata, with one that names
    integers that differ, which are those of the `kept` one. Raises `UnreadableError` for weights that cannot be read, and
    `ShapeError` for packed ones and for names or shapes that differ; with `align` weights are paired as by `diff`.
    """
    for model in models:
        refuse_unreadable(model.unreadable, len(model))
        _refuse_packed(model)
    pairs = _paired(models, align=align)
    made: dict[tuple[str, ...], Weight] = {}
    listed = []
    for inputs in pairs:
        key = tuple(weight.tied or weight.name for weight in inputs)
        owner = made.get(key)
        if owner is None:
            new = make(inputs)
            new = new.replace(read=relaid(inputs[0].read, new.read), tied=None, overlaps=None, encoding="", derivation=None)
            made[key] = new
            listed.append(new)
        else:
            listed.append(inputs[0].replace(read=owner.read, dtype=owner.dtype, tied=owner.name, overlaps=None, encoding=""))
    first = models[0]
    remote = any(model.remote for model in models)

    def meta() -> Mapping[str, Any]:
        added = [*notes, *_differing(pairs, kept)]
        return {**first.meta, "notes": [*noted(first.meta), *added]} if added else first.meta

    return first.with_weights(listed, detached=True, live=False, remote=remote, meta=meta)


def _paired(models: Sequence[Weights], *, align: bool) -> Pairs:
    """Return each weight of the first with those of the others that belong to it; live ones may not change from now on."""
    first = held(models[0])
    others = [(_aligned if align else _by_name)(models[0], model, nth) for nth, model in enumerate(models[1:], 2)]
    return [(weight, *(other.get(name, weight) for other in others)) for name, weight in first.items()]


def _by_name(first: Weights, other: Weights, nth: int) -> dict[str, Weight]:
    """Return the weights of another model by name. Raises `ShapeError`, which names both sides, where it has others."""
    absent, new = [name for name in first if name not in other], [name for name in other if name not in first]
    if absent or new:
        sides = [f"{which} alone has {_named(names)}" for which, names in _sides(absent, nth, new) if names]
        raise ShapeError(
            f"the weights have different names: {' and '.join(sides)}; select or rename them, or pair them with "
            "combine(..., align=True)"
        )
    _require_shapes(first, other, nth)
    return held(other)


def _require_shapes(first: Mapping[str, Weight], other: Mapping[str, Weight], nth: int) -> None:
    for name, weight in other.items():
        if name in first and weight.shape != first[name].shape:
            raise ShapeError(
                f"{printable(name)} has shape {list(first[name].shape)} in the first and {list(weight.shape)} in number {nth}"
            )


def _aligned(first: Weights, other: Weights, nth: int) -> dict[str, Weight]:
    """Return the partners of the weights of the first, in its layout, as `diff` pairs them; integers may have none."""
    source = other.with_weights(held(other).values())
    found = couples(source, first)
    partners = {each.other.name: each.one for each in found if each.comparable}
    for name, weight in first.items():
        if name not in partners and weight.tied in partners:
            partners[name] = partners[weight.tied]
    absent = [name for name, weight in first.items() if name not in partners and is_inexact(weight.dtype)]
    new = [e.one.name for e in found if not e.comparable and e.one is not None and is_inexact(e.one.dtype)]
    if absent or new:
        sides = [f"{which} has {_named(names)}" for which, names in _sides(absent, nth, new) if names]
        raise ShapeError(f"these weights have no partner: {' and '.join(sides)}; steelyard.diff shows how they were paired")
    return partners


def _sides(absent: Sequence[str], nth: int, new: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    yield "the first", absent
    yield f"number {nth}", new


def _named(names: Sequence[str]) -> str:
    return first_of(names, NAMED, quoted)


def _refuse_packed(model: Weights) -> None:
    made = packed(model)
    if made and made[0].derivation is not None:
        raise ShapeError(
            f"{quoted(made[0].derivation.parts[0])} is packed by {printable(made[0].derivation.scheme)}, and codes are not "
            "numbers of the net; dequantise it first, with w.effective()"
        )


def _differing(pairs: Pairs, kept: str) -> Iterator[str]:
    """Yield a sentence that names the integers that differ between the sources."""
    names = [
        inputs[0].name
        for inputs in pairs
        if not is_inexact(promoted(weight.dtype for weight in inputs))
        and any(other is not inputs[0] and not np.array_equal(inputs[0].numpy(), other.numpy()) for other in inputs[1:])
    ]
    if names:
        yield f"integers that differ are those of the {kept}: {_named(names)}"


def _two(one: Weights, operator: str, other: object) -> tuple[Weights, Weights]:
    if not isinstance(other, type(one)):
        raise refusal(one, operator, other)
    return one, other


def _number(one: Weights, operator: str, value: Any) -> float:
    if getattr(value, "shape", None) or not hasattr(value, "__float__"):
        raise refusal(one, operator, value)
    return float(value)


def refusal(left: object, operator: str, right: object) -> OperandError:
    """Return the error for operands that an operator does not take, which names what does."""
    what = f"{_kind(left)} {operator} {_kind(right)} is not defined"
    if type(left) is type(right):
        return OperandError(f"{what}; a.combine(function, b) combines their elements, such as by lambda x, y: x {operator} y")
    if operator in "*/":
        return OperandError(f"{what}; weights are multiplied and divided by numbers, w.map(function) does the rest")
    return OperandError(f"{what}; pass steelyard.weights(...) of a model, and for numbers w.map(lambda x: x {operator} 1)")


def _kind(value: object) -> str:
    return printable(type(value).__name__)
