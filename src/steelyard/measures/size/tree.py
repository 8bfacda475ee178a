"""The layers of a net as a tree by their names, in which repeated blocks are one node."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from steelyard.measures.size.tally import Tally, sum_of
from steelyard.text.rows import span

if TYPE_CHECKING:
    Held = tuple[tuple[str, Tally], ...]

_DEEPEST = 32
"""Maximum words of a name that are levels of the tree; a hostile one may have thousands."""
_SHARED = 8
"""The depth to which parts are compared with others, so that those that are alike are looked at once."""
_WORDS = re.compile(r"(?<!^)([./])")
"""What separates words; ONNX begins names with a slash, which separates nothing."""
APART = "\0"
"""Marks the name of a weight that does not begin with that of its layer."""
_COUNTED = re.compile(r"([^0-9]*)([0-9]{1,9})([^0-9]*)")
"""A word that may count up."""


class Layer(NamedTuple):
    """A layer, whose name begins with the names of the parts that it is in, and what it `held`: its weights with their tallies.

    A weight has the rest of its name after the layer's, or, if its name begins otherwise, `APART` and the whole name. Layers that
    hold the same, whatever their names, may have the same `held`.
    """

    name: str
    held: Held

    @property
    def names(self) -> list[str]:
        """The names of its weights."""
        return [rest.removeprefix(APART) if rest.startswith(APART) else self.name + rest for rest, _ in self.held]


class _Split(NamedTuple):
    """A layer with the words of its name, at even places with separators between them, and a number for what it holds."""

    words: list[str]
    layer: Layer
    held: int


class Node:
    """A layer, or a part of the net with several; one that stands for repeated parts has their sums, and counts them in `times`.

    `label` is its name within the node above, after the separator `mark`; `first` and `last` are the full names of the first and
    the last part that it stands for.
    """

    __slots__ = ("_children", "_moved", "first", "has_children", "key", "label", "last", "mark", "tally", "times")

    def __init__(
        self,
        label: str,
        names: tuple[str, str],
        tally: Tally,
        children: Sequence[Node] = (),
        *,
        mark: str = "",
        times: int = 1,
    ) -> None:
        self.label, self.mark = label, mark
        self.first, self.last = names
        self.tally = tally
        self.times = times
        self._children = children
        self._moved: tuple[int, str] | None = None  # how the names of the children are to be changed
        self.has_children = bool(children)
        self.key: object = tally, times, tuple((child.label, child.key) for child in children)
        """Equal for nodes that are alike in all but their names."""

    def moved(self, cut: int, above: str) -> Node:
        """Return the same node elsewhere: its names, and those below, begin with `above` in place of the first characters."""
        made = Node.__new__(Node)
        made.label, made.mark, made.tally, made.times = self.label, self.mark, self.tally, self.times
        made.first, made.last = above + self.first[cut:], above + self.last[cut:]
        made.has_children, made.key = self.has_children, self.key
        made._children, made._moved = self.children, (cut, above)
        return made

    @property
    def children(self) -> Sequence[Node]:
        """The nodes below."""
        if self._moved is not None:
            self._children = [child.moved(*self._moved) for child in self._children]
            self._moved = None
        return self._children

    @property
    def name(self) -> str:
        """The full name, with the numbers of repeated parts as [0-11]."""
        return span(self.first, self.last)

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Node]]:
        """Yield this node and those below it, each with its depth."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)


def tree_of(layers: Iterable[Layer]) -> list[Node]:
    """Return the nodes at the top: levels by the words of names, in the order of the layers, repeated parts as one.

    A level with a single node has no node of its own. A layer with others inside it has a node for each of its own weights.

    >>> net = [Layer(f"h.{n}.{word}", ((".w", Tally(size)),)) for n in range(12) for word, size in (("attn", 4), ("mlp", 8))]
    >>> [(depth, node.label, node.times, node.tally.parameters) for top in tree_of(net) for depth, node in top.walk()]
    [(0, 'h.[0-11]', 12, 144), (1, 'attn', 12, 48), (1, 'mlp', 12, 96)]
    """
    numbers: dict[Held, int] = {}
    of_object: dict[int, int] = {}  # most layers share theirs
    split = []
    for layer in layers:
        number = of_object.get(id(layer.held))
        if number is None:
            number = of_object[id(layer.held)] = numbers.setdefault(layer.held, len(numbers))
        split.append(_Split(_words(layer.name), layer, number))
    return [_short(node) for node in _folded(_level(split, 0))]


def _words(name: str) -> list[str]:
    """Return the words of a name, with the separators between them."""
    if "/" in name or name.startswith("."):
        return _WORDS.split(name, _DEEPEST)
    words = name.split(".", _DEEPEST)  # nearly every name, in a quarter of the time
    split = ["."] * (2 * len(words) - 1)
    split[::2] = words
    return split


