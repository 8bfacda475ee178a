"""NumPy arrays and scalars: one weight without a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from steelyard.core.readers import from_array
from steelyard.core.weight import Weight

if TYPE_CHECKING:
    from steelyard.core.weight import Array


def weights(array: Array | np.generic) -> Iterator[Weight]:
    """List the array itself; its name is empty unless it is in a container."""
    if isinstance(array, np.generic):  # a scalar: writing to its copy would have no effect
        array = np.asarray(array)
        array.flags.writeable = False
    yield from_array("", array)


def assign(array: Array | np.generic, arrays: Mapping[str, Array]) -> Array | np.generic:
    """Copy into the array, or return a new one if it is a scalar or read-only."""
    if not arrays:
        return array
    if isinstance(array, np.ndarray) and array.flags.writeable:
        array[...] = arrays[""]
        return array
    return arrays[""].astype(np.asarray(array).dtype, copy=True)[()]
