"""The layout of the files of a run: names, columns, and the sizes of the records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from steelyard.errors import ShapeError, quoted
from steelyard.numerics.weight_stats import FIGURES, QUANTILES

if TYPE_CHECKING:
    import numpy as np

    from steelyard.core.weight import DType, Weight

VERSION = 1
RUN, STATS, HISTOGRAMS, SKETCHES, JOURNAL = "run.json", "stats.f64", "histograms.bin", "sketches.bin", "journal.jsonl"
LOCK = "steelyard.lock"
"""The file that a recorder makes first, and locks; a killed one may leave nothing else."""
SNAPSHOTS = "w"
"""The folder of the snapshots."""
LARGEST = 10**18
"""The largest step."""
SNAPSHOT_NAME = re.compile(r"w/\d{8,}\.safetensors")

COLUMNS = (*FIGURES, "first_nonfinite", "update")
"""The columns of a record of statistics, in float64, NaN where there is none.

The first are those of `steelyard.stats`. `first_nonfinite` is the offset of the first number of the weight that is not finite,
`update` the distance (the Euclidean norm) to the same weight in the previous record.
"""
BINS = 128
"""The bins of a recorded histogram, of equal width from the least to the greatest finite number."""
SKETCH = 1024
"""The entries of a sketch; the last three are zero, since `sketch` uses a prime number of them."""


Setting = str | bool | int | float | None
Settings = Mapping[str, Setting]


class Fact(NamedTuple):
    """What a run knows of a weight; `tied` names the weight whose numbers it shares, which alone has records."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: str
    layer: str
    axes: str
    trainable: bool | None
    tied: str | None


class Layout(NamedTuple):
    """What does not change during a run: the facts of its weights, and how its records are made.

    `histogram` is the number of records from one histogram to the next, `seed` that of the sketch, and `settings` is what was
    said of the training.
    """

    weights: tuple[Fact, ...]
    histogram: int
    seed: int
    settings: Settings = MappingProxyType({})

    @property
    def recorded(self) -> tuple[Fact, ...]:
        """The weights that have records: each of those that are tied once."""
        return tuple(fact for fact in self.weights if fact.tied is None)

    @property
    def stats_bytes(self) -> int:
        """The size of a record of statistics, in bytes."""
        return 8 * len(self.recorded) * len(COLUMNS)

    @property
    def histogram_bytes(self) -> int:
        """The size of a record of histograms, in bytes."""
        return histogram_dtype().itemsize * len(self.recorded)

    def histograms_of(self, records: int) -> int:
        """Return the number of histograms that so many records have; the first record has one."""
        return -(-records // self.histogram)

    def to_dict(self) -> dict[str, object]:
        """Return it as plain Python, for run.json."""
        sizes = {"columns": COLUMNS, "bins": BINS, "quantiles": QUANTILES, "sketch": SKETCH}
        weights = [fact._asdict() for fact in self.weights]
        numbers = {"histogram": self.histogram, "seed": self.seed}
        return {"steelyard run": VERSION, **numbers, "settings": dict(self.settings), **sizes, "weights": weights}


SKETCH_BASE_BYTES, SKETCH_BYTES = 4 * SKETCH, 2 * SKETCH
"""The sizes of the first sketch, in float32, and of a change of it, in bfloat16."""


def histogram_dtype() -> DType:
    """Return the type of a recorded histogram: the range of the finite numbers, their quantiles, and the counts of the bins."""
    import numpy as np

    return np.dtype([("low", "<f8"), ("high", "<f8"), ("quantiles", "<f8", (len(QUANTILES),)), ("counts", "<u4", (BINS,))])


def sketch_dtype() -> DType:
    """Return the type of the changes of a sketch."""
    import numpy as np
    from ml_dtypes import bfloat16

    made: np.dtype[np.generic] = np.dtype(bfloat16)
    return made


def facts_of(weights: Iterable[Weight]) -> tuple[Fact, ...]:
    """Return what a run keeps of these weights."""
    return tuple(Fact(w.name, w.shape, w.dtype, str(w.role), w.layer, w.axes, w.trainable, w.tied) for w in weights)


def layout_from(found: Mapping[str, object]) -> Layout:
    """Return the layout that a run.json holds; raises `ValueError`, `TypeError` or `KeyError` for anything else."""
    import json

    expected = json.loads(json.dumps(Layout((), 1, 0).to_dict()))
    for key in ("steelyard run", "columns", "bins", "quantiles", "sketch"):
        if found[key] != expected[key]:
            raise ValueError(f"{key!r} is not that of this version")
    histogram, seed, weights = found["histogram"], found["seed"], found["weights"]
    if not isinstance(histogram, int) or not isinstance(seed, int) or not isinstance(weights, list) or histogram < 1 or seed < 0:
        raise ValueError("'histogram', 'seed' or 'weights' is not of its type")
    facts = tuple(_fact(each) for each in weights)
    if len({fact.name for fact in facts}) < len(facts):
        raise ValueError("two weights have one name")
    settings = found.get("settings", {})  # a run of an earlier version has none
    if not isinstance(settings, dict) or not all(is_setting(value) for value in settings.values()):
        raise ValueError("'settings' is not of its type")
    return Layout(facts, histogram, seed, settings)


def is_setting(value: object) -> TypeGuard[Setting]:
    """Whether a run can keep a value as a setting: a number, a text, True, False or None."""
    return value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and isfinite(value))


def scalar(value: Any) -> Any:
    """Return the number in a scalar of NumPy or of a framework as Python's own; anything else unchanged."""
    try:
        return value.item()
    except (AttributeError, TypeError, ValueError, RuntimeError):  # what each raises for several numbers
        return value


def settings_of(given: Mapping[str, object] | None) -> Settings:
    """Return settings as a run keeps them; raises `ShapeError` for those that it cannot keep."""
    settings: dict[str, Setting] = {}
    for key, value in (given or {}).items():
        plain = scalar(value)
        if not is_setting(plain):
            raise ShapeError(f"the setting {quoted(str(key))} is a {type(plain).__name__}; pass finite numbers and texts")
        settings[str(key)] = plain
    return settings


def _fact(found: Mapping[str, object]) -> Fact:
    from steelyard.codecs.limits import is_possible
    from steelyard.dtypes import ITEMSIZES

    shape, texts = found["shape"], [found[key] for key in ("name", "dtype", "role", "layer", "axes")]
    if not isinstance(shape, list) or not all(type(length) is int for length in shape) or not is_possible(shape):
        raise ValueError("a shape is not a list of lengths that an array can have")
    if not all(isinstance(text, str) for text in texts) or texts[1] not in ITEMSIZES:
        raise ValueError("a name or a dtype of a weight is not known")
    tied, trainable = found["tied"], found["trainable"]
    name, dtype, role, layer, axes = map(str, texts)
    kind = trainable if isinstance(trainable, bool) else None
    return Fact(name, tuple(shape), dtype, role, layer, axes, kind, None if tied is None else str(tied))


def snapshot_name(step: int) -> str:
    """Return the name of the snapshot of a step, in the folder of the run."""
    return f"{SNAPSHOTS}/{step:08}.safetensors"
