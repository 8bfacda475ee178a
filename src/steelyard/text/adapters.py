"""What a merge did with an adapter, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.errors import first_of
from steelyard.text.differences import columns, figure
from steelyard.text.table import FINDINGS, name_text
from steelyard.text.units import counted

if TYPE_CHECKING:
    from steelyard.measures.adapter import AdapterMerge, LayerMerge


def adapter_lines(merge: AdapterMerge) -> Iterator[str]:
    """Yield a line for each layer, the counts, and the weights that changed without an adapter."""
    rows = [("layer", "scale", "residual", "")]
    rows += [(name_text(each.layer), figure(each.scale), figure(each.residual), _verdict(each)) for each in merge.layers]
    yield from columns(rows, right=(1, 2))
    counts = Counter(each.verdict for each in merge.layers)
    yield f"{counted(len(merge.layers), 'layer')}: " + ", ".join(f"{n:,} {word}" for word, n in counts.items())
    if merge.others:
        yield f"changed without an adapter: {first_of(merge.others, FINDINGS, name_text)}"


def _verdict(layer: LayerMerge) -> str:
    if layer.verdict != "received" or layer.has_expected_scale:
        return layer.verdict
    return f"{layer.verdict}, but the config of the adapter has the scale {figure(layer.expected)}"
