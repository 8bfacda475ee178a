"""Checkpoints of RLlib before 2.1: a dict in which the state of the worker, with the nets, is a pickle of its own.

{"worker": bytes of {"state" or, in 2.0, "policy_states": {policy: {"weights": net, ...} or, before 1.0, net}}, ...}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.pickle.machine import Machine
from steelyard.codecs.pickle.values import Blob, as_source

if TYPE_CHECKING:
    from steelyard.codecs.pickle.values import Key, Pickled
    from steelyard.storage.source import Source

_WORKER, _NET = "worker", "weights"
_STATES = ("policy_states", "state")


def with_worker(root: Pickled, source: Source) -> Pickled:
    """Return a checkpoint with the state of its worker in place of the bytes; any other value unchanged."""
    packed = root.get(_WORKER) if isinstance(root, dict) else None
    data = as_source(packed, source) if isinstance(packed, (bytes, Blob)) else None
    if not isinstance(root, dict) or data is None or data.head(1) != b"\x80":
        return root
    inner = Machine(data).load()
    return {**root, _WORKER: inner} if isinstance(inner, dict) and _policies(inner) else root


def policies_of(root: Pickled) -> Pickled:
    """Return the net of the one policy of a checkpoint, or those of several by name; any other value unchanged.

    >>> policies_of({"worker": {"state": {"default_policy": {"weights": {"fc": 5}, "steps": 3}}}})
    {'fc': 5}
    """
    worker = root.get(_WORKER) if isinstance(root, dict) else None
    held = _policies(worker) if isinstance(worker, dict) else {}
    nets = {name: state.get(_NET, state) if isinstance(state, dict) else state for name, state in held.items()}
    return next(iter(nets.values())) if len(nets) == 1 else nets or root


def _policies(worker: dict[Key, Pickled]) -> dict[Key, Pickled]:
    return next((held for key in _STATES if isinstance(held := worker.get(key), dict)), {})
