"""The architecture of a net: its layers in order, as far as a graph is known, with repeated blocks as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.graph import Graph, Shape
from steelyard.errors import ShapeError
from steelyard.io import weights as weights_of
from steelyard.measures.architecture.layers import Member, folded, members_of
from steelyard.measures.architecture.words import common_part, name_of_run, what
from steelyard.measures.size import counted_weights, layers_of, total_of
from steelyard.measures.size.tally import sum_of
from steelyard.measures.size.tree import tree_of
from steelyard.text import tabular

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard.core.weight import Weight
    from steelyard.measures.architecture.folding import Group
    from steelyard.measures.size import Counted
    from steelyard.measures.size.tree import Node

ABOVE, BLOCK_INPUT = "above", "the block's input"
"""How `LayerRow.sources` name the layer of the row above, and the one before a repeated block."""


class LayerRow(NamedTuple):
    """A layer, or a repeated block of several, one deeper in `depth` than the block that it is in.

    `times` is how many layers of the net the row stands for, or how many times a block is there, which has several `layers`.
    `label` is the name within the block. `what` describes the layer; `kind` and `class_name` are those of the graph. `shapes`
    are those of its weights by their last words. `inputs` are the names of the layers that feed its first repetition, in order;
    None if they are not known. `sources` are the same in words that hold for each repetition: "above" for the layer of
    the row above, "the block's input", or the name within the block. `parameters` are those of all repetitions, and `share` that
    of all parameters.
    """

    name: str
    label: str
    depth: int
    times: int
    layers: int
    what: str
    kind: str
    class_name: str
    shapes: Mapping[str, tuple[int, ...]]
    input_shape: Shape | None
    output_shape: Shape | None
    inputs: tuple[str, ...] | None
    sources: tuple[str, ...]
    parameters: int
    buffers: int
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain Python."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        ends: dict[str, Any] = {"input_shape": _listed(self.input_shape), "output_shape": _listed(self.output_shape)}
        return {
            **self._asdict(),
            "shapes": shapes,
            **ends,
            "inputs": self.inputs and list(self.inputs),
            "sources": list(self.sources),
        }


def _as_texts(row: LayerRow) -> dict[str, str | None]:
    """Return the shapes and names of a row as texts, each for one cell of a table."""
    shapes = ", ".join(f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in row.shapes.items())
    inputs = None if row.inputs is None else ", ".join(row.inputs)
    return {"shapes": shapes, "inputs": inputs, "sources": ", ".join(row.sources)}


def _listed(shape: Shape | None) -> list[int | None] | None:
    return None if shape is None else list(shape)


class Architecture:
    """The layers of a net; printed as a table with a row for each, in which repeated blocks are folded.

    `order` is "execution" if the layers are in the order in which they run, "definition" if that is not known, and "names" if
    no graph is known: the rows are then the tree of layers by their names. `why` says why the order is not known. `inputs` are
    the shapes of the net's inputs by name, None if they are not known; `outside` are weights that belong to no layer of the
    graph.
    """

    __slots__ = ("inputs", "order", "outside", "parameters", "rows", "why")

    def __init__(
        self,
        rows: Sequence[LayerRow],
        order: str,
        parameters: int,
        *,
        why: str = "",
        inputs: Mapping[str, Shape | None] | None = None,
        outside: Sequence[str] = (),
    ) -> None:
        self.rows = tuple(rows)
        self.order = order
        self.parameters = parameters
        self.why = why
        self.inputs = dict(inputs or {})
        self.outside = tuple(outside)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[LayerRow]:
        return iter(self.rows)

    def __repr__(self) -> str:
        from steelyard.text.architectures import architecture_text

        return architecture_text(self)

    def _repr_html_(self) -> str:
        from steelyard.text.results import architecture_html

        return architecture_html(self)

    def to_records(self) -> list[dict[str, Any]]:
        """Return the rows as plain Python; what a block contains follows it, one deeper."""
        return [row.to_dict() for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python, for JSON."""
        inputs = {name: _listed(shape) for name, shape in self.inputs.items()}
        facts = {"order": self.order, "why": self.why, "parameters": self.parameters, "inputs": inputs}
        return {**facts, "outside": list(self.outside), "rows": self.to_records()}

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the rows as columns; a cell of `shapes` is such as "kernel 3x4, bias 4", and names have commas between them."""
        from steelyard.text.frames import columns_of

        return columns_of({**row.to_dict(), **_as_texts(row)} for row in self.rows)

    to_frame = tabular.to_frame
    write = tabular.write


def architecture(source: object, probe: Any = None) -> Architecture:
    """Return the layers of a net in order, with what each is, its shapes, its inputs and its parameters.

    Keras models and files, ONNX, TensorFlow Lite, scikit-learn and R have the order in which layers run, and what feeds each.
    A live PyTorch module has the order of definition; with a `probe`, inputs of the net as an array or a list of these, it is run
    once, and the layers and functions are those of this run. Where no graph is known, as in a state dict, the rows are the tree
    of layers by their names. Layers that repeat, alone or as blocks, are one row each. No number of a file is read.

    Raises the errors of `weights`, and `ShapeError` for a probe of what cannot be run.

    Examples:
        >>> import torch
        >>> net = torch.nn.Sequential(*[torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU()) for _ in range(3)])
        >>> found = architecture(net)
        >>> [(row.name, row.times, row.what, row.parameters) for row in found]
        [('[0-2]', 3, '', 216), ('[0-2].0', 3, 'dense', 216), ('[0-2].1', 3, 'relu', 0)]
        >>> found.order
        'execution'
    """
    weights = weights_of(source)
    graph = weights.graph if probe is None else _observed(source, probe)
    counted = list(counted_weights(weights))
    parameters = total_of(counted).parameters
    if graph is None or not graph.layers:
        return Architecture(list(_tree_rows(counted, parameters)), "names", parameters, why=weights.why_no_graph)
    members, outside = members_of(graph, counted)
    rows = _Rows(graph, members, parameters)
    shapes = graph.input_shapes or (None,) * len(graph.input_names)
    unordered = weights.has_model and not graph.is_execution_order
    return Architecture(
        list(rows.of(folded(graph, members))),
        "execution" if graph.is_execution_order else "definition",
        parameters,
        why="architecture(net, probe=inputs) runs the net once to see it" if unordered else "",
        inputs=dict(zip(graph.input_names, shapes, strict=False)),
        outside=[weight.name for weight in outside],
    )


def _observed(source: object, probe: Any) -> Graph | None:
    """Return the graph of a run of a live net with these inputs."""
    import numpy as np

    from steelyard.transfers.endpoints import Endpoint

    end = Endpoint(source)
    if not end.runs:
        raise ShapeError(f"a probe needs a live net that can be run, which {end.name} is not; pass probe=None")
    end.observe([np.asarray(each) for each in (probe if isinstance(probe, (list, tuple)) else [probe])])
    return end.net.graph


class _Rows:
    """Makes the rows of groups of layers."""

    __slots__ = ("graph", "members", "parameters", "places")

    def __init__(self, graph: Graph, members: Sequence[Member], parameters: int) -> None:
        self.graph = graph
        self.members = members
        self.parameters = parameters
        self.places = {member.layer.name: nth for nth, member in enumerate(members)}

    def of(self, groups: Sequence[Group], begins: Sequence[int] = (0,), depth: int = 0, above: str = "") -> Iterator[LayerRow]:
        """Yield the rows of groups, which lie in a block that begins at these places."""
        for group in groups:
            offset = group.start - begins[0]
            starts = [begin + offset + group.length * nth for begin in begins for nth in range(group.times)]
            if not group.parts:
                yield self._layer(starts, depth, above, begins[0] if depth else 0)
                continue
            if group.times == 1:
                yield from self.of(group.parts, starts, depth, above)
                continue
            prefix = self._common(group, starts)
            yield self._block(group, starts, depth, prefix, above)
            yield from self.of(group.parts, starts, depth + 1, prefix or above)

    def _common(self, group: Group, starts: Sequence[int]) -> str:
        """Return what the names of a block's layers have in common; functions between them have names of their own."""
        names = [self._name(offset, starts) for offset in range(group.length)]
        weighty = [name for offset, name in enumerate(names) if self.members[group.start + offset].weights]
        return common_part([name for name in names if "." in name or "/" in name]) or common_part(weighty)

    def _name(self, offset: int, starts: Sequence[int]) -> str:
        return name_of_run([self.members[start + offset].layer.name for start in starts])

    def _block(self, group: Group, starts: Sequence[int], depth: int, prefix: str, above: str) -> LayerRow:
        tallies = (t for s in starts for m in self.members[s : s + group.length] for _, t in m.weights.values())
        total = sum_of(tallies)
        name = prefix[:-1] or f"block of {group.length:,} layers"
        label = name.removeprefix(above) if prefix else name
        facts = "", "", "", dict[str, tuple[int, ...]](), None, None, None, ()
        return LayerRow(name, label, depth, len(starts), group.length, *facts, *self._counts(total.parameters, total.buffers))

    def _layer(self, starts: Sequence[int], depth: int, above: str, begin: int) -> LayerRow:
        member = self.members[starts[0]]
        layer = member.layer
        name = self._name(0, starts)
        total = sum_of(tally for start in starts for _, tally in self.members[start].weights.values())
        shapes = {_leaf(weight): weight.shape for weight, _ in member.weights.values()}
        sources = tuple(self._source(each, above, begin if depth else None, starts[0]) for each in layer.inputs or ())
        facts = what(layer), layer.kind, layer.class_name, shapes, layer.input_shape, layer.output_shape, layer.inputs, sources
        is_function = "#" in self.members[starts[-1]].layer.name  # which is named as inputs name it
        label = layer.name if is_function else name.removeprefix(above) or name
        return LayerRow(name, label, depth, len(starts), 1, *facts, *self._counts(total.parameters, total.buffers))

    def _source(self, name: str, above: str, begin: int | None, start: int) -> str:
        """Name a layer that feeds the one at `start`, in a block that begins at `begin`, as it is named there."""
        place = self.places.get(name, -1 if name in self.graph.input_names[:1] else -2)
        if place == start - 1:
            return ABOVE
        if begin is not None and place == begin - 1:
            return BLOCK_INPUT
        if begin is None or place < begin:
            return name
        return _after(name, above)

    def _counts(self, parameters: int, buffers: int) -> tuple[int, int, float]:
        return parameters, buffers, parameters / self.parameters if self.parameters else 0.0


