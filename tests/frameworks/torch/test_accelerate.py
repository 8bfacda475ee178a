"""Nets that Accelerate keeps elsewhere, in memory or in files, have the numbers that their hooks load."""

import accelerate
import pytest
import torch
from torch import nn

import steelyard
from steelyard.errors import ShapeError


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def in_memory(_):
    return accelerate.cpu_offload(net(), execution_device="cpu")


def in_files(folder):
    return accelerate.disk_offload(net(), folder, execution_device="cpu")


def in_both(folder):
    places = {"0": "cpu", "1": "disk", "2": "cpu"}
    return accelerate.dispatch_model(net(), places, main_device="cpu", offload_dir=folder, force_hooks=True)


def loaded(folder):
    accelerate.Accelerator(cpu=True).save_model(net(), folder / "checkpoint")
    with accelerate.init_empty_weights():
        empty = net()
    empty[1].reset_running_stats()
    places = {"0": "disk", "1": "cpu", "2": "cpu"}
    return accelerate.load_checkpoint_and_dispatch(empty, folder / "checkpoint", places, offload_folder=folder / "offloaded")


@pytest.mark.parametrize("made", [in_memory, in_files, in_both, loaded])
def test_every_number_is_that_of_the_net_before(made, tmp_path):
    model = made(tmp_path)
    assert any(parameter.is_meta for parameter in model.parameters())
    found = steelyard.diff(model, net())
    assert found.same
    assert steelyard.diff(model, net().state_dict()).loads
    assert {name: (each.role, each.axes) for name, each in steelyard.weights(model).items()} == {
        name: (each.role, each.axes) for name, each in steelyard.weights(net()).items()
    }


def test_numbers_are_written_where_the_hook_keeps_them_in_memory(tmp_path):
    model = in_memory(tmp_path)
    steelyard.weights(model).assign({name: weight.numpy() * 0 + 1 for name, weight in steelyard.weights(model).items()})
    model.eval()
    torch.testing.assert_close(model(torch.ones(1, 4)), torch.full((1, 2), 16.0), atol=1e-3, rtol=0)  # 3 (5 - 1 + 1) + 1
    with pytest.raises(ShapeError, match=r"0\.weight is offloaded to a file"):
        steelyard.weights(in_files(tmp_path)).assign(net().state_dict())


def test_the_folder_is_a_file_of_the_net(tmp_path):
    in_files(tmp_path)
    assert steelyard.diff(tmp_path, net()).same
