"""The Keras models of pickled SciKeras wrappers: each is a whole `.keras` file, in an array of its bytes.

model_  unpack_keras_model(array of uint8)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.codecs.pickle.values import Record, is_args
from steelyard.codecs.sklearn.weights import ends_of
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.codecs.pickle.values import Pickled
    from steelyard.codecs.pickle.walk import Decode, Path
    from steelyard.storage.source import Source

_UNPACK = "unpack_keras_model"


def packed_models(root: Pickled, decode: Decode, source: Source) -> Iterator[tuple[Path, Source]]:
    """Yield the file of each Keras model, with the path of the wrapper that holds it."""
    for path, wrapper in ends_of(root, source):
        model = wrapper.attributes.get("model_") if isinstance(wrapper, Record) and wrapper.attributes else None
        if not isinstance(model, Record) or model.text.rpartition(".")[2] != _UNPACK or not is_args(model.args):
            continue
        array = decode(model.args[0])
        if array is not None and array.dtype == "uint8":
            length = array.shape[0] if len(array.shape) == 1 else 0
            name = f"{source.name} ({'.'.join((*path, 'model_'))})"
            yield path, from_bytes(array.read(0, length).tobytes(), name, within=source)
