"""Folders of DeepSpeed's ZeRO, laid out as its own zero_to_fp32 reads them: the joined parameters are those that were divided."""

import math

import pytest
import torch
from torch import nn

import steelyard
from steelyard.errors import FormatError, IncompleteWarning

NUMBERS = "optimizer_state_dict"


def net():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3), nn.Linear(3, 3, bias=False))
    made[3].weight.requires_grad = False
    return made


def model_states(made, groups, **more):
    shapes = [{name: tensor.shape for name, tensor in group.items()} for group in groups]
    buffers = [name for name, _ in made.named_buffers()]
    frozen = {"3.weight": made[3].weight.data}
    return {
        "buffer_names": buffers,
        "param_shapes": shapes,
        "frozen_param_shapes": {name: tensor.shape for name, tensor in frozen.items()},
        "shared_params": {},
        "global_steps": 12,
        "ds_version": "0.17.0",
        **more,
    }


def groups_of(made):
    trained = {name: parameter.data for name, parameter in made.named_parameters() if parameter.requires_grad}
    kernels = {name: tensor for name, tensor in trained.items() if tensor.dim() > 1}
    return [kernels, {name: tensor for name, tensor in trained.items() if tensor.dim() == 1}]


def save_two(folder, made, size, prefix="bf16_"):
    """Save as ZeRO 2: each group flat, padded to a multiple of twice the processes, and cut into equal parts."""
    groups, parts = groups_of(made), []
    for group in groups:
        flat = torch.cat([tensor.flatten() for tensor in group.values()])
        parts.append(nn.functional.pad(flat, (0, -flat.numel() % (2 * size))).chunk(size))
    module = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in made.state_dict().items()}
    whole = {"3.weight": made[3].weight.data}
    torch.save(model_states(made, groups, module=module, frozen_param_fragments=whole), folder / "mp_rank_00_model_states.pt")
    for rank in range(size):
        own = {"zero_stage": 2, "partition_count": [size] * 2}
        own["single_partition_of_fp32_groups"] = [part[rank].clone() for part in parts]
        torch.save({NUMBERS: own}, folder / f"{prefix}zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")


def shares(tensor, size):
    share = math.ceil(tensor.numel() / size)
    return nn.functional.pad(tensor.flatten(), (0, share * size - tensor.numel())).chunk(size)


def save_three(folder, made, size):
    """Save as ZeRO 3: each parameter cut into equal shares, padded; each process has those of all parameters in a row."""
    groups = groups_of(made)
    module = {
        name: tensor if name in dict(made.named_buffers()) else torch.empty(0) for name, tensor in made.state_dict().items()
    }
    for rank in range(size):
        own = {"zero_stage": 3, "partition_count": size}
        own["fp32_flat_groups"] = [torch.cat([shares(tensor, size)[rank] for tensor in group.values()]) for group in groups]
        torch.save({NUMBERS: own}, folder / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
        fragment = {"3.weight": shares(made[3].weight.data, size)[rank].clone()}
        state = model_states(made, groups, module=module, frozen_param_fragments=fragment)
        torch.save(state, folder / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt")


@pytest.mark.parametrize("save", [save_two, save_three])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_shares_of_all_processes_are_joined_in_the_order_of_the_state_dict(tmp_path, save, size):
    made, folder = net(), tmp_path / "global_step12"
    folder.mkdir()
    save(folder, made, size)
    (tmp_path / "latest").write_text("global_step12")
    expected = made.state_dict()
    for path in (tmp_path, folder):
        found = steelyard.weights(path)
        assert [*found] == [*expected]
        buffers = dict(made.named_buffers())
        for name, tensor in expected.items():
            read = found[name].to_torch()
            assert read.dtype == tensor.dtype or (save is save_two and name in buffers)
            assert torch.equal(read.to(tensor.dtype), tensor.half().to(tensor.dtype) if name in buffers else tensor)
        assert found["0.weight"].role == "kernel"
        assert found["3.weight"].trainable is False
        assert found.meta["global_steps"] == 12
    assert steelyard.weights(folder)["0.weight"][1:3, 2].tolist() == expected["0.weight"][1:3, 2].tolist()
    assert len(steelyard.weights(folder, scope="all")) > len(expected)


def test_shared_parameters_are_tied(tmp_path):
    save_two(tmp_path, net(), 2)
    path = tmp_path / "mp_rank_00_model_states.pt"
    state = torch.load(path, weights_only=True)
    torch.save({**state, "shared_params": {"head.weight": "0.weight"}}, path)
    assert steelyard.weights(tmp_path)["head.weight"].tied == "0.weight"


def test_a_missing_share_is_refused(tmp_path):
    save_three(tmp_path, net(), 3)
    (tmp_path / "zero_pp_rank_2_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(FormatError, match=r"has the shares of 2 processes of DeepSpeed's ZeRO, of 3"):
        steelyard.weights(tmp_path)
    (tmp_path / "zero_pp_rank_0_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(FormatError, match="has not one file with the share of process 0"):
        steelyard.weights(tmp_path)


def test_shares_that_do_not_fit_the_shapes_are_refused(tmp_path):
    save_two(tmp_path, net(), 2)
    path = tmp_path / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
    state = torch.load(path, weights_only=True)
    state[NUMBERS]["single_partition_of_fp32_groups"][0] = torch.ones(3)
    torch.save(state, path)
    with pytest.raises(FormatError, match=r"the shares have 31 numbers, the shapes of its parameters 56"):
        steelyard.weights(tmp_path)


def test_tensors_that_are_divided_by_rules_of_the_model_are_refused(tmp_path):
    save_two(tmp_path, net(), 1)
    torch.save({}, tmp_path / "bf16_zero_pp_rank_0_mp_rank_01_optim_states.pt")
    with pytest.raises(FormatError, match="each tensor is divided over 2 processes by rules of the model"):
        steelyard.weights(tmp_path)


def test_a_share_that_is_opened_alone_is_reported(tmp_path):
    save_two(tmp_path, net(), 2)
    with pytest.warns(IncompleteWarning, match="is the share of process 1 alone of a model in DeepSpeed's ZeRO; open its folder"):
        steelyard.weights(tmp_path / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt")


@pytest.mark.parametrize("save", [save_two, save_three])
def test_shares_of_several_types_are_refused(tmp_path, save):
    save(tmp_path, net(), 2)
    path = next(tmp_path.glob("*zero_pp_rank_1_mp_rank_00_optim_states.pt"))
    held = torch.load(path)
    (key,) = {*held[NUMBERS]} & {"single_partition_of_fp32_groups", "fp32_flat_groups"}
    held[NUMBERS][key] = [tensor.double() for tensor in held[NUMBERS][key]]
    torch.save(held, path)
    with pytest.raises(FormatError, match="several types: float32, float64"):
        steelyard.weights(tmp_path)
