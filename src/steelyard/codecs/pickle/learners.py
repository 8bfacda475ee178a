"""The net in files of fastai, flair, RLlib and stable-baselines3, which have more beside it: data, an optimizer, settings.

fastai 2   learn.export(): a Learner, or an object of a class made of it, such as a TabularLearner
fastai 1   learn.export(): a dict with the net as "model", and the class of the Learner as "cls"
flair      model.save(): a dict with the net as "state_dict", and dictionaries of flair or the name of a class as "__cls__"
baselines3 policy.save(): a dict of the net as "state_dict", and the arguments of its class as "data"
RLlib      policy_state.pkl: a dict with the net as "weights", and how far the training is as "global_timestep"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.pickle.values import Global, Record, class_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard.codecs.pickle.values import Key, Pickled

_MODULE, _CLASS = "fastai.", "Learner"
_NET = "model"
_FLAIR, _STATE = "flair.", "state_dict"
_BASELINES = {_STATE, "data"}
_POLICY, _STEP = "weights", "global_timestep"


def net_of(root: Pickled) -> Pickled:
    """Return the net of a Learner of fastai, a model of flair or a policy of RLlib or baselines; any other value unchanged.

    >>> net_of({"cls": Global("fastai.basic_train", "Learner"), "model": 5}), net_of({"model": 5})
    (5, {'model': 5})
    """
    if (
        isinstance(root, dict)
        and isinstance(root.get(_STATE), (dict, Record))
        and (root.keys() == _BASELINES or _is_of_flair(root))
    ):
        return root[_STATE]
    if isinstance(root, dict) and _STEP in root and isinstance(root.get(_POLICY), dict):
        return root[_POLICY]
    held: Pickled = root.state if isinstance(root, Record) else root
    if not isinstance(held, dict) or _NET not in held:
        return root
    kind = class_of(root) if isinstance(root, Record) else held.get("cls")
    is_learner = isinstance(kind, Global) and kind.module.startswith(_MODULE) and kind.name.endswith(_CLASS)
    return held[_NET] if is_learner else root


def _is_of_flair(root: Mapping[Key, Pickled]) -> bool:
    name = root.get("__cls__")
    if isinstance(name, str):
        return name.startswith(_FLAIR)
    kinds = [class_of(value) for value in root.values() if isinstance(value, Record)]
    return any(kind is not None and kind.module == "flair.data" for kind in kinds)
