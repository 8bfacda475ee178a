"""Prune: set the least important elements to zero, by a share of all or in a pattern that hardware knows."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from steelyard import sizes
from steelyard.core.effective import derive
from steelyard.core.stacked import is_stacked, split
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import is_inexact, itemsize
from steelyard.editing.lazily import each_weight
from steelyard.editing.pruning.rules import AXES, NORMS, Lowest, Pattern, Rule, by_amount, by_pattern, by_units
from steelyard.errors import ShapeError, SteelyardError, first_of, printable, quoted
from steelyard.io import readable_weights, weights

if TYPE_CHECKING:
    from steelyard.core.weight import Array

    Score = Callable[[Weight], Any] | Mapping[str, Any] | Array
    """How important elements are: their size, or for each weight an array of its shape, whose absolute values count."""
    Select = str | Sequence[str] | Mapping[str, Any]
    """The weights that are pruned: name patterns, or the arguments of `Weights.select`."""

KERNELS: Mapping[str, Any] = {"role": "kernel"}
FACTS = "pruning"
"""The key of the facts in the metadata."""
_INDEX_BYTES = 4  # of a column, and of the beginning of a row
_SAMPLE_BYTES = 1 << 23  # compressed to estimate the size of the zipped file


def prune(
    source: Any,
    amount: float | None = None,
    *,
    by: Literal["global", "layer", "out", "in"] = "global",
    pattern: str | None = None,
    score: Score | str = "magnitude",
    select: Select = KERNELS,
) -> Weights:
    """Return weights in which the elements with the lowest scores are zero.

    `amount` is the share of all elements of the selected weights that are zero afterwards, those that are zero already
    included: pruning twice is pruning once. Their number is round(amount x elements) as in PyTorch, half to even. `by` is
    "global", one threshold for all weights, or "layer", one for each; "out" and "in" zero whole rows or columns of each weight,
    those with the smallest norms, which `score` names ("l1", "l2", "linf"). `pattern` "2:4" or "4:8" instead leaves only the two
    largest of every four (four of eight) along the input axis, for sparse tensor cores. `score` is "magnitude", or an array of a
    weight's shape, a mapping of names to such arrays, or a function of a `Weight` that returns one; absolute values count. NaN
    stays. `select` names the pruned weights, by default all kernels: patterns, or the arguments of `Weights.select`. A layer of
    R's nnet, which is one matrix, becomes its kernel and bias.

    Numbers are read twice to find the threshold (four times in float64), in blocks of bounded memory, and again when the result
    is. `w.meta["pruning"]` has the facts, and printing shows the sizes: the file stays as large. `masks` has the kept elements.

    Raises `ShapeError` for an amount outside 0 to 1, for scores of another shape, and for a kernel whose inputs cannot be divided
    by the pattern.

    Examples:
        >>> import numpy as np, steelyard
        >>> w = steelyard.prune({"fc.weight": np.array([[3.0, -1.0], [0.5, 2.0]])}, 0.5)
        >>> w["fc.weight"].numpy().tolist()
        [[3.0, 0.0], [0.0, 2.0]]
    """
    listed = _separate(readable_weights(source))
    chosen = _chosen(listed, select)
    scored = _scored(chosen, score, by)
    rules = _rules(chosen, scored, amount, by, pattern, score)
    facts = {"amount": amount, "by": None if pattern else by, "pattern": pattern, "weights": [*chosen]}
    facts |= {"score": score if isinstance(score, str) else "given", "elements": sum(w.size for w in chosen.values())}

    def change(weight: Weight) -> Weight:
        rule = rules.get(weight.name)
        return weight if rule is None else weight.replace(read=rule.reader(weight, scored.get(weight.name)))

    made = each_weight(listed, change)
    raw = _parts_of_others(listed, chosen)
    known = lru_cache(maxsize=1)(lambda: {**facts, **_sizes_of(made, rules)})
    return made.with_weights(
        made.values(), meta=lambda: {**listed.meta, FACTS: known(), "notes": [*_notes(listed, known()), *raw]}
    )


def masks(source: Any) -> Weights:
    """Return the masks of pruned weights: True for each element that is not zero.

    They have the names of the weights that `prune` changed; of any other weights, those of all kernels.

    Examples:
        >>> import numpy as np, steelyard
        >>> steelyard.masks(steelyard.prune({"fc.weight": np.array([[3.0, -1.0]])}, 0.5))["fc.weight"].numpy().tolist()
        [[True, False]]
    """
    listed = readable_weights(source)
    facts = listed.meta.get(FACTS)
    facts = json.loads(facts) if isinstance(facts, str) else facts  # a file has its metadata as text
    names = facts.get("weights") if isinstance(facts, Mapping) else None
    chosen = {name: listed[name] for name in names if name in listed} if isinstance(names, list) else _chosen(listed, KERNELS)
    return Weights(weight.replace(dtype="bool", encoding="", read=_is_kept(weight)) for weight in chosen.values())


def _separate(listed: Weights) -> Weights:
    """Return weights in which a layer that is one matrix of biases and kernels, as in R's nnet, is its parts."""
    if not any(map(is_stacked, listed.values())):
        return listed
    return listed.with_weights([part for weight in listed.values() for part in split(weight)], detached=True)


