"""Programs of nets whose graph is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from steelyard.core.computation import computation_of
from steelyard.core.graph import PARAMETER, Graph, Layer, Run
from steelyard.core.plugins import framework_of
from steelyard.device.program import sequences, weighted, weightless
from steelyard.device.program.building import Building, Node, refuse
from steelyard.device.program.files import answers_of_file, program_of_file
from steelyard.device.program.program import Program, needed
from steelyard.device.program.proving import is_proven, prove
from steelyard.device.program.scaling import with_scalers
from steelyard.device.program.shaping import Combine, Concatenate
from steelyard.errors import ShapeError, printable, quoted
from steelyard.transfers.endpoints import Endpoint
from steelyard.transfers.probes import BATCH, SEED, inputs_of_net, listed_inputs

if TYPE_CHECKING:
    from steelyard.core.computation import Computation
    from steelyard.core.scaling import Scaled
    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights
    from steelyard.transfers.layers.layer_weights import LayerWeights
    from steelyard.transfers.pairing.net import Net

    Maker = Callable[[Node], int]

_RECURRENT = ("rnn", "lstm", "gru")
_FUNCTIONS = {
    "dense": ("kernel", "bias"),
    "conv": ("kernel", "bias"),
    "layer norm": ("scale", "offset"),
    "group norm": ("scale", "offset"),
    "instance norm": ("scale", "offset"),
    "batch norm": ("mean", "variance", "scale", "offset"),
    "embedding": ("table",),
}
"""The weights that PyTorch's functions of some kinds take after their input, in order."""
_MASKED = ("scaled_dot_product_attention",)
_CALLED = {"masked": "is called with a mask, which is not known", "training": "is called as in training, which is not known"}
"""What the settings of calls in Keras mean that no program has."""
_DIRECTIONS = {"concat": "concatenate", "sum": "add", "mul": "multiply", "ave": "average"}
"""The words of `Combine` for those by which Keras joins both directions of a layer."""
_WHOLE = ("PyTorch", "pickle", "skops", "R")
"""The formats besides Keras's, ONNX and TensorFlow Lite whose graphs have all settings of their layers."""


def program_of(source: object, probe: object = None, *, outputs: object = None) -> Program:
    """Return the program of a net: a live model, or a file or weights whose graph lists all that the net does.

    `probe` is an array of examples, or a list of arrays, in the layout that the net takes; it may be left out where the shapes
    of the inputs are known. A live model is run on it, and the program in float64 must give the same outputs; else
    `ProofError` is raised. A file of ONNX or TensorFlow Lite is run if the process has imported a runtime for it; other files
    are not proven, unless `outputs` has the outputs of the net for the probe. Raises `ShapeError` for a layer that is not known,
    by its name, and for a graph that is not complete.

    Examples:
        >>> import numpy as np
        >>> from sklearn.linear_model import LinearRegression
        >>> fitted = LinearRegression().fit([[0.0, 1.0], [1.0, 1.0], [2.0, 5.0]], [1.0, 2.0, 7.0])
        >>> program_of(fitted).run(np.array([[1.0, 2.0]])).round(5)
        array([[3.]], dtype=float32)
    """
    end = Endpoint(source)
    answers = None if outputs is None else listed_inputs(outputs)
    if (computation := computation_of(end.weights)) is not None:
        return _of_file(end, source, computation, None if probe is None else listed_inputs(probe), answers)
    if (pipeline := _scaled(end.model)) is not None:
        return (
            _of_pipeline(pipeline, end, probe, answers) if pipeline.scalers else program_of(pipeline.net, probe, outputs=outputs)
        )
    inputs = _probe(end, probe)
    if end.runs and inputs is not None:
        _observe(end, inputs)
    ran = end.run(inputs) if end.runs and inputs is not None else Run([], {})
    answers = ran.outputs if answers is None else answers
    net = end.net
    graph = _complete(net, end)
    shapes = [tuple(each.shape[1:]) for each in inputs] if inputs is not None else _shapes(net)
    if len(shapes) != len(graph.input_names):
        raise ShapeError(f"the net takes {len(graph.input_names)} inputs, not {len(shapes)}")
    known = {**ran.layers, **_parameters(graph, end.weights)}
    building = Building(shapes, net.channels, known)
    program = _of_building(net, graph, building)
    if not end.runs or inputs is None:
        _check_unproven(net, graph, building)
        if inputs is not None and answers:
            prove(program, end.name, inputs, answers)
        return program
    if any(layer.class_name in _MASKED or layer.kind == "attention" for layer in graph.layers) and not is_proven(
        program, inputs, answers
    ):
        # a mask is an argument, which the graph does not show
        masked = _of_building(net, graph, Building(shapes, net.channels, known, causal=True))
        program = masked if is_proven(masked, inputs, answers) else program
    prove(program, end.name, inputs, answers)
    return program


