"""Remove whole units of a net: outputs of dense layers, channels, heads, and the units of recurrent layers.

`tracing` finds which units must go together, from a run of a PyTorch module or from the graph of other nets
(`flow`, `rules`). `choosing`
chooses them, `cutting` cuts the weights, `constants` moves what removed units emitted into the next bias, `rebuilding` makes and
proves the smaller net, and `plan` is the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steelyard.io import weights

if TYPE_CHECKING:
    from steelyard.editing.units.choosing import Amount
    from steelyard.editing.units.plan import UnitPlan


def prune_units(
    net: Any, amount: Amount | Mapping[str, Amount], *, score: str = "l2", probe: object = None, fold: bool = False
) -> UnitPlan:
    """Plan the removal of whole units of a net, with all that reads or normalises them.

    `net` is a live model, or a file or `Weights` with a complete graph. `amount` is the share of the units of each layer that go
    (0.5), or a dict of layers with a share or the indices of the units: ``{"fc1": 0.5, "conv2": [0, 3]}``. The units of an
    attention layer are its heads. Those with the lowest `score` go: "l2" is the L2 norm of all kernels that give a unit, "bn"
    the sum of the sizes of its batch norms' scales. `probe` has the inputs on which a live net is run, an array or a list of
    them; a PyTorch module needs some unless its layers show their shape. Units that are added, multiplied or normalised
    together go together; the smaller net equals the original one in which the weights that read the removed units are zero. With
    `fold` it equals the net in which the kernels that give them are zero: the constant that they still emit moves into the next
    bias.

    Nothing is changed: the plan has the smaller `weights`, and a live net's `model`. Raises `ShapeError`, which names the layer,
    where units cannot go, such as those of the net's inputs or under a layer norm, and where the data flow is not known.

    Examples:
        >>> import steelyard
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> steelyard.prune_units(net, 0.5).model[2]
        Linear(in_features=4, out_features=3, bias=True)
    """
    from steelyard.editing.units.choosing import chosen
    from steelyard.editing.units.plan import UnitPlan
    from steelyard.editing.units.rebuilding import is_live
    from steelyard.editing.units.tracing import coupled

    listed = weights(net)
    live = net if listed is not net and is_live(net) else None
    couplings, inputs = coupled(listed, live, probe)
    choice = chosen(listed, couplings, amount, score)
    return UnitPlan(listed, live, couplings, choice, inputs, fold=fold)
