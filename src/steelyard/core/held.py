"""How a model holds its weights: entries of dicts and lists, so that a layer or a variable that was replaced is noticed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import getitem, is_
from typing import TYPE_CHECKING, Any

from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from typing import TypeAlias

    Container: TypeAlias = "Mapping[Any, Any] | Sequence[Any]"


class Link:
    """The entry of a dict or a list that holds a part of a model; `above` is the entry of the part around it.

    `tree` has all entries that were listed with this one.
    """

    __slots__ = ("above", "container", "key", "part", "tree")

    def __init__(self, container: Container, key: Any, part: object, above: Link | None, tree: LinkTree | None = None) -> None:
        self.container = container
        self.key = key
        self.part = part
        self.above = above
        self.tree = tree

    def is_entry(self) -> bool:
        """Whether the container still holds the part; a list may have moved it."""
        container, part = self.container, self.part
        if type(container) is dict or isinstance(container, Mapping):
            return container.get(self.key) is part
        return any(each is part for each in container)


def is_held(link: Link | None) -> bool:
    """Whether the model still holds a part, by every entry from the part up to the model."""
    while link is not None:
        if not link.is_entry():
            return False
        link = link.above
    return True


def require_held(link: Link | None, name: str) -> None:
    """Raise `ShapeError` for a weight that the model does not hold any more."""
    if not is_held(link):
        raise replaced(name)


def require_at(model: object, path: Iterable[Any], part: object, name: str) -> None:
    """Raise `ShapeError` unless this part is where the model held it: a path of attributes, and of keys where there are none."""
    now: Any = model
    try:
        for key in path:
            is_attribute = isinstance(key, str) and not isinstance(now, Mapping) and hasattr(now, key)
            now = getattr(now, key) if is_attribute else now[key]
    except (LookupError, TypeError, AttributeError):
        now = None
    if now is not part:
        raise replaced(name)


def replaced(name: str) -> ShapeError:
    """Return the error for a weight that the model does not hold any more."""
    return ShapeError(
        f"the model holds another {printable(name) or 'variable'} now than was listed, or none; list the model's weights again"
    )


def entry_of(holder: object, part: object, listed: Sequence[Any], above: Link | None) -> Link | None:
    """Return the entry by which an object holds a part: an attribute, else a place in a list of its; None if it is in neither."""
    attributes = vars(holder)
    name = next((name for name, value in attributes.items() if value is part), None)
    if name is not None:
        return Link(attributes, name, part, above)
    return Link(listed, None, part, above) if any(each is part for each in listed) else None


class LinkTree:
    """The entries in plain dicts that hold the parts of one model, which are checked all at once."""

    __slots__ = ("_containers", "_keys", "_parts", "_seen")

    def __init__(self) -> None:
        self._containers: list[dict[Any, Any]] = []
        self._keys: list[Any] = []
        self._parts: list[object] = []
        self._seen: _Entries | None = None

    def link(self, container: dict[Any, Any], key: Any, part: object, above: Link | None) -> Link:
        """Add an entry."""
        self._containers.append(container)
        self._keys.append(key)
        self._parts.append(part)
        self._seen = None
        return Link(container, key, part, above, self)

    def is_whole(self) -> bool:
        """Whether every entry still holds its part."""
        if self._seen is not None and self._seen.are_same():
            return True
        try:
            whole = all(map(is_, map(getitem, self._containers, self._keys), self._parts))
        except KeyError:
            return False
        self._seen = _Entries(self._containers) if whole else None
        return whole


class _Entries:
    """All entries of many dicts as they were; a comparison takes a third of the time of a look-up of each."""

    __slots__ = ("_dicts", "_keys", "_values")

    def __init__(self, dicts: Iterable[dict[Any, Any]]) -> None:
        self._dicts = list({id(each): each for each in dicts}.values())
        self._keys = list(chain.from_iterable(self._dicts))
        self._values = list(chain.from_iterable(map(dict.values, self._dicts)))

    def are_same(self) -> bool:
        """Whether every dict still has these entries, in this order."""
        # the values by identity, since those of a user may define `==`
        same_keys = list(chain.from_iterable(self._dicts)) == self._keys
        return same_keys and all(map(is_, chain.from_iterable(map(dict.values, self._dicts)), self._values))


class Links:
    """The links of many weights, checked in little time: by their common tree, or each once."""

    __slots__ = ("_each", "_links", "_tree")

    def __init__(self, links: Iterable[Link | None]) -> None:
        self._links = list(links)
        trees = {link.tree for link in self._links if link is not None}
        self._tree = trees.pop() if len(trees) == 1 else None
        self._each: list[Link] | None = None

    def are_held(self) -> bool:
        """Whether every entry still holds its part."""
        if self._tree is not None and self._tree.is_whole():
            return True
        if self._each is None:  # the tree may have lost a part to which none of these weights belongs
            self._each = _with_those_above(self._links)
        return all(link.is_entry() for link in self._each)


def _with_those_above(links: Iterable[Link | None]) -> list[Link]:
    """Return each link once, with those above it."""
    seen: dict[Link, None] = {}
    level = dict.fromkeys(link for link in links if link is not None)
    while level:
        seen |= level
        level = dict.fromkeys([link.above for link in level if link.above is not None and link.above not in seen])
    return list(seen)
