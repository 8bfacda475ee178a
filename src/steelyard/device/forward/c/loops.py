"""Text of nested loops."""

from __future__ import annotations

from collections.abc import Sequence


def nested(loops: Sequence[tuple[str, str]], inside: Sequence[str], depth: int = 0) -> list[str]:
    r"""Return lines of loops, each of a counter and its end, around other lines.

    >>> print(*nested([("i", "rows"), ("j", "3")], ["y[i] += x[j];"]), sep="\n")
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < 3; j++) {
            y[i] += x[j];
        }
    }
    """
    if not loops:
        return [f"{'    ' * depth}{line}" for line in inside]
    (counter, end), *rest = loops
    indent = "    " * depth
    head = f"{indent}for (size_t {counter} = 0; {counter} < {end}; {counter}++) {{"
    return [head, *nested(rest, inside, depth + 1), f"{indent}}}"]


def indented(lines: Sequence[str], depth: int) -> list[str]:
    """Return lines further to the right."""
    return [f"{'    ' * depth}{line}" for line in lines]


def row_major(places: Sequence[str], lengths: Sequence[str]) -> str:
    """Return the number of a place, row-major; the length of the first axis is not needed.

    >>> row_major(["c", "i", "j"], ["", "height", "width"])
    '(c * height + i) * width + j'
    """
    made = places[0]
    for place, length in zip(places[1:], lengths[1:], strict=True):
        made = f"{f'({made})' if ' ' in made else made} * {length} + {place}"
    return made
