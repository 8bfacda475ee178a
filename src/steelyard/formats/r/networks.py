"""The weights in an R object: networks of known packages, files in raw vectors, and plain arrays.

Classes are recognised by name only: the members of their objects are read, and methods are never called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.compression import is_compressed
from steelyard.codecs.r.layers import Network, by_name, floats, items, present, texts
from steelyard.codecs.r.modules import orders
from steelyard.codecs.r.stream import is_r, read_r
from steelyard.codecs.r.torch import as_source, is_torch, read_torch
from steelyard.codecs.r.values import Environment, Opaque, Vector, classes_of, member
from steelyard.codecs.r.walk import is_list, leaves
from steelyard.core.members import dotted, prefixed
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, first_of, printable, quoted
from steelyard.formats.r.layer_lists import is_monmlp, monmlp, neuralnet
from steelyard.formats.r.linear import is_linear, linear
from steelyard.formats.r.neuron_lists import amore, rsnns
from steelyard.formats.r.nnet import nnet, whole_or_zero
from steelyard.formats.r.plain import is_plain, plain_weights, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from steelyard.codecs.r.layers import VectorSlice
    from steelyard.codecs.r.values import Value
    from steelyard.codecs.r.walk import Path
    from steelyard.core.protocols import NamesInOrder
    from steelyard.storage.source import Source

    Opener = Callable[[Source], Weights]
    """Lists the weights of a file of another format in a raw vector."""
    Orders = Mapping[str, NamesInOrder]

KNOWN = "nnet, multinom, neuralnet, caret, AMORE, monmlp, RSNNS, brulee, cito, lm, glm, R torch, and plain arrays"
_FILES = (b"PK\x03\x04", b"\x89HDF\r\n\x1a\n")
_TRAINING = ("trainingData", "pred", "resample", "data")


class Contents:
    """The contents of an R object: its networks, the files in it, its plain arrays, and models that are dead pointers."""

    __slots__ = ("classes", "dead", "files", "networks", "plain")

    def __init__(self) -> None:
        self.networks: list[tuple[str, Network]] = []
        self.files: list[tuple[str, Weights]] = []
        self.plain: list[tuple[Path, Vector]] = []
        self.classes: list[str] = []
        self.dead: list[Opaque | Environment] = []


def read_contents(root: Value, file: str, opener: Opener, depth: int = 0) -> Contents:
    """Walk through an R object, or the objects of a session, and collect the weights in it."""
    contents = Contents()
    objects: set[Path] = set()

    def enter(path: Path, value: Value) -> bool:
        networks = networks_of(value, file)
        if networks is not None:
            contents.networks += [(dotted(".".join(path), name), network) for name, network in networks]
            return False
        classes = classes_of(value)
        if classes:
            objects.add(path)
            contents.classes += classes
        return "data.frame" not in classes

    for path, leaf in leaves(root, file, enter):
        # torch_serialize and keras::serialize_model return the bytes of a file, which R keeps as a raw vector
        if isinstance(leaf, Vector) and leaf.kind == "raw":
            _read_file_in(contents, ".".join(path), leaf, file, opener, depth)
        elif isinstance(leaf, Vector) and is_plain(leaf):
            # arrays inside an object of an unknown class may be anything, such as its residuals
            if not objects or not any(path[:length] in objects for length in range(len(path))):
                contents.plain.append((path, leaf))
        elif isinstance(leaf, (Opaque, Environment)) and leaf.class_:
            contents.dead.append(leaf)
    return contents


def _read_file_in(contents: Contents, name: str, raw: Vector, file: str, opener: Opener, depth: int) -> None:
    """Collect the weights of the file in a raw vector, if it is one; R serializes into memory without compression."""
    source = as_source(raw, file)
    if is_compressed(source):
        return
    if is_r(source):
        if depth >= limits.NESTED_FILES:
            raise FormatError(file, f"R files are nested more than {limits.NESTED_FILES} levels deep")
        inner = read_contents(read_r(source), file, opener, depth + 1)
        contents.networks += [(dotted(name, prefix), network) for prefix, network in inner.networks]
        contents.files += [(dotted(name, prefix), weights) for prefix, weights in inner.files]
    elif source.head(8).startswith(_FILES) or _is_safetensors(source):
        contents.files.append((name, opener(source)))


def _is_safetensors(source: Source) -> bool:
    head = source.head(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < source.size


def networks_of(value: Value, file: str) -> list[tuple[str, Network]] | None:
    """Return the networks of an object of a known class, each with its name; None for an object of any other class."""
    kinds = classes_of(value)
    # caret keeps the fit in finalModel, and its preprocessing of the inputs next to it
    if "train" in kinds and isinstance(value, Vector) and value.get("finalModel") is not None:
        return _caret(value, file)
    if "avNNet" in kinds:
        return _avnnet(value, file)
    if "pcaNNet" in kinds:
        return _pca_nnet(value, file)
    if is_linear(value) and isinstance(value, Vector):
        return [("", linear(value, file))]
    reader = next((read for word, read in _READERS.items() if word in kinds), None)
    if reader is None and isinstance(value, Vector):
        reader = monmlp if is_monmlp(value) else read_torch if is_torch(value) else None
        if reader is None and any(word.startswith("brulee_") for word in kinds):
            reader = _brulee
    return None if reader is None or not isinstance(value, Vector) else [("", reader(value, file))]


def _avnnet(fit: Value, file: str) -> list[tuple[str, Network]]:
    """Return the networks that caret's avNNet averages."""
    networks = []
    for nth, network in enumerate(items(member(fit, "model"), "model of an avNNet", file), 1):
        if not isinstance(network, Vector):
            raise FormatError(file, f"model {nth} of an avNNet is not an nnet")
        networks.append((f"model.{nth}", nnet(network, file)))
    return networks


