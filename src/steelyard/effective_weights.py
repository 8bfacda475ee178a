"""The weights that a net computes with, of any source: `effective`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steelyard.io import weights

if TYPE_CHECKING:
    from steelyard.core.weights import Weights


def effective(source: Any) -> Weights:
    """Return the weights that the layers of `source` multiply with, under the names of plain layers; nothing is read yet.

    `source` is whatever `steelyard.weights` takes. Packed weights are dequantised, masks and norms are applied: see
    `Weights.effective`. The config next to a file says what its names do not. Raises what `steelyard.weights` does.

    Examples:
        >>> import numpy as np
        >>> pruned = {"fc.weight_orig": np.array([1.0, 2.0]), "fc.weight_mask": np.array([0.0, 1.0])}
        >>> effective(pruned)["fc.weight"].numpy().tolist()
        [0.0, 2.0]
    """
    return weights(source).effective()
