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
