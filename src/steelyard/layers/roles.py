"""Words for the axes of parameters, shared by the tables of all frameworks."""

from __future__ import annotations

from steelyard.core.weight import Role

ParameterRoles = dict[str, tuple[Role, str]]
"""The role and the axes of each parameter of a layer, by its name in the layer."""

SPATIAL = {1: "k", 2: "kh kw", 3: "kd kh kw"}
"""The spatial axes of a kernel by their number."""
REVERSED = {1: "-k", 2: "-kh -kw", 3: "-kd -kh -kw"}
"""The same for a kernel that is flipped before it is applied."""


def axes_or_blank(axes: str, ndim: int) -> str:
    """Return the axes if their number is that of the parameter, otherwise blank: no axes are better than wrong ones.

    >>> axes_or_blank("out in", 2), axes_or_blank("out in", 3)
    ('out in', '')
    """
    return axes if len(axes.split()) == ndim else ""


def stacked_axes(axes: str, shape: tuple[int, ...], stack: tuple[int, ...]) -> str:
    """Return the axes of layers that are stacked along leading axes of these lengths; blank if they do not fit the shape.

    >>> stacked_axes("in out", (3, 8, 4), (3,)), stacked_axes("out", (2, 3, 4), (2, 3)), stacked_axes("out", (4,), ())
    ('layer in out', 'layer1 layer2 out', 'out')
    """
    if shape[: len(stack)] != stack:
        return ""
    known = axes_or_blank(axes, len(shape) - len(stack))
    return " ".join((*numbered("layer", len(stack)), known)) if known and stack else known


def stack_of(shape: tuple[int, ...], own: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return the lengths of the axes before those of the layer's own shape; None if the shape does not end with that.

    >>> stack_of((3, 8, 4), (8, 4)), stack_of((8, 4), (8, 4)), stack_of((3, 8, 4), (4, 8))
    ((3,), (), None)
    """
    if own is None or shape[len(shape) - len(own) :] != own or len(shape) < len(own):
        return None
    return shape[: len(shape) - len(own)]


def general_axes(inputs: int, outputs: int) -> str:
    """Return the axes of a dense layer, numbered if it contracts or outputs several.

    >>> general_axes(1, 2), general_axes(0, 1)
    ('in out1 out2', 'out')
    """
    return " ".join((*numbered("in", inputs), *numbered("out", outputs)))


def numbered(word: str, count: int) -> list[str]:
    """Return the names of several axes of one sort; a single axis is not numbered.

    >>> numbered("in", 1), numbered("out", 2)
    (['in'], ['out1', 'out2'])
    """
    return [word] if count == 1 else [f"{word}{number}" for number in range(1, count + 1)]
