"""Write weights in the layout of Keras 3: the dataset of each variable, and the attributes of the groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.codecs.keras.layout import VARS, split
from steelyard.codecs.plain import from_json
from steelyard.errors import FormatError, printable, quoted

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.reading import Hdf5File
    from steelyard.codecs.keras.layout import Layout
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights

LAYOUT = "layout"
"""The key in `meta` for the layout of the model."""


def fitting(weights: Weights, path: Path) -> Layout:
    """Return the layout of the weights. Raises `FormatError` unless it has exactly these weights."""
    layout = _layout(weights.meta.get(LAYOUT))
    if layout is None:
        raise FormatError(
            str(path),
            "Keras finds weights in a .weights.h5 file by the layout of the model, which these weights do not have; "
            "save the Keras model itself, read them from a .weights.h5 or .keras file of it, or write .h5 or .safetensors",
        )
    placed = {name for group in layout.values() for name in group["vars"].values()}
    missing, foreign = [n for n in placed if n not in weights], [n for n in weights if n not in placed]
    if missing or foreign:
        what = f"lacks {quoted(min(missing))}" if missing else f"has {quoted(foreign[0])} in addition"
        raise FormatError(str(path), f"the layout of the model does not fit these weights, which {what}; keep the model's names")
    return layout


def datasets(layout: Layout, weights: Weights) -> Iterator[tuple[str, Weight]]:
    """Yield the path of each dataset and its weight."""
    for path, group in layout.items():
        for variable, name in group["vars"].items():
            yield f"{path}/{VARS}/{variable}".strip("/"), weights[name]


def names(layout: Layout) -> dict[str, dict[str, str]]:
    """Return the attributes of the groups: the names of the layers."""
    return {f"{path}/{VARS}".strip("/"): {"name": group["name"]} for path, group in layout.items() if group["name"]}


def contents(hdf5: Hdf5File, weights: Weights, path: Path) -> tuple[list[tuple[str, Weight]], dict[str, dict[str, str]]]:
    """Return the datasets and the names of a file like `hdf5`, with these weights in place of the model's.

    Other datasets, for example the state of random seeds, stay unchanged, but those of the optimizer are left out: they
    belong to the old numbers. Raises `FormatError` for a weight whose shape is not that in the model.
    """
    layout = fitting(weights, path)
    own = dict(datasets(layout, weights))
    before = {"/".join(split(name)): weight for name, weight in hdf5.tensors.items()}
    for name, weight in own.items():
        if name in before and before[name].shape != weight.shape:
            shapes = f"{list(before[name].shape)} in the original model, but {list(weight.shape)} here"
            raise FormatError(str(path), f"{printable(weight.name)} is {shapes}")
    rest = {name: weight for name, weight in before.items() if name not in own and name.partition("/")[0] != "optimizer"}
    labels = {group: hdf5.attribute(group, "name") for group in {name.rpartition("/")[0] for name in rest}}
    kept = {group: {"name": label} for group, label in labels.items() if isinstance(label, str)}
    return [*own.items(), *rest.items()], {**kept, **names(layout)}


def _layout(kept: object) -> Layout | None:
    """Return a layout from `meta`, which may have passed through another format as JSON; None where it is invalid."""
    groups = from_json(kept) if isinstance(kept, str) else kept
    if not isinstance(groups, dict) or not groups:
        return None
    layout: Layout = {}
    for path, group in groups.items():
        match group:
            case {"name": str(name), "vars": dict(variables)} if all(map(_is_text, (path, *variables, *variables.values()))):
                layout[path] = {"name": name, "vars": variables}
            case _:
                return None
    return layout


def _is_text(value: object) -> bool:
    return isinstance(value, str)