def _pca_nnet(fit: Value, file: str) -> list[tuple[str, Network]]:
    """Return the network of caret's pcaNNet, whose inputs are the principal components of the user's."""
    inner = member(fit, "model")
    if not isinstance(inner, Vector):
        raise FormatError(file, "the model of a pcaNNet is not an nnet")
    network = nnet(inner, file)
    _preprocess(network, member(fit, "pc"))
    return [("", network)]


def _preprocess(network: Network, preprocess: Value) -> None:
    """Note caret's scaling of the inputs of a network."""
    if isinstance(preprocess, Vector):
        method = preprocess.get("method")
        network.facts["preprocess"] = {
            "method": (method.names or texts(method)) if isinstance(method, Vector) else [],
            "center": by_name(preprocess.get("mean")),
            "scale": by_name(preprocess.get("std")),
        }


def _caret(fit: Vector, file: str) -> list[tuple[str, Network]]:
    """Return the network that caret chose, with the scaling of its inputs."""
    final = fit.get("finalModel")
    networks = networks_of(final, file) if is_list(final) else None
    if networks is None:
        kind = printable(" ".join(classes_of(final)) or "an unknown object", 80)
        raise FormatError(file, f"holds a caret train object whose final model, {kind}, has no network weights")
    preprocess = fit.get("preProcess")
    for _, network in networks:
        _preprocess(network, preprocess)
        network.training = [*present(fit, _TRAINING), *network.training]
    return networks


def _brulee(fit: Vector, file: str) -> Network:
    """Return the estimates of the best epoch, which brulee predicts with; epoch 0 is the state before training."""
    estimates = items(fit.get("estimates"), "estimates of a brulee model", file)
    epoch = whole_or_zero(fit.get("best_epoch"))
    if not 0 <= epoch < len(estimates):
        raise FormatError(file, f"the best epoch of a brulee model is {epoch}, but it has estimates of {len(estimates)} epochs")
    network = _arrays("brulee", fit, estimates[epoch], file)
    dims, stats, settings = fit.get("dims"), fit.get("y_stats"), fit.get("parameters")
    network.facts |= {"epoch": epoch}
    if isinstance(dims, Vector):
        network.facts |= {"inputs": texts(dims.get("features")), "outputs": texts(dims.get("levels"))}
    if isinstance(settings, Vector):
        network.facts["hidden"] = " ".join(texts(settings.get("activation")))
    if isinstance(stats, Vector):
        network.facts["targets"] = {"center": floats(stats.get("mean")), "scale": floats(stats.get("sd"))}
    return network


def _cito(fit: Vector, file: str) -> Network:
    network = _arrays("cito", fit, fit.get("net_parameters"), file)
    network.training = present(fit, ("data",))
    return network


