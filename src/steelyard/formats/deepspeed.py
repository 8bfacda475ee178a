"""DeepSpeed: a folder in which each process of ZeRO 1 to 3 keeps its share of the parameters, as flat runs of float32.

    latest                                       the name of the folder of the last save, in the folder above
    mp_rank_00_model_states.pt                   ZeRO 1 and 2: what is not divided; the parameters in the type of the training
    zero_pp_rank_0_mp_rank_00_model_states.pt    ZeRO 3: the same of each process, the parameters without numbers
    zero_pp_rank_0_mp_rank_00_optim_states.pt    the share of each process; the name of bfloat16's begins with "bf16_"

The weights are those that DeepSpeed's own zero_to_fp32 joins: the parameters in float32, and the buffers in their own type.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.chunks import Chunk, joined
from steelyard.codecs.limits import is_possible
from steelyard.codecs.pickle.arrays import is_shape
from steelyard.codecs.pickle.values import shape_of
from steelyard.codecs.sets import prefixed
from steelyard.codecs.torch.archive import open_archive
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import itemsize, numpy_dtype
from steelyard.errors import FileMissingError, FormatError, quoted

if TYPE_CHECKING:
    from steelyard.codecs.pickle.arrays import PickledTensor
    from steelyard.codecs.pickle.values import Key, Pickled
    from steelyard.codecs.torch.archive import Archive
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Array, Reader
    from steelyard.storage.source import Source

    Entries = Mapping[Key, Pickled]

SUFFIXES = ()
_LATEST = "latest"
_SHARE = re.compile(r"(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_optim_states\.pt")
_STATES = re.compile(r"(?:zero_pp_rank_(\d+)_)?mp_rank_(\d+)_model_states\.pt")
WEIGHT_COST = 1000
"""bytes of memory that a weight, or a piece of one, takes"""


class _Piece(NamedTuple):
    """A run of elements of a flat tensor."""

    read: Reader
    start: int
    length: int


class _Flat:
    """The flat tensors of one process, or of all one after another, as one run of elements."""

    __slots__ = ("_ends", "_tensors", "dtype", "length")

    def __init__(self, tensors: Sequence[PickledTensor]) -> None:
        self._tensors = tensors
        self.dtype = tensors[0].dtype if tensors else "float32"
        self._ends = [*accumulate(prod(tensor.shape) for tensor in tensors)]
        self.length = self._ends[-1] if tensors else 0

    def pieces(self, start: int, length: int) -> Iterator[_Piece]:
        """Yield the runs that together are the elements from `start`."""
        stop = min(start + length, self.length)
        at = bisect_right(self._ends, start)
        while start < stop:
            tensor, end = self._tensors[at], min(stop, self._ends[at])
            if start < end:
                yield _Piece(tensor.read, start - self._ends[at] + prod(tensor.shape), end - start)
            start, at = end, at + 1


def sniff(source: Source) -> bool:
    """Recognise a folder with the shares of processes, or the folder above, which names the last of them."""
    return source.is_folder and _folder(source) is not None


def read(source: Source, scope: Scope) -> Weights:
    """List the joined weights in the order of the state dict; scope "all" has the tensors of each file too, after its name."""
    folder = _folder(source) or source
    names = sorted(folder.names())
    shares = _numbered(folder, _SHARE, names)
    states = _numbered(folder, _STATES, names)
    if not states:
        raise FormatError(folder.name, "has the shares of a model in DeepSpeed's ZeRO, and no model_states.pt with its shapes")
    _require_all(folder, shares)
    models, optims = [_open(folder, name) for name in states], [_open(folder, name) for name in shares]
    weights = infer_roles([*_weights(folder, models, optims)])
    if scope == "all":
        weights += [*_others(folder, [*states, *shares])]
    first = _entries(models[0].root)
    plain = {key: value for key, value in first.items() if type(key) is str and type(value) in (int, float, str, bool)}
    kept = dict([*plain.items()][: limits.METADATA])
    return Weights(weights, meta={"format": "DeepSpeed ZeRO", **kept, "shards": [*states, *shares]})


def _folder(source: Source) -> Source | None:
    """Return the folder with the shares: this one, or that which the file `latest` names; None for any other folder."""
    names = source.names()
    if any(map(_SHARE.fullmatch, names)):
        return source
    if _LATEST not in names:
        return None
    try:
        latest = source.beside(_LATEST)
        inner = source.beside(latest.read(0, min(latest.size, 1000)).decode("utf-8", "replace").strip())
    except (FileMissingError, FormatError):
        return None
    return inner if inner.is_folder and any(map(_SHARE.fullmatch, inner.names())) else None


def _numbered(folder: Source, pattern: re.Pattern[str], names: list[str]) -> list[str]:
    """Return the files of this pattern in the order of their processes. Raises `FormatError` for a model divided otherwise."""
    found = [(int(match[1] or 0), int(match[2]), name) for name in names if (match := pattern.fullmatch(name))]
    parallel = {rank for _, rank, _ in found}
    if len(parallel) > 1:
        what = f"each tensor is divided over {len(parallel):,} processes by rules of the model, which no file has"
        raise FormatError(folder.name, f"{what}; join them with the program that saved them")
    return [name for _, _, name in sorted(found)]


def _require_all(folder: Source, shares: list[str]) -> None:
    ranks = [int(match[1]) for name in shares if (match := _SHARE.fullmatch(name))]
    if ranks != [*range(len(ranks))]:
        lost = next(rank for rank in range(max(ranks) + 1) if ranks.count(rank) != 1)
        raise FormatError(
            folder.name, f"has not one file with the share of process {lost} of DeepSpeed's ZeRO (partial download?)"
        )


def _open(folder: Source, name: str) -> Archive:
    return open_archive(folder.beside(name))


def _entries(value: Pickled) -> Entries:
    return value if isinstance(value, dict) else {}


# What the files hold that is needed to join them:
#   model_states  module                    the state dict; in ZeRO 3 its parameters have no numbers
#                 buffer_names              the names of it that are buffers
#                 param_shapes              for each group of the optimizer a dict of names and shapes, in the order of the runs
#                 frozen_param_shapes       the same of parameters that are not trained, or None
#                 frozen_param_fragments    their numbers: whole, or in ZeRO 3 the share of the process
#                 shared_params             {name: the name whose numbers it shares}
#   optim_states  optimizer_state_dict      zero_stage, partition_count, and in ZeRO 1 and 2 single_partition_of_fp32_groups,
#                                           in ZeRO 3 fp32_flat_groups: flat tensors, one for each group
# In ZeRO 1 and 2, the parameters of a group follow one another in the runs of all processes joined. In ZeRO 3, each parameter
# is divided: every process has an equal share, the last ones padded, and the shares of all parameters follow one another.
def _weights(folder: Source, models: list[Archive], optims: list[Archive]) -> Iterator[Weight]:
    state = _entries(models[0].root)
    groups = _groups(folder, state)
    kept = [_entries(_entries(optim.root).get("optimizer_state_dict")) for optim in optims]
    _require_count(folder, kept)
    made: dict[str, Weight] = dict(_buffers(models[0], state))
    if kept[0].get("zero_stage") == 3:
        runs = [_tensors(folder, optim, held, "fp32_flat_groups") for optim, held in zip(optims, kept, strict=True)]
        _require_one_type(folder, chain(*runs))
        shapes = {name: shape for group in groups for name, shape in group.items()}
        made |= _divided(folder, shapes, [*map(_Flat, runs)])
    else:
        parts = [_tensors(folder, each, held, "single_partition_of_fp32_groups") for each, held in zip(optims, kept, strict=True)]
        if {len(part) for part in parts} != {len(groups)}:
            raise FormatError(folder.name, f"the shares have not {len(groups)} groups of parameters each, as model_states.pt has")
        for group, run in zip(groups, zip(*parts, strict=True), strict=True):
            _require_one_type(folder, run)
            made |= _in_turn(folder, group, _Flat(run), len(optims))
    made |= _frozen(folder, models, state, divided=kept[0].get("zero_stage") == 3)
    yield from _in_order(state, made, Budget(models[0].source))


def _groups(folder: Source, state: Entries) -> list[dict[str, tuple[int, ...]]]:
    listed = state.get("param_shapes")
    return [_shapes(folder, group) for group in (listed if isinstance(listed, list) else [listed])]


def _shapes(folder: Source, group: Pickled) -> dict[str, tuple[int, ...]]:
    """Return the shapes of parameters by name. Raises `FormatError` for anything else."""
    shapes = {name: shape_of(shape) for name, shape in _entries(group).items() if type(name) is str}
    wrong = next((name for name, shape in shapes.items() if not is_shape(shape) or not is_possible(shape)), None)
    if not isinstance(group, dict) or len(shapes) < len(group) or wrong is not None:
        which = "" if wrong is None else f": {quoted(wrong)}"
        raise FormatError(folder.name, f"the shapes in its model_states.pt are not those of parameters{which}")
    return shapes  # type: ignore[return-value]


def _require_count(folder: Source, kept: list[Entries]) -> None:
    """Raise `FormatError` unless there are as many shares as each of them says."""
    counts = kept[0].get("partition_count")
    count = counts[0] if isinstance(counts, list) and counts else counts
    if type(count) is int and count != len(kept):
        what = f"has the shares of {len(kept):,} processes of DeepSpeed's ZeRO, of {count:,} (partial download?)"
        raise FormatError(folder.name, what)


def _tensors(folder: Source, archive: Archive, held: Entries, key: str) -> list[PickledTensor]:
    listed = held.get(key)
    found = [archive.decoder.decode(value) for value in listed] if isinstance(listed, list) else []
    tensors = [tensor for tensor in found if tensor is not None]
    if not tensors or len(tensors) < len(found):
        raise FormatError(archive.source.name, f"has no list of tensors {quoted(key)}, in which the share of a process is")
    return tensors


def _require_one_type(folder: Source, tensors: Iterable[PickledTensor]) -> None:
    """Raise `FormatError` for shares of several types, of which no one weight can be."""
    types = sorted({tensor.dtype for tensor in tensors})
    if len(types) > 1:
        raise FormatError(folder.name, f"the shares of its processes are of several types: {', '.join(types)}")


def _in_turn(folder: Source, group: Mapping[str, tuple[int, ...]], flat: _Flat, count: int) -> Iterator[tuple[str, Weight]]:
    """Yield the parameters of a group of ZeRO 1 or 2: one after another, and zeros up to a multiple of twice the processes."""
    at, unit = 0, 2 * count
    for name, shape in group.items():
        yield name, _weight(name, shape, [*flat.pieces(at, prod(shape))], flat.dtype)
        at += prod(shape)
    if -(-at // unit) != -(-flat.length // unit) or at > flat.length:
        raise FormatError(folder.name, f"the shares have {flat.length:,} numbers, the shapes of its parameters {at:,}")


def _divided(folder: Source, shapes: Mapping[str, tuple[int, ...]], flats: list[_Flat]) -> Iterator[tuple[str, Weight]]:
    """Yield the parameters of ZeRO 3, each of which is divided over all processes, padded to equal shares."""
    at = 0
    for name, shape in shapes.items():
        share = -(-prod(shape) // len(flats))
        yield name, _weight(name, shape, [*_shares(flats, at, prod(shape))], flats[0].dtype)
        at += share
    if {flat.length for flat in flats} != {at}:
        raise FormatError(
            folder.name, f"the share of a process has {flats[0].length:,} numbers, the shapes of its parameters {at:,}"
        )


def _frozen(folder: Source, models: list[Archive], state: Entries, *, divided: bool) -> Iterator[tuple[str, Weight]]:
    """Yield the parameters that are not trained, which the model_states of each process has, whole or in equal shares."""
    listed = state.get("frozen_param_shapes")
    if not listed:
        return
    for name, shape in _shapes(folder, listed).items():
        found = [
            archive.decoder.decode(_entries(_entries(archive.root).get("frozen_param_fragments")).get(name))
            for archive in (models if divided else models[:1])
        ]
        tensors = [tensor for tensor in found if tensor is not None]
        _require_one_type(folder, tensors)
        flats = [_Flat([tensor]) for tensor in tensors]
        share = -(-prod(shape) // max(len(found), 1))
        if len(flats) < len(found) or min(flat.length for flat in flats) < share:
            raise FormatError(folder.name, f"the frozen {quoted(name)} is not in the model_states.pt of each process")
        pieces = [*_shares(flats, 0, prod(shape))]
        yield name, _weight(name, shape, pieces, flats[0].dtype).replace(trainable=False)


def _shares(flats: list[_Flat], at: int, size: int) -> Iterator[_Piece]:
    """Yield the runs of a parameter of this size, of which each process has an equal share from `at`, padded at the end."""
    share = -(-size // len(flats))
    for rank, flat in enumerate(flats):
        yield from flat.pieces(at, max(min(share, size - rank * share), 0))


def _weight(name: str, shape: tuple[int, ...], pieces: list[_Piece], dtype: str) -> Weight:
    """Return a weight whose elements are these pieces, one after another."""
    at, chunks = 0, []
    for piece in pieces:
        chunks.append(Chunk((at,), (piece.length,), _shifted(piece)))
        at += piece.length
    read = joined((at,), dtype, chunks) if chunks else _nothing(dtype)
    return Weight(name=name, shape=shape, dtype=dtype, read=read, layer=layer_of(name))


def _shifted(piece: _Piece) -> Reader:
    from steelyard.storage.source import Stored

    if isinstance(piece.read, Stored):  # whose bytes are copied without NumPy
        held = piece.read
        return Stored(held.source, held.offset + piece.start * itemsize(held.dtype), held.dtype, held.byteorder)
    return lambda start, stop: piece.read(piece.start + start, piece.start + stop)


def _nothing(dtype: str) -> Reader:
    def read(_start: int, _stop: int) -> Array:
        import numpy as np

        return np.empty(0, numpy_dtype(dtype))

    return read


def _buffers(archive: Archive, state: Entries) -> Iterator[tuple[str, Weight]]:
    """Yield the buffers, which the model_states of the first process has whole."""
    names, module = state.get("buffer_names"), _entries(state.get("module"))
    for name in names if isinstance(names, (list, tuple)) else ():
        if type(name) is not str or name not in module:
            continue
        tensor = archive.decoder.decode(module[name])
        if tensor is not None:
            yield (
                name,
                Weight(
                    name=name, shape=tensor.shape, dtype=tensor.dtype, read=tensor.read, layer=layer_of(name), trainable=False
                ),
            )


def _in_order(state: Entries, made: dict[str, Weight], budget: Budget) -> Iterator[Weight]:
    """Yield the weights in the order of the state dict, with those that share the numbers of others; unknown ones come last."""
    shared = state.get("shared_params")
    pairs = shared.items() if isinstance(shared, dict) else ()
    ties = {own: other for own, other in pairs if type(own) is str and type(other) is str}
    order = [name for name in _entries(state.get("module")) if type(name) is str]
    seen: dict[str, str] = {}
    for name in dict.fromkeys([*order, *made, *ties]):
        budget.spend(WEIGHT_COST)
        weight = made.get(name) or made.get(ties.get(name, ""))
        if weight is not None:
            owner = seen.setdefault(weight.name, name)
            yield weight.replace(name=name, layer=layer_of(name), tied=owner if owner != name else None)


def _others(folder: Source, names: list[str]) -> Iterator[Weight]:
    from steelyard.formats import part_in

    for name in names:
        for weight in part_in(folder.beside(name), "all").values():
            yield prefixed(name, weight)