def _after(name: str, above: str) -> str:
    """Return a name without as many words as the name of its block has, if it has more.

    >>> _after("h.0.attn.c_proj", "h.[0-11]."), _after("add#2", "h.[0-11].")
    ('attn.c_proj', 'add#2')
    """
    words = sum(letter in "./" for letter in above)
    ends = [place for place, letter in enumerate(name) if letter in "./"]
    return name[ends[words - 1] + 1 :] if 0 < words <= len(ends) else name


def _leaf(weight: Weight) -> str:
    return weight.name[len(weight.layer) :].lstrip("./") if weight.name.startswith(weight.layer) else weight.name


def _tree_rows(counted: Sequence[Counted], parameters: int) -> Iterator[LayerRow]:
    """Yield the tree of layers by their names, with the shapes of their weights."""
    layers = layers_of(counted)
    weights = {weight.name: weight for weight, _, _ in counted}
    held = {layer.name: {_leaf(weights[name]) or name: weights[name].shape for name in layer.names} for layer in layers}
    for depth, node in (found for top in tree_of(layers) for found in top.walk()):
        yield _tree_row(node, depth, held.get(node.first, {}) if not node.children else {}, parameters)


def _tree_row(node: Node, depth: int, shapes: Mapping[str, tuple[int, ...]], parameters: int) -> LayerRow:
    own = node.tally
    share = own.parameters / parameters if parameters else 0.0
    facts = "", "", "", shapes, None, None, None, ()
    below = sum(not inner.children for _, inner in node.walk()) if node.children else 1
    return LayerRow(node.name, node.label, depth, node.times, below, *facts, own.parameters, own.buffers, share)
