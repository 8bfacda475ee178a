"""Comparing what nets compute: equal weights and inputs give equal outputs, but for the last bits.

In which order a product of matrices is added up depends on the processor, on the number of threads, and on where an array
begins in memory, so two runs of one net may differ by a few roundings. Weights that are copied are equal bit for bit.
"""

import numpy as np

ROUNDINGS = 200
"""Steps between neighbouring numbers, at the largest output, that may lie between two runs."""


def assert_close(found, expected, precision=None):
    """Compare two runs, which compute in `precision`, or in the type of what they give; classes must be equal."""
    found, expected = np.asarray(found), np.asarray(expected)
    precision = precision or min((each.dtype for each in (found, expected)), key=lambda dtype: dtype.itemsize)
    assert found.shape == expected.shape
    if not np.issubdtype(precision, np.inexact):
        np.testing.assert_array_equal(found, expected)
        return
    tolerance = ROUNDINGS * np.finfo(precision).eps * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
