"""The state of PyTorch's optimizers, in the order of `state_dict`, which numbers the parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from steelyard.core.held import Link
from steelyard.core.weight import Role, Weight
from steelyard.frameworks.torch.tensors import weight_of

if TYPE_CHECKING:
    from steelyard.frameworks.torch.tensors import Slots


def optimizer_weights(optimizer: torch.optim.Optimizer) -> Iterator[Weight]:
    """List the tensors of the state, also those in lists: `state.0.exp_avg`, `state.0.old_dirs.0`."""
    for name, slots, key, link in optimizer_slots(optimizer):
        yield weight_of(name, slots, key, link, layer=name.rpartition(".")[0], role=Role.COUNT if key == "step" else Role.OTHER)


def optimizer_slots(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Slots, Any, Link]]:
    """Yield name, holder and key of each tensor of the state, and the entry by which the optimizer has the holder.

    `load_state_dict` gives the optimizer another dict of states.
    """
    states = Link(vars(optimizer), "state", optimizer.state, None)
    # `optimizer.state` is keyed by the parameters themselves; `state_dict` numbers them through all groups
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for place, parameter in enumerate(parameters):
        held = optimizer.state.get(parameter)
        if held is not None:
            yield from _slots_in(f"state.{place}", held, Link(optimizer.state, parameter, held, states), ())


def _slots_in(path: str, held: Any, link: Link, above: tuple[int, ...]) -> Iterator[tuple[str, Slots, Any, Link]]:
    for key, value in list(held.items() if isinstance(held, dict) else enumerate(held)):
        name = f"{path}.{key}"
        if isinstance(value, torch.Tensor):
            yield name, held, key, link
        elif isinstance(value, (dict, list, tuple)) and id(value) not in above:
            yield from _slots_in(name, value, Link(held, key, value, link), (*above, id(held)))