def _of_file(
    end: Endpoint, source: object, computation: Computation, inputs: list[Array] | None, answers: list[Array] | None
) -> Program:
    """Return the program of the operators of a file; its error is known if its outputs are."""
    program = program_of_file(computation, end.weights, inputs)
    if inputs is not None and answers is None:
        answers = answers_of_file(source, computation, inputs)
    if inputs is not None and answers is not None:
        prove(program, end.name, inputs, answers)
    return program


def _scaled(model: object) -> Scaled | None:
    """Return the scalers before the net of a live model; None if it has none."""
    if model is None or isinstance(model, Mapping):
        return None
    scaled = getattr(framework_of(model), "scaled", None)
    found: Scaled | None = scaled(model) if scaled else None
    return found


def _of_pipeline(pipeline: Scaled, end: Endpoint, probe: object, answers: list[Array] | None) -> Program:
    """Return the program of a net and the scalers of its inputs, proven by the outputs of the whole pipeline."""
    import numpy as np

    width = len(pipeline.scalers[0].centre)
    inputs = listed_inputs(probe) if probe is not None else [np.random.default_rng(SEED).standard_normal((BATCH, width))]
    program = with_scalers(program_of(pipeline.net), pipeline.scalers, width)
    prove(program, end.name, inputs, [pipeline.run(*inputs)] if answers is None else answers)
    return program


def _parameters(graph: Graph, weights: Weights) -> dict[str, Array]:
    """Return the weights that functions take, by the names of the layers that stand for them."""
    names = [layer.name for layer in graph.layers if layer.class_name == PARAMETER and layer.name in weights]
    return {name: weights[name].numpy() for name in names}


def _of_building(net: Net, graph: Graph, building: Building) -> Program:
    """Return the program of a graph whose steps are added to a building."""
    shapes = list(building.shapes)
    outputs = _built(net, graph, building)
    program = needed(Program(graph.input_names, shapes, building.steps, outputs))
    program.assumptions = tuple(building.assumptions)
    return program


def _observe(end: Endpoint, inputs: Sequence[Array]) -> None:
    """Run a model for its graph; modules that run several times, or hold weights for functions, are listed as functions."""
    end.observe(inputs)
    graph, weighing = end.net.graph, {layer.graph_layer.name for layer in end.net.layers if layer.graph_layer}
    loose = {weight.name.rpartition(".")[0] for weight in end.net.unassigned}
    again = [
        layer.name
        for layer in (graph.layers if graph else ())
        if (layer.calls > 1 and (layer.name not in weighing or layer.kind in _FUNCTIONS))
        or (layer.kind == "other" and layer.name in loose)
    ]
    if again or any(layer.class_name in weightless.SPLITTING for layer in (graph.layers if graph else ())):
        end.observe_functions(inputs, again)


def _check_unproven(net: Net, graph: Graph, building: Building) -> None:
    """Raise `ShapeError` for a net that cannot be run where its file does not show all that it does."""
    meta = net.weights.meta
    keras = str(meta.get("keras_version", "")).partition(".")[0]
    if meta.get("format") not in _WHOLE and not keras:
        raise ShapeError("the graph of this file does not have all settings of its operators; pass the live model, and probe=")
    if keras == "1":
        raise ShapeError("this file is of Keras 1, whose layers are not known; pass the live model")
    for layer in graph.layers if keras == "2" else ():
        if "hard_sigmoid" in (layer.settings.get("activation"), layer.settings.get("recurrent_activation")):
            refuse(layer, "has a hard_sigmoid of Keras 2, whose slope is another one; pass the live model")
    if net.unassigned:
        raise ShapeError(f"{quoted(net.unassigned[0].name)} does not belong to a layer that is known")
    if building.assumptions:
        raise ShapeError(f"{building.assumptions[0]}: this is assumed, and only a run proves it; pass the live model")


def _probe(end: Endpoint, probe: object) -> list[Array] | None:
    """Return the inputs on which a net is run: those given, or random ones of shapes that are known."""
    if probe is not None:
        return listed_inputs(probe)
    if not end.runs:
        return None
    _shapes(end.net)
    return inputs_of_net(None, end.net)


