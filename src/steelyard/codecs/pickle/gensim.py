"""gensim's pickles: large arrays of an object are in files of their own, `NAME.attribute.npy` beside the pickle NAME.

__numpys                the attributes that are arrays in such files
__scipys                the attributes that are sparse matrices in such files
__recursive_saveloads   the attributes that are objects with such files, `NAME.attribute.attribute.npy`
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.pickle.values import Global, Record, class_of
from steelyard.core.weight import Role

if TYPE_CHECKING:
    from steelyard.codecs.pickle.arrays import PickledTensor
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.codecs.pickle.walk import TensorWalk
    from steelyard.storage.source import Source

_WRAPPER = Global("gensim.utils", "side file")  # a word of ours: gensim's pickle has only the names of the attributes
GENSIM = _WRAPPER.text
_MODELS = "gensim.models."
_TABLES = re.compile(r"vectors(_vocab|_ngrams|_docs)?|syn0(_vocab|_ngrams)?|doctag_syn0")
_LAYERS = re.compile(r"syn1(neg)?")
_ARRAYS, _SPARSE, _INNER = "__numpys", "__scipys", "__recursive_saveloads"


def with_side_files(root: Pickled, source: Source) -> Pickled:
    """Put a reference to its file in the place of each array that an object keeps in a file of its own."""
    todo: list[tuple[Pickled, str, int]] = [(root, (source.path or source.name).replace("\\", "/").rpartition("/")[2], 0)]
    while todo:
        value, name, depth = todo.pop()
        if not isinstance(value, Record) or type(value.state) is not dict or depth > limits.RECURSION:
            continue
        held = value.state
        for key, suffix in ((_ARRAYS, "npy"), (_SPARSE, "npz")):
            for attribute in _texts(held.get(key)):
                held.setdefault(attribute, _reference(f"{name}.{attribute}.{suffix}"))
        todo += [(held.get(attribute), f"{name}.{attribute}", depth + 1) for attribute in _texts(held.get(_INNER))]
    return root


def net_tensors(root: Pickled, walk: TensorWalk) -> list[PickledTensor] | None:
    """Return the tables of vectors and the output layer of a net of gensim; None for any other object.

    What only training needs is left out: counts of words, states of generators, factors by which vectors are locked.
    """
    kind = class_of(root) if isinstance(root, Record) else None
    if kind is None or not kind.module.startswith(_MODELS):
        return None
    found = []
    for tensor in walk.tensors:
        is_table, is_layer = (pattern.fullmatch(tensor.path[-1]) for pattern in (_TABLES, _LAYERS))
        if is_table or is_layer:
            facts = (Role.EMBEDDING, "vocab out") if is_table else (Role.KERNEL, "out in")
            tensor.role, tensor.axes = facts if len(tensor.shape) == 2 else (Role.OTHER, "")
            found.append(tensor)
    return found or None


def _texts(value: Pickled) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _reference(file: str) -> Record:
    reference = Record(_WRAPPER, ())
    reference.state = {"filename": file}
    return reference
