"""PyTorch: files of `torch.save` and `torch.jit.save`, and streams from before 1.6; nothing in them is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.pickle.learners import net_of
from steelyard.codecs.pickle.model_weights import listed
from steelyard.codecs.pickle.walk import TensorWalk
from steelyard.codecs.tar import is_tar
from steelyard.codecs.torch.archive import Archive, is_stream, open_archive
from steelyard.codecs.zip import mentions
from steelyard.core.loading import VERSIONS
from steelyard.core.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from steelyard.codecs.pickle.values import Key, Pickled
    from steelyard.core.graph import Graph
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pth.tar", ".jit", ".ptl")


def sniff(source: Source) -> bool:
    """Recognise a zip archive with a data.pkl, a stream that begins with torch's magic number, or a tar of version 0.1."""
    if mentions(source, b"/data/0") and mentions(source, b"/version"):
        return True  # even without a data.pkl, which reading it misses: it is no archive of models
    return mentions(source, b"data.pkl") or is_stream(source) or _is_old(source)


def read(source: Source, scope: Scope) -> Weights:
    """List weights in the order of the pickle, by the names of the state_dict; scope "all" lists every tensor by its path."""
    archive = _opened(source)
    root = archive.root if scope == "all" else net_of(archive.root)
    walk = TensorWalk(archive.decoder.source, archive.decoder.decode, archive.scripted, literal=scope == "all").through(root)
    if archive.constants and (scope == "all" or _is_frozen(walk)):
        _add_constants(walk, archive)
    graph = _graph_maker(root, walk) if walk.modules else None
    weights = listed(source, root, walk, scope, archive.meta, graph=graph)
    if versions := versions_of(archive.states, weights):
        weights.meta[VERSIONS] = versions
    if not archive.metadata:
        return weights
    from steelyard.codecs.metadata import with_facts

    return weights.with_weights(with_facts(weights.values(), archive.metadata, source))


def write(weights: Weights, path: Path) -> None:
    """Write a state_dict that `torch.load` reads with `weights_only=True`; a further member has the facts of the weights."""
    from steelyard.codecs.metadata import dump_facts
    from steelyard.codecs.torch.writing import write_archive
    from steelyard.storage.atomic import replacing

    with replacing(path) as file:
        write_archive(weights, dump_facts(weights), file, str(path))


def versions_of(states: Sequence[tuple[Mapping[Key, Pickled], Pickled]], names: Collection[str]) -> dict[str, int]:
    """Return the versions of the modules, other than 1, that the state dict with most of these names keeps as `_metadata`."""
    kept = [(held, state["_metadata"]) for held, state in states if isinstance(state, dict) and "_metadata" in state]
    _, versions = max(kept, key=lambda each: sum(name in each[0] for name in names), default=({}, {}))
    found = versions.items() if isinstance(versions, dict) else ()
    numbers = ((name, facts.get("version")) for name, facts in found if type(name) is str and type(facts) is dict)
    return {name: version for name, version in numbers if type(version) is int and version != 1}


def _is_old(source: Source) -> bool:
    """Whether a file is a tar archive of version 0.1; what reads it is imported for other tar archives only."""
    if not is_tar(source):
        return False
    from steelyard.codecs.torch.tar import is_old_tar

    return is_old_tar(source)


def _opened(source: Source) -> Archive:
    if not _is_old(source):
        return open_archive(source)
    from steelyard.codecs.torch.tar import open_tar

    return open_tar(source)


def _graph_maker(root: Pickled, walk: TensorWalk) -> Callable[[], Graph] | None:
    from steelyard.codecs.torch.modules import graph_maker

    return graph_maker(root, walk)


def _is_frozen(walk: TensorWalk) -> bool:
    """Whether a compiled module has no parameters: `torch.jit.freeze` has made them constants of its code."""
    return not any(tensor.trainable is not False and tensor.in_state_dict for tensor in walk.tensors)


def _add_constants(walk: TensorWalk, archive: Archive) -> None:
    constants, decoder = archive.constants or ((), archive.decoder)
    walk.tensors += TensorWalk(archive.source, decoder.decode).through({"constants": constants}).tensors
