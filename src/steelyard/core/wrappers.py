"""Wrappers: the words that a module around another one puts before or into the names of its weights.

`DataParallel` puts "module." before every name, `torch.compile` "_orig_mod.", a training script "model." or any other word.
Others put a word into the middle, at each module that they wrap. If the names of two sides agree without the words of such
wrappers, that is evidence as good as equal names:

1. The names agree without one prefix a side.
2. They do so without the words that known wrappers put into the middle, or without words that only one side has.
3. No second prefix fits nearly as well, as where a file holds a net and its moving average; else the shapes decide, or nothing.

All steps take time linear in the number of names, apart from sorting them.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.roles import layer_of
from steelyard.errors import quoted

if TYPE_CHECKING:
    from steelyard.core.weight import Weight

    Shapes = Mapping[str, object]
    """The shape of each weight by its name."""

MIDDLE = (
    *("_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module", "_orig_mod", "_forward_module", "_original_module"),
    *("base_layer", "module"),
)
"""The words that FSDP, activation checkpointing, `torch.compile`, Fabric and PEFT put into the middle of names."""
_SEPARATORS = "./"
_PARTS = re.compile(r"([./])")
_ANCHORS = 16  # names of which the partners are searched for, to find the prefixes that may fit
_NEIGHBOURS = 4
_SAMPLE = 256  # names that a prefix must fit first
_TRIED = 4  # prefixes that are tried on all names


class Side(NamedTuple):
    """What the wrappers of one side put into its names: a `prefix`, and `words` in the middle."""

    prefix: str = ""
    words: tuple[str, ...] = ()


class Wrapping(NamedTuple):
    """The names that two sides share: the partner on the right of each name on the left, and what is left out on each side.

    `note` says what was left out, or that it is not known which prefix fits, in which case only equal names are partners.
    It is blank where the names agree as they are, or not at all.
    """

    names: Mapping[str, str]
    left: Side = Side()
    right: Side = Side()
    note: str = ""

    @property
    def is_found(self) -> bool:
        """Whether names agree only without the words of wrappers."""
        return self.left != self.right

    @property
    def hint(self) -> str:
        """What to say where names are not paired, as the end of a message: that they agree without the words of wrappers."""
        if not self.is_found:
            return f"; {self.note}" if self.note else ""
        return f'; names agree {self.note.removeprefix("names were paired ")}: match="suffix" pairs them so'

    def to_dict(self) -> dict[str, Any] | None:
        """Return what is left out on each side, for JSON; None where nothing is."""
        return {"left": self.left._asdict(), "right": self.right._asdict()} if self.is_found else None


class _Fit(NamedTuple):
    """The pairs of names that a pair of prefixes makes, and how many of these have equal shapes."""

    pairs: dict[str, str]
    alike: int
    prefixes: tuple[str, str]


def shapes_of(weights: Mapping[str, Weight]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of weights by their names."""
    return {name: weight.shape for name, weight in weights.items()}


def wrapping(left: Shapes, right: Shapes) -> Wrapping:
    """Return the names that two sides share, without the words of wrappers if they agree only without these.

    >>> found = wrapping({"module.0.weight": (2, 3), "module.0.bias": (2,)}, {"0.weight": (2, 3), "0.bias": (2,)})
    >>> found.names["module.0.bias"], found.note
    ('0.bias', "names were paired without their prefix 'module.' on the left")
    """
    equal = {name: name for name in left if name in right}
    fewer = min(len(left), len(right))
    if len(equal) == fewer:
        return Wrapping(equal)
    rests = [{name: shape for name, shape in side.items() if name not in equal} for side in (left, right)]
    # names that are mostly equal have no prefix; a part of the net may be wrapped all the same
    ways = _known_words(*rests) if 2 * len(equal) > fewer else _ways(*rests, are_partly_equal=bool(equal))
    best, note = Wrapping(equal), ""
    for words in ways:
        one, other = (_without(side, each) for side, each in zip(rests, words, strict=True))
        if one is None or other is None:
            continue  # without these words two names would be one
        fits = _partly_wrapped(one, other) if 2 * len(equal) > fewer else _fits(one, other)
        note = note or (_unclear(fits) if len(fits) > 1 else "")
        if len(fits) == 1 and len(equal) + len(fits[0].pairs) > len(best.names):
            named = {one[mine][0]: other[theirs][0] for mine, theirs in fits[0].pairs.items()}
            best = _described(equal | named, *map(Side, fits[0].prefixes, words))
        if len(best.names) == fewer:
            break
    return best if best.note else best._replace(note=note)


