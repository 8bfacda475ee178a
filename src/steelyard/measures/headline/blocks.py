"""The parts of a net that repeat: how many blocks a container holds, and how wide they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from steelyard.core.weight import Role
from steelyard.text.order import DEPTH
from steelyard.text.rows import NUMBER, Row

DIGITS = 9
"""Maximum digits of the number of a block; longer ones are hashes."""
MOST = 100_000
"""Maximum blocks that are counted."""


class Place:
    """A number in the names of a row: what is before it, with # for earlier numbers, its range, and what is after it."""

    __slots__ = ("after", "before", "numbers")

    def __init__(self, before: str, numbers: range, after: str) -> None:
        self.before = before
        self.numbers = numbers
        self.after = after

    @property
    def container(self) -> str | None:
        """The name of the container whose blocks are numbered, where the number is a whole part of the name; else None."""
        whole = self.before[-1:] in ("", ".", "/") and self.after[:1] in (".", "/")
        return self.before[:-1].replace("/", ".") if whole else None


def places(row: Row) -> list[Place]:
    """Return the numbers in the names of a row."""
    first, last = (NUMBER.split(weight.name, DEPTH) for weight in (row.weights[0], row.weights[-1]))
    if first[::2] != last[::2]:
        return []
    found = []
    for nth in range(1, len(first), 2):
        low, high = first[nth], last[nth]
        if max(len(low), len(high)) > DIGITS or not 0 <= int(high) - int(low) < MOST:
            break
        before, after = "#".join(first[:nth:2]), "#".join(first[nth + 1 :: 2])
        found.append(Place(before, range(int(low), int(high) + 1), after))
    return found


def count(rows: Iterable[Row], container: str) -> int:
    """Return how many numbered blocks the containers of this name hold.

    >>> import numpy as np, steelyard
    >>> from steelyard.text.rows import rows_of
    >>> count(rows_of(steelyard.weights({f"h.{n}.w": np.zeros(2) for n in range(12)})), "h")
    12
    """
    found: set[int] = set()
    for place in _all_places(rows):
        name = place.container
        if name is not None and (name == container or name.endswith(f".{container}")):
            found.update(place.numbers)
    return len(found)


def stages(rows: Iterable[Row], container: str) -> list[int]:
    """Return the number of blocks in each stage: of `layer1.0`, `layer1.1`, `layer2.0` for `layer`, or of `stages.0.blocks.1`."""
    inner: dict[int, int] = {}
    for row in rows:
        for outer, block in zip(found := places(row), found[1:], strict=False):
            between = block.before[len(outer.before) + 1 :]
            if _ends(outer.before.rstrip("./"), container) and _is_within(between):
                for stage in outer.numbers:
                    inner[stage] = max(inner.get(stage, 0), block.numbers.stop)
    return [blocks for _, blocks in sorted(inner.items())]


def width(rows: Iterable[Row]) -> int | None:
    """Return the length that most scales of norms in numbered blocks have, the largest of several; None if there are none."""
    lengths: Counter[int] = Counter()
    for row in rows:
        if row.weight.role is Role.SCALE and len(row.weight.shape) == 1 and places(row):
            lengths[row.weight.shape[0]] += row.times
    return max(lengths, key=lambda length: (lengths[length], length)) if lengths else None


def repeated(rows: Iterable[Row]) -> int:
    """Return the number of blocks in the container that holds the most numbers; 0 if there is none.

    A block has layers of its own: in `h.0.attn.weight`, not in `0.weight`.
    """
    sizes: Counter[str] = Counter()
    numbers: dict[str, set[int]] = {}
    for row in rows:
        place = next((place for place in places(row) if place.container is not None), None)
        if place is not None and ("." in place.after[1:] or "/" in place.after[1:]):
            sizes[place.before] += row.size
            numbers.setdefault(place.before, set()).update(place.numbers)
    best = max(sizes, key=sizes.__getitem__, default=None)
    return 0 if best is None else len(numbers[best])


def experts(rows: Iterable[Row]) -> int:
    """Return how many experts the layers have: numbered ones, or those along the first axis of a weight with three axes."""
    listed = list(rows)
    if numbered := count(listed, "experts"):
        return numbered
    stacked = (row.weight.shape[0] for row in listed if ".experts." in row.name and len(row.weight.shape) == 3)
    return next(stacked, 0)


def _all_places(rows: Iterable[Row]) -> Iterator[Place]:
    return (place for row in rows for place in places(row))


def _ends(name: str, container: str) -> bool:
    return name == container or name.endswith((f".{container}", f"/{container}"))


def _is_within(between: str) -> bool:
    """Whether what is between two numbers is that between the number of a stage and of a block in it: a dot, or one word."""
    return between[:1] in (".", "/") and between[-1] in (".", "/") and len(between.replace("/", ".").split(".")) <= 3
