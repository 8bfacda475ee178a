"""Split layers that are stored as one matrix of bias and kernels into the weights that other frameworks store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from steelyard.core.readers import array_reader
from steelyard.core.stacked import is_stacked, split

if TYPE_CHECKING:
    from steelyard.core.weight import Array, Weight
    from steelyard.core.weights import Weights


def separate(weights: Weights) -> Iterator[Weight]:
    """Yield every weight; a stacked layer is split into kernel, bias, and the skip kernel as a layer of its own.

    R's multinom has a column of ones among its inputs. Since other frameworks do not, its row of the kernel is added to the
    bias and dropped from the kernel:

    multinom    kernel (1 + in, out), bias (out)
    yielded     kernel (in, out), bias + kernel[0] (out)
    """
    facts = weights.meta.get("networks", {}) if any(map(is_stacked, weights.values())) else {}
    for weight in weights.values():
        if not is_stacked(weight):
            yield weight
            continue
        parts = [_named(part) for part in split(weight)]
        yield from _without_intercept(parts) if _has_intercept(weight, facts) else parts


def _named(part: Weight) -> Weight:
    if not part.name.endswith(".skip"):
        return part
    return part.replace(name=f"{part.name}.kernel", layer=part.name)


def _has_intercept(weight: Weight, networks: Mapping[str, Mapping[str, Any]]) -> bool:
    for prefix, facts in networks.items():
        if weight.name.startswith(prefix) and list(facts.get("inputs") or ())[:1] == ["(Intercept)"]:
            return True
    return False


def _without_intercept(parts: list[Weight]) -> Iterator[Weight]:
    kernel = next(part for part in parts if part.name.endswith(".kernel"))
    bias = next(part for part in parts if part.name.endswith(".bias"))
    out = kernel.shape[1]

    def summed(start: int, stop: int) -> Array:
        made: Array = bias.read(start, stop) + kernel.read(start, stop)
        return made

    rest = array_reader(kernel.numpy()[1:])
    yield kernel.replace(shape=(kernel.shape[0] - 1, out), read=rest)
    yield bias.replace(read=summed)
