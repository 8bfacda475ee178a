"""Partners that the user names, by `pairs` and `rules`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.budget import check_json
from steelyard.core.patterns import Pattern
from steelyard.core.renaming import expanded
from steelyard.errors import ShapeError, printable, quoted
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from steelyard.transfers.layers.layer_weights import LayerWeights

Rules = Mapping[str, str]
Names = Rules | None
"""The type of the arguments `rules` and `pairs`."""


class _Index(NamedTuple):
    """The first layer that has each name or weight, and the layers that each layer of the graph was split into, in order."""

    exact: dict[str, LayerWeights]
    split: dict[str, list[LayerWeights]]

    def layer_named(self, name: str, place: int) -> LayerWeights | None:
        """Return the layer at this index of a split layer, the one of this name, or the one that has this weight."""
        at_place = next(iter(self.split.get(name, [])[place : place + 1]), None)
        exact = self.exact.get(name)
        return (at_place or exact) if place else (exact or at_place)


_GROUP = re.compile(r"\((?!\?)[^()]*\)")
_REFERENCE = re.compile(r"\\(\d)")


def read_json(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """Return the object in a JSON file; raises `ShapeError` if the file contains anything else or cannot be read."""
    try:
        with open(path, "rb") as file:
            text = file.read(limits.JSON)
        check_json(text, from_bytes(text, os.fspath(path)))
        content = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        why = "it is nested too deep" if isinstance(error, RecursionError) else printable(error)
        raise ShapeError(f"{what} cannot be read from {printable(path)}: {why}") from None
    if not isinstance(content, dict):
        raise ShapeError(f"{what} cannot be read from {printable(path)}: it contains a {type(content).__name__}, not an object")
    return content


def checked_names(names: Names, what: str) -> dict[str, str]:
    """Return a mapping of names as a dict, empty for None; raises `ShapeError` for anything else."""
    if names is None:
        return {}
    if not isinstance(names, Mapping) or not all(isinstance(name, str) for pair in names.items() for name in pair):
        raise ShapeError(f"{what} must be a mapping of names to names, not {printable(names, 100)}")
    return dict(names)


def reversed_rule(pattern: str, template: str) -> tuple[str, str] | None:
    r"""Return the rule for the opposite direction, or None if a rule cannot be reversed.

    >>> reversed_rule(r"encoder\.(.*)", r"enc/\1")
    ('enc/(.*)', 'encoder.\\1')
    """
    groups = _GROUP.findall(pattern)
    plain = _GROUP.sub("\0", pattern)
    literal = re.sub(r"\\(.)", r"\1", plain)
    numbers = [int(number) for number in _REFERENCE.findall(template)]
    if re.search(r"[\[\]*+?|^${}]", plain.replace("\\", "")) or sorted(numbers) != list(range(1, len(groups) + 1)):
        return None
    parts = _REFERENCE.split(template)
    back = "".join(groups[int(part) - 1] if nth % 2 else re.escape(part) for nth, part in enumerate(parts))
    places = iter(numbers.index(nth) + 1 for nth in range(1, len(groups) + 1))
    return back.replace("\\/", "/"), re.sub("\0", lambda _: f"\\{next(places)}", literal)


def given_pairs(rules: Rules, pairs: Rules, sources: list[LayerWeights], targets: list[LayerWeights]) -> dict[str, str]:
    """Return the name of the target layer that names and rules assign to each source layer.

    A rule is a regular expression for the whole name of a layer or of a weight, and a template for the other net's
    name. A rule that matches no name of the source is reversed, so that one set of rules works in both directions. Raises
    `ShapeError` for a name that does not exist.
    """
    names = {name for layer in sources for name in _names(layer)}
    for name in pairs:
        if name not in names:
            raise ShapeError(f"pairs names {quoted(name)}, which is not a layer or weight of the source")
    if not rules and not pairs:
        return {}
    ways = [_compiled(pattern, template, names) for pattern, template in rules.items()]
    return dict(_given(ways, pairs, sources, targets))


def _compiled(pattern: str, template: str, names: Iterable[str]) -> tuple[Pattern, str]:
    try:
        rule = Pattern(pattern)
    except re.error as error:
        raise ShapeError(f"invalid rule {quoted(pattern)}, not a regular expression: {error}") from None
    back = None if any(map(rule.match, names)) else reversed_rule(pattern, template)
    return (Pattern(back[0]), back[1]) if back else (rule, template)


def _given(
    ways: list[tuple[Pattern, str]], pairs: Rules, sources: list[LayerWeights], targets: list[LayerWeights]
) -> Iterator[tuple[str, str]]:
    places: dict[str, int] = {}
    kinds = {is_other: _indexed(each for each in targets if (each.kind == "other") == is_other) for is_other in (False, True)}
    for layer in sources:
        own = _layer(layer)
        place = places[own] = places.get(own, -1) + 1
        # the name of a whole layer names each of its levels and directions, the name of one of them that one alone
        wanted = [(name, place if each == own else 0) for each in _names(layer) for name in _mapped(each, ways, pairs)]
        alike = kinds[layer.kind == "other"]
        partner = next((unit for name, nth in wanted if (unit := alike.layer_named(name, nth))), None)
        if partner is not None:
            yield layer.name, partner.name
        elif wanted and (layer.kind != "other" or not pairs.keys().isdisjoint(_names(layer))):
            # a rule may match an unassigned weight by chance
            raise ShapeError(_impossible(layer, wanted[0][0], targets))


def _impossible(layer: LayerWeights, name: str, targets: list[LayerWeights]) -> str:
    if _indexed(targets).layer_named(name, 0):
        return f"{quoted(layer.name)} was named for {quoted(name)}, but only one of them belongs to a layer"
    return f"{printable(layer.name)} is paired with {quoted(name)}, which the target does not have"


def _mapped(name: str, ways: list[tuple[Pattern, str]], pairs: Rules) -> Iterator[str]:
    if name in pairs:
        yield pairs[name]
    for rule, template in ways:
        if match := rule.match(name):
            yield expanded(match, template)


def _indexed(targets: Iterable[LayerWeights]) -> _Index:
    index = _Index({}, {})
    for layer in targets:
        index.split.setdefault(_layer(layer), []).append(layer)
        for name in (layer.name, *layer.weights):
            index.exact.setdefault(name, layer)
    return index


def _names(layer: LayerWeights) -> list[str]:
    return [*dict.fromkeys((layer.name, _layer(layer))), *layer.weights]


def _layer(layer: LayerWeights) -> str:
    return layer.graph_layer.name if layer.graph_layer else layer.name
