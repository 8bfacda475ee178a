"""What a checkpoint holds beside the model: the state of the optimizer, and the rest."""

from __future__ import annotations

import os
import re
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.errors import IncompleteWarning, SteelyardError
from steelyard.formats import has_one_scope
from steelyard.io import weights as weights_of
from steelyard.measures.stored import stored_bytes
from steelyard.storage.source import open_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights

_WORD = r"\w*optimi[sz]ers?(_\w+)?|optim|opt|opt_state"
_SLOT = r"exp_avg(_sq)?|max_exp_avg_sq|momentum_buffer|(Adam|RMSProp|Momentum|Adagrad)(_[0-9]+)?|beta[12]_power"
_OPTIMIZER = re.compile(rf"(?i)(?:.*[./])?\.?(?:{_WORD})[./].*|(?:.*[./])?(?:{_SLOT})", re.DOTALL)
"""Names of an optimizer's tensors: one of their words is that of an optimizer, or the last one that of its state."""


class Beside(NamedTuple):
    """Numbers and bytes of an optimizer's state, and of all other tensors of a file that are not the model's."""

    optimizer: int = 0
    optimizer_bytes: int = 0
    rest: int = 0
    rest_bytes: int = 0


def beside(path: Any, model: Weights) -> Beside:
    """Count the tensors of a file that are not the `model`; no number is read."""
    if os.path.isfile(path) and has_one_scope(open_path(path)):
        return Beside()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteWarning)  # the model's listing has said it
        try:
            listed = weights_of(path, scope="all").distinct()
        except SteelyardError:  # the model can be listed, so it is what can be counted
            return Beside()
    if len(listed) <= len(model.distinct()):
        return Beside()
    names = {*model}
    others = [weight for name, weight in listed.items() if not _is_of(name, names)]
    state = [weight for weight in others if is_state(weight.name)]
    rest = [weight for weight in others if not is_state(weight.name)]
    return Beside(*_counted(state), *_counted(rest))


def is_state(name: str) -> bool:
    """Whether a tensor is an optimizer's, by its name.

    >>> is_state("optimizer.state.0.exp_avg"), is_state("opt_state/mu/w"), is_state("w/Adam_1"), is_state("optics.weight")
    (True, True, True, False)
    """
    return _OPTIMIZER.fullmatch(name) is not None


def _is_of(name: str, names: set[str]) -> bool:
    """Whether a name is one of the model's, or ends with one after the keys of the objects that it is in."""
    if name in names:
        return True
    ends = (name[place + 1 :] for place, letter in enumerate(name[:1000]) if letter in "./")
    return not is_state(name) and any(end in names for end in ends)


def _counted(listed: Iterable[Weight]) -> tuple[int, int]:
    found = list(listed)
    return sum(weight.size for weight in found), sum(map(stored_bytes, found))
