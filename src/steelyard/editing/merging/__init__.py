"""Merge models, weight by weight.

With d_i = x_i - base, and the parameters that each takes, the methods are:

- "linear": the mean of all, with `weights`; the base is the first of them.
- "slerp": the point at `t` on the arc from the base to the only model. "nuslerp": that of two models by their `weights`, or of
  their changes of a base. `along` "row" or "column" takes each of these for a vector of its own.
- "task" (or "task_arithmetic"): base + `scale` * sum(w_i d_i).
- "ties": of each d_i the greatest `density` * n magnitudes, of which those are added that have the sign of their `majority`: of
  their sum, "total", or of most models, "frequency". With `scope` "model" they are the greatest of the whole model.
- "dare" (or "dare_linear"), "dare_ties": a random share `density` of each d_i, by `seed`, multiplied so that the sum of
  magnitudes stays as it was (`rescale` "norm", as in mergekit), by 1 / density ("density", as in the paper and in PEFT), or by 1
  (False). A mask depends on the seed, the numbers of the model, the name and the position, not on the order of models or shards.
- "breadcrumbs", "breadcrumbs_ties": `density` * n magnitudes of each d_i after the greatest `gamma` * n.
- "model_stock": t * mean + (1 - t) * base, where t follows from the angles between the d_i, `along` all of a weight or a row.
- "passthrough": one model, times `scale`.

`divide` is what a sum is divided by: "weights", those of the models that were added; "count", their number, in which case signs
are elected before deltas are weighed, as in PEFT; or False. `masks`, arrays by name, have the elements that are kept instead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from steelyard.errors import ShapeError
from steelyard.io import weights as weights_of
from steelyard.storage.opening import public

if TYPE_CHECKING:
    from steelyard.core.weights import Weights
    from steelyard.editing.merging.inputs import Along, Divide, Majority, Rescale
    from steelyard.editing.merging.pairing import Missing, Rows


def merge(  # noqa: PLR0913 - each is an option, by name
    base: Any,
    *models: Any,
    method: str = "linear",
    weights: Any = None,
    density: Any = None,
    t: Any = None,
    rescale: Rescale | None = None,
    majority: Majority | None = None,
    divide: Divide | None = None,
    scope: Literal["weight", "model"] | None = None,
    scale: float | None = None,
    gamma: float | None = None,
    along: Along | None = None,
    seed: int | None = None,
    masks: Sequence[Mapping[str, Any]] | None = None,
    per: Mapping[str, Any] | None = None,
    missing: Missing = "error",
    rows: Rows = "error",
    dtype: str | None = None,
    exact: bool = False,
) -> Weights:
    """Return the weights of several models merged into one, under the names of the first; nothing is read yet.

    Each is whatever `steelyard.weights` takes. The docs of this module have the methods; `base` may be None in those without
    one. `weights`, `density` and `masks` are lists with an entry for each model that is merged, or a number for all. A number may
    also be a list of numbers for the first to the last layer, or a mapping of patterns of names to numbers; `per` maps patterns
    to the weights (or t) of the names that match, or to a mapping with "weights", "density" or "t".

    Numbers are computed in float32 (float64 for such weights, and with `exact`), and rounded once to `dtype`, by default the
    promoted type of all. Integers are those of the first. `missing` "base" takes a weight that a model lacks from the first,
    "skip" merges the others; `rows` "base" does the former for the rows of an embedding. The recipe is in `meta["merge"]`, in the
    words of mergekit; a recipe may also be the only argument: the path of a YAML or JSON file, or a dict with "merge_method".
    Raises `ShapeError` for other names or shapes, for packed weights, and for parameters that do not fit the method.

    Examples:
        >>> import numpy as np
        >>> base, a, b = ({"w": np.array(x, "float32")} for x in ([0, 0, 0, 0], [1, 2, 3, 0], [1, -4, 0, 1]))
        >>> merge(base, a, b, method="ties", density=0.5)["w"].numpy().tolist()
        [1.0, -4.0, 3.0, 0.0]
        >>> merge(a, b, weights=[3, 1])["w"].numpy().tolist()
        [1.0, 0.5, 2.25, 0.25]
    """
    from steelyard.editing.merging.plan import plan
    from steelyard.editing.merging.recipes import is_recipe, read_recipe

    if not models and is_recipe(base):
        return read_recipe(base).merged()
    if not models and isinstance(base, (list, tuple)):
        raise ShapeError("merge takes each model as an argument of its own: merge(*models)")
    given = {"weights": weights, "density": density, "t": t, "rescale": rescale, "majority": majority, "divide": divide}
    given |= {"scope": scope, "scale": scale, "gamma": gamma, "along": along, "seed": seed, "masks": masks}
    sources = [base, *models] if base is not None else [*models]
    ways: dict[str, Any] = {"per": per, "missing": missing, "rows": rows, "dtype": dtype, "exact": exact}
    return plan([*map(weights_of, sources)], labels(sources), method, given, has_first=base is not None, **ways).merged()


def labels(sources: Sequence[object]) -> list[str]:
    """Return the path of each source, or its place among the models."""
    return [public(os.fspath(s)) if isinstance(s, (str, os.PathLike)) else f"model {nth}" for nth, s in enumerate(sources, 1)]