# Words in the middle of names.

_Plain = dict[str, tuple[str, object]]
"""The name as it is and the shape, by the name without the words of wrappers."""


def _ways(left: Shapes, right: Shapes, *, are_partly_equal: bool) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yield the words that may be left out in the middle of the names of each side: none, known ones, those of one side only.

    A prefix before every name explains most; but where some names are equal, a known wrapper around a part explains more.
    """
    ways = [((), ()), *_known_words(left, right)]
    yield from reversed(ways) if are_partly_equal else ways
    sides = [{word for name in side for word in _words(name)} for side in (left, right)]
    one, other = _inside(left) - sides[1], _inside(right) - sides[0]
    if bool(one) != bool(other) and not any(map(str.isdecimal, one | other)):  # words of both sides are other names
        yield tuple(sorted(one)), tuple(sorted(other))


def _known_words(left: Shapes, right: Shapes) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yield the words of known wrappers in the names of each side, if there are any."""
    one, other = (tuple(word for word in MIDDLE if word in words) for words in map(_inside, (left, right)))
    if one or other:
        yield one, other


def _words(name: str) -> list[str]:
    return name.replace("/", ".").split(".")


def _inside(names: Iterable[str]) -> set[str]:
    """Return the words of all names except for their first and last."""
    return {word for name in names for word in _words(name)[1:-1]}


def _without(side: Shapes, words: Sequence[str]) -> _Plain | None:
    """Return the names without these words in the middle; None if two of them become equal."""
    if not words:
        return {name: (name, shape) for name, shape in side.items()}
    left_out = frozenset(words)
    plain = {_unwrapped(name, left_out): (name, shape) for name, shape in side.items()}
    return plain if len(plain) == len(side) else None


def _unwrapped(name: str, words: frozenset[str]) -> str:
    """Return a name without these words in the middle; there may be thousands, too many for one regular expression."""
    first, *parts = _PARTS.split(name)  # each word after the first has its separator before it
    middle = zip(parts[1:-2:2], parts[2:-1:2], strict=True)
    kept = [f"{word}{mark}" for word, mark in middle if word not in words]
    return "".join([first, *parts[:1], *kept, *parts[-1:]])


# Prefixes.


def _partly_wrapped(left: _Plain, right: _Plain) -> list[_Fit]:
    """Return the pairs of names that are equal now, if their shapes are; empty if there are none."""
    fit = _fit(left, right, ("", ""))
    return [fit] if fit.pairs and fit.alike == len(fit.pairs) else []


