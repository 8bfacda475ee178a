"""TensorFlow: checkpoints of both versions (V2 is a tensor bundle) and SavedModels, whose variables are a tensor bundle."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable

from steelyard.codecs import limits
from steelyard.core.protocols import Scope
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FileMissingError, FormatError, SteelyardError, UnsafeFileError, printable, quoted
from steelyard.formats.tensorflow.bundle import Bundle
from steelyard.formats.tensorflow.object_graph import Trackable, checkpoint_graph, reached, saved_graph
from steelyard.formats.tensorflow.sstable import is_table
from steelyard.formats.tensorflow.version1 import SavedSlices, is_first_version
from steelyard.layers.keras.roles import kind_of, variable_role
from steelyard.storage.source import Source

SUFFIXES = (".index", ".data-00000-of-00001", "saved_model.pb", "checkpoint")

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
MODEL = "saved_model.pb"
VARIABLES = "variables/variables.index"
_STATE = re.compile(rb'\s*(?:#[^\n]*\n\s*)*model_checkpoint_path:\s*"((?:[^"\\\n]|\\.)*)"')
_DATA = re.compile(r"\.data-\d{5}-of-\d{5}$")
_PATTERN = re.compile(r"\?{5}-of-(?=\d{5}$)")
_RULES = "Adam|AdamW|Adamax|Nadam|Momentum|RMSProp|RMSprop|SGD|Adagrad|Adadelta|Ftrl|LARS|LAMB"
_SLOT = re.compile(rf"(.+)/(?:{_RULES}|ExponentialMovingAverage|m|v|adam_m|adam_v)(?:_\d+)?")
_TRAINING = re.compile(rf"training/(?:{_RULES})(?:_\d+)?/")
_COUNTERS = re.compile(r"(?:.*/)?(?:global_step|beta[12]_power(?:_\d+)?)")
_NAMELESS = re.compile(r"(?:Variable(?:_\d+)?)?")
_LEAVES = {"weights": Role.KERNEL, "biases": Role.BIAS}


def sniff(source: Source) -> bool:
    """Recognise an index, the text file that names one, a file of numbers next to its index, or a SavedModel's folder."""
    try:
        if source.is_folder:
            return _is_beside(source, MODEL) or _names_checkpoint(source)
        name = _file_name(source)
        if name == MODEL or _DATA.search(name):
            return _is_beside(source, VARIABLES if name == MODEL else _DATA.sub(".index", name))
        return is_table(source) or _STATE.match(source.head(4096)) is not None
    except SteelyardError:
        return False


def read(source: Source, scope: Scope) -> Weights:
    """List the model's variables by TensorFlow's names, in the order in which the model holds them.

    Without an object graph, as in TensorFlow 1, the order is that of the index, which sorts by name. The state of
    optimizers is left out. Scope "all" lists every tensor by its key in the index.
    """
    bundle = _bundle(source)
    tensors = {weight.name: weight for weight in bundle.weights()}
    meta = bundle.meta
    text = bundle.text(GRAPH.encode())
    nodes = checkpoint_graph(text) if text is not None else []
    if absent := {node.key: node.full_name or node.key for node in nodes if node.key and node.key not in tensors}:
        meta["incomplete"] = [f"lacks the variable {printable(name)}, which its object graph has" for name in absent.values()]
    if scope == "all":
        return Weights((weight.replace(layer=layer_of(name)) for name, weight in tensors.items()), meta=meta)
    saved, about = _saved_graph(source)
    chosen = _of_graph(reached(nodes, saved), tensors) if nodes else _of_names(tensors)
    return Weights(_explained(chosen), meta=meta | about)


def _file_name(source: Source) -> str:
    return (source.path or source.name).replace("\\", "/").rpartition("/")[2]


def _is_beside(source: Source, name: str) -> bool:
    try:
        source.beside(name)
    except FileMissingError:
        return False
    except UnsafeFileError:
        return True  # reading it raises the reason
    return True


def _names_checkpoint(folder: Source) -> bool:
    """Whether a folder has the text file that names a checkpoint; other libraries have files and folders of this name."""
    if not _is_beside(folder, "checkpoint"):
        return False
    state = folder.beside("checkpoint")
    return not state.is_folder and _STATE.match(state.head(4096)) is not None


