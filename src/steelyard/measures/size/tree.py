"""The layers of a net as a tree by their names, in which repeated blocks are one node."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from steelyard.measures.size.tally import Tally, sum_of
from steelyard.text.rows import span

_DEEPEST = 32
"""Maximum words of a name that are levels of the tree; a hostile one may have thousands."""
_WORDS = re.compile(r"(?<!^)([./])")
"""What separates words; ONNX begins names with a slash, which separates nothing."""
_COUNTED = re.compile(r"([^0-9]*)([0-9]{1,9})([^0-9]*)")
"""A word that may count up."""


class Layer(NamedTuple):
    """A layer, whose name begins with the names of the parts that it is in, and the tally of each weight by its full name."""

    name: str
    weights: Mapping[str, Tally]


class Node:
    """A layer, or a part of the net with several; one that stands for repeated parts has their sums, and counts them in `times`.

    `label` is its name within the node above, after the separator `mark`; `first` and `last` are the full names of the first and
    the last part that it stands for.
    """

    __slots__ = ("children", "first", "key", "label", "last", "mark", "tally", "times")

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
        self.children = children
        self.times = times
        self.key: object = tally, times, tuple((child.label, child.key) for child in children)
        """Equal for nodes that are alike in all but their names."""

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

    >>> net = [Layer(f"h.{n}.{word}", {"w": Tally(size)}) for n in range(12) for word, size in (("attn", 4), ("mlp", 8))]
    >>> [(depth, node.label, node.times, node.tally.parameters) for top in tree_of(net) for depth, node in top.walk()]
    [(0, 'h.[0-11]', 12, 144), (1, 'attn', 12, 48), (1, 'mlp', 12, 96)]
    """
    named = [(_WORDS.split(layer.name, _DEEPEST), layer) for layer in layers]
    return [_short(node) for node in _folded(_level(named, 0))]


def _level(named: list[tuple[list[str], Layer]], depth: int) -> list[Node]:
    """Return the nodes of a level; words are at even places of a name, with separators between them."""
    groups: dict[str, list[tuple[list[str], Layer]]] = {}
    for words, layer in named:
        groups.setdefault(words[2 * depth], []).append((words, layer))
    return [_node(group, depth) for group in groups.values()]


def _node(named: list[tuple[list[str], Layer]], depth: int) -> Node:
    """Return the node of layers that have their words up to this depth in common."""
    words = named[0][0]
    label, mark = words[2 * depth], words[2 * depth - 1] if depth else ""
    name = "".join(words[: 2 * depth + 1])
    ends = [layer for own, layer in named if len(own) == 2 * depth + 1]
    inner = [(own, layer) for own, layer in named if len(own) > 2 * depth + 1]
    if not inner:
        return Node(label, (name, name), sum_of(ends[0].weights.values()), mark=mark)
    children = [_own(weight, name, tally) for layer in ends for weight, tally in layer.weights.items()]
    children += _level(inner, depth + 1)
    return Node(label, (name, name), sum_of(child.tally for child in children), children, mark=mark)


def _own(weight: str, layer: str, tally: Tally) -> Node:
    """Return the node of a weight of a layer that has others inside."""
    within = weight.startswith(layer) and weight[len(layer) : len(layer) + 1] in (".", "/")
    cut = len(layer) if within else 0
    return Node(weight[cut + within :], (weight, weight), tally, mark=weight[cut : cut + within])


def _folded(nodes: Sequence[Node]) -> list[Node]:
    """Fold neighbours that are alike and whose labels count up, after what they contain."""
    runs: list[list[Node]] = []
    for node in nodes:
        inner = _like(node, node.label, [node], _folded(node.children)) if node.children else node
        is_block = bool(node.children) or node.label.isdecimal()  # ln_1 and ln_2 are two layers of a block
        if is_block and runs and runs[-1][-1].key == inner.key and _counts_up(runs[-1][-1].label, inner.label):
            runs[-1].append(inner)
        else:
            runs.append([inner])
    return [run[0] if len(run) == 1 else _joined(run, span(run[0].label, run[-1].label)) for run in runs]


def _counts_up(label: str, following: str) -> bool:
    """Whether two labels are equal up to a number that counts up.

    >>> _counts_up("block9", "block10"), _counts_up("1", "3")
    (True, False)
    """
    one, two = _COUNTED.fullmatch(label), _COUNTED.fullmatch(following)
    alike = one is not None and two is not None and one[1] == two[1] and one[3] == two[3]
    return alike and one is not None and two is not None and int(one[2]) + 1 == int(two[2])


def _joined(run: Sequence[Node], label: str) -> Node:
    """Return the node that stands for nodes that are alike."""
    below = zip(*(node.children for node in run), strict=True)
    return _like(run[0], label, run, [_joined(same, same[0].label) for same in below])


def _like(node: Node, label: str, run: Sequence[Node], children: Sequence[Node]) -> Node:
    names = run[0].first, run[-1].last
    return Node(label, names, sum_of(each.tally for each in run), children, mark=node.mark, times=sum(n.times for n in run))


def _short(node: Node) -> Node:
    """Leave out the levels that have a single node."""
    if not node.children:
        return node
    children = [_short(child) for child in node.children]
    if len(children) != 1:
        return _like(node, node.label, [node], children)
    return _like(node, f"{node.label}{children[0].mark}{children[0].label}", children, children[0].children)
