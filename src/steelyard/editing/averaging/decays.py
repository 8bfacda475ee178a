"""The weights of an exponential moving average in closed form.

The average begins as the first net; each later one moves it: e = d e + (1 - d) x, where the decay d may grow from step to step.
So the net at step k has the weight (1 - d_k) d_(k+1) ... d_n, and the first d_1 ... d_n. The sum with these weights is rounded
once; the recursion, in 16 bits, stalls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from operator import mul
from typing import Literal

from steelyard.errors import ShapeError, printable, quoted

Warmup = Literal["ratio", "power"]


def decays(count: int, decay: float | Sequence[float], warmup: Warmup | bool | None, start: int) -> list[float]:
    """Return the decay of each of `count` steps after the first net; see `ema`.

    >>> decays(4, 0.9999, "ratio", 1)  # of diffusers
    [0.0, 0.18181818181818182, 0.25, 0.3076923076923077]
    """
    if isinstance(decay, Sequence):
        each = given = numbers_of(decay, "decay")
        if len(each) != count:
            raise ShapeError(f"decay has {len(each)} numbers; {count + 1} nets have {count} steps after the first")
    else:
        ramp, given = _ramp(warmup), numbers_of([decay], "decay")
        each = [0.0 if step <= start else min(given[0], ramp(step - start)) for step in range(1, count + 1)]
    if not all(0 <= number <= 1 for number in given):
        raise ShapeError(f"decay is {printable(decay)}; it must be from 0 to 1")
    return each


def numbers_of(given: Iterable[float], what: str) -> list[float]:
    """Return numbers as floats. Raises `ShapeError`, which calls them `what`, for anything else."""
    try:
        return [float(number) for number in given]
    except (TypeError, ValueError):
        raise ShapeError(f"{what} is {quoted(given)}; it must have numbers only") from None


def _ramp(warmup: Warmup | bool | None) -> Callable[[int], float]:
    if not warmup:
        return lambda _: 1.0
    if warmup == "power":
        return lambda step: 1 - (1 + step) ** (-2 / 3)
    if warmup in ("ratio", True):
        return lambda step: (1 + step) / (10 + step)
    raise ShapeError(f'warmup is {quoted(warmup)}; it must be "ratio", "power" or None')


def factors_of(each: Sequence[float]) -> list[float]:
    """Return the weight of each net, the first included, of an average with these decays.

    >>> factors_of([0.5, 0.5])
    [0.25, 0.25, 0.5]
    """
    after = [*accumulate(reversed(each), mul, initial=1.0)][::-1]  # the product of the decays that follow each net
    return [share * rest for share, rest in zip([1.0, *(1 - number for number in each)], after, strict=True)]
