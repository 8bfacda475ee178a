"""The plan of a merge: for each weight the models that have it and the options; from it, the merged weights are made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.arithmetic import edited
from steelyard.core.computed import promoted, working
from steelyard.dtypes import FLOATS, SPELLINGS, is_floating, is_inexact
from steelyard.editing.merging.inputs import Inputs, computed
from steelyard.editing.merging.pairing import left_out, like_first
from steelyard.editing.merging.request import Request, check_choice, request
from steelyard.editing.merging.settings import depths
from steelyard.editing.merging.writing import recipe_of
from steelyard.errors import ShapeError, meant, printable, quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights
    from steelyard.editing.merging.inputs import Options
    from steelyard.editing.merging.pairing import Missing, Rows

RECIPE = "merge"
"""The key of the recipe in the metadata of a result."""


class Row(NamedTuple):
    """What is done with one weight: it is merged of `models` by `options`, or copied from the first, for which there is none."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    models: int
    options: Options | None


class Plan:
    """A merge that is ready: the `models`, like the first in names and shapes, what was asked for, and the recipe."""

    __slots__ = ("_absent", "_depths", "_left_out", "dtype", "exact", "models", "recipe", "request")

    def __init__(
        self,
        models: Sequence[Weights],
        absent: Sequence[frozenset[str]],
        asked: Request,
        recipe: Mapping[str, Any],
        notes: Sequence[str],
        *,
        dtype: str | None,
        exact: bool,
    ) -> None:
        self.models = models
        self.request = asked
        self.recipe = recipe
        self.dtype = dtype
        self.exact = exact
        self._absent = absent
        self._left_out = notes
        self._depths = depths(models[0])

    def merged(self) -> Weights:
        """Return the merged weights, with the recipe in their metadata."""
        make: Callable[[Sequence[Weight]], Weight] = self._make
        if self.request.value("scope") == "model":
            from steelyard.editing.merging.whole_model import ties_of_model

            make = ties_of_model(self)
        made = edited(self.models, make, notes=self._notes())
        return made.with_weights(made.values(), meta=lambda: {**made.meta, RECIPE: json.dumps(self.recipe)})

    def rows(self) -> list[Row]:
        """Return what is done with each weight; tied ones once."""
        return [self._row([model[name] for model in self.models]) for name in self.models[0].distinct()]

    def _row(self, found: Sequence[Weight]) -> Row:
        first, dtype = found[0], self.type_of(found)
        if dtype is None:
            return Row(first.name, first.shape, first.dtype, 1, None)
        inputs, options = self.inputs(found)
        return Row(first.name, first.shape, dtype, len(inputs.models), options)

    def type_of(self, found: Sequence[Weight]) -> str | None:
        """Return the type of a merged weight; None for integers, which are not merged."""
        dtype = promoted(weight.dtype for weight in found)
        if not is_floating(dtype):
            if is_inexact(dtype):
                raise ShapeError(f"{printable(found[0].name)} has complex numbers, which merge does not take; combine does")
            return None
        return dtype if self.dtype is None else self.dtype

    def inputs(self, found: Sequence[Weight]) -> tuple[Inputs, Options]:
        """Return the inputs of a weight that is merged, without the models that lack it, and its options."""
        first, has_base = found[0], self.request.has_base
        options = self.request.options(first.name, self._depths[first.name])
        here = [at for at, absent in enumerate(self._absent) if first.name not in absent]
        models = [at - has_base for at in here if at >= has_base]
        options = options._replace(
            weights=tuple(options.weights[at] for at in models),
            density=tuple(options.density[at] for at in models),
            masks=[options.masks[at] for at in models] if options.masks else (),
        )
        own = [found[at] for at in here]
        return Inputs(own, working(promoted(weight.dtype for weight in own), exact=self.exact), has_base), options

    def _make(self, found: Sequence[Weight]) -> Weight:
        """Make a merged weight; where too few models have it, it is that of the first."""
        dtype = self.type_of(found)
        if dtype is None:
            return found[0]
        inputs, options = self.inputs(found)
        if len(inputs.models) < self.request.method.least:
            return computed(inputs.weights[:1], lambda _, blocks: blocks[0], dtype, exact=self.exact)
        block = self.request.method.load()(inputs, options)
        return computed(inputs.weights, block, dtype, exact=self.exact)

    def _notes(self) -> list[str]:
        asked = self.request
        totals = {sum(asked.options(name, depth).weights) for name, depth in self._depths.items()}
        if asked.name == "linear" and asked.value("divide") == "weights" and 0.0 in totals:
            return [*self._left_out, "weights of the models add up to 0, so merged numbers are infinite"]
        return [*self._left_out]


def plan(  # noqa: PLR0913 - each is an option, by name
    models: Sequence[Weights],
    labels: Sequence[str],
    method: str,
    given: Mapping[str, Any],
    *,
    has_first: bool,
    per: Any = None,
    missing: Missing = "error",
    rows: Rows = "error",
    dtype: str | None = None,
    exact: bool = False,
) -> Plan:
    """Return the plan of a merge, of models with labels for its recipe; raises as `merge` does."""
    asked = request(method, len(models), has_first=has_first, given=given, per=per)
    check_choice("missing", missing)
    check_choice("rows", rows)
    if dtype is not None and dtype not in FLOATS:
        raise ShapeError(f"dtype is {quoted(dtype)}; it must be one of {', '.join(FLOATS)}{meant(dtype, FLOATS, SPELLINGS)}")
    if asked.value("scope") == "model" and missing == "skip":
        raise ShapeError('scope="model" needs all models whole, which missing="skip" does not; missing="base" does')
    notes = [note for nth, model in enumerate(models[1:], 2) for note in left_out(models[0], model, nth)]
    alike = [like_first(models[0], model, nth, missing, rows) for nth, model in enumerate(models[1:], 2)]
    recipe = recipe_of(asked, labels, missing=missing, rows=rows, dtype=dtype)
    absent = [frozenset[str](), *(names for _, names in alike)]
    return Plan([models[0], *(model for model, _ in alike)], absent, asked, recipe, notes, dtype=dtype, exact=exact)
