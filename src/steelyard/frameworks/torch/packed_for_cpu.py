"""Layers of bitsandbytes whose codes a forward pass has packed anew for the CPU.

Where a CPU computes in bfloat16, the first forward pass of a `Linear4bit` in `eval()` changes the layer itself:

    weight      uint8 (numbers / 2, 1), high bits first  ->  uint8 (out, in / 2), 32 rows side by side
    absmax      float32 (blocks), or codes of scales     ->  bfloat16 (in / blocksize, out), so in another order

Its `state_dict()` changes the layer back, but for the order of `absmax`: after that the layer computes other numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


@contextmanager
def unpacked(modules: Iterable[nn.Module]) -> Iterator[list[torch.Tensor]]:
    """Within it, `state_dict()` has the usual layout of what these modules compute with; after it they are as they were.

    Yields the packed weights, whose `data` is another tensor as long as this lasts. Scales are float32, with the numbers
    that the layer has in bfloat16, and no codes of scales, since the numbers of these are gone.
    """
    with as_packed_before(modules) as weights:
        held = [weight for weight in weights if getattr(weight.quant_state, "packing_format_for_cpu", False)]
        for weight in held:
            weight.quant_state.absmax = weight.quant_state.absmax.T.reshape(-1).float()
            weight.quant_state.original_nested = False
        yield held


@contextmanager
def as_packed_before(modules: Iterable[nn.Module]) -> Iterator[list[Any]]:
    """Yield the weights of 4 bits; on exit these modules have the codes and scales again that they had."""
    weights: list[Any] = [weight for module in modules for weight in module._parameters.values() if _is_of_4_bits(weight)]
    before = [(weight, weight.data, weight.quant_state, dict(vars(weight.quant_state))) for weight in weights]
    try:
        yield weights
    finally:
        for weight, data, state, facts in before:
            weight.data = data
            vars(state).clear()
            vars(state).update(facts)


def _is_of_4_bits(weight: object) -> bool:
    """Whether a parameter is a `Params4bit` that has been quantised."""
    return hasattr(getattr(weight, "quant_state", None), "absmax")