def _arrays(package: str, fit: Vector, parameters: Value, file: str) -> Network:
    """Return the arrays of a named list, which have the names and the axes of torch's parameters."""
    network = Network(package, fit)
    names = parameters.names or [] if isinstance(parameters, Vector) else []
    for name, array in zip(names, items(parameters, "parameters", file), strict=False):
        if isinstance(array, Vector) and is_plain(array) and array.length:
            network.add(name, [(array, 0, array.length)], shape_of(array, file), layer=layer_of(name), role=Role.OTHER)
    # R torch has libtorch's tensors, whose axes an array of R keeps
    axes = {(Role.KERNEL, 2): "out in", (Role.KERNEL, 4): "out in kh kw", (Role.BIAS, 1): "out"}
    network.weights = [w.replace(axes=axes.get((w.role, len(w.shape)), "")) for w in infer_roles(network.weights)]
    return network


_READERS: dict[str, Callable[[Vector, str], Network]] = {
    "nnet": nnet,
    "nn": neuralnet,
    "MLPnet": amore,
    "rsnns": rsnns,
    "citodnn": _cito,
}


def weights_and_slices(contents: Contents, source: Source) -> tuple[list[Weight], dict[str, list[VectorSlice]]]:
    """Return all weights, and by name the slices of R's vectors that are the numbers of a weight."""
    weights: list[Weight] = []
    slices: dict[str, list[VectorSlice]] = {}
    for prefix, network in contents.networks:
        weights += (prefixed(prefix, weight) for weight in network.weights)
        slices |= {dotted(prefix, name): pieces for name, pieces in network.slices.items()}
    for prefix, inner in contents.files:
        weights += (prefixed(prefix, weight) for weight in inner.values())
    if not (contents.networks or contents.files):
        weights = plain_weights(contents.plain, source)
        slices = {".".join(path): [(vector, 0, vector.length)] for path, vector in contents.plain}
    _check_names(weights, source.name)
    return weights, slices


def _check_names(weights: list[Weight], file: str) -> None:
    seen: set[str] = set()
    for weight in weights:
        if weight.name in seen:
            raise FormatError(file, f"two weights are called {quoted(weight.name)}; the name is ambiguous")
        seen.add(weight.name)


def meta_of(contents: Contents) -> dict[str, Any]:
    """Return the metadata of the weights: the facts of each network, and the notes for the user."""
    networks = contents.networks
    notes = list(dict.fromkeys(note for _, network in networks for note in network.notes))
    training = [dotted(prefix, name) if " " not in name else name for prefix, network in networks for name in network.training]
    if training:
        notes.append(f"this file also holds training data ({first_of(training, 6)})")
    notes += [f"this file also holds {model}" for leaf in contents.dead[:5] if (model := _dead_model(leaf))]
    meta: dict[str, Any] = {"networks": {prefix: network.facts for prefix, network in networks}} if networks else {}
    if len(contents.files) == 1 and not contents.files[0][0] and not networks:
        meta |= contents.files[0][1].meta
    return {**meta, **({"notes": notes} if notes else {})}


def orders_of(contents: Contents, source: Source) -> Orders | None:
    """Return the orders of the weights of a single network of R torch or a single file; None otherwise."""
    if len(contents.files) + len(contents.networks) != 1:
        return None
    if contents.networks:
        prefix, network = contents.networks[0]
        return orders(network.weights, source, network.module) if network.facts["package"] == "torch" and not prefix else None
    prefix, inner = contents.files[0]
    return None if prefix else inner.orders


def why_empty(root: Value, contents: Contents) -> str:
    """Return the reason why an R object has no weights, and the remedy."""
    for leaf in contents.dead:
        if model := _dead_model(leaf):
            return f"holds {model}"
    kinds = contents.classes or list(classes_of(root))
    what = f"an R object of class {printable(kinds[0], 80)}" if kinds else f"an {repr(root)[1:-1]}" if root else "R's NULL"
    return f"holds {what}, which has no network weights; known are {KNOWN}"


def _dead_model(leaf: Opaque | Environment) -> str:
    """Describe a model that the file holds only as a pointer; blank for anything that is not a model."""
    words = [word for word in leaf.class_ if word not in ("R6", "nn_module")]
    name = f"({printable(words[0], 100)})" if words else "(nn_module)"
    if any(word.startswith("keras") or word == "python.builtin.object" for word in words):
        return (
            f"a Keras model of R {name}, whose weights stayed behind in Python: saveRDS keeps only a pointer to it, which is "
            'dead; in R, save it with save_model(model, "model.keras")'
        )
    if "nn_module" in leaf.class_ or "torch_tensor" in words:
        return (
            f"a model of R torch {name}, whose weights stayed behind in libtorch: saveRDS keeps only a pointer to them, which "
            'is dead; in R, save it with torch_save(model, "model.pt")'
        )
    return ""
