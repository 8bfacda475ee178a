"""The weights of what a pickle holds, as every format of pickles gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.pickle.walk import Entry, Walk, as_weights, holding, of_model
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, UnsafeFileError, printable

if TYPE_CHECKING:
    from steelyard.core.protocols import MakeGraph, Scope
    from steelyard.storage.source import Source

_PLAIN = frozenset((int, float, str, bool))


def listed(
    source: Source,
    root: Any,
    walk: Walk,
    scope: Scope,
    meta: Mapping[str, Any],
    code: list[str],
    own: list[Entry] | None = None,
    graph: MakeGraph | None = None,
) -> Weights:
    """Return the model's weights, or with scope "all" every tensor; `meta["code"]` is what a loader would run.

    `own` are the model's weights where they are known already. Raises `FormatError` for an object without
    weights, and says what it is.
    """
    entries = walk.entries if scope == "all" else of_model(walk) if own is None else own
    if not walk.entries and code:
        what = f"holds no weights; a pickle loader would run {'; '.join(code[:5])}"
        raise UnsafeFileError(source.name, what)
    if not entries and not isinstance(root, (dict, list, tuple)):
        raise FormatError(source.name, f"holds {holding(root)}, which has no weights")
    said = {**meta, **_said(root)}
    if code:
        said["code"] = code
    if not entries:
        said["holds"] = holding(root)
    return Weights(as_weights(entries, source), meta=said, graph=graph)


def _said(root: Any) -> dict[str, Any]:
    """Return what a checkpoint says beside its tensors: epoch, step, versions."""
    if type(root) is not dict:
        return {}
    plain = [(key, value) for key, value in root.items() if type(value) in _PLAIN and type(key) is str and key != "code"]
    return {key: printable(value) if type(value) is str else value for key, value in plain[: limits.METADATA]}
