"""Records of weights that are tied, frozen, quantised, or without numbers. Sharded ones: frameworks/torch/test_dtensor.py."""

import numpy as np
import pytest
import torch

import steelyard
from steelyard.errors import UnreadableError


def step_of(net):
    for parameter in net.parameters():
        if parameter.requires_grad:
            parameter.data += 0.5


def test_tied_weights_are_recorded_once_and_stay_tied_when_they_are_restored(tmp_path):
    net = torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5))
    net[1].weight = net[0].weight
    before = net[0].weight.detach().clone()
    with steelyard.record(tmp_path, snapshot=1) as rec:
        for step in range(3):
            rec(step, net)
            step_of(net)
    h = steelyard.history(tmp_path)
    assert h.names == ["0.weight", "1.bias"]
    assert h.updates()["0.weight"][1] == pytest.approx(0.5 * 15**0.5)
    h.restore(net, 0)
    assert torch.equal(net[0].weight, before)
    assert net[1].weight is net[0].weight


def test_frozen_weights_are_named_but_those_that_are_not_trainable_are_no_alarm(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    net[0].requires_grad_(False)
    with steelyard.record(tmp_path) as rec:
        for step in range(12):
            rec(step, net)
            step_of(net[2])
    h = steelyard.history(tmp_path)
    assert h.frozen() == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert h.alarms() == ["frozen in the last 10 records: 1.weight, 1.bias"]
    assert h.ratios()["0.weight"][1:].tolist() == [0.0] * 11


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_quantised_weights_are_recorded_as_their_integers(tmp_path):
    codes = [np.array([-128, 5, 127], "i1"), np.array([-128, 9, 124], "i1")]
    with steelyard.record(tmp_path, snapshot=1) as rec:
        for step, stored in enumerate(codes):
            rec(step, {"q": torch._make_per_tensor_quantized_tensor(torch.from_numpy(stored), 0.1, 0), "scale": torch.ones(2)})
    h = steelyard.history(tmp_path)
    assert h.at(1)["q"].numpy().tolist() == codes[1].tolist()
    assert h.updates()["q"][1] == 5.0
    assert h.curve("min")["q"].tolist() == [-128.0, -128.0]
    assert h.distances()[0, 1] == 0  # integers are not in the sketch


def test_a_weight_without_numbers_is_refused_by_name_and_a_selection_is_recorded(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2, device="meta"))
    with steelyard.record(tmp_path) as rec:
        with pytest.raises(UnreadableError, match=r"1\.weight.*record a selection"):
            rec(0, net)
        rec(0, steelyard.weights(net).select("0.*"))
    assert steelyard.history(tmp_path).names == ["0.weight", "0.bias"]