def _shapes(net: Net) -> list[tuple[int, ...]]:
    """Return the shapes of the inputs; raises `ShapeError` if they are not known."""
    known = net.graph.input_shapes if net.graph else None
    first = next(iter(net.graph.layers), None) if net.graph else None
    if known is None and first is not None and net.layers and net.layers[0].graph_layer is first and first.kind == "dense":
        known = ((net.layers[0].shape("kernel")[1],),)
    if known is None or any(None in shape for shape in known):
        why = f": {net.why_no_graph}" if net.why_no_graph else ""
        raise ShapeError(f"the shapes of the net's inputs are not known{why}; pass an example as probe=")
    return [tuple(length for length in shape if length is not None) for shape in known]


def _complete(net: Net, end: Endpoint) -> Graph:
    """Return the graph of a net if it lists all that the net does, else raise `ShapeError`."""
    graph = net.graph
    if graph is None or not graph.is_execution_order:
        why = net.why_no_graph or f"{end.name} does not list what the net does"
        raise ShapeError(f"a program needs the graph of the net: {why}; pass the live model, with an example as probe=")
    for layer in _used(graph):
        if layer.inputs is None:
            refuse(layer, "has inputs whose origin is not known")
        for word, why in _CALLED.items():
            if layer.settings.get(word):
                refuse(layer, why)
        if layer.calls > 1:
            refuse(layer, f"runs {layer.calls} times, of which the graph lists one")
    if not (graph.is_sequential or graph.output_names or _is_skip(graph, end.weights)):
        remedy = "" if end.runs else "; pass the live model, with an example as probe="
        raise ShapeError(f"it is not known that the graph of {end.name} lists all that it does{remedy}")
    return graph


def _used(graph: Graph) -> list[Layer]:
    return [layer for layer in graph.layers if not layer.settings.get("unused")]


def _is_skip(graph: Graph, weights: Weights) -> bool:
    """Whether the graph is that of one network of R's nnet with skip-layer connections, which scales nothing."""
    networks: Mapping[str, Mapping[str, object]] = weights.meta.get("networks") or {}
    facts = next(iter(networks.values()), {})
    known = len(networks) == 1 and facts.get("package") == "nnet" and facts.get("skip") is True
    return bool(known and not facts.get("preprocess") and not facts.get("targets") and facts.get("repetitions", 1) == 1)


def _built(net: Net, graph: Graph, building: Building) -> list[int]:
    """Add the steps of all layers, and return the numbers of the outputs."""
    held: dict[str, list[LayerWeights]] = {}
    for each in net.layers:
        if each.graph_layer is not None:
            held.setdefault(each.graph_layer.name, []).append(each)
    values = {name: place for place, name in enumerate(graph.input_names)}
    layers = {layer.name: layer for layer in _used(graph)}
    skips = {name for name in layers if name.endswith(".skip") and name.removesuffix(".skip") in layers}
    for name, layer in layers.items():
        if name not in skips:
            values[name] = _added(
                layer, held, _values(layer.inputs or (), layers, values, layer, building), building, values, layers
            )
    if graph.output_names:
        return _outputs(graph.output_names, layers, values, building)
    return [values[[name for name in layers if name not in skips][-1]]]


def _added(
    layer: Layer,
    held: Mapping[str, list[LayerWeights]],
    inputs: tuple[int, ...],
    building: Building,
    values: Mapping[str, int],
    layers: Mapping[str, Layer],
) -> int:
    """Add the steps of one layer, with the kernel of nnet that skips the hidden layer."""
    if not layer.inputs or (building.has_run(layer) and all(building.is_constant(place) for place in inputs)):
        return building.constant(layer)
    maker = _MAKERS.get(layer.kind, weightless.other)
    skip = layers.get(f"{layer.name}.skip")
    if skip is None:
        made = maker(_with_given(Node(layer, held.get(layer.name, ()), inputs, building)))
        _check(layer, building.shapes[made])
        return made
    plain = Layer(layer.name, layer.kind, layer.class_name, {**layer.settings, "activation": "linear"})
    parts = [weighted.dense(Node(plain, held.get(layer.name, ()), inputs, building))]
    sources = tuple(values[name] for name in skip.inputs or ())
    parts.append(weighted.dense(Node(skip, held.get(skip.name, ()), sources, building)))
    return building.activate(layer, building.add(layer, Combine("add"), *parts))


