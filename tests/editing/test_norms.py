"""The running statistics of norms, computed anew, against `torch.optim.swa_utils.update_bn`."""

import copy

import numpy as np
import pytest
import torch
from carried import SHARED
from torch import nn
from torch.optim.swa_utils import update_bn

import steelyard
from steelyard.errors import ShapeError, UnknownModelError

GOLDEN = SHARED / "editing" / "golden"


def net():
    torch.manual_seed(1)
    made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2), nn.BatchNorm1d(2, momentum=0.3))
    made[0].eval()
    made[4].running_mean += 3
    return made


def batches(sizes=(8, 8, 2)):
    rng = np.random.default_rng(2)
    return [rng.normal(1, 2, (size, 3)).astype("f4") for size in sizes]


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_statistics_are_those_of_torch_for_batches_of_different_sizes():
    ours, theirs = net(), net()
    assert steelyard.update_norms(ours, batches()) is ours
    update_bn([torch.tensor(batch) for batch in batches()], theirs)
    found, wanted = ours.state_dict(), theirs.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert ours[4].momentum == 0.3
    assert [part.training for part in ours] == [False, True, True, True, True]


@pytest.mark.parametrize(
    "form", [lambda x: (x, 1), lambda x: [torch.tensor(x)], lambda x: {"input": x}], ids=["pair", "list", "mapping"]
)
def test_a_batch_may_have_targets_or_names(form):
    ours, theirs = net(), net()
    steelyard.update_norms(ours, map(form, batches()))
    steelyard.update_norms(theirs, batches())
    assert torch.equal(ours[1].running_var, theirs[1].running_var)


def test_a_failing_batch_and_no_batch_leave_the_net_as_it_was():
    module = net()
    before = state(module)
    with pytest.raises(RuntimeError):
        steelyard.update_norms(module, [*batches(), np.ones((2, 5), "f4")])
    with pytest.raises(ShapeError, match="no batches"):
        steelyard.update_norms(module, [])
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert (module[1].momentum, module[0].training) == (0.1, False)


def test_nets_without_norms_and_of_other_kinds_are_refused():
    with pytest.raises(ShapeError, match="no norms"):
        steelyard.update_norms(nn.Linear(3, 2), batches())
    with pytest.raises(UnknownModelError, match="PyTorch and Keras"):
        steelyard.update_norms({"w": np.ones(2)}, batches())


def test_the_average_of_nets_is_assigned_and_its_norms_fitted():
    nets = [net() for _ in range(2)]
    with torch.no_grad():
        nets[1][0].weight += 1
    made = copy.deepcopy(nets[0])
    steelyard.weights(made).assign(steelyard.average(nets))
    steelyard.update_norms(made, batches())
    first = made[0](torch.tensor(batches()[0]))
    assert not torch.equal(made[1].running_mean, nets[0][1].running_mean)
    assert first.shape == (8, 4)


@pytest.mark.shared
@pytest.mark.parametrize("case", sorted(path.name for path in GOLDEN.glob("update_bn*")))
def test_statistics_are_those_of_the_golden_case(case):
    inputs, expected = (np.load(GOLDEN / case / f"{which}.npz") for which in ("inputs", "expected"))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn, self.fc = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(64, 3)

        def forward(self, x):
            return self.fc(self.bn(self.conv(x)).relu().flatten(1))

    module = Net()
    module.load_state_dict({key[2:]: torch.tensor(inputs[key]) for key in inputs if key.startswith("0/")})
    data = sorted(key for key in inputs if key.startswith("data"))
    steelyard.update_norms(module, inputs["data"] if data == ["data"] else [inputs[key] for key in data])
    for name, found in module.state_dict().items():
        assert np.allclose(found.numpy(), expected[name], rtol=0, atol=5e-7 * max(np.abs(expected[name]).max(), 1)), name
