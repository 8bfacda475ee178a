"""Whole nets go from any framework into any other, and give the same outputs there."""

from itertools import permutations

import numpy as np
import pytest
from transfers import nets

from steelyard.transfers.transferring import transfer

WAYS = [pytest.param(net, *way, id=f"{net}-{way[0]}-{way[1]}") for net in nets.INPUTS for way in permutations(nets.BUILDERS, 2)]


@pytest.mark.parametrize(("net", "source", "target"), WAYS)
def test_a_whole_net_gives_the_same_outputs_in_another_framework(net, source, target):
    origin, model = nets.trained(net, source), nets.build(net, target)
    wanted, fresh = nets.run(net, source, origin), nets.run(net, target, model)
    made = transfer(origin, into=model, probe=nets.inputs(net, source))
    found = nets.run(net, target, made.model)
    assert made.proof.proven
    assert made.proof.max_rel < 1e-6
    assert all(name.endswith("num_batches_tracked") for name in made.plan.untouched)
    assert np.abs(found - wanted).max() < 2e-5 * np.abs(wanted).max()
    assert np.abs(fresh - wanted).max() > 0.1 * np.abs(wanted).max()
