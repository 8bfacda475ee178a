"""The facts of weights as JSON, which Steelyard keeps in the metadata of the files that it writes.

Reading such a file returns the same `Weights`: order, roles, layers, axes, and tied names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Any

from steelyard.codecs.budget import check_json
from steelyard.core.roles import infer_roles, layers_of
from steelyard.core.weight import Role, Weight

if TYPE_CHECKING:
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source

_ROLES = {str(role): role for role in Role}


def dump_facts(weights: Weights) -> str:
    """Return the facts of every weight, in order, as JSON; each is text at once, since many dicts take a lot of memory."""
    owned = owners(weights)
    facts = [f"{quote(name)}:{{{','.join(_facts(weight, owned[name]))}}}" for name, weight in weights.items()]
    return f"{{{','.join(facts)}}}"


def owners(weights: Weights) -> dict[str, str]:
    """Map each name to the first listed one whose numbers it shares: its own, unless the weight is tied.

    A selection may leave out the weight to which others are tied; these are still tied to each other.
    """
    first: dict[tuple[str, tuple[int, ...], str], str] = {}
    return {w.name: first.setdefault((w.tied or w.name, w.shape, w.dtype), w.name) for w in weights.values()}


def written_once(weights: Weights) -> list[Weight]:
    """Return the weights whose numbers a file holds: of those that are tied to each other only the first."""
    return [weights[name] for name in dict.fromkeys(owners(weights).values())]


def _facts(weight: Weight, owner: str) -> Iterator[str]:
    """Yield each fact of a weight as JSON: a hundred thousand calls of the encoder would take as long as reading a file."""
    texts = (("role", weight.role), ("dtype", weight.dtype), ("layer", weight.layer), ("axes", weight.axes))
    yield from (f'"{key}":{quote(text)}' for key, text in texts if text)
    if weight.trainable is not None:
        yield '"trainable":true' if weight.trainable else '"trainable":false'
    if owner != weight.name:
        yield f'"tied":{quote(owner)}'


def with_facts(stored: Iterable[Weight], text: str | None, source: Source | None = None) -> list[Weight]:
    """Return the weights of a file in the order and with the facts of `text`.

    Without facts of a weight, its role is inferred from its name. Facts that do not fit the weights are ignored: another
    tool may have changed the file. `stored` are weights that were just made for this, since a copy of each would take as long as
    listing it. `source` is the file that pays for the text, unless it has paid already.
    """
    if text and source is not None:
        check_json(text, source)
    return explained(stored, parsed(text) if text else {})


def explained(stored: Iterable[Weight], facts: Mapping[str, Mapping[str, Any]]) -> list[Weight]:
    """Return the weights of a file in the order of their facts, as `with_facts` does."""
    named = {weight.name: weight for weight in stored}
    ordered = [_explained(name, fact, named) for name, fact in facts.items()]
    known = [weight for weight in ordered if weight is not None]
    rest = [weight for name, weight in named.items() if name not in facts]
    for weight, layer in zip(rest, layers_of([weight.name for weight in rest]), strict=True):
        weight.layer = layer
    return known + infer_roles(rest, in_place=True)


def parsed(text: str) -> dict[str, dict[str, Any]]:
    """Return the facts of each weight by its name; empty if `text` has none."""
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {name: fact for name, fact in facts.items() if isinstance(fact, dict)} if isinstance(facts, dict) else {}


def _explained(name: str, fact: Mapping[str, Any], named: Mapping[str, Weight]) -> Weight | None:
    """Return the weight of this name with its facts, set in place; a tied weight reads the numbers of its owner."""
    owner = fact.get("tied")
    weight = named.get(name)
    if weight is None or owner is not None or weight.tied is not None:
        weight = weight or (named.get(owner) if isinstance(owner, str) else None)
        if weight is None:
            return None
        weight = weight.replace(name=name, tied=owner if isinstance(owner, str) and owner in named and owner != name else None)
    role, trainable = fact.get("role"), fact.get("trainable")
    layer, axes = fact.get("layer"), fact.get("axes")
    weight.role = _ROLES.get(role, Role.OTHER) if isinstance(role, str) else Role.OTHER
    weight.trainable = trainable if isinstance(trainable, bool) else None
    weight.layer = layer if isinstance(layer, str) else ""
    weight.axes = axes if isinstance(axes, str) else ""
    return weight
