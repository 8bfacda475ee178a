"""The files of ggml from before GGUF, as whisper.cpp still has them: no keys and no offsets, one value after another.

    u32 magic    "ggml"; "ggmf" and "ggjt" (llama.cpp) and "ggla" (an adapter) are followed by u32 version
    settings     int32, as many as the program for the model expects: 11 for Whisper, 7 for LLaMA, 6 for GPT-2, 2 for an adapter
    filters      Whisper alone: int32 rows, int32 columns, float32: how a spectrum becomes the input
    vocabulary   int32 number of tokens (LLaMA: the first setting), then each: int32 length, bytes, in "ggmf" and "ggjt" float32
    tensors      up to the end: int32 number of axes, int32 length of the name, int32 type,
                 int32 lengths, the innermost axis first, the name, the numbers (at a multiple of 32 in "ggjt", "ggla")

Nothing says which program a file is for. The one layout is taken under which a vocabulary is followed by a tensor.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.budget import Budget
from steelyard.codecs.limits import is_possible
from steelyard.codecs.pages import Pages
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Refused, Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError, quoted
from steelyard.formats.gguf.header import PLAIN, QUANTISED
from steelyard.formats.gguf.quantisation import QUANTS, Blocks

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Reader
    from steelyard.storage.source import Source

MAGICS = {b"lmgg": "ggml", b"fmgg": "ggmf", b"tjgg": "ggjt", b"algg": "ggla"}

_ALIGNMENT = 32
_ALIGNED, _SCORED = ("ggjt", "ggla"), ("ggmf", "ggjt")
_BLOCKS = 2
"""The version of the blocks of quantisations that GGUF has too; older ones differ."""
_BLOCKS_IN_GGJT = 3
_FACTOR = 1000
"""What the version of the blocks is multiplied by, before it is added to the last setting."""
_AXES, _NAME, _TOKEN, _TOKENS = 4, 256, 1 << 12, 1 << 22
_TOKEN_COST, _TENSOR_COST = 20, 1200
"""bytes of memory that a token, which is passed over, stands for, and that a listed tensor takes"""
_PAGE = 1 << 16
_WHISPER = (
    *("n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer"),
    *("n_text_ctx", "n_text_state", "n_text_head", "n_text_layer", "n_mels", "ftype"),
)


class _Layout(NamedTuple):
    """How many settings there are, and what follows them."""

    settings: int
    has_filters: bool = False
    has_count: bool = True


_LAYOUTS = (_Layout(11, has_filters=True), *map(_Layout, (6, 7, 8, 9, 5, 10)), _Layout(7, has_count=False))


class _Begin(NamedTuple):
    """Where the tensors begin, and what precedes them."""

    at: int
    settings: tuple[int, ...]
    filters: Weight | None


def read(source: Source, scope: Scope) -> Weights:
    """List the tensors in the order of the file; scope "all" has Whisper's filters before them."""
    kind = MAGICS[source.head(4)]
    version = 0 if kind == "ggml" else _integers(Pages(source, 4), 4, 1)[0]
    begin = _begin(source, kind)
    if begin.at >= source.size:
        raise FormatError(source.name, "holds a vocabulary only, and no weights")
    block = version if kind == "ggjt" else begin.settings[-1] // _FACTOR
    is_known = block == (_BLOCKS_IN_GGJT if kind == "ggjt" else _BLOCKS)
    listed: dict[str, Weight] = {}
    for weight in _tensors(source, begin.at, _ALIGNMENT if kind in _ALIGNED else 1, is_known=is_known):
        if weight.name in listed:
            raise FormatError(source.name, f"has two tensors with the name {quoted(weight.name)}; the file is ambiguous")
        listed[weight.name] = weight
    weights = infer_roles(listed.values())
    if scope == "all" and begin.filters is not None:
        weights.insert(0, begin.filters)
    named = begin.filters is not None
    settings = dict(zip(_WHISPER, begin.settings, strict=True)) if named else {"settings": list(begin.settings)}
    return Weights(weights, meta={"format": kind, **({"version": version} if version else {}), **settings})


def _begin(source: Source, kind: str) -> _Begin:
    start = 4 if kind == "ggml" else 8
    if kind == "ggla":
        return _Begin(start + 8, _integers(Pages(source, 64), start, 2), None)
    fitting = [begin for layout in _LAYOUTS if (begin := _tried(source, start, layout, kind))]
    if not fitting:
        raise FormatError(
            source.name, f"is a file of {kind} for a program that is not known, or damaged (partial download?)", start
        )
    if len({begin.at for begin in fitting}) > 1:  # a count of tokens may be taken for a last setting
        counts = " and ".join(str(len(begin.settings)) for begin in fitting)
        raise FormatError(
            source.name, f"may be read in several ways, with {counts} settings; nothing in it says which is right", start
        )
    return fitting[0]


