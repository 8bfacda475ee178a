"""MATLAB: the arrays of a `.mat` file of version 5, 7 or 7.3, named in MATLAB's own words, as `net.layers{1}.weights{2}`.

Arrays have the axes that MATLAB shows. A net of MatConvNet lists its weights alone; its settings are there with scope "all".
Objects, such as the nets of MATLAB's own Deep Learning Toolbox, are listed and refused: their layout is not public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.core.roles import infer_roles
from steelyard.core.weights import Weights
from steelyard.formats.matlab.items import MARK_5, MARK_7

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = (".mat",)

_TEXT = 116
"""bytes of the sentence with which a file begins"""


def sniff(source: Source) -> bool:
    """Recognise the sentence at the beginning of a file of version 5 and newer."""
    return source.head(len(MARK_5)) in (MARK_5, MARK_7)


def read(source: Source, scope: Scope) -> Weights:
    """List the arrays in the order of the file; texts and the settings of a net only with scope "all"."""
    from steelyard.formats.matlab.nets import model_weights

    if source.head(len(MARK_7)) == MARK_7:
        from steelyard.formats.matlab.version7 import items
    else:
        from steelyard.formats.matlab.version5 import items
    listed = [*items(source)]
    kept = [item.weight for item in listed] if scope == "all" else model_weights(listed)
    text = source.head(_TEXT).decode("latin-1").rstrip("\0 ")
    return Weights(infer_roles(kept), meta={"header": text} if text.isprintable() else {})
