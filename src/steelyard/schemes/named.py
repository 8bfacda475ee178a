"""Schemes that are named and refused: their numbers are in the order of a kernel, or need code books, rotations or a trellis.

| scheme | weights of a layer | or the config's `quant_method` |
|---|---|---|
| AQLM | `codes`, `codebooks` | aqlm |
| VPTQ | `centroids.weight` or `centroids`, `indices` | vptq |
| QuIP# | `Qidxs`, `SU` | quip |
| EXL2 | `q_weight`, `q_scale` | exl2 |
| EXL3 | `trellis`, `suh` | exl3 |
| SpQR | `dense_weights`, `row_offsets` | spqr |
| QQQ | `B`, `s_channel` | qqq |
| Marlin | `B`, `s` | marlin |
| ParoQuant | `qweight`, `theta` | paroquant |
| BitBLAS | `qweight` of int8, `scales` | bitblas |
| EETQ | `weight` of int8, `weight_scales` | eetq |
| sparse-24-bitmask, sparse-bitmask | `compressed`, `bitmask` | |
| marlin-24 | `weight_packed`, `meta` | |
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from steelyard.core.effective import Derivation, Pieces, attempted, joined
from steelyard.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.weight import Weight

_KERNEL = "its numbers are in the order of a kernel, which is not read"
_BOOKS = "its numbers are in code books, which are not read"
_ROTATED = "its numbers are rotated, which is not undone"
_SPARSE = "its numbers are those that a bit mask keeps, which is not read"
_SCHEMES: tuple[tuple[str, str, str, str, tuple[str, ...]], ...] = (
    ("AQLM", "codes", "codebooks", _BOOKS, ("scales",)),
    ("VPTQ", "indices", "centroids", _BOOKS, ("res_centroids", "res_indices", "perm", "weight_scale", "weight_bias")),
    ("QuIP#", "Qidxs", "SU", _BOOKS, ("SV", "Wscale", "codebook_id", "grid_packed_abs")),
    ("EXL2", "q_weight", "q_scale", _KERNEL, ("q_scale_max", "q_groups", "q_invperm", "q_perm", "q_group_map")),
    ("EXL3", "trellis", "suh", _BOOKS, ("svh", "su", "sv", "mcg", "mul1")),
    ("SpQR", "dense_weights", "row_offsets", _KERNEL, ("col_vals", "in_perm")),
    ("QQQ", "B", "s_channel", _KERNEL, ("s_group", "workspace", "reduce_buffer")),
    ("Marlin", "B", "s", _KERNEL, ("workspace",)),
    ("ParoQuant", "qweight", "theta", _ROTATED, ("qzeros", "scales", "pairs", "channel_scales")),
    ("EETQ", "weight", "weight_scales", _KERNEL, ()),
    ("a sparse bit mask", "compressed", "bitmask", _SPARSE, ("shape", "row_offsets", "weight_scale")),
    ("marlin-24", "weight_packed", "meta", _KERNEL, ("scale_packed", "weight_scale")),
    ("BitBLAS", "qweight", "scales", _KERNEL, ("zeros", "qzeros")),
)
"""The name, two weights of a layer that show the scheme, why it is refused, and other weights of the layer."""


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield refused weights."""
    for scheme, first, second, reason, others in _SCHEMES:
        for stem in pieces.stems(first):
            codes, sign = pieces.get(joined(stem, first)), _sign(pieces, stem, second)
            if codes is None or sign is None or not _is_of(scheme, codes):
                continue
            rest = tuple(weight.name for weight in pieces.of(stem, *others) if weight)
            name = _name(stem, first)
            yield attempted(name, Derivation(scheme, (codes.name, sign.name, *rest)), partial(_refuse, reason))


def _sign(pieces: Pieces, stem: str, word: str) -> Weight | None:
    """Return the second weight of a layer, which may be that of an embedding in it."""
    return pieces.get(joined(stem, word)) or pieces.get(joined(joined(stem, word), "weight"))


def _is_of(scheme: str, codes: Weight) -> bool:
    """Whether the codes of a layer are of a type that the scheme has; plain weights may have the same names."""
    if scheme in ("BitBLAS", "EETQ"):
        return codes.dtype == "int8"
    return scheme == "a sparse bit mask" or codes.dtype.startswith(("int", "uint"))


def _name(stem: str, leaf: str) -> str:
    """Return the name of the plain weight; compressed weights have it in front already."""
    return stem if leaf == "compressed" and stem.endswith("weight") else joined(stem, "weight")


def _refuse(reason: str) -> Weight:
    raise ShapeError(reason)
