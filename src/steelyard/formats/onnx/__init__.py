"""ONNX: a protocol buffer of graphs. Weights are initializers and constants, under the names that operators use.

All graphs are read: those in attributes of nodes (branches, bodies), and functions. Where two graphs use the same name,
the path of the inner graph precedes its name. External data must be in the model's own folder. A written file is the
model that the weights were read from, with new numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from steelyard.formats.onnx.messages import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    every_graph,
    model,
    undefined_inputs,
    value_info,
)
from steelyard.formats.onnx.qdq import qdq_replacements, without
from steelyard.formats.onnx.roles import Uses
from steelyard.formats.onnx.tensor_records import FLOATS, LONGS, TensorProto
from steelyard.formats.onnx.tensors import (
    ExternalFiles,
    count,
    count_integers,
    external_range,
    in_place,
    reader_of,
    sparse_reader,
    stored_bytes,
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
_ML = "ai.onnx.ml"
_LINEAR = ("LinearClassifier", "LinearRegressor")
_SUPPORT = ("SVMClassifier", "SVMRegressor")
_ROLES = {"coefficients": Role.KERNEL, "intercepts": Role.BIAS, "rho": Role.BIAS, "offset": Role.OFFSET, "scale": Role.SCALE}
_FRAMEWORK = "ONNX"


class _ListedTensor:
    """A tensor that is listed as `name`; `own` is its name in its graph, whose path is `path`.

    `kind` is "weight", "constant" (a node's output, which may be a weight) or "attribute" (listed in scope "all" only).
    `role` is set where the tensor's own node determines it.
    """

    __slots__ = ("axes", "kind", "name", "own", "path", "role", "tensor")

    def __init__(
        self, name: str, tensor: TensorProto | SparseTensorProto, kind: str, role: Role | None = None, axes: str = ""
    ) -> None:
        self.name = self.own = name
        self.path = ""
        self.tensor = tensor
        self.kind = kind
        self.role = role
        self.axes = axes

    @property
    def values(self) -> TensorProto:
        """The tensor with the stored elements."""
        return self.tensor.values if isinstance(self.tensor, SparseTensorProto) else self.tensor


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
    listed = _listed(decoded, source)
    weights = [weight for weight, entry in _weights(decoded, listed, source) if scope == "all" or _is_weight(entry, weight)]
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
    names = {(entry.path, entry.own): entry.name for entry in _listed(decoded, source).values()}
    return derive(decoded, names, pieces)


def _computation(source: Source, weights: Iterable[Weight]) -> Computation:
    decoded, named = model(source), {weight.name: weight for weight in weights}
    constants = {
        entry.own: named.get(entry.name, weight)
        for weight, entry in _weights(decoded, _listed(decoded, source), source)
        if entry.kind != "attribute" and not entry.path
    }
    return computation_of(decoded, constants)


def _graph(source: Source, weights: Iterable[Weight]) -> Graph:
    """Decode the model again, for its nodes. Where two tensors share a name, the outer one is used."""
    named = {weight.name: weight for weight in weights if is_floating(weight.dtype) or weight.role is not Role.OTHER}
    decoded, tensors = model(source), dict[str, Weight]()
    for entry in _listed(decoded, source).values():
        if entry.name in named:
            tensors.setdefault(entry.own, named[entry.name])
    graphs = [(path, graph) for path, graph, training in every_graph(decoded) if not training]
    outer = next((graph for path, graph in graphs if not path), GraphProto())
    nodes = [(path, node) for path, graph in graphs for node in graph.nodes]
    held = {tensor.name for tensor in outer.initializers} | {tensor.values.name for tensor in outer.sparse}
    inputs = {name: shape for name, shape in map(value_info, outer.inputs) if name not in held}
    return graph_of(nodes, tensors, inputs, {**dict(map(value_info, outer.values)), **inputs})


def _listed(decoded: ModelProto, source: Source) -> dict[str, _ListedTensor]:
    """Return every tensor by the name of its weight."""
    listed: dict[str, _ListedTensor] = {}
    for path, graph, training in every_graph(decoded):
        for entry in _tensors(graph, source):
            entry.path = path
            # the graphs of training hold gradients and optimizer state
            entry.kind = "attribute" if training else entry.kind
            if entry.name in listed and listed[entry.name].path != path:
                entry.name = f"{path}/{entry.name}"
            if entry.name in listed:
                raise FormatError(source.name, f"duplicate tensor name {quoted(entry.name)}; the model is ambiguous")
            listed[entry.name] = entry
    return listed


def _tensors(graph: GraphProto, source: Source) -> Iterator[_ListedTensor]:
    for tensor in graph.initializers:
        yield _ListedTensor(tensor.name, tensor, "weight")
    for sparse in graph.sparse:
        yield _ListedTensor(sparse.values.name, sparse, "weight")
    for node in graph.nodes:
        if node.domain == _ML:
            yield from _linear(node)
        for attribute in node.attributes.values():
            yield from _constants(node, attribute, source)


def _constants(node: NodeProto, attribute: AttributeProto, source: Source) -> Iterator[_ListedTensor]:
    """List the tensors of an attribute; the value of a Constant has the name of the node's output."""
    constant = node.op == "Constant" and node.domain in ("", "ai.onnx") and bool(node.outputs)
    name, kind = (node.outputs[0], "constant") if constant else (f"{node.label()}.{attribute.name}", "attribute")
    if constant and attribute.name in ("value_float", "value_floats", "value_int", "value_ints") and attribute.elements:
        yield _ListedTensor(name, _from_numbers(attribute, source), kind)
    held: list[TensorProto | SparseTensorProto] = [*attribute.tensors, *attribute.sparse]
    for place, tensor in enumerate(held):
        yield _ListedTensor(f"{name}.{place}" if len(held) > 1 else name, tensor, kind)


def _from_numbers(attribute: AttributeProto, source: Source) -> TensorProto:
    """Make a tensor of an attribute with one number or a list of numbers."""
    tensor = TensorProto()
    tensor.name, tensor.elements = attribute.name, attribute.elements
    # fields of AttributeProto: 2 f, 7 floats; 3 i, 8 ints
    real = attribute.elements[0].number in (2, 7)
    tensor.kind = 1 if real else 7
    for run in tensor.elements:
        run.field = FLOATS if real else LONGS
    if attribute.name.endswith("s"):
        tensor.dims = [sum(map(count, tensor.elements)) if real else count_integers(tensor.elements, source)]
    return tensor


def _linear(node: NodeProto) -> Iterator[_ListedTensor]:
    """List the weights of a linear model, a support vector machine or a scaler, with one row for each output."""
    if node.op not in (*_LINEAR, *_SUPPORT, "Scaler"):
        return
    # the coefficients of a curved kernel multiply support vectors, not inputs
    curved = node.op in _SUPPORT and _text(node, "kernel_type") not in ("", "LINEAR")
    held = {name: _floats(node.attributes[name]) for name in _ROLES if _has_floats(node, name)}
    rows = held["intercepts"].dims[0] if "intercepts" in held else _rows(node)
    for name, tensor in held.items():
        if name == "coefficients" and node.op in _LINEAR and rows and tensor.dims[0] % rows == 0:
            tensor.dims = [rows, tensor.dims[0] // rows]
        axes = "out in" if len(tensor.dims) == 2 else "out" if name == "intercepts" else ""
        kind = "attribute" if curved or node.op == "Scaler" else "weight"
        yield _ListedTensor(f"{node.label()}.{name}", tensor, kind, Role.OTHER if curved else _ROLES[name], axes)


def _has_floats(node: NodeProto, name: str) -> bool:
    return name in node.attributes and bool(node.attributes[name].elements) and node.attributes[name].elements[0].number == 7


def _floats(attribute: AttributeProto) -> TensorProto:
    tensor = TensorProto()
    tensor.name, tensor.elements, tensor.kind = attribute.name, attribute.elements, 1
    for run in tensor.elements:
        run.field = FLOATS
    tensor.dims = [sum(map(count, tensor.elements))]
    return tensor


def _rows(node: NodeProto) -> int:
    targets = node.attributes.get("targets")
    return (targets.number or 0) if targets else 1


def _text(node: NodeProto, name: str) -> str:
    return node.attributes[name].text if name in node.attributes else ""


def _weights(decoded: ModelProto, listed: dict[str, _ListedTensor], source: Source) -> Iterator[tuple[Weight, _ListedTensor]]:
    """Make the weights, with roles by the operators that take them, else by their names."""
    files, uses = ExternalFiles(source), Uses(every_graph(decoded))
    unknown = []
    made = []
    for entry in listed.values():
        fact = None if entry.role else uses.fact(entry.path, entry.own, len(entry.tensor.dims))
        weight = _weight(entry, fact or (entry.role or Role.OTHER, entry.axes, ""), files)
        made.append(weight)
        if fact is None and entry.role is None and is_floating(weight.dtype):
            unknown.append(weight)
    infer_roles(unknown, in_place=True)
    return zip(made, listed.values(), strict=True)


def _weight(entry: _ListedTensor, fact: Fact, files: ExternalFiles) -> Weight:
    role, axes, label = fact
    tensor, name = entry.tensor, entry.name
    look = files.look(entry.values)
    if isinstance(tensor, SparseTensorProto):
        shape = tuple([max(dim, 0) for dim in tensor.dims[:64]])
        read, word = sparse_reader(tensor, files), f"sparse {look.word}"
    else:
        shape, word = look.shape, look.word
        read = in_place(tensor, look, files.source) or reader_of(tensor, files)
    layer = layer_of(name) or label
    return Weight(name=name, shape=shape, dtype=look.dtype, read=read, role=role, layer=layer, axes=axes, encoding=word)


def _is_weight(entry: _ListedTensor, weight: Weight) -> bool:
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
    listed = _listed(model(source), source)
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
    listed: dict[str, _ListedTensor], weights: Weights, source: Source, path: Path
) -> Iterator[tuple[_ListedTensor, Weight]]:
    """Pair the weights that have changed with the tensors that they replace."""
    before = {weight.name: weight for weight, _ in _weights(model(source), listed, source)}
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


def _locations(listed: dict[str, _ListedTensor]) -> list[str]:
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
