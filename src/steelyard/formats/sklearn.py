"""Pickles and joblib's files of any object: scikit-learn, skorch, whole modules, dicts of arrays; nothing is unpickled.

A joblib file may be compressed by zlib, gzip, bz2, lzma, xz or lz4. Weights have the names of the live objects.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from steelyard.codecs.compression import begins, plain
from steelyard.codecs.pickle.gensim import net_tensors, with_side_files
from steelyard.codecs.pickle.joblib import after_build, companion
from steelyard.codecs.pickle.judging import load
from steelyard.codecs.pickle.learners import net_of
from steelyard.codecs.pickle.machine import Machine
from steelyard.codecs.pickle.model_weights import as_weights, listed
from steelyard.codecs.pickle.values import Record
from steelyard.codecs.pickle.walk import TensorWalk
from steelyard.codecs.pickle.worker import policies_of, with_worker
from steelyard.codecs.sklearn.graph import graph_maker
from steelyard.codecs.sklearn.scikeras import packed_models
from steelyard.codecs.sklearn.skorch import decoder_of, open_nets
from steelyard.codecs.sklearn.weights import estimator_tensors
from steelyard.codecs.torch.archive import is_stream
from steelyard.core.members import prefixed
from steelyard.core.net_facts import with_found
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, quoted

if TYPE_CHECKING:
    from steelyard.codecs.pickle.arrays import PickledTensor
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.codecs.pickle.walk import Decode, Path
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = (".pkl", ".pickle", ".joblib", ".sav", ".pdparams", ".pkl.gz", ".lz4")

_TEXT = re.compile(rb"\(d|\(l|\}[q\x94(u.]|\][q\x94(e.]|c[\w.]+\r?\n[\w.]+\r?\n|\(c[\w.]+\r?\n|\(i[\w.]+\r?\n|ccopy_reg")


def sniff(source: Source) -> bool:
    """Recognise the first opcode of a pickle, compressed or not; the text protocols only if they are unmistakable."""
    head = begins(source)
    if head[:1] == b"\x80":
        return 2 <= head[1] <= 5 if len(head) > 1 else False
    return bool(_TEXT.match(head)) and (source.name.lower().endswith(SUFFIXES) or source.read(source.size - 1, 1) == b".")


def read(source: Source, scope: Scope) -> Weights:
    """List weights by the names of the live objects, in the order of the pickle; scope "all" lists every array by its path."""
    content = plain(source)
    if is_stream(content):
        raise FormatError(source.name, "is a stream of torch inside a compressed file; unpack it first")
    machine = Machine(content, after_build, outlines=True)
    loaded, judged = load(machine)
    read = with_side_files(loaded, content)
    root = with_worker(read, content)
    is_plain = machine.is_plain and root is read
    open_nets(machine.records, content)
    missing: dict[str, str] = {}
    decode = _decoder(content, missing)
    searched = () if is_plain else root if scope == "all" else policies_of(net_of(root))  # there may be millions of values
    walk = TensorWalk(content, decode, literal=scope == "all").through(searched)
    packed = [] if is_plain or scope == "all" else list(packed_models(searched, decode, content))
    own = estimator_tensors(searched, decode, content, may_lack=bool(packed)) if scope != "all" else None
    if own is None and scope != "all":
        own = net_tensors(root, walk)
    meta: dict[str, Any] = {"format": "pickle"}
    if is_plain and machine.offset == content.size:
        meta["plain"] = True
    if missing:
        meta["incomplete"] = [f"lacks the file {quoted(name)}, into which {by} wrote an array" for name, by in missing.items()]
    if packed:
        return _with_keras_models(packed, own or [], source, meta)
    weights = listed(source, root, walk, scope, meta, own, graph_maker(searched, own, content))
    return weights if judged is None else with_found(weights, source, "pickles", judged)


def _with_keras_models(
    packed: list[tuple[Path, Source]], own: list[PickledTensor], source: Source, meta: dict[str, Any]
) -> Weights:
    """List the weights of the Keras models in the wrappers of SciKeras, after those of other estimators."""
    from steelyard.formats import weights_in

    inner = [(".".join(path), weights_in(file)) for path, file in packed]
    kept = [prefixed(path, weight) for path, weights in inner for weight in weights.values()]
    only = inner[0][1] if len(inner) == 1 and not own else None
    graph = None if only is None or inner[0][0] else lambda: only.graph
    return Weights([*as_weights(own, source), *kept], meta=meta, graph=graph)


def _decoder(source: Source, missing: dict[str, str]) -> Decode:
    tensors = decoder_of(source)

    def decode(value: Pickled) -> PickledTensor | None:
        return (companion(value, source, missing) if isinstance(value, Record) else None) or tensors.decode(value)

    return decode
