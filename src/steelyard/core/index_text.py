"""Parts of a weight by an index in text, as on the command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from steelyard.core.indexing import read_part, refused
from steelyard.core.readers import array_reader

if TYPE_CHECKING:
    from steelyard.core.indexing import Place
    from steelyard.core.weight import Weight

_PLACE = re.compile(r"(-?[0-9]{1,18})|(-?[0-9]{1,18})?:(-?[0-9]{1,18})?")


def part_of(weight: Weight, index: str) -> Weight:
    """Return the part of a weight that `index` names, such as "3,:5": integers and slices from:to, one for each axis.

    As in Python, negative integers count from the end, missing axes are complete, and an axis with an integer is
    dropped. The part is read by `read_part`. Raises `ShapeError` for an index that cannot be parsed, has too many entries, or
    is out of range.

    >>> import numpy as np
    >>> from steelyard.core.readers import from_array
    >>> w = from_array("w", np.arange(12).reshape(3, 4))
    >>> part_of(w, "-1,:2").numpy().tolist()
    [8, 9]
    """
    places = _parsed(weight, index)
    array = read_part(weight, places)
    axes = weight.axes.split()
    kept = [word for nth, word in enumerate(axes) if nth >= len(places) or isinstance(places[nth], slice)]
    return weight.replace(
        name=f"{weight.name}[{index}]",
        shape=array.shape,
        axes=" ".join(kept),
        read=array_reader(array),
        tied=None,
    )


def _parsed(weight: Weight, index: str) -> list[Place]:
    """Return the integer or the slice for each of the first axes."""
    places: list[Place] = []
    for word in index.split(","):
        match = _PLACE.fullmatch(word.strip())
        if match is None:
            raise refused(weight, index, f"{word.strip()!r} is not an index: write a number or a slice from:to for each axis")
        ends = (int(end) if end else None for end in match.groups()[1:])
        places.append(slice(*ends) if match[1] is None else int(match[1]))
    return places
