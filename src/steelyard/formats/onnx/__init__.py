"""ONNX: a protocol buffer of graphs; weights are initializers and constants, by the names that operators use.

Every graph counts: branches and bodies inside nodes, and functions. Where two graphs use one name, the inner one's is
prefixed by its path. External data lies in the model's own folder, or is refused. Writing gives the model that the
weights were read from with new numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.codecs.protobuf import Patch, looks_like_message, message, patched
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import is_floating
from steelyard.errors import FormatError, printable
from steelyard.formats.onnx.graph import graph_of
from steelyard.formats.onnx.messages import FLOATS, LONGS, Attribute, Graph, Model, Node, Sparse, Tensor, every_graph, model
from steelyard.formats.onnx.patching import patches, spliced
from steelyard.formats.onnx.roles import Uses
from steelyard.formats.onnx.tensors import (
    KINDS,
    Opened,
    count,
    count_integers,
    external_place,
    reader_of,
    sparse_reader,
    stored_bytes,
)
from steelyard.storage.atomic import replacing

if TYPE_CHECKING:
    from steelyard.core.graph import Graph as CoreGraph
    from steelyard.core.protocols import Scope
    from steelyard.formats.onnx.roles import Fact
    from steelyard.storage.source import Source

    Places = dict[tuple[int, int], Weight]

SUFFIXES = (".onnx",)

_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
"""The fields of a model, and their wire types."""
_ML = "ai.onnx.ml"
_LINEAR = ("LinearClassifier", "LinearRegressor")
_SUPPORT = ("SVMClassifier", "SVMRegressor")
_ROLES = {"coefficients": Role.KERNEL, "intercepts": Role.BIAS, "rho": Role.BIAS, "offset": Role.OFFSET, "scale": Role.SCALE}
_ORIGINAL = "model"
"""The key in `meta` under which weights keep the model that they came from."""


class Original:
    """The model that weights were read from, kept in their `meta` so that it can be written with new numbers."""

    __slots__ = ("source",)

    def __init__(self, source: Source) -> None:
        self.source = source

    def __repr__(self) -> str:
        return f"the ONNX model in {printable(Path(self.source.name).name)}"


class _Listed:
    """A tensor by the name of its weight, with its graph's path, and its role where its own node tells it.

    `kind` is "weight", "constant" (a node's output, which may be a weight) or "attribute" (listed in scope "all" only).
    """

    __slots__ = ("axes", "kind", "name", "own", "path", "role", "tensor")

    def __init__(self, name: str, tensor: Tensor | Sparse, kind: str, role: Role | None = None, axes: str = "") -> None:
        self.name = self.own = name
        self.path = ""
        self.tensor = tensor
        self.kind = kind
        self.role = role
        self.axes = axes

    @property
    def values(self) -> Tensor:
        """The tensor that holds the elements."""
        return self.tensor.values if isinstance(self.tensor, Sparse) else self.tensor


def sniff(source: Source) -> bool:
    """A message with the fields of a model: ONNX has no magic number."""
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
    """In the order of the graphs; scope "all" has the constants that hold shapes and axes too, and all attributes."""
    decoded = model(source)
    listed = _listed(decoded, source)
    weights = [weight for weight, entry in _weights(decoded, listed, source) if scope == "all" or _is_weight(entry, weight)]
    if not weights:
        _refuse_trees(decoded, source)
    owns = [(entry.own, entry.name) for entry in listed.values()]
    return Weights(weights, meta={**decoded.meta, _ORIGINAL: Original(source)}, graph=lambda: _graph(source, weights, owns))


def _graph(source: Source, weights: Iterable[Weight], owns: Iterable[tuple[str, str]]) -> CoreGraph:
    """Decode the model once more, for its nodes; where two tensors have one name, the outer one's weight is meant."""
    named = {weight.name: weight for weight in weights if is_floating(weight.dtype) or weight.role is not Role.OTHER}
    tensors: dict[str, Weight] = {}
    for own, name in owns:
        if name in named:
            tensors.setdefault(own, named[name])
    graphs = [(path, graph) for path, graph, training in every_graph(model(source)) if not training]
    return graph_of([(path, node) for path, graph in graphs for node in graph.nodes], tensors)


def _listed(decoded: Model, source: Source) -> dict[str, _Listed]:
    """Return every tensor by the name of its weight, which no two may have."""
    found: dict[str, _Listed] = {}
    for path, graph, training in every_graph(decoded):
        for entry in _tensors(graph, source):
            entry.path = path
            entry.kind = "attribute" if training else entry.kind
            if entry.name in found and found[entry.name].path != path:
                entry.name = f"{path}/{entry.name}"
            if entry.name in found:
                raise FormatError(source.name, f"two tensors are called {printable(entry.name)!r}; which is meant cannot be told")
            found[entry.name] = entry
    return found


def _tensors(graph: Graph, source: Source) -> Iterator[_Listed]:
    for tensor in graph.initializers:
        yield _Listed(tensor.name, tensor, "weight")
    for sparse in graph.sparse:
        yield _Listed(sparse.values.name, sparse, "weight")
    for node in graph.nodes:
        if node.domain == _ML:
            yield from _linear(node)
        for attribute in node.attributes.values():
            yield from _constants(node, attribute, source)


def _constants(node: Node, attribute: Attribute, source: Source) -> Iterator[_Listed]:
    """List what one attribute holds; the value of a Constant has the name of the node's output."""
    constant = node.op == "Constant" and node.domain in ("", "ai.onnx") and bool(node.outputs)
    name, kind = (node.outputs[0], "constant") if constant else (f"{node.label()}.{attribute.name}", "attribute")
    if constant and attribute.name in ("value_float", "value_floats", "value_int", "value_ints") and attribute.runs:
        yield _Listed(name, _from_numbers(attribute, source), kind)
    held: list[Tensor | Sparse] = [*attribute.tensors, *attribute.sparse]
    for place, tensor in enumerate(held):
        yield _Listed(f"{name}.{place}" if len(held) > 1 else name, tensor, kind)


def _from_numbers(attribute: Attribute, source: Source) -> Tensor:
    """Make a tensor of an attribute that holds numbers: one, or a list."""
    found = Tensor()
    found.name, found.runs = attribute.name, attribute.runs
    real = attribute.runs[0].number in (2, 7)
    found.kind = 1 if real else 7
    for run in found.runs:
        run.field = FLOATS if real else LONGS
    if attribute.name.endswith("s"):
        found.dims = [sum(map(count, found.runs)) if real else count_integers(found.runs, source)]
    return found


def _linear(node: Node) -> Iterator[_Listed]:
    """List the numbers of a linear model, a support vector machine or a scaler: one row for each output."""
    if node.op not in (*_LINEAR, *_SUPPORT, "Scaler"):
        return
    curved = node.op in _SUPPORT and _text(node, "kernel_type") not in ("", "LINEAR")
    held = {name: _floats(node.attributes[name]) for name in _ROLES if _has_floats(node, name)}
    rows = held["intercepts"].dims[0] if "intercepts" in held else _rows(node)
    for name, tensor in held.items():
        if name == "coefficients" and node.op in _LINEAR and rows and tensor.dims[0] % rows == 0:
            tensor.dims = [rows, tensor.dims[0] // rows]
        axes = "out in" if len(tensor.dims) == 2 else "out" if name == "intercepts" else ""
        kind = "attribute" if curved or node.op == "Scaler" else "weight"
        yield _Listed(f"{node.label()}.{name}", tensor, kind, Role.OTHER if curved else _ROLES[name], axes)


def _has_floats(node: Node, name: str) -> bool:
    return name in node.attributes and bool(node.attributes[name].runs) and node.attributes[name].runs[0].number == 7


def _floats(attribute: Attribute) -> Tensor:
    found = Tensor()
    found.name, found.runs, found.kind = attribute.name, attribute.runs, 1
    for run in found.runs:
        run.field = FLOATS
    found.dims = [sum(map(count, found.runs))]
    return found


def _rows(node: Node) -> int:
    targets = node.attributes.get("targets")
    return (targets.number or 0) if targets else 1


def _text(node: Node, name: str) -> str:
    return node.attributes[name].text if name in node.attributes else ""


def _weights(decoded: Model, listed: dict[str, _Listed], source: Source) -> Iterator[tuple[Weight, _Listed]]:
    """Make the weights: roles come from the operators that take them, else from names."""
    opened, uses = Opened(source), Uses(every_graph(decoded))
    unknown = {}
    made = []
    for entry in listed.values():
        fact = None if entry.role else uses.fact(entry.path, entry.own, len(entry.tensor.dims))
        weight = _weight(entry, fact or (entry.role or Role.OTHER, entry.axes, ""), opened)
        made.append(weight)
        if fact is None and entry.role is None and is_floating(weight.dtype):
            unknown[entry.name] = weight
    named = {weight.name: weight for weight in infer_roles(unknown.values())}
    return ((named.get(weight.name, weight), listed[weight.name]) for weight in made)


def _weight(entry: _Listed, fact: Fact, opened: Opened) -> Weight:
    role, axes, label = fact
    tensor = entry.tensor
    word, dtype, _ = KINDS.get(entry.values.kind, (str(entry.values.kind), "object", 0))
    return Weight(
        name=entry.name,
        shape=tuple(max(dim, 0) for dim in tensor.dims[:64]),
        dtype=dtype,
        read=sparse_reader(tensor, opened) if isinstance(tensor, Sparse) else reader_of(tensor, opened),
        role=role,
        layer=layer_of(entry.name) or label,
        axes=axes,
        encoding=f"sparse {word}" if isinstance(tensor, Sparse) else word,
    )


def _is_weight(entry: _Listed, weight: Weight) -> bool:
    """Initializers are weights; of constants those with a fraction, and those that an operator takes as a kernel."""
    if entry.kind == "constant":
        return is_floating(weight.dtype) or weight.role in (Role.KERNEL, Role.RECURRENT_KERNEL, Role.EMBEDDING)
    return entry.kind == "weight"


def _refuse_trees(decoded: Model, source: Source) -> None:
    trees = {node.op for _, graph, _ in every_graph(decoded) for node in graph.nodes if node.op.startswith("TreeEnsemble")}
    if trees:
        raise FormatError(source.name, f"holds a tree model ({', '.join(sorted(trees))}), which has no network weights")


def write(weights: Weights, path: Path) -> None:
    """The model that the weights were read from, with these numbers; weights that are left out stay as they are.

    Raises `FormatError` when the weights come from elsewhere, or do not fit the model.
    """
    original = weights.meta.get(_ORIGINAL)
    if not isinstance(original, Original):
        raise FormatError(
            str(path),
            "an ONNX file needs the graph of a model, which these weights do not have; "
            "read the model with steelyard.weights, and save what its from_vector gives",
        )
    source = original.source
    listed = _listed(model(source), source)
    changed: list[Patch] = []
    files: dict[str, Places] = {}
    for entry, weight in _pairs(listed, weights, source, path):
        if isinstance(entry.tensor, Sparse):
            raise FormatError(str(path), f"{printable(weight.name)} is stored sparse, and cannot be written; leave it out")
        if entry.tensor.external is None:
            changed += patches(entry.tensor, weight)
        else:
            place = external_place(entry.tensor, stored_bytes(entry.tensor, weight.dtype), source.name)
            files.setdefault(entry.tensor.external.get("location", ""), {})[place] = weight
    _write_files(_locations(listed), files, source, path)
    with replacing(path) as file:
        file.writelines(patched(source, changed))


def _pairs(listed: dict[str, _Listed], weights: Weights, source: Source, path: Path) -> Iterator[tuple[_Listed, Weight]]:
    """Pair the weights with the tensors that they are to replace; sparse ones that are as they were are left alone."""
    before = {weight.name: weight for weight, _ in _weights(model(source), listed, source)}
    for weight in weights.values():
        old = before.get(weight.name)
        if old is None:
            raise FormatError(str(path), f"the original model has no weight called {printable(weight.name)!r}")
        if (old.shape, old.dtype) != (weight.shape, weight.dtype):
            raise FormatError(
                str(path),
                f"{printable(weight.name)} is {list(old.shape)} {old.dtype} in the original model, "
                f"but {list(weight.shape)} {weight.dtype} here",
            )
        if not _is_same(old, weight):
            yield listed[weight.name], weight


def _is_same(old: Weight, new: Weight) -> bool:
    """Tell whether two weights of one shape and dtype have the same bytes."""
    return all(before.tobytes() == after.tobytes() for before, after in zip(old.blocks(), new.blocks(), strict=True))


def _locations(listed: dict[str, _Listed]) -> list[str]:
    tensors = [entry.values for entry in listed.values()]
    return list(dict.fromkeys(tensor.external.get("location", "") for tensor in tensors if tensor.external is not None))


def _write_files(locations: list[str], files: dict[str, Places], source: Source, path: Path) -> None:
    """Write external data beside the new model; beside another model that uses the same file it is not changed."""
    opened = Opened(source)
    old, new = Path(source.path or source.name).resolve(), path.resolve()
    for location in locations:
        beside = old.parent == new.parent
        if beside and location not in files:
            continue
        if beside and old != new:
            raise FormatError(
                str(path), f"its new numbers would change {printable(location)!r}, which {old.name} uses; save elsewhere"
            )
        target = new.parent / location
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            file.writelines(spliced(opened.file(location), files.get(location, {})))