def _with_given(node: Node) -> Node:
    """Return a function that takes weights as one with these and a single input."""
    purposes = _FUNCTIONS.get(node.layer.kind, ())
    known = [node.building.known(place) for place in node.inputs[1:]]
    arrays = [each for each in known if each is not None]
    if node.weights or not arrays or len(arrays) < len(known) or len(known) > len(purposes):
        return node
    return node._replace(inputs=node.inputs[:1], given=dict(zip(purposes, arrays, strict=False)))


def _check(layer: Layer, made: tuple[int, ...]) -> None:
    """Refuse a layer whose output has another shape than its framework says."""
    known = layer.output_shape
    if known is not None and (len(known) != len(made) or any(a not in (None, b) for a, b in zip(known, made, strict=True))):
        refuse(layer, f"has an output of shape {known}, and as it is known here {made}")


def _values(
    names: Sequence[str], layers: Mapping[str, Layer], values: dict[str, int], layer: Layer, building: Building
) -> tuple[int, ...]:
    """Return the numbers of a layer's inputs; both directions of a bidirectional layer are one."""
    if (missing := next((name for name in names if name not in values), None)) is not None:
        refuse(layer, f"takes the output of {quoted(missing)}, which is not known before it")
    if layer.kind != "merge" and len(names) == 2 and _are_directions(names, layers):
        return (_joined(names, layers, values, building),)
    return tuple(_in_pairs(names, layers, values, building))


def _outputs(names: Sequence[str], layers: Mapping[str, Layer], values: dict[str, int], building: Building) -> list[int]:
    if len(names) == 2 and _are_directions(names, layers):
        return [_joined(names, layers, values, building)]
    return list(_in_pairs(names, layers, values, building))


def _in_pairs(names: Sequence[str], layers: Mapping[str, Layer], values: dict[str, int], building: Building) -> Iterator[int]:
    """Yield the numbers of values, one for both directions of a layer that says how it joins them."""
    at = 0
    while at < len(names):
        pair, layer = names[at : at + 2], layers.get(names[at])
        is_pair = layer is not None and "merge_mode" in layer.settings
        if layer is not None and is_pair and not (len(pair) == 2 and _are_directions(pair, layers)):
            refuse(layer, "is one direction of two that are not joined in a way that is known")
        yield _joined(pair, layers, values, building) if is_pair else values[names[at]]
        at += 2 if is_pair else 1


def _are_directions(names: Sequence[str], layers: Mapping[str, Layer]) -> bool:
    """Whether two layers are the forward and the backward part of one of Keras."""
    known = [layers[name] for name in names if name in layers and layers[name].kind in _RECURRENT]
    words = [layer.settings.get("direction") for layer in known]
    if words != ["forward", "backward"] or known[0].settings.get("merge_mode") != known[1].settings.get("merge_mode"):
        return False
    return known[0].inputs == known[1].inputs


def _joined(names: Sequence[str], layers: Mapping[str, Layer], values: dict[str, int], building: Building) -> int:
    first, both = layers[names[0]], "\n".join(names)
    if both in values:
        return values[both]
    mode = first.settings.get("merge_mode")
    if mode is None:
        building.assumptions.append(f"{quoted(first.name)}: both directions are joined along the features")
    elif mode not in _DIRECTIONS:
        refuse(first, f"gives both directions by merge_mode {printable(mode)}, which is not known")
    word = _DIRECTIONS[str(mode or "concat")]
    operation = Concatenate(len(building.shapes[values[names[0]]])) if word == "concatenate" else Combine(word)
    values[both] = building.add(first, operation, *(values[name] for name in names))
    return values[both]


_MAKERS: dict[str, Maker] = {
    "dense": weighted.dense,
    "conv": weighted.conv,
    "conv transpose": weighted.conv_transpose,
    "embedding": weighted.embedding,
    "batch norm": weighted.batch_norm,
    "layer norm": weighted.layer_norm,
    "rms norm": weighted.rms_norm,
    "group norm": weighted.group_norm,
    "instance norm": weighted.group_norm,
    "prelu": weighted.prelu,
    **dict.fromkeys(_RECURRENT, sequences.recurrent),
    "attention": sequences.attention,
    "activation": weightless.activation,
    "softmax": weightless.softmax,
    "dropout": weightless.passed,
    "flatten": weightless.flatten,
    "reshape": weightless.reshape,
    "pool": weightless.pool,
    "global pool": weightless.global_pool,
    "pad": weightless.pad,
    "upsample": weightless.upsample,
    "merge": weightless.merge,
}
