"""Find the weights of a model that have the same places as those of another listing, where names cannot say so.

Keras names layers by counters of the process (`dense_4`), so the same code gives other names each time, and files of Equinox have
no names. The places are proven by the paths of Keras's own files, which number the layers of one model, by names that differ in
such counters alone, by the leaves of a tree in order, and by a list in the order of the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights

_COUNTED = re.compile(r"(?a:(.*?)(?:_(\d+))?)")
"""A word of a name, and the counter at its end."""
LEAVES = "leaves"
"""The key in `meta` of a file that has the leaves of a tree in their order."""
_LAYOUT = "layout"
_ARRAY = "arr_"
"""What `numpy.savez` puts before the places of arrays without names."""


def same_places(values: Weights, model: Weights) -> dict[str, str]:
    """Return the name in the model of each of the values; empty unless each weight of both has its place in the other.

    It is empty too where all names are equal, which proves nothing about places. Numbers of a tree that are no weights of the
    model are left out, and of tied weights all but the first.

    >>> from steelyard.core.weights import Weights
    >>> one = Weights.from_arrays({"net/dense/kernel": [1.0], "net/dense_1/kernel": [2.0]})
    >>> two = Weights.from_arrays({"net_1/dense_2/kernel": [0.0], "net_1/dense_3/kernel": [0.0]})
    >>> same_places(one, two)
    {'net/dense/kernel': 'net_1/dense_2/kernel', 'net/dense_1/kernel': 'net_1/dense_3/kernel'}
    """
    ways = _by_leaves, _by_paths, _as_list, _by_counters
    pairs = next((found for way in ways if (found := way(values, model))), {})
    is_same = all(mine == theirs for mine, theirs in pairs.items())
    return pairs if not is_same and all(values[one].shape == model[other].shape for one, other in pairs.items()) else {}


def placed(values: Mapping[str, object], model: Weights) -> Mapping[str, object]:
    """Return values under the names of the model, where they are weights whose places are proven and whose names differ."""
    if isinstance(getattr(values, "orders", None), Mapping) and any(name not in model for name in values):
        listing = cast("Weights", values)
        return {theirs: listing[mine] for mine, theirs in same_places(listing, model).items()} or values
    return values


def has_names(weights: Iterable[str]) -> bool:
    """Whether weights have names of their own, and not only places in a list."""
    return any(not name.removeprefix(_ARRAY).isdecimal() for name in weights)


def _by_leaves(values: Weights, model: Weights) -> dict[str, str]:
    """Pair the leaves of a file without names with those of the model that it was saved from; its numbers are no weights."""
    order = model.orders.get(LEAVES)
    names = list(order() or ()) if order and LEAVES in values.meta else []
    if len(names) != len(values) or {*filter(None, names)} != {*model}:
        return {}
    settings = [values[mine] for mine, theirs in zip(values, names, strict=True) if not theirs]
    if any(weight.shape for weight in settings):
        return {}
    return {mine: theirs for mine, theirs in zip(values, names, strict=True) if theirs}


def _by_paths(values: Weights, model: Weights) -> dict[str, str]:
    """Pair weights by the paths that Keras gives them in a file: the group of the layer, and the number of the variable."""
    mine, theirs = _paths(values), _paths(model)
    if mine.keys() != theirs.keys() or {*mine.values()} != {*values} or {*theirs.values()} != {*model}:
        return {}
    return {name: theirs[path] for path, name in mine.items()}


def _paths(weights: Weights) -> dict[tuple[str, str], str]:
    layout = weights.meta.get(_LAYOUT)
    groups = layout.items() if isinstance(layout, Mapping) else ()
    return {
        (path, slot): name
        for path, group in groups
        if isinstance(group, Mapping) and isinstance(slots := group.get("vars"), Mapping)
        for slot, name in slots.items()
        if isinstance(name, str) and name in weights
    }


def _as_list(values: Weights, model: Weights) -> dict[str, str]:
    """Pair the arrays of a list, such as a pickle of Keras's `get_weights()`, in order; tied weights are in it once."""
    if next(iter(values), "").removesuffix("0") not in ("", _ARRAY):
        return {}
    listed = list(model.distinct())
    if len(values) != len(listed):
        return {}
    heads = {name.removesuffix(str(place)) for place, name in enumerate(values)}
    return dict(zip(values, listed, strict=True)) if heads in ({""}, {_ARRAY}) and len(values) > 1 else {}


def _by_counters(values: Mapping[str, Weight], model: Mapping[str, Weight]) -> dict[str, str]:
    """Pair weights in order, if their names differ in counters alone, which count both nets alike.

    In both nets, a word with a lower counter belongs to the same layer: counters follow the order in which layers are made.
    A name that both nets have in different places contradicts this.
    """
    partners: dict[tuple[str, str], dict[int, int]] = {}
    if len(values) != len(model) or [*values] == [*model]:
        return {}
    for mine, theirs in zip(values, model, strict=True):
        if mine != theirs and (mine in model or theirs in values):
            return {}
        words = [*_counted(mine)], [*_counted(theirs)]
        if len(words[0]) != len(words[1]):
            return {}
        for (path, word, one), (_, same, other) in zip(*words, strict=True):
            if word != same or partners.setdefault((path, word), {}).setdefault(one, other) != other:
                return {}
    if not all(_in_one_order(counters) for counters in partners.values()):
        return {}
    return dict(zip(values, model, strict=True))


def _counted(name: str) -> Iterator[tuple[str, str, int]]:
    """Yield each word of a name with the words above it, and its counter, -1 without one."""
    above = ""
    for part in re.split(r"[./]", name):
        match = _COUNTED.fullmatch(part)
        word, counter = (match[1], match[2]) if match else (part, None)
        yield above, word, -1 if counter is None else int(counter)
        above = f"{above}/{part}"


def _in_one_order(counters: Mapping[int, int]) -> bool:
    """Whether counters correspond one to one, the lower one to the lower one."""
    return all(low < high for low, high in pairwise(counters[one] for one in sorted(counters)))
