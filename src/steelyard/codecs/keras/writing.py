"""Where Keras 3 looks for each variable when it loads a file: the way back of `codecs.keras`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.codecs.keras.layout import VARS, split
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.reading import Tree
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights

    Layout = list[tuple[str, str, dict[str, str]]]
    """The groups of a file: path, name of the layer, and the weight in each slot."""

LAYOUT = "layout"
"""The key in `meta` under which weights keep the layout of their model."""


def fitting(weights: Weights, path: Path) -> Layout:
    """Return the layout that the weights keep, whose slots must name just these weights; raises `FormatError` otherwise."""
    layout = _layout(weights.meta.get(LAYOUT))
    if layout is None:
        raise FormatError(
            str(path),
            "Keras finds weights in a .weights.h5 file by the model's layout, which these weights do not know; "
            "save the Keras model itself, read them from a .weights.h5 or .keras file of it, or write .h5 or .safetensors",
        )
    placed = {name for _, _, slots in layout for name in slots.values()}
    missing, foreign = [n for n in placed if n not in weights], [n for n in weights if n not in placed]
    if missing or foreign:
        what = f"lacks {printable(min(missing))!r}" if missing else f"has {printable(foreign[0])!r} besides"
        raise FormatError(str(path), f"the layout of the model does not fit these weights, which {what}; keep the model's names")
    return layout


def datasets(layout: Layout, weights: Weights) -> Iterator[tuple[str, Weight]]:
    """Yield the path of each dataset and its weight."""
    for group, _, slots in layout:
        for slot, name in slots.items():
            yield f"{group}/{VARS}/{slot}".strip("/"), weights[name]


def names(layout: Layout) -> dict[str, dict[str, str]]:
    """Return the attributes of the groups, which are the names of the layers."""
    return {f"{group}/{VARS}".strip("/"): {"name": label} for group, label, _ in layout if label}


def contents(tree: Tree, weights: Weights, path: Path) -> tuple[list[tuple[str, Weight]], dict[str, dict[str, str]]]:
    """Return the datasets and the names of a file like `tree`, in which these weights take the place of the model's.

    The rest, as the state of random seeds, stays as it was; the optimizer's belongs to the old numbers and is left out.
    Raises `FormatError` where a weight has another shape than the model's.
    """
    layout = fitting(weights, path)
    own = dict(datasets(layout, weights))
    before = {"/".join(split(name)): weight for name, weight in tree.tensors.items()}
    for name, weight in own.items():
        if name in before and before[name].shape != weight.shape:
            shapes = f"{list(before[name].shape)} in the original model, but {list(weight.shape)} here"
            raise FormatError(str(path), f"{printable(weight.name)} is {shapes}")
    rest = {name: weight for name, weight in before.items() if name not in own and name.partition("/")[0] != "optimizer"}
    labels = {group: tree.attribute(group, "name") for group in {name.rpartition("/")[0] for name in rest}}
    kept = {group: {"name": label} for group, label in labels.items() if isinstance(label, str)}
    return [*own.items(), *rest.items()], {**kept, **names(layout)}


def _layout(kept: Any) -> Layout | None:
    """Return the groups of a layout with their labels and slots; None for what is no layout.

    It may have come through a file of another format as text, and is checked like anything out of a file.
    """
    try:
        found = json.loads(kept) if isinstance(kept, str) else kept
        groups = [(group, fact["name"], fact["vars"]) for group, fact in found.items()]
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
        return None
    texts = [
        text for group, label, slots in groups if isinstance(slots, dict) for text in (group, label, *slots, *slots.values())
    ]
    sound = all(isinstance(slots, dict) for _, _, slots in groups) and all(isinstance(text, str) for text in texts)
    return groups if sound and groups else None
