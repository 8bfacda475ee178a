"""fastai's Learners: the one object of a file has the net as its attribute `model`, beside the data, the loss and the optimizer.

fastai 2   learn.export(): a Learner, or an object of a class made of it, such as a TabularLearner
fastai 1   learn.export(): a dict with the net as "model", and the class of the Learner as "cls"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.pickle.values import Global, Record, class_of

if TYPE_CHECKING:
    from steelyard.codecs.pickle.values import Pickled

_MODULE, _CLASS = "fastai.", "Learner"
_NET = "model"


def net_of(root: Pickled) -> Pickled:
    """Return the net of a Learner; any other value unchanged.

    >>> net_of({"cls": Global("fastai.basic_train", "Learner"), "model": 5}), net_of({"model": 5})
    (5, {'model': 5})
    """
    held: Pickled = root.state if isinstance(root, Record) else root
    if not isinstance(held, dict) or _NET not in held:
        return root
    kind = class_of(root) if isinstance(root, Record) else held.get("cls")
    is_learner = isinstance(kind, Global) and kind.module.startswith(_MODULE) and kind.name.endswith(_CLASS)
    return held[_NET] if is_learner else root
