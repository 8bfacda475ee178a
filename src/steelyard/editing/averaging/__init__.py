"""Averages of the weights of several nets: of checkpoints, folds, clients; exponential ones; and soups chosen by a score."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from steelyard.core.arithmetic import by_blocks, edited
from steelyard.core.computed import promoted
from steelyard.core.selection import STATE_ROLES
from steelyard.core.weight import Role
from steelyard.dtypes import is_inexact
from steelyard.editing.averaging.decays import Warmup, decays, factors_of, numbers_of
from steelyard.editing.averaging.means import Mean, exact_block, median_block, trimmed_block
from steelyard.editing.lazily import opened
from steelyard.errors import ShapeError, printable, quoted
from steelyard.paths import is_spread

if TYPE_CHECKING:
    from steelyard.core.arithmetic import Make
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights

Buffers = Literal["average", "last"]
REMINDER = "running statistics of norms may not fit the new weights: steelyard.update_norms(net, data) computes them anew"
"""What the notes of an average say where norms are in it."""


def average(
    sources: Iterable[Any],
    weights: Sequence[float] | None = None,
    *,
    exact: bool = False,
    align: bool = False,
    buffers: Buffers = "average",
    engine: object = None,
    workers: int | None = None,
) -> Weights:
    """Return the mean of the weights of several nets, such as checkpoints, folds or the clients of federated learning.

    `sources` are models, files or `Weights`, of which each has the same names; with `align` they are paired as by `diff`.
    `weights` has a number for each, such as its count of examples; only their ratios matter. Sums are in float32, for float64
    weights in float64, and each number is rounded once, to the promoted type. With `exact` sums are in float64, and do not depend
    on the order of the sources. Integers are those of the first. Running statistics are averaged too, which the notes in `meta`
    point out; with `buffers` "last" they, and integers, are those of the last source. Nothing is read until the numbers are.
    With an `engine` ("threads", "dask", "ray", "joblib", or a Client of Dask) or `workers`, sources are paths, and while `save`
    writes the result its numbers are computed by so many workers, to the same last bit; `steelyard.engines` has the rest.

    Raises `ShapeError` for names or shapes that differ, for packed weights, and for `weights` that do not fit.

    Examples:
        >>> import numpy as np
        >>> nets = [{"w": np.array([1.0, 2.0])}, {"w": np.array([3.0, 6.0])}]
        >>> average(nets)["w"].numpy().tolist(), average(nets, weights=[3, 1])["w"].numpy().tolist()
        ([2.0, 4.0], [1.5, 3.0])
    """
    if is_spread(None, engine, workers):
        make = partial(average, weights=weights, exact=exact, align=align, buffers=buffers)
        return _by_workers(make, sources, engine, workers)
    models = opened(sources)
    return _mean(models, _shares(weights, len(models)), exact=exact, align=align, buffers=buffers)


def _by_workers(make: Callable[[Any], Weights], sources: Any, engine: object, workers: int | None) -> Weights:
    from steelyard.engines.numbers import by_workers

    return by_workers(
        make, sources if isinstance(sources, str) or not isinstance(sources, Iterable) else [*sources], engine, workers
    )


def median(sources: Iterable[Any], *, align: bool = False, engine: object = None, workers: int | None = None) -> Weights:
    """Return the median of the weights of several nets, by element; of an even number the mean of the two in the middle.

    It is not moved by a few nets that are far off. For the rest see `average`.

    Examples:
        >>> import numpy as np
        >>> median([{"w": np.array([value])} for value in (1.0, 2.0, 900.0)])["w"].numpy().tolist()
        [2.0]
    """
    if is_spread(None, engine, workers):
        return _by_workers(partial(median, align=align), sources, engine, workers)
    models = opened(sources)
    return edited(models, by_blocks(median_block), align=align, notes=_reminders(models))


def trimmed(
    sources: Iterable[Any], cut: float = 0.1, *, align: bool = False, engine: object = None, workers: int | None = None
) -> Weights:
    """Return the mean of the weights of several nets, by element, without the smallest and the largest numbers.

    `cut` is the share of the nets that is left out on each side, rounded down. For the rest see `average`. Raises `ShapeError`
    for a `cut` that is not from 0 to below 0.5.

    Examples:
        >>> import numpy as np
        >>> nets = [{"w": np.array([value])} for value in (-500.0, 1.0, 2.0, 900.0)]
        >>> trimmed(nets, 0.25)["w"].numpy().tolist()
        [1.5]
    """
    if is_spread(None, engine, workers):
        return _by_workers(partial(trimmed, cut=cut, align=align), sources, engine, workers)
    models = opened(sources)
    if not 0 <= cut < 0.5:
        raise ShapeError(f"cut is {printable(cut)}; it must be from 0 to below 0.5")
    block = partial(trimmed_block, int(cut * len(models)))
    return edited(models, by_blocks(block), align=align, notes=_reminders(models))


def ema(
    sources: Iterable[Any],
    decay: float | Sequence[float] = 0.999,
    *,
    warmup: Warmup | bool | None = None,
    start: int = 0,
    exact: bool = False,
    buffers: Buffers = "average",
    engine: object = None,
    workers: int | None = None,
) -> Weights:
    """Return the exponential moving average of the weights of nets in the order of training, such as its checkpoints.

    The average begins as the first net, and each later one moves it by e = decay e + (1 - decay) x; the sum is computed in
    closed form and rounded once. During the first `start` steps it is the newest net. With `warmup` the decay grows with the
    step s after these: at most (1 + s) / (10 + s) for "ratio", also True, and 1 - (1 + s)^(-2/3) for "power". `decay` may also
    be a list with the decay of each step. For the rest see `average`.

    Examples:
        >>> import numpy as np
        >>> ema([{"w": np.array([value])} for value in (0.0, 1.0, 1.0)], decay=0.5)["w"].numpy().tolist()
        [0.75]
    """
    if is_spread(None, engine, workers):
        make = partial(ema, decay=decay, warmup=warmup, start=start, exact=exact, buffers=buffers)
        return _by_workers(make, sources, engine, workers)
    models = opened(sources)
    factors = factors_of(decays(len(models) - 1, decay, warmup, start))
    return _mean(models, factors, exact=exact, buffers=buffers)


def swa(
    sources: Iterable[Any],
    *,
    start: int = 0,
    exact: bool = False,
    buffers: Buffers = "last",
    engine: object = None,
    workers: int | None = None,
) -> Weights:
    """Return the stochastic weight average: the mean of the nets from number `start` on, with the buffers of the last one.

    The numbers are those of `torch.optim.swa_utils.AveragedModel`, rounded once at the end. Running statistics of norms do not
    fit the new weights: compute them by `update_norms`.

    Examples:
        >>> import numpy as np
        >>> swa([{"w": np.array([value])} for value in (9.0, 1.0, 2.0)], start=1)["w"].numpy().tolist()
        [1.5]
    """
    if is_spread(None, engine, workers):
        return _by_workers(partial(swa, start=start, exact=exact, buffers=buffers), sources, engine, workers)
    models = opened(sources)
    if not 0 <= start < len(models):
        raise ShapeError(f"start is {start}, but there are {len(models)} sources; it must be below their number")
    return _mean(models[start:], None, exact=exact, buffers=buffers)


def greedy_soup(candidates: Iterable[Any], score: Callable[[Weights], float], *, exact: bool = False) -> Weights:
    """Return the average of those candidates that raise a score: the best one, and each next that does not lower it.

    `score` is given weights, and returns a number, such as the accuracy of a net that they are assigned to; larger is better.
    Candidates are tried in the order of their own scores, as in "Model soups" (Wortsman et al., 2022). The notes in `meta` name
    those that were taken, counted from 0. Raises as `average` does, and `ShapeError` for a score that is NaN.

    Examples:
        >>> import numpy as np
        >>> found = greedy_soup([{"w": np.array([value])} for value in (5.0, 1.5, 0.0)], lambda w: -abs(w["w"].numpy()[0] - 1))
        >>> found["w"].numpy().tolist(), found.meta["notes"]
        ([0.75], ['a soup of candidates 1, 2 of 3, with the score -0.25'])
    """
    models = opened(candidates, "candidates")
    alone = [_scored(score, model) for model in models]
    order = sorted(range(len(models)), key=lambda nth: -alone[nth])
    taken, best = order[:1], alone[order[0]]
    for nth in order[1:]:
        tried = _scored(score, average([models[each] for each in (*taken, nth)], exact=exact))
        if tried >= best:
            taken, best = [*taken, nth], tried
    chosen = [models[nth] for nth in taken]
    note = f"a soup of candidates {', '.join(map(str, taken))} of {len(models)}, with the score {best:g}"
    return _mean(chosen, None, exact=exact, notes=[note])


def _scored(score: Callable[[Weights], float], model: Weights) -> float:
    value = float(score(model))
    if math.isnan(value):
        raise ShapeError("the score of a candidate is NaN, which is neither better nor worse")
    return value


def _shares(weights: Sequence[float] | None, count: int) -> list[float] | None:
    """Return the share of each source; None where all are equal. Shares are normalised, so that one source stays itself."""
    if weights is None:
        return None
    numbers = numbers_of(weights, "weights")
    total = math.fsum(numbers)
    if len(numbers) != count:
        raise ShapeError(f"there are {len(numbers)} weights for {count} sources; pass a number for each")
    if not math.isfinite(total) or total == 0:
        raise ShapeError(f"the weights sum to {total:g}; their sum must be finite and not 0")
    return None if len(set(numbers)) == 1 else [number / total for number in numbers]


def _mean(
    models: Sequence[Weights],
    factors: Sequence[float] | None,
    *,
    exact: bool,
    align: bool = False,
    buffers: Buffers = "average",
    notes: Sequence[str] = (),
) -> Weights:
    if buffers not in ("average", "last"):
        raise ShapeError(f'buffers is {quoted(buffers)}; it must be "average" or "last"')
    last = buffers == "last"
    make = _with_buffers(_maker(factors, exact=exact), last=last)
    return edited(models, make, align=align, notes=[*notes, *_reminders(models)], kept="last" if last else "first")


def _maker(factors: Sequence[float] | None, *, exact: bool) -> Make:
    if exact:
        return by_blocks(partial(exact_block, factors), exact=True)

    def make(inputs: Sequence[Weight]) -> Weight:
        dtype = promoted(weight.dtype for weight in inputs)
        return inputs[0].replace(dtype=dtype, read=Mean(inputs, factors, dtype))

    return make


def _with_buffers(make: Make, *, last: bool) -> Make:
    """Return a function that makes floats, and takes integers, with `last` also running statistics, of one of the inputs."""

    def choose(inputs: Sequence[Weight]) -> Weight:
        if is_inexact(promoted(weight.dtype for weight in inputs)) and not (last and inputs[0].role in STATE_ROLES):
            return make(inputs)
        return inputs[0].replace(dtype=inputs[-1].dtype, read=inputs[-1].read) if last else inputs[0]

    return choose


def _reminders(models: Sequence[Weights]) -> list[str]:
    has_norms = any(weight.role in (Role.MEAN, Role.VARIANCE) for weight in models[0].values())
    return [REMINDER] if has_norms and len(models) > 1 else []