def _tried(source: Source, start: int, layout: _Layout, kind: str) -> _Begin | None:
    """Return where the tensors begin under a layout; None where it does not fit."""
    pages = Pages(source, _PAGE)
    try:
        settings = _integers(pages, start, layout.settings)
        at, filters = start + 4 * layout.settings, None
        if layout.has_filters:
            filters = _filters(source, pages, at, settings)
            at += 8 + (filters.nbytes if filters else 0)
        count = _integers(pages, at, 1)[0] if layout.has_count else settings[0]
        at += 4 * layout.has_count
        if (layout.has_filters and not filters) or not 0 < count <= min(_TOKENS, settings[0]):
            return None
        at = _after_tokens(source, pages, at, count, 4 * (kind in _SCORED))
        fits = at == source.size or _is_tensor(pages, source, at)
    except FormatError:
        return None
    return _Begin(at, settings, filters) if fits else None


def _integers(pages: Pages, at: int, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}i", pages.read(at, 4 * count))


def _filters(source: Source, pages: Pages, at: int, settings: tuple[int, ...]) -> Weight | None:
    """Return the filters, of which there are as many as the settings say."""
    shape = _integers(pages, at, 2)
    if shape[0] != settings[_WHISPER.index("n_mels")] or not is_possible(shape) or at + 8 + 4 * prod(shape) > source.size:
        return None
    return Weight(name="filters", shape=shape, dtype="float32", read=source.numbers(at + 8, "float32"))


def _after_tokens(source: Source, pages: Pages, at: int, count: int, extra: int) -> int:
    Budget(source).owe(_TOKEN_COST * count)
    for _ in range(count):
        length = int.from_bytes(pages.read(at, 4), "little")
        if length > _TOKEN:
            raise FormatError(source.name, f"has a token of {length:,} bytes", at)
        at += 4 + length + extra
    if at > source.size:
        raise FormatError(source.name, "ends within its vocabulary", at)
    return at


def _is_tensor(pages: Pages, source: Source, at: int) -> bool:
    """Whether a tensor may begin here."""
    axes, length, kind = _integers(pages, at, 3)
    if not 0 < axes <= _AXES or not 0 < length <= _NAME or (kind not in PLAIN and kind not in QUANTISED):
        return False
    shape = _integers(pages, at + 12, axes)
    name = pages.read(at + 12 + 4 * axes, length)
    return min(shape) > 0 and prod(shape) <= 8 * source.size and name.isascii() and name.decode().isprintable()


def _tensors(source: Source, at: int, alignment: int, *, is_known: bool) -> Iterator[Weight]:
    pages, budget = Pages(source, 1 << 10), Budget(source)
    while at < source.size:
        budget.spend(_TENSOR_COST, at)
        axes, length, kind = _integers(pages, at, 3)
        if not 0 < axes <= _AXES or not 0 < length <= _NAME:
            raise FormatError(source.name, f"has a tensor of {axes:,} axes with a name of {length:,} bytes", at)
        shape = _integers(pages, at + 12, axes)[::-1]
        name = pages.read(at + 12 + 4 * axes, length).decode("utf-8", "backslashreplace")
        at = -(-(at + 12 + 4 * axes + length) // alignment) * alignment
        nbytes = _nbytes(source, name, shape, kind, at)
        yield Weight(
            name=name,
            shape=shape,
            dtype=PLAIN.get(kind, "float32"),
            read=_reader(source, name, kind, at, is_known=is_known),
            layer=layer_of(name),
            encoding=QUANTISED.get(kind, ""),
        )
        at += nbytes


def _nbytes(source: Source, name: str, shape: tuple[int, ...], kind: int, at: int) -> int:
    """Return the bytes of a tensor. Raises `FormatError` for an unknown type, and for more than the file has."""
    if kind not in PLAIN and kind not in QUANTISED:
        raise FormatError(source.name, f"{quoted(name)} is of the unknown type {kind:,}", at)
    size, width = QUANTS[QUANTISED[kind]][:2] if kind in QUANTISED else (1, itemsize(PLAIN[kind]))
    if not is_possible(shape) or shape[-1] % size:
        raise FormatError(source.name, f"{quoted(name)} has the shape {list(shape)}, which is impossible for its type", at)
    nbytes = prod(shape) // size * width
    if at + nbytes > source.size:
        end = f"ends at byte {at + nbytes:,} of {source.size:,} (partial download?)"
        raise FormatError(source.name, f"{quoted(name)} {end}", at)
    return nbytes


def _reader(source: Source, name: str, kind: int, at: int, *, is_known: bool) -> Reader:
    if kind in PLAIN:
        return source.numbers(at, PLAIN[kind])
    if not is_known:
        what = f"{quoted(name)} has {QUANTISED[kind]} in blocks of an old version, which are not read; convert the original again"
        return Refused(FormatError(source.name, what, at))
    return Blocks(source, at, QUANTISED[kind])
