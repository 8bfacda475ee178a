"""RLlib: the folder of a checkpoint of Ray. The nets of several policies or modules are one model, named after their folders.

    algorithm, since 2.40    learner_group/learner/rl_module/NAME/module_state.pkl, beside class_and_ctor_args.pkl
    algorithm, before        policies/NAME/policy_state.pkl, beside algorithm_state.pkl, which has no weights
    before 2.1               checkpoint-5, beside checkpoint-5.tune_metadata: one file (`codecs/pickle/worker.py`)
    module, policy           module_state.pkl, policy_state.pkl: the folder of one net

The files are pickles, and are read as such. Of a policy "weights" is the net; scope "all" adds its optimizer and the rest. The
folder of a net precedes its names ("default_policy/pi.net.mlp.0.weight") where there are several.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.sets import prefixed
from steelyard.core.weights import Weights
from steelyard.errors import FileMissingError, FormatError, printable

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source

SUFFIXES = ()

_NET, _POLICY = "module_state.pkl", "policy_state.pkl"
_MARKS = {"rllib_checkpoint.json", "algorithm_state.pkl", "class_and_ctor_args.pkl", _NET, _POLICY}
_OLD = re.compile(r"checkpoint-\d+")
_HOMES = ("learner_group/learner/rl_module", "learner/rl_module", "rl_module", "policies", "env_runner/rl_module")
"""Where a checkpoint has the folders of its nets: the first that is there, since the workers have copies of the learner's."""


def sniff(source: Source) -> bool:
    """Recognise a folder with the files of a checkpoint."""
    return source.is_folder and (not _MARKS.isdisjoint(source.names()) or _old(source) is not None)


def _old(folder: Source) -> Source | None:
    """Return the file of a checkpoint from before 2.1, beside which Tune has written another."""
    names = set(folder.names())
    found = [name for name in names if _OLD.fullmatch(name) and f"{name}.tune_metadata" in names]
    return folder.beside(found[0]) if len(found) == 1 else None


def read(source: Source, scope: Scope) -> Weights:
    """List the weights of each net, by the names of their folders. Raises `FormatError` for a folder without a net."""
    from steelyard.formats import part_in

    if (old := _old(source)) is not None:
        return part_in(old, scope)
    home = next((found for path in _HOMES if (found := _folder(source, path)) is not None), source)
    nets = [(name, state) for name in sorted(home.names()) if (state := _state(_folder(home, name))) is not None]
    alone = _state(home)
    if not nets and alone is not None:
        nets = [("", alone)]
    if not nets:
        raise FormatError(source.name, f"is a checkpoint of RLlib without {_NET} or {_POLICY} (partial copy?)")
    if len(nets) > limits.SHARDS:
        raise FormatError(source.name, f"has {len(nets):,} nets, more than the {limits.SHARDS:,} that are allowed")
    listed: list[Weight] = []
    for name, state in nets:
        held = part_in(state, scope).values()
        listed += held if len(nets) == 1 else [prefixed(name, weight) for weight in held]
    if not listed:
        raise FormatError(source.name, f"has no weights in {printable(', '.join(name for name, _ in nets), 200) or 'its net'}")
    return Weights(listed, meta={"format": "RLlib", "modules": [name for name, _ in nets if name]})


def _folder(source: Source, path: str) -> Source | None:
    """Return a folder in a folder; None where it is none."""
    try:
        found = source.beside(path)
    except FileMissingError:
        return None
    return found if found.is_folder else None


def _state(folder: Source | None) -> Source | None:
    """Return the file with the net of a folder."""
    names = folder.names() if folder is not None else []
    found = next((name for name in (_NET, _POLICY) if name in names), None)
    return folder.beside(found) if folder is not None and found is not None else None
