"""Transfers: 100 million parameters turned from (out, in) to (in, out), and the pairing of 10,000 weights.

python benchmarks/transfer.py
"""

import time

import numpy as np
from timing import best, ready, report

from steelyard.transfers.transfer import plan_transfer, transfer

WIDTHS = (5000, 5001, 5002, 5003)
"""Widths of the kernels, all different, so that each has one partner."""


def big():
    """Compare a transfer of transposed kernels with copies of the same bytes."""
    rng = np.random.default_rng(0)
    source = {f"fc{n}.weight": rng.standard_normal((width, 5000), np.float32) for n, width in enumerate(WIDTHS)}
    target = {f"Dense_{n}": {"kernel": np.zeros((5000, width), np.float32)} for n, width in enumerate(WIDTHS)}
    same = [np.zeros_like(array) for array in source.values()]
    turned = [np.zeros(array.shape[::-1], np.float32) for array in source.values()]

    def copied(targets, *, turn):
        for array, into in zip(source.values(), targets, strict=True):
            np.copyto(into, array.T if turn else array)

    least = best(
        {
            "copy": ready(lambda: copied(same, turn=False)),
            "turned": ready(lambda: copied(turned, turn=True)),
            "transfer": ready(lambda: transfer(source, into=target)),
        },
        rounds=5,
    )
    assert np.array_equal(target["Dense_3"]["kernel"], source["fc3.weight"].T)
    report(
        "a transfer, over NumPy's copy of the same transposed kernels", least["transfer"] / least["turned"], 1.5, "x", least=False
    )
    report(
        "the same, over a copy of the same bytes that is not transposed", least["transfer"] / least["copy"], 1.5, "x", least=False
    )


def many():
    """Time the pairing of 10,000 weights by name."""
    source = {f"blocks.{n}.fc.{leaf}": np.zeros(shape, np.float32) for n in range(5000) for leaf, shape in _LEAVES}
    target = {name: array.copy() for name, array in source.items()}
    start = time.perf_counter()
    made = plan_transfer(source, into=target)
    report("pairing 10,000 weights", time.perf_counter() - start, 1.0, "s", least=False)
    assert len(made.pairs) == 5000


_LEAVES = (("weight", (8, 8)), ("bias", (8,)))

if __name__ == "__main__":
    big()
    many()
