"""Layers in training for quantisation by PyTorch (`torch.ao.nn.qat`): each call rounds the weight to codes and back.

L.weight                                             the weight that is trained
L.weight_fake_quant.scale, .zero_point               of all numbers or of each output
L.weight_fake_quant.fake_quant_enabled               0 where the weight is multiplied with as it is
L.weight_fake_quant.activation_post_process.*        the observer, which sets the scale anew in each call
L.activation_post_process.*                          the same of the layer's outputs

The range of the codes, and whether the observer is a moving average, are in the module alone, so a state is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.core.effective import Derivation, derived, joined, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.effective import Pieces
    from steelyard.core.weight import Weight

SCHEME = "fake quantisation of PyTorch"
_SWITCH, _END, _OBSERVER = "fake_quant_enabled", "_fake_quant", "activation_post_process"


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights of layers; what is about activations belongs to the first of them."""
    for stem in pieces.stems(_SWITCH):
        stored, switch = pieces.get(stem.removesuffix(_END)), pieces.get(joined(stem, _SWITCH))
        if not stem.endswith(_END) or stored is None or switch is None:
            continue
        parts = (stored.name, *(name for name in pieces if name.startswith(f"{stem}.")))
        facts = Derivation(SCHEME, parts, activations=observers(pieces))
        if switch.size == 1 and not pieces.listing and not switch.unreadable and not int(switch.numpy().reshape(-1)[0]):
            facts = facts._replace(scheme=f"{SCHEME}, switched off")
            yield derived(stored.name, stored.shape, stored.read, facts, dtype=stored.dtype, role=stored.role, axes=stored.axes)
            continue
        reason = "the range of its codes is in the module alone; pass the module itself to steelyard.effective"
        yield refused(stored.name, facts, reason, stored.shape)


def observers(pieces: Pieces) -> tuple[str, ...]:
    """Return the names of what observes activations, and rounds them."""
    words = ((name, name.split(".")) for name in pieces)
    return tuple(name for name, each in words if _OBSERVER in each and not any(word.endswith(_END) for word in each))