def _fits(left: _Plain, right: _Plain) -> list[_Fit]:
    """Return the best pair of prefixes, together with those that fit nearly as well; empty if none is evidence."""
    swapped = len(right) < len(left)
    few, many = (right, left) if swapped else (left, right)
    candidates = _candidates(list(few), many)
    sample = list(few)[:: -(-len(few) // _SAMPLE)]
    ranked = sorted(sorted(candidates), key=lambda each: -len(_paired(sample, many, *each)))
    made = [_fit(few, many, each) for each in ranked[:_TRIED]]
    fits = sorted(filter(lambda fit: _is_evidence(fit, few), made), key=lambda fit: (-fit.alike, -len(fit.pairs)))
    near = [fit for fit in fits if 2 * fit.alike >= fits[0].alike]
    return [_turned(fit) for fit in near] if swapped else near


def _turned(fit: _Fit) -> _Fit:
    return _Fit({theirs: mine for mine, theirs in fit.pairs.items()}, fit.alike, (fit.prefixes[1], fit.prefixes[0]))


def _fit(few: _Plain, many: _Plain, prefixes: tuple[str, str]) -> _Fit:
    pairs = _paired(few, many, *prefixes)
    return _Fit(pairs, sum(few[mine][1] == many[theirs][1] for mine, theirs in pairs.items()), prefixes)


def _paired(names: Iterable[str], others: _Plain, mine: str, theirs: str) -> dict[str, str]:
    start = len(mine)
    made = ((name, theirs + name[start:]) for name in names if name.startswith(mine))
    return {name: other for name, other in made if other in others}


def _is_evidence(fit: _Fit, few: _Plain) -> bool:
    """Whether enough names agree: all of one side, or half of them and of their shapes; more where both sides have a prefix."""
    pairs, (mine, theirs) = fit.pairs, fit.prefixes
    if mine and theirs and len({layer_of(name[len(mine) :]) for name in pairs}) < 2:
        return False  # "a.weight" and "b.weight" are two names, not two wrappers
    if len(pairs) == len(few):
        return bool(pairs)
    return len(pairs) > 1 and 2 * fit.alike >= len(few)


def _candidates(few: Sequence[str], many: _Plain) -> set[tuple[str, str]]:
    """Return the pairs of prefixes without which some names of both sides agree."""
    backwards = sorted(name[::-1] for name in many)
    found: set[tuple[str, str]] = set()
    for anchor in few[:: -(-len(few) // _ANCHORS) or 1]:
        starts = [0, *(nth + 1 for nth, letter in enumerate(anchor) if letter in _SEPARATORS)]
        found |= {(anchor[:start], "") for start in starts if anchor[start:] in many}
        found |= _longest(anchor, backwards)
    return found


def _longest(anchor: str, backwards: Sequence[str]) -> set[tuple[str, str]]:
    """Return the prefixes before the longest end that a name has in common with others, whose letters are in reverse order."""
    back = anchor[::-1]
    at = bisect_left(backwards, back)
    near = backwards[max(at - _NEIGHBOURS, 0) : at + _NEIGHBOURS]
    ends = {other: _common_end(back, other) for other in near}
    longest = max(ends.values(), default=0)
    ended = [other for other, end in ends.items() if longest and end == longest]
    return {(anchor[: len(anchor) - longest], other[longest:][::-1]) for other in ended}


def _common_end(back: str, other: str) -> int:
    """Return the length of the longest end of whole words that two names have in common; both are in reverse order."""
    different = (nth for nth, (one, two) in enumerate(zip(back, other, strict=False)) if one != two)
    length = next(different, min(len(back), len(other)))
    while length and not all(length == len(each) or each[length] in _SEPARATORS for each in (back, other)):
        length = max(0, *(back.rfind(mark, 0, length) for mark in _SEPARATORS))
    return length


# Words of the notes.


def _described(names: Mapping[str, str], left: Side, right: Side) -> Wrapping:
    sides = (left, "left"), (right, "right")
    prefixes = [f"{_quoted([side.prefix])} on the {word}" for side, word in sides if side.prefix]
    words = [f"{_quoted(side.words)} inside names on the {word}" for side, word in sides if side.words]
    parts = [f"their prefix {' and '.join(prefixes)}"] * bool(prefixes) + [" and ".join(words)] * bool(words)
    return Wrapping(names, left, right, f"names were paired without {', and without '.join(parts)}")


def _unclear(fits: Sequence[_Fit]) -> str:
    shown = [" and ".join(_quoted([each]) for each in fit.prefixes if each) for fit in fits[:3]]
    return f"names agree without the prefix {' or '.join(shown)}, and it is not known which, so none was left out"


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(quoted(word) for word in words)