def _parts_of_others(listed: Weights, chosen: Mapping[str, Weight]) -> list[str]:
    """Return a sentence where zeros are not those of a layer, whose kernel norms, masks or adapters make of a pruned one."""
    try:
        made = [weight for weight in derive(listed, listing=True) if weight.derivation and {*weight.derivation.parts} & {*chosen}]
    except SteelyardError:  # what cannot be made of the pruned weights need not be said of them
        return []
    names = first_of([weight.name for weight in made], 3, quoted)
    schemes = " and ".join(dict.fromkeys(printable(weight.derivation.scheme) for weight in made if weight.derivation))
    what = f"{names} of the layers {'is' if len(made) == 1 else 'are'} made of pruned weights by {schemes}"
    return [f"{what}, and may have other zeros; prune steelyard.effective(net) for zeros there"] if made else []


def _is_kept(weight: Weight) -> Callable[[int, int], Array]:
    return lambda start, stop: weight.read(start, stop) != 0


def _rules(
    chosen: Mapping[str, Weight],
    scored: Mapping[str, Weight],
    amount: float | None,
    by: str,
    pattern: str | None,
    score: Score | str,
) -> dict[str, Rule]:
    if by not in ("global", "layer", *AXES):
        raise ShapeError(f'by is {quoted(by)}; it must be "global", "layer", "out" or "in"')
    if pattern is not None:
        return by_pattern(chosen, pattern, amount)
    if by in AXES:
        return by_units(chosen, amount, by, score if isinstance(score, str) and score in NORMS else "l2")
    return by_amount(chosen, scored, amount, by)


def _chosen(listed: Weights, select: Select) -> dict[str, Weight]:
    """Return the weights that are pruned, tied ones once."""
    selected = listed.select(**select) if isinstance(select, Mapping) else listed.select(select)
    return {weight.name: weight for weight in selected.distinct().values() if is_inexact(weight.dtype) and weight.size}


def _scored(chosen: Mapping[str, Weight], score: Score | str, by: str) -> dict[str, Weight]:
    """Return the weights of the scores, by name; none for the magnitudes. Raises `ShapeError` for other shapes."""
    if isinstance(score, str):
        if score != "magnitude" and not (by in AXES and score in NORMS):
            raise ShapeError(
                f'score is {quoted(score)}; it must be "magnitude", arrays, or a function of a weight; '
                f'with by="out" or "in", one of {", ".join(NORMS)}'
            )
        return {}
    made: dict[str, Weight] = {}
    for name, weight in chosen.items():
        if isinstance(score, Mapping) and name not in score:
            raise ShapeError(f"the scores have none for {printable(name)}")
        given = score(weight) if callable(score) else score[name] if isinstance(score, Mapping) else score
        (made[name],) = [*weights({name: given}).values()]
        if made[name].shape != weight.shape:
            raise ShapeError(f"the scores of {printable(name)} have shape {list(made[name].shape)}, not {list(weight.shape)}")
    return made


def _sizes_of(made: Weights, rules: Mapping[str, Rule]) -> dict[str, Any]:
    """Return the number of zeros, and the sizes of the whole in bytes: dense, as CSR matrices, in a pattern, zipped."""
    zeros = csr = others = packed = 0.0
    for weight in made.distinct().values():
        if weight.name not in rules:
            others += weight.nbytes
            continue
        share = rule.share if isinstance(rule := rules[weight.name], Lowest) else None
        gone = zeros_of(weight) if share is None else share * weight.size
        rows = weight.shape[0] if len(weight.shape) > 1 else 1
        csr += (weight.size - gone) * (itemsize(weight.dtype) + _INDEX_BYTES) + _INDEX_BYTES * (rows + 1)
        packed += weight.nbytes // 2 + weight.size // 8  # half of the numbers, and two bits for the place of each
        zeros += gone
    dense = sum(weight.nbytes for weight in made.distinct().values())
    found = {"dense": dense, "csr": round(csr + others), "zipped": _zipped(made, dense)}
    if any(isinstance(rule, Pattern) for rule in rules.values()):
        found["pattern"] = round(packed + others)
    return {"zeros": round(zeros), "bytes": found}


def zeros_of(weight: Weight) -> int:
    """Return how many elements of a weight are zero."""
    return sum(int(np.count_nonzero(block == 0)) for block in weight.blocks(sizes.EDIT_BLOCK))


def _zipped(made: Weights, dense: int) -> int:
    """Return the size of the weights compressed by deflate; of more than a few megabytes, that of evenly spread blocks counts."""
    blocks = [(w, at) for w in made.distinct().values() for at in range(0, w.size, sizes.EDIT_BLOCK)]
    step = max(1, dense // _SAMPLE_BYTES)
    taken = packed = 0
    for weight, at in blocks[::step]:
        block = weight.read(at, min(at + sizes.EDIT_BLOCK, weight.size))
        taken += block.nbytes
        packed += len(zlib.compress(block.tobytes()))
    return round(packed * dense / taken) if taken else 0


def _notes(listed: Weights, facts: Mapping[str, Any]) -> list[str]:
    from steelyard.text.units import counted, in_units

    found = facts["bytes"]
    share = facts["zeros"] / facts["elements"] if facts["elements"] else 0.0
    units = {key: in_units(size) for key, size in found.items()}
    packed = f", {units['pattern']} in the {facts['pattern']} layout of sparse tensor cores" if "pattern" in units else ""
    size = f"the file stays as large, {units['dense']}, since zeros are stored like other numbers"
    return [
        *listed.meta.get("notes", ()),
        f"pruned: {share:.1%} of {facts['elements']:,} elements in {counted(len(facts['weights']), 'weight')} are zero",
        f"{size}; it would be {units['csr']} as CSR matrices, about {units['zipped']} zipped{packed}",
    ]
