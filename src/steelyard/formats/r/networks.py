"""The weights in an R object: networks of the packages that are known, files inside it, and plain arrays.

A class is only a word here: what its objects keep is looked at, and nothing of it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.compression import is_compressed
from steelyard.codecs.r.layers import Net, by_name, floats, items, present, texts
from steelyard.codecs.r.modules import orders
from steelyard.codecs.r.stream import is_r, read_r
from steelyard.codecs.r.torch import as_source, is_torch, torch
from steelyard.codecs.r.values import Environment, Opaque, Vector
from steelyard.codecs.r.walk import is_list, leaves
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, printable
from steelyard.formats.r.layer_lists import is_monmlp, monmlp, neuralnet
from steelyard.formats.r.neuron_lists import amore, rsnns
from steelyard.formats.r.nnet import nnet, whole_or_zero
from steelyard.formats.r.plain import is_plain, plain_weights, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.codecs.r.layers import Run
    from steelyard.storage.source import Source

    Path = tuple[str, ...]
    Opener = Callable[[Source], Weights]
    """Lists the weights of a file of another format that lies in a raw vector."""

KNOWN = "nnet, multinom, neuralnet, caret, AMORE, monmlp, RSNNS, brulee, cito, R torch, and plain arrays"
_FILES = (b"PK\x03\x04", b"\x89HDF\r\n\x1a\n")
_TRAINING = ("trainingData", "pred", "resample", "data")


class Contents:
    """What an R object holds: weights, where in R's vectors their numbers lie, what there is to say of them."""

    __slots__ = ("classes", "dead", "files", "meta", "nets", "plain")

    def __init__(self) -> None:
        self.nets: list[tuple[str, Net]] = []
        self.files: list[tuple[str, Weights]] = []
        self.plain: list[tuple[Path, Vector]] = []
        self.classes: list[str] = []
        self.dead: list[Any] = []


def contents(root: Any, file: str, opener: Opener, depth: int = 0) -> Contents:
    """Go through an R object, or the objects of a session, and take up the weights that it holds."""
    found = Contents()
    objects: set[Path] = set()

    def enter(path: Path, value: Any) -> bool:
        nets = nets_of(value, file)
        if nets is not None:
            found.nets += [(_joined(".".join(path), name), net) for name, net in nets]
            return False
        if value.class_:
            objects.add(path)
            found.classes += value.class_
        return "data.frame" not in value.class_

    for path, leaf in leaves(root, file, enter):
        if isinstance(leaf, Vector) and leaf.kind == "raw":
            _open(found, ".".join(path), leaf, file, opener, depth)
        elif isinstance(leaf, Vector) and is_plain(leaf):
            if not objects or not any(path[:depth] in objects for depth in range(len(path))):
                found.plain.append((path, leaf))
        elif isinstance(leaf, (Opaque, Environment)) and leaf.class_:
            found.dead.append(leaf)
    return found


def _open(found: Contents, name: str, raw: Vector, file: str, opener: Opener, depth: int) -> None:
    """List the file that a raw vector is, if it is one; R serializes into memory without compression."""
    source = as_source(raw, file)
    if is_compressed(source):
        return
    if is_r(source):
        if depth >= limits.NESTED_FILES:
            raise FormatError(file, f"more than {limits.NESTED_FILES} files of R lie in one another")
        inner = contents(read_r(source), file, opener, depth + 1)
        found.nets += [(_joined(name, prefix), net) for prefix, net in inner.nets]
        found.files += [(_joined(name, prefix), weights) for prefix, weights in inner.files]
    elif source.head(8).startswith(_FILES) or _is_safetensors(source):
        found.files.append((name, opener(source)))


