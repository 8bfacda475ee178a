"""ONNX: a protocol buffer of graphs. Weights are initializers and constants, under the names that operators use.

All graphs are read: those in attributes of nodes (branches, bodies), and functions. Where two graphs use the same name,
the path of the inner graph precedes its name. External data must be in the model's own folder. A written file is the
model that the weights were read from, with new numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.codecs.original import ORIGINAL, Original, original_of
from steelyard.codecs.protobuf import Replacement, looks_like_message, message, replaced
from steelyard.core.computation import with_computation
from steelyard.core.net_facts import with_derive
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import UNKNOWN, is_floating
from steelyard.errors import FormatError, printable, quoted
from steelyard.formats.onnx.computation import computation_of
from steelyard.formats.onnx.graph import graph_of
from steelyard.formats.onnx.listing import ListedTensor, listed_of, others_of
from steelyard.formats.onnx.messages import (
    GraphProto,
    ModelProto,
    SparseTensorProto,
    every_graph,
    model,
    undefined_inputs,
    value_info,
)
from steelyard.formats.onnx.qdq import qdq_replacements, without
from steelyard.formats.onnx.roles import Uses
from steelyard.formats.onnx.tensors import (
    ExternalFiles,
    external_range,
    in_place,
    reader_of,
    sparse_reader,
    stored_bytes,
    weights_of,
)
from steelyard.formats.onnx.writing import replacements, spliced
from steelyard.storage.atomic import replacing

if TYPE_CHECKING:
    from steelyard.core.computation import Computation
    from steelyard.core.effective import Pieces
    from steelyard.core.graph import Graph
    from steelyard.core.protocols import Scope
    from steelyard.formats.onnx.roles import Fact
    from steelyard.storage.source import Source

    Ranges = dict[tuple[int, int], Weight]

SUFFIXES = (".onnx",)

_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
"""The fields of a model, and their wire types."""
_FRAMEWORK = "ONNX"


def sniff(source: Source) -> bool:
    """Recognise a message by the fields of a model: ONNX has no magic number."""
    if not looks_like_message(source.head(2), _FIELDS):
        return False
    if source.name.lower().endswith(SUFFIXES):
        return True
    try:
        seen = set()
        for field in message(source):
            if _FIELDS.get(field.number) != field.wire:
                return False
            seen.add(field.number)
    except FormatError:
        return False
    return 7 in seen


def read(source: Source, scope: Scope) -> Weights:
    """List weights in the order of the graphs; scope "all" adds constants that hold shapes and axes, and all attributes."""
    decoded = model(source)
    others = others_of(decoded, source)
    weights, rest = _weights(decoded, others, source)
    weights += [each for each, entry in zip(rest, others.values(), strict=True) if scope == "all" or _is_weight(entry, each)]
    if not weights:
        _refuse_trees(decoded, source)
    meta = {**decoded.meta(), ORIGINAL: Original(source, _FRAMEWORK)}
    if undefined := undefined_inputs(decoded):
        meta["incomplete"] = [
            f"lacks the tensor {printable(name)}, which the node {printable(node)} takes" for name, node in undefined
        ]
    # a model may have hundreds of thousands of tensors: what else is known of them is decoded again when it is asked for
    found = Weights(weights, meta=meta, graph=lambda: _graph(source, weights))
    found = with_computation(found, lambda: _computation(source, weights))
    return with_derive(found, lambda pieces: _derive(source, pieces))


def _derive(source: Source, pieces: Pieces) -> Iterable[Weight]:
    from steelyard.formats.onnx.effective import derive

    decoded = model(source)
    names = {(entry.path, entry.own): entry.name for entry in listed_of(decoded, source).values()}
    return derive(decoded, names, pieces)


def _computation(source: Source, weights: Iterable[Weight]) -> Computation:
    decoded, named = model(source), {weight.name: weight for weight in weights}
    others = others_of(decoded, source)
    first, rest = _weights(decoded, others, source)
    constants = {weight.name: named[weight.name] for weight in first}
    constants |= {
        entry.own: named.get(entry.name, weight)
        for weight, entry in zip(rest, others.values(), strict=True)
        if entry.kind != "attribute" and not entry.path
    }
    return computation_of(decoded, constants)


def _graph(source: Source, weights: Iterable[Weight]) -> Graph:
    """Decode the model again, for its nodes. Where two tensors share a name, the outer one is used."""
    named = {weight.name: weight for weight in weights if is_floating(weight.dtype) or weight.role is not Role.OTHER}
    decoded, tensors = model(source), dict[str, Weight]()
    for entry in listed_of(decoded, source).values():
        if entry.name in named:
            tensors.setdefault(entry.own, named[entry.name])
    graphs = [(path, graph) for path, graph, training in every_graph(decoded) if not training]
    outer = next((graph for path, graph in graphs if not path), GraphProto())
    nodes = [(path, node) for path, graph in graphs for node in graph.nodes]
    held = {*outer.initializers.names} | {tensor.values.name for tensor in outer.sparse}
    inputs = {name: shape for name, shape in map(value_info, outer.inputs) if name not in held}
    return graph_of(nodes, tensors, inputs, {**dict(map(value_info, outer.values)), **inputs})


def _weights(decoded: ModelProto, others: dict[str, ListedTensor], source: Source) -> tuple[list[Weight], list[Weight]]:
    """Make the weights of the outermost graph's initializers, and of other tensors.

    They have roles by the operators that take them, else by their names.
    """
    files, uses, known = ExternalFiles(source), Uses(every_graph(decoded)), set[Weight]()

    def tell(weight: Weight, fact: Fact | None) -> None:
        if fact is not None:
            weight.role, weight.axes = fact[:2]
            weight.layer = weight.layer or fact[2]
            known.add(weight)

    first = weights_of(
        decoded.graph.initializers, files, lambda tensor: _weight(ListedTensor(tensor.name, tensor, "weight"), files)
    )
    for weight in first:
        if weight.name in uses.names:  # as most are not in a file of many
            tell(weight, uses.fact("", weight.name, weight.ndim))
    rest = [_weight(entry, files) for entry in others.values()]
    for weight, entry in zip(rest, others.values(), strict=True):
        own = (entry.role, entry.axes, "") if entry.role else None
        tell(weight, own or uses.fact(entry.path, entry.own, len(entry.tensor.dims)))
    infer_roles([each for each in chain(first, rest) if is_floating(each.dtype) and each not in known], in_place=True)
    return first, rest


def _weight(entry: ListedTensor, files: ExternalFiles) -> Weight:
    """Make a weight without a role."""
    tensor, name = entry.tensor, entry.name
    look = files.look(entry.values)
    if isinstance(tensor, SparseTensorProto):
        shape = tuple([max(dim, 0) for dim in tensor.dims[:64]])
        read, word = sparse_reader(tensor, files), f"sparse {look.word}"
    else:
        shape, word = look.shape, look.word
        read = in_place(tensor, look, files.source) or reader_of(tensor, files)
    return Weight(name=name, shape=shape, dtype=look.dtype, read=read, layer=layer_of(name), encoding=word)


def _is_weight(entry: ListedTensor, weight: Weight) -> bool:
    """Whether a tensor is a weight: initializers are, and constants of floats or those that an operator takes as a kernel."""
    if entry.kind == "constant":
        unknown = weight.dtype == UNKNOWN and weight.encoding != "STRING"
        return unknown or is_floating(weight.dtype) or weight.role in (Role.KERNEL, Role.RECURRENT_KERNEL, Role.EMBEDDING)
    return entry.kind == "weight"


def _refuse_trees(decoded: ModelProto, source: Source) -> None:
    trees = {node.op for _, graph, _ in every_graph(decoded) for node in graph.nodes if node.op.startswith("TreeEnsemble")}
    if trees:
        raise FormatError(source.name, f"holds a tree model ({', '.join(sorted(trees))}), which has no network weights")


def write(weights: Weights, path: Path) -> None:
    """Write the model that the weights were read from, with these numbers. Weights that are left out stay unchanged.

    Initializers that `steelyard.quantize` has quantised go through a DequantizeLinear.
    Raises `FormatError` for weights that were not read from an ONNX model, or do not fit it.
    """
    source = original_of(
        weights,
        _FRAMEWORK,
        path,
        "an ONNX file needs the graph of a model, which these weights do not have; "
        "read the model with steelyard.weights, and save the result of its from_vector",
    )
    listed = listed_of(model(source), source)
    changed: list[Replacement] = qdq_replacements(weights, source, str(path))
    files: dict[str, Ranges] = {}
    for entry, weight in _pairs(listed, without(weights), source, path):
        if isinstance(entry.tensor, SparseTensorProto):
            raise FormatError(str(path), f"{printable(weight.name)} is stored sparse, and cannot be written; leave it out")
        if entry.tensor.external is None:
            changed += replacements(entry.tensor, weight)
        else:
            extent = external_range(entry.tensor, stored_bytes(entry.tensor, weight.dtype), source.name)
            files.setdefault(entry.tensor.external.get("location", ""), {})[extent] = weight
    _write_files(_locations(listed), files, source, path)
    with replacing(path) as file:
        file.writelines(replaced(source, changed))


def _pairs(
    listed: dict[str, ListedTensor], weights: Weights, source: Source, path: Path
) -> Iterator[tuple[ListedTensor, Weight]]:
    """Pair the weights that have changed with the tensors that they replace."""
    decoded = model(source)
    before = {weight.name: weight for weight in chain(*_weights(decoded, others_of(decoded, source), source))}
    for weight in weights.values():
        old = before.get(weight.name)
        if old is None:
            raise FormatError(str(path), f"the original model has no weight called {quoted(weight.name)}")
        if (old.shape, old.dtype) != (weight.shape, weight.dtype):
            raise FormatError(
                str(path),
                f"{printable(weight.name)} is {list(old.shape)} {old.dtype} in the original model, "
                f"but {list(weight.shape)} {weight.dtype} here",
            )
        if not _is_same(old, weight):
            yield listed[weight.name], weight


def _is_same(old: Weight, new: Weight) -> bool:
    """Whether two weights of the same shape and dtype have the same bytes."""
    return all(before.tobytes() == after.tobytes() for before, after in zip(old.blocks(), new.blocks(), strict=True))


def _locations(listed: dict[str, ListedTensor]) -> list[str]:
    tensors = [entry.values for entry in listed.values()]
    return list(dict.fromkeys(tensor.external.get("location", "") for tensor in tensors if tensor.external is not None))


def _write_files(locations: list[str], files: dict[str, Ranges], source: Source, path: Path) -> None:
    """Write external data next to the new model, unless another model there uses the same file."""
    originals = ExternalFiles(source)
    old, new = Path(source.path or source.name).resolve(), path.resolve()
    for location in locations:
        beside = old.parent == new.parent
        if beside and location not in files:
            continue
        # two models in one folder may share the file of their numbers
        if beside and old != new:
            raise FormatError(
                str(path), f"its new numbers would change {quoted(location)}, which {old.name} uses; save to another folder"
            )
        target = new.parent / location
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            file.writelines(spliced(originals.file(location), files.get(location, {})))
