"""TensorFlow's object graphs: the objects of a model, the names by which they hold each other, and their variables.

A checkpoint has an object graph next to its tensors. A SavedModel has another one, with the names of variables and
whether they are trainable; both are traversed together. The comments give the fields of each message by their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from steelyard.codecs.budget import Budget
from steelyard.codecs.protobuf import Field, message
from steelyard.storage.source import Source

_ASIDE = frozenset({"optimizer", "_optimizer", "keras_api", "save_counter", "signatures", "loss", "compiled_loss"})
"""Edges to the state of training, which is not part of the model."""


class Trackable(NamedTuple):
    """A trackable object: its named edges to others, and the key, the full name and the trainability of its variable."""

    edges: list[tuple[str, int]]
    key: str = ""
    full_name: str = ""
    trainable: bool | None = None
    has_slots: bool = False


# TrackableObjectGraph: 1 nodes, repeated
def checkpoint_graph(source: Source) -> list[Trackable]:
    """Parse the graph of a checkpoint. The first object is the root."""
    return _limited(source, (_checkpointed(field.message()) for field in message(source) if field.number == 1))


# SavedModel: 2 meta_graphs, repeated
# MetaGraphDef: 1 meta_info_def (5 tensorflow_version), 7 object_graph_def (1 nodes, repeated)
def saved_graph(source: Source) -> tuple[list[Trackable], str]:
    """Parse the graph of the first model in `saved_model.pb`, and the version of TensorFlow that wrote it."""
    version, nodes = "", []
    for model in _inside(message(source), 2):
        for field in model.message():
            if field.number == 1:
                version = next((inner.text() for inner in field.message() if inner.number == 5), version)
            elif field.number == 7:
                nodes = _limited(source, (_saved(inner.message()) for inner in _inside(field.message(), 1)))
        break
    return nodes, version


OBJECT_COST = 500
"""bytes of memory that an object of a graph takes"""


def _inside(fields: Iterable[Field], number: int) -> Iterator[Field]:
    return (field for field in fields if field.number == number)


def _limited(source: Source, nodes: Iterable[Trackable]) -> list[Trackable]:
    objects, budget = [], Budget(source)
    for node in nodes:
        budget.spend(OBJECT_COST)
        objects.append(node)
    return objects


# TrackableObject: 1 children, 2 attributes, 3 slot_variables, all repeated
# SerializedTensor: 1 name, 2 full_name, 3 checkpoint_key
def _checkpointed(fields: Iterable[Field]) -> Trackable:
    edges, key, full_name, has_slots = [], "", "", False
    for field in fields:
        if field.number == 1:
            edges.append(_edge(field))
        elif field.number == 2:
            texts = {inner.number: inner.text() for inner in field.message() if inner.number in (1, 2, 3)}
            if texts.get(1) == "VARIABLE_VALUE":
                key, full_name = texts.get(3, ""), texts.get(2, "")
        has_slots = has_slots or field.number == 3
    return Trackable(edges, key, full_name, None, has_slots)


# SavedObject: 1 children, repeated; 7 variable (3 trainable, 6 name)
def _saved(fields: Iterable[Field]) -> Trackable:
    edges, full_name, trainable = [], "", None
    for field in fields:
        if field.number == 1:
            edges.append(_edge(field))
        elif field.number == 7:
            inner = {fact.number: fact for fact in field.message()}
            full_name = inner[6].text() if 6 in inner else ""
            trainable = 3 in inner and bool(inner[3].unsigned())
    return Trackable(edges, "", full_name, trainable)


# ObjectReference: 1 node_id, 2 local_name
def _edge(field: Field) -> tuple[str, int]:
    inner = {fact.number: fact for fact in field.message()}
    return (inner[2].text() if 2 in inner else "", inner[1].signed() if 1 in inner else 0)


def reached(nodes: Sequence[Trackable], saved: Sequence[Trackable] = ()) -> Iterator[Trackable]:
    """Traverse the objects depth first from the root, each once, without optimizers and their state.

    Full names and trainability come from `saved`, the graph of the SavedModel, where it has the same object.
    """
    seen, stack = set(), [(0, 0 if saved else -1)]
    while stack:
        place, other = stack.pop()
        if place in seen or not 0 <= place < len(nodes):
            continue
        seen.add(place)
        node, known = nodes[place], saved[other] if 0 <= other < len(saved) else Trackable([])
        yield node._replace(full_name=known.full_name or node.full_name, trainable=known.trainable)
        others = dict(known.edges)
        stack += [(child, others.get(name, -1)) for name, child in reversed(_edges(nodes, node))]


def _edges(nodes: Sequence[Trackable], node: Trackable) -> list[tuple[str, int]]:
    names = {name for name, _ in node.edges}
    aside = _ASIDE | {"_all_variables"} if "variables" in names else _ASIDE  # Keras exports list each variable there again
    return [(name, child) for name, child in node.edges if name not in aside and not _is_optimizer(nodes, child)]


def _is_optimizer(nodes: Sequence[Trackable], place: int) -> bool:
    if not 0 <= place < len(nodes):
        return False
    names = {name for name, _ in nodes[place].edges}
    return nodes[place].has_slots or bool(names & {"iter", "_iterations"} and names & {"_learning_rate", "learning_rate"})
