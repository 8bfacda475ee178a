"""How a model holds its weights: entries of dicts and lists, so that a layer or a variable that was replaced is noticed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter, getitem, is_
from typing import TYPE_CHECKING, Any

from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from typing import TypeAlias

    Container: TypeAlias = "Mapping[Any, Any] | Sequence[Any]"


class Link:
    """The entry of a dict or a list that holds a part of a model; `above` is the entry of the part around it."""

    __slots__ = ("above", "container", "key", "part")

    def __init__(self, container: Container, key: Any, part: object, above: Link | None) -> None:
        self.container = container
        self.key = key
        self.part = part
        self.above = above

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


class Links:
    """The links of many weights, each once, so that all of them are checked in little time; those in plain dicts at once."""

    __slots__ = ("_containers", "_keys", "_others", "_parts")

    def __init__(self, links: Iterable[Link | None]) -> None:
        seen: dict[Link, None] = {}  # in the listed order, in which their memory is near
        level = dict.fromkeys(link for link in links if link is not None)
        while level:
            seen |= level
            level = dict.fromkeys([link.above for link in level if link.above is not None and link.above not in seen])
        self._others = [link for link in seen if type(link.container) is not dict]
        plain = [link for link in seen if type(link.container) is dict] if self._others else seen
        self._containers, self._keys, self._parts = ([*map(attrgetter(word), plain)] for word in ("container", "key", "part"))

    def are_held(self) -> bool:
        """Whether every entry still holds its part."""
        try:
            plain = all(map(is_, map(getitem, self._containers, self._keys), self._parts))
        except KeyError:
            return False
        return plain and all(link.is_entry() for link in self._others)
