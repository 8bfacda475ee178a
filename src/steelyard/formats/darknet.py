"""Darknet: the float32 numbers of a `.weights` file, by the layers in the `.cfg` of the same name next to it.

    i32 major, i32 minor, i32 revision; images seen, u32 before version 0.2, u64 since; then float32 to the end

    convolutional   biases; scales, rolling_mean, rolling_variance with batch_normalize; weights
    connected       biases, weights; scales, rolling_mean, rolling_variance with batch_normalize

Weights are named by the number and the kind of their section, and by Darknet's own words: `0.convolutional.weights`.
Source: `load_weights_upto` in `parser.c` of Darknet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.codecs.darknet_cfg import Part, parts, sections
from steelyard.codecs.lone_file import lone_file
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.errors import FileMissingError, FormatError, quoted

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = (".weights",)

_SUFFIXES = (".weights", ".backup", ".conv")
_COST = 1000
_CFG = 1 << 22
"""bytes of a .cfg"""


def sniff(source: Source) -> bool:
    """Recognise the version, 0.1 or 0.2, of a file with the name of weights of Darknet, or a folder with one and its .cfg."""
    if source.is_folder:
        return _inside(source) is not None
    if not source.name.lower().endswith(_SUFFIXES) or source.size < 20:
        return False
    begin = _begin(source)
    return begin > 0 and (source.size - begin) % 4 == 0


def _begin(source: Source) -> int:
    """Return the offset of the numbers; 0 for another kind of file."""
    head = source.head(12)
    major, minor, revision = (int.from_bytes(head[at : at + 4], "little") for at in (0, 4, 8))
    return {(0, 1): 16, (0, 2): 20}.get((major, minor), 0) if revision < 1000 else 0


def _inside(folder: Source) -> Source | None:
    """Return the weights of a folder that has one file of them, and its .cfg."""
    names = folder.names()
    found = [name for name in names if name.lower().endswith(".weights")]
    return lone_file(folder, found, sniff) if any(name.lower().endswith(".cfg") for name in names) else None


def read(source: Source, scope: Scope) -> Weights:
    """List the weights in the order of the file. Raises `FormatError` where the layers need more or fewer numbers than it has."""
    file = _inside(source) if source.is_folder else source
    if file is None:
        raise FormatError(source.name, "has no weights of Darknet any more")
    cfg = _config(file)
    budget, at = Budget(file), _begin(file)
    listed = []
    for part in parts(sections(cfg), cfg.name):
        budget.spend(_COST)
        listed.append(_weight(file, at, part))
        at += 4 * prod(part.shape)
    if at != file.size:
        needed, has = (at - _begin(file)) // 4, (file.size - _begin(file)) // 4
        reason = "fewer layers, or another net?" if has > needed else "cut off, or another net?"
        raise FormatError(file.name, f"has {has:,} numbers, but the layers of {quoted(cfg.name)} have {needed:,} ({reason})")
    return Weights(listed)


def _config(file: Source) -> Source:
    """Return the .cfg of the same name, or the only one of the folder."""
    names = list(_likely(file))
    for name in names:
        try:
            cfg = file.beside(name)
        except FileMissingError:
            continue
        if cfg.size > _CFG or cfg.is_folder:
            raise FormatError(cfg.name, f"has {cfg.size:,} bytes, too many for the layers of Darknet")
        return cfg
    what = "has numbers alone, in the order of the layers in a .cfg"
    raise FormatError(file.name, f"{what}; put the .cfg of its net next to it, as {quoted(names[0] if names else 'net.cfg')}")


def _likely(file: Source) -> Iterator[str]:
    base = os.path.basename(file.name.replace("\\", "/"))
    yield f"{base.rpartition('.')[0]}.cfg"
    if file.path is not None:
        others = [name for name in os.listdir(os.path.dirname(file.path) or ".") if name.lower().endswith(".cfg")]
        if len(others) == 1:
            yield others[0]


def _weight(file: Source, at: int, part: Part) -> Weight:
    return Weight(
        name=f"{part.layer}.{part.word}",
        shape=part.shape,
        dtype="float32",
        read=file.numbers(at, "float32"),
        role=part.role,
        axes=part.axes,
        layer=part.layer,
    )
