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
    held: Any = [weight for module in modules for weight in module._parameters.values() if _is_packed(weight)]
    before = [(weight, weight.data, weight.quant_state, dict(vars(weight.quant_state))) for weight in held]
    try:
        for _, _, state, _ in before:
            state.absmax = state.absmax.T.reshape(-1).float()
            state.original_nested = False
        yield held
    finally:
        for weight, data, state, facts in before:
            weight.data = data
            vars(state).clear()
            vars(state).update(facts)


def _is_packed(weight: object) -> bool:
    return bool(getattr(getattr(weight, "quant_state", None), "packing_format_for_cpu", False))