def rest_of(weight: str, layer: str) -> str:
    r"""Return the rest of a weight's name after that of its layer, or `APART` and the name if it does not begin so.

    >>> rest_of("fc.weight", "fc"), rest_of("coefs_.0", "0")
    ('.weight', '\x00coefs_.0')
    """
    end = len(layer)
    return weight[end:] if weight.startswith(layer) and weight[end : end + 1] in (".", "/") else APART + weight


def _level(named: Sequence[_Split], depth: int) -> list[Node]:
    """Return the nodes of a level, before those that are alike are folded; what is below them is."""
    groups: dict[str, list[_Split]] = {}
    for each in named:
        groups.setdefault(each.words[2 * depth], []).append(each)
    if len(groups) == 1 or depth > _SHARED:
        return [_node(group, depth) for group in groups.values()]
    known: dict[object, Node] = {}
    return [_node(group, depth) if len(group) == 1 else _twin_or_node(group, depth, known) for group in groups.values()]


def _twin_or_node(named: Sequence[_Split], depth: int, known: dict[object, Node]) -> Node:
    """Return the node of some layers; if they have the names and the weights of earlier ones, that node with other names."""
    words = named[0].words
    name = "".join(words[: 2 * depth + 1])
    end = len(name)  # words may be those of `name` between other separators
    key = tuple([(own[end:] if (own := each.layer.name).startswith(name) else (own,), each.held) for each in named])
    if (node := known.get(key)) is None:
        node = known[key] = _node(named, depth)
        return node
    made = node.moved(len(node.first), name)
    made.label, made.mark = words[2 * depth], words[2 * depth - 1] if depth else ""
    return made


def _node(named: Sequence[_Split], depth: int) -> Node:
    """Return the node of layers that have their words up to this depth in common."""
    words = named[0].words
    label, mark = words[2 * depth], words[2 * depth - 1] if depth else ""
    name = "".join(words[: 2 * depth + 1])
    length = 2 * depth + 1
    ends = [each.layer for each in named if len(each.words) == length]
    inner = [each for each in named if len(each.words) > length] if ends else named
    if not inner:
        return Node(label, (name, name), sum_of(tally for _, tally in ends[0].held), mark=mark)
    children = [_own(rest, layer.name, tally) for layer in ends for rest, tally in layer.held]
    children += _level(inner, depth + 1)
    return Node(label, (name, name), sum_of(child.tally for child in children), _folded(children), mark=mark)


def _own(rest: str, layer: str, tally: Tally) -> Node:
    """Return the node of a weight of a layer that has others inside."""
    if rest.startswith(APART):
        name = rest.removeprefix(APART)
        return Node(name, (name, name), tally)
    return Node(rest[1:], (layer + rest, layer + rest), tally, mark=rest[:1])


def _folded(nodes: Sequence[Node]) -> list[Node]:
    """Fold neighbours that are alike and whose labels count up; what they contain is folded."""
    runs: list[list[Node]] = []
    for node in nodes:
        is_block = node.has_children or node.label.isdecimal()  # ln_1 and ln_2 are two layers of a block
        if is_block and runs and runs[-1][-1].key == node.key and _counts_up(runs[-1][-1].label, node.label):
            runs[-1].append(node)
        else:
            runs.append([node])
    return [run[0] if len(run) == 1 else _joined(run[0], run[-1], len(run), _range(run)) for run in runs]


def _range(run: Sequence[Node]) -> str:
    return span(run[0].label, run[-1].label)


def _counts_up(label: str, following: str) -> bool:
    """Whether two labels are equal up to a number that counts up.

    >>> _counts_up("block9", "block10"), _counts_up("1", "3")
    (True, False)
    """
    one, two = _COUNTED.fullmatch(label), _COUNTED.fullmatch(following)
    alike = one is not None and two is not None and one[1] == two[1] and one[3] == two[3]
    return alike and one is not None and two is not None and int(one[2]) + 1 == int(two[2])


def _joined(first: Node, last: Node, count: int, label: str) -> Node:
    """Return the node that stands for nodes that are alike, of which these are the first and the last."""
    below = [_joined(one, two, count, one.label) for one, two in zip(first.children, last.children, strict=True)]
    tally = Tally(*(count * each for each in first.tally))
    return Node(label, (first.first, last.last), tally, below, mark=first.mark, times=count * first.times)


def _short(node: Node) -> Node:
    """Leave out the levels that have a single node."""
    if not node.has_children:
        return node
    children = [_short(child) for child in node.children]
    names, label = (node.first, node.last), node.label
    if len(children) == 1:
        only = children[0]
        names, label, children = (only.first, only.last), f"{label}{only.mark}{only.label}", [*only.children]
        return Node(label, names, only.tally, children, mark=node.mark, times=only.times)
    return Node(label, names, node.tally, children, mark=node.mark, times=node.times)