def _is_safetensors(source: Source) -> bool:
    head = source.head(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < source.size


def nets_of(value: Any, file: str) -> list[tuple[str, Net]] | None:
    """Return the networks that an object of a known class is, or wraps, each with its name; None for any other."""
    kinds = value.class_
    if "train" in kinds and isinstance(value, Vector) and value.get("finalModel") is not None:
        return _caret(value, file)
    if "avNNet" in kinds:
        members = items(value.get("model"), "model of an avNNet", file)
        return [(f"model.{nth}", nnet(member, file)) for nth, member in enumerate(members, 1)]
    reader = next((read for word, read in _READERS.items() if word in kinds), None)
    if reader is None and isinstance(value, Vector):
        reader = monmlp if is_monmlp(value) else torch if is_torch(value) else None
        if reader is None and any(word.startswith("brulee_") for word in kinds):
            reader = _brulee
    return None if reader is None or not isinstance(value, Vector) else [("", reader(value, file))]


def _caret(fit: Vector, file: str) -> list[tuple[str, Net]]:
    """Return the network that caret chose, with what is done to its inputs before."""
    final = fit.get("finalModel")
    nets = nets_of(final, file) if is_list(final) else None
    if nets is None:
        kind = printable(" ".join(getattr(final, "class_", ())) or "an unknown object", 80)
        raise FormatError(file, f"holds a caret train object whose final model, {kind}, has no network weights")
    before = fit.get("preProcess")
    for _, net in nets:
        if isinstance(before, Vector):
            method = before.get("method")
            net.facts["preprocess"] = {
                "method": (method.names or texts(method)) if isinstance(method, Vector) else [],
                "center": by_name(before.get("mean")),
                "scale": by_name(before.get("std")),
            }
        net.training = [*present(fit, _TRAINING), *net.training]
    return nets


def _brulee(fit: Vector, file: str) -> Net:
    """Return the estimates of the best epoch, which brulee predicts with; the first are those before training."""
    estimates = items(fit.get("estimates"), "estimates of a brulee model", file)
    epoch = whole_or_zero(fit.get("best_epoch"))
    if not 0 <= epoch < len(estimates):
        raise FormatError(file, f"a brulee model has no estimates of its best epoch, {epoch}: it has {len(estimates)}")
    net = _arrays("brulee", fit, estimates[epoch], file)
    dims, stats, settings = fit.get("dims"), fit.get("y_stats"), fit.get("parameters")
    net.facts |= {"epoch": epoch}
    if isinstance(dims, Vector):
        net.facts |= {"inputs": texts(dims.get("features")), "outputs": texts(dims.get("levels"))}
    if isinstance(settings, Vector):
        net.facts["hidden"] = " ".join(texts(settings.get("activation")))
    if isinstance(stats, Vector):
        net.facts["targets"] = {"center": floats(stats.get("mean")), "scale": floats(stats.get("sd"))}
    return net


def _cito(fit: Vector, file: str) -> Net:
    net = _arrays("cito", fit, fit.get("net_parameters"), file)
    net.training = present(fit, ("data",))
    return net


def _arrays(package: str, fit: Vector, value: Any, file: str) -> Net:
    """Return the arrays of a named list, which have the names and the axes of torch's parameters."""
    net = Net(package, fit)
    for name, array in zip(
        value.names or [] if isinstance(value, Vector) else [], items(value, "parameters", file), strict=False
    ):
        if isinstance(array, Vector) and is_plain(array):
            net.add(name, [(array, 0, array.length)], shape_of(array, file), layer=layer_of(name), role=Role.OTHER)
    axes = {(Role.KERNEL, 2): "out in", (Role.KERNEL, 4): "out in kh kw", (Role.BIAS, 1): "out"}
    net.weights = [w.replace(axes=axes.get((w.role, len(w.shape)), "")) for w in infer_roles(net.weights)]
    return net


_READERS: dict[str, Callable[[Vector, str], Net]] = {
    "nnet": nnet,
    "nn": neuralnet,
    "MLPnet": amore,
    "rsnns": rsnns,
    "citodnn": _cito,
}


def listed(found: Contents, source: Source) -> tuple[list[Weight], dict[str, list[Run]]]:
    """Return the weights of what was found, and the runs of R's vectors in which those of one object lie."""
    weights: list[Weight] = []
    runs: dict[str, list[Run]] = {}
    for prefix, net in found.nets:
        weights += (_prefixed(prefix, weight) for weight in net.weights)
        runs |= {_joined(prefix, name): places for name, places in net.runs.items()}
    for prefix, inner in found.files:
        weights += (_prefixed(prefix, weight) for weight in inner.values())
    if not (found.nets or found.files):
        weights = plain_weights(found.plain, source)
        runs = {".".join(path): [(vector, 0, vector.length)] for path, vector in found.plain}
    _check_names(weights, source.name)
    return weights, runs


def _check_names(weights: list[Weight], file: str) -> None:
    seen: set[str] = set()
    for weight in weights:
        if weight.name in seen:
            raise FormatError(file, f"two weights are called {printable(weight.name)!r}; which one is meant cannot be told")
        seen.add(weight.name)


def said(found: Contents) -> dict[str, Any]:
    """Return what `meta` keeps: of each network the facts, and the notes that a user should see."""
    notes = list(dict.fromkeys(note for _, net in found.nets for note in net.notes))
    training = [_joined(prefix, word) if " " not in word else word for prefix, net in found.nets for word in net.training]
    if training:
        more = f" and {len(training) - 6} more" if len(training) > 6 else ""
        notes.append(f"this file also holds training data ({', '.join(map(printable, training[:6]))}{more})")
    notes += [f"this file also holds {gone}" for leaf in found.dead[:5] if (gone := _gone(leaf))]
    meta: dict[str, Any] = {"networks": {prefix: net.facts for prefix, net in found.nets}} if found.nets else {}
    if len(found.files) == 1 and not found.files[0][0] and not found.nets:
        meta |= found.files[0][1].meta
    return {**meta, **({"notes": notes} if notes else {})}


def orders_of(found: Contents) -> Any:
    """Return the orders of the weights of the only net of R torch, or of the only file, that there is."""
    if len(found.files) + len(found.nets) != 1:
        return None
    if found.nets:
        prefix, net = found.nets[0]
        return orders(net.weights, net.module) if net.facts["package"] == "torch" and not prefix else None
    prefix, inner = found.files[0]
    return None if prefix else inner._orders


def why_empty(root: Any, found: Contents) -> str:
    """Say why an R object has no weights, and what to do."""
    for leaf in found.dead:
        if gone := _gone(leaf):
            return f"holds {gone}"
    kinds = found.classes or list(getattr(root, "class_", ()))
    what = f"an R object of class {printable(kinds[0], 80)}" if kinds else f"an {repr(root)[1:-1]}" if root else "R's NULL"
    return f"holds {what}, which has no network weights; known are {KNOWN}"


def _gone(leaf: Any) -> str:
    """Say which model is no more than a pointer in the file; nothing for what is no model."""
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


def _prefixed(prefix: str, weight: Weight) -> Weight:
    if not prefix:
        return weight
    return weight.replace(
        name=_joined(prefix, weight.name),
        layer=_joined(prefix, weight.layer) if weight.name else layer_of(prefix),
        tied=None if weight.tied is None else _joined(prefix, weight.tied),
    )


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name
