r"""Equinox: the leaves of a tree one after another, as `eqx.tree_serialise_leaves` writes them, without their names.

    {"width": 8}\n     at will, a line of JSON with the settings of the model
    93 "NUMPY" ...     an array as in a .npy file, for each array, number and truth value of the tree, in its order

Only the model knows the names, so the arrays are called 0, 1, 2 ...; `assign` and `transfer` put them into it by their places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs.budget import Budget
from steelyard.codecs.pickle.arrays import type_code
from steelyard.codecs.pickle.model_weights import as_weights
from steelyard.codecs.pickle.npy import MAGIC, array_in, header
from steelyard.core.net_facts import with_derive
from steelyard.core.weights import Weights
from steelyard.dtypes import itemsize
from steelyard.errors import FormatError, UnreadableError

if TYPE_CHECKING:
    from steelyard.codecs.pickle.arrays import PickledTensor
    from steelyard.core.effective import Pieces
    from steelyard.core.protocols import Scope
    from steelyard.core.weight import Weight
    from steelyard.storage.source import Source

SUFFIXES = (".eqx",)
LEAVES = "leaves"
"""The key in `meta` of what names the arrays by their places."""

_SETTINGS = 1 << 16
"""bytes in which the line of settings must end"""
_JAX_TWO_BYTES = "bfloat16"
"""the type that JAX saves as raw bytes, two for each number, and reads them as again"""
_ARRAY = 2000
"""bytes of memory that a listed array takes"""


def sniff(source: Source) -> bool:
    """Recognise an array that others follow, or a line of settings before arrays; alone, an array is one by its suffix."""
    start = _start(source)
    if start is None:
        return False
    try:
        return start > 0 or source.name.lower().endswith(SUFFIXES) or _end(source, 0) < source.size
    except FormatError:
        return False


def read(source: Source, scope: Scope) -> Weights:
    """List the arrays by their places. Raises `FormatError` where the file is cut off, or has anything else between them."""
    budget = Budget(source)
    listed: list[PickledTensor] = []
    for place, part in enumerate(_arrays(source)):
        budget.spend(_ARRAY)
        own = array_in(part, _JAX_TWO_BYTES)
        for tensor in own:
            tensor.path = (str(place), *tensor.path)
        listed += own
    return with_derive(Weights(as_weights(listed, source), meta={LEAVES: "equinox"}), _derive)


def _derive(_pieces: Pieces) -> Iterable[Weight]:
    """Refuse: the norms of a net, which the file does not name, may be among the arrays."""
    what = "is a run of arrays without names, which may be kernels or parts of them; assign it to its model, and pass that"
    raise UnreadableError(f"the file of Equinox {what}")


def _start(source: Source) -> int | None:
    """Return the offset of the first array; None where there is none."""
    head = source.head(len(MAGIC))
    if head == MAGIC:
        return 0
    if head[:1] not in (b"{", b"["):
        return None
    line = source.head(_SETTINGS)
    end = line.find(b"\n") + 1
    return end if end and source.size >= end + len(MAGIC) and source.read(end, len(MAGIC)) == MAGIC else None


def _arrays(source: Source) -> Iterator[Source]:
    at = _start(source)
    while at is not None and at < source.size:
        end = _end(source, at)
        yield source.part(at, end - at)
        at = end


def _end(source: Source, start: int) -> int:
    """Return the offset behind the array that begins at `start`."""
    rest = source.part(start, source.size - start)
    offset, descr, _, shape = header(rest)
    code = type_code(descr)
    width = itemsize(code[1]) if code else int(descr[2:]) if descr[1:2] == "V" and descr[2:].isdecimal() else 0
    if not width:
        raise FormatError(source.name, f"holds an array of {descr}, whose length is not known", start)
    end = start + offset + width * prod(shape)
    if end > source.size:
        raise FormatError(source.name, f"ends within an array of shape {list(shape)}: a partial download?", start)
    return end