def _bundle(source: Source) -> Bundle | SavedSlices:
    """Open the table that a path refers to, with its files of numbers."""
    name = _file_name(source)
    if source.is_folder and not _is_beside(source, MODEL):
        return _bundle(source.beside("checkpoint"))
    if source.is_folder or name == MODEL:
        return _saved_variables(source)
    if _DATA.search(name):
        index = source.beside(_DATA.sub(".index", name))
        return Bundle(index, index.beside)
    if is_table(source):
        return SavedSlices(source) if is_first_version(source) else Bundle(source, source.beside)
    latest = _latest(source)
    first = _PATTERN.sub("00000-of-", latest)  # of several files of the first version, which the text names by a pattern
    is_old = not _is_beside(source, f"{latest}.index") and _is_beside(source, first)
    return _bundle(source.beside(first if is_old else f"{latest}.index"))


def _saved_variables(source: Source) -> Bundle:
    try:
        index = source.beside(VARIABLES)
    except FileMissingError:
        what = "a SavedModel without variables/variables.index; numbers in the constants of its graph are not supported"
        raise FormatError(source.name, what) from None
    return Bundle(index, index.beside)


def _latest(source: Source) -> str:
    """Return the latest checkpoint by the text file `checkpoint`; a path that leads out of the folder is refused."""
    match = _STATE.match(source.head(limits.TEXT))
    if match is None:
        raise FormatError(source.name, "names no model_checkpoint_path")
    path = match[1].decode("utf-8", "surrogateescape")
    folder, name = os.path.split(path)
    if source.path and os.path.isabs(path) and folder == os.path.dirname(os.path.abspath(source.path)):
        path = name
    if "\\" in path or path.startswith("/") or ".." in path.split("/"):
        raise UnsafeFileError(
            source.name, f"names the checkpoint {quoted(path)}, which is outside the folder; open its .index file instead"
        )
    return path


def _saved_graph(source: Source) -> tuple[list[Trackable], dict[str, str]]:
    """Return the object graph of a SavedModel and its metadata; a graph that cannot be parsed is empty, with a note."""
    if not source.is_folder and _file_name(source) != MODEL:
        return [], {}
    try:
        nodes, version = saved_graph(source.beside(MODEL))
    except FileMissingError:
        return [], {}
    except FormatError as error:
        return [], {"note": f"names come from the variables alone: {error}"}
    return nodes, {"tensorflow_version": version} if version else {}


def _of_graph(nodes: Iterable[Trackable], tensors: dict[str, Weight]) -> list[Weight]:
    """Return the variables of the model, depth first from the root of the graph.

    A variable has its full name; where that is not unique, or only TensorFlow's default "Variable", its path in the graph.
    """
    held = {node.key: node for node in nodes if node.key in tensors and tensors[node.key].encoding != "string"}
    names = Counter(node.full_name for node in held.values())
    return [
        tensors[key].replace(
            name=key.removesuffix(VALUE) if names[node.full_name] > 1 or _NAMELESS.fullmatch(node.full_name) else node.full_name,
            trainable=node.trainable,
        )
        for key, node in held.items()
    ]


def _of_names(tensors: dict[str, Weight]) -> list[Weight]:
    """Return the weights without slot variables of optimizers, which TensorFlow 1 names after their variable."""
    slots = {name for name in tensors if _TRAINING.match(name)}
    slots |= {name for name in tensors if (match := _SLOT.fullmatch(name)) and match[1] in tensors}
    return [w for name, w in tensors.items() if name not in slots and not _COUNTERS.fullmatch(name) and w.encoding != "string"]


def _explained(weights: Iterable[Weight]) -> list[Weight]:
    """Return the weights with roles by their last word, and by their layer where it has a default name of Keras."""
    return infer_roles(_by_layer(weight.replace(layer=layer_of(weight.name))) for weight in weights)


def _by_layer(weight: Weight) -> Weight:
    words = weight.name.split("/")
    known = variable_role(kind_of(words[-2]), words[-1]) if len(words) > 1 else None
    ndim = len(weight.shape)
    if known is None or (known.axes and not known.axes_for(ndim)):
        role = _LEAVES.get(words[-1], Role.OTHER) if ndim else Role.OTHER
        return weight.replace(role=role)
    return weight.replace(role=known.role, axes=known.axes_for(ndim), trainable=weight.trainable if known.trainable else False)
