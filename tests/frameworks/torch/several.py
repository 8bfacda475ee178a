"""What each of several processes does in `test_several_processes.py`: argument 1 is the folder, 2 its number, 3 how many there are."""

import os
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

import steelyard
from steelyard import sizes
from steelyard.frameworks.torch import parts

IS_MAIN = __name__ == "__main__"
FOLDER, NUMBER, COUNT = (Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])) if IS_MAIN else (Path(), 0, 1)


def plain():
    """Seven rows do not divide evenly over 2 or 4 processes, and three do not reach the fourth."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3).bfloat16())
    net[0].weight.data[3, 2] = -0.0
    net[3].weight.requires_grad_(False)
    return net


def wide():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 12), nn.Linear(12, 8))


def fsdp():
    net, mesh = plain(), init_device_mesh("cpu", (COUNT,))
    for part in (net[0], net[3], net):
        fully_shard(part, mesh=mesh)
    return net


def hybrid():
    """Copies of a net, each divided over two processes."""
    net, mesh = plain(), init_device_mesh("cpu", (COUNT // 2, 2), mesh_dim_names=("copies", "parts"))
    fully_shard(net, mesh=mesh)
    return net


def both():
    """Tensor parallelism over two processes, and FSDP of what each of these has."""
    net, mesh = wide(), init_device_mesh("cpu", (COUNT // 2, 2), mesh_dim_names=("dp", "tp"))
    parallelize_module(net, mesh["tp"], {"0": ColwiseParallel(), "1": RowwiseParallel()})
    fully_shard(net, mesh=mesh["dp"])
    return net


def in_columns():
    """A tensor that is divided along its second axis, beside one that each process has."""
    net, mesh = wide(), init_device_mesh("cpu", (COUNT,))
    net[0].weight = nn.Parameter(distribute_tensor(net[0].weight.data, mesh, [Shard(1)]))
    return net


def same(found, expected):
    assert [*found] == [*expected]
    for name, weight in found.items():
        assert (weight.dtype, weight.shape) == (expected[name].dtype, expected[name].shape)
        assert weight.numpy().tobytes() == expected[name].numpy().tobytes(), name


def is_refused(action, error, words):
    try:
        action()
    except error as raised:
        return words in str(raised)
    return False


def check(make, whole):
    """All that is asked of a net in parts is what it is of the whole net, and no process gathers it."""
    net, expected = make(), steelyard.weights(whole)
    listed = steelyard.weights(net)
    same(listed, expected)
    assert steelyard.digest(net) == steelyard.digest(whole)
    assert steelyard.stats(net).to_dict() == steelyard.stats(whole).to_dict()
    path = FOLDER / f"{make.__name__}.safetensors"
    steelyard.save(net, path)
    dist.barrier()
    same(steelyard.weights(path), expected)
    folder = FOLDER / f"{make.__name__}.dcp"
    for dtype in ("float16", None):  # the second replaces the first
        steelyard.save(net, folder, dtype=dtype)
        dist.barrier()
        found = steelyard.weights(folder)
        same(found, expected.astype(dtype) if dtype else expected)
        assert [(w.role, w.axes) for w in found.values()] == [(w.role, w.axes) for w in expected.values()]
        dist.barrier()
    same(steelyard.weights(copied(make(), folder)), expected)
    return sorted(name for name in os.listdir(folder) if name != ".metadata")


def copied(net, folder):
    """Put into a net what torch loads from the folder, each process what it needs, and return it."""
    state = net.state_dict()
    for tensor in state.values():
        (tensor.to_local() if isinstance(tensor, DTensor) else tensor).zero_()
    dcp.load(state, checkpoint_id=folder)
    return net


def bounded():
    """Save a net of which no process ever puts together more than a block."""
    largest, real = [0], parts._add_up

    def noted(run, tensor):
        largest.append(run.numel())
        real(run, tensor)

    parts._add_up, before = noted, (sizes.WRITE_CHUNK_BYTES, sizes.READ_BLOCK)
    sizes.WRITE_CHUNK_BYTES, sizes.READ_BLOCK = 64, 16
    try:
        steelyard.save(fsdp(), FOLDER / "bounded.npz")
    finally:
        parts._add_up, (sizes.WRITE_CHUNK_BYTES, sizes.READ_BLOCK) = real, before
    dist.barrier()
    same(steelyard.weights(FOLDER / "bounded.npz"), steelyard.weights(plain()))
    assert max(largest) < 35, largest  # of the largest weight, 7 rows of 5, only the rows around a run of 16
    largest[:] = [0]
    parts._add_up = noted
    steelyard.save(fsdp(), FOLDER / "own.dcp")
    parts._add_up = real
    assert largest == [0]  # nothing is sent


def fail_together():
    """A failure of one process is one of all, and leaves no folder."""
    net = fsdp()
    for path, words in (
        ("no/such/net.npz", "no such folder"),
        ("no/such/net.dcp", "no such folder"),
        ("net.xyz", "no format writes"),
    ):
        expected = Exception if NUMBER == 0 or path.endswith("xyz") else steelyard.errors.UnreadableError
        assert is_refused(lambda path=path: steelyard.save(net, FOLDER / path), expected, words)
    from steelyard.formats.dcp import together

    real = together.placed
    if NUMBER == COUNT - 1:
        together.placed = broken
    assert is_refused(lambda: steelyard.save(net, FOLDER / "broken.dcp"), steelyard.errors.UnreadableError, "disk full")
    together.placed = real
    dist.barrier()
    assert not (FOLDER / "broken.dcp").exists()


def broken(*_):
    raise OSError("disk full")


def main():
    dist.init_process_group("gloo", init_method=f"file://{FOLDER}/store", rank=NUMBER, world_size=COUNT)
    steelyard.limits.allow(PATIENCE=200)  # a busy machine may start a process late
    for written in (1, 2, 4):  # by whom this one is read
        same(steelyard.weights(copied(fsdp(), FOLDER / f"from{written}.dcp")), steelyard.weights(plain()))
    found = {"fsdp": check(fsdp, plain()), "columns": check(in_columns, wide())}
    if COUNT == 4:
        found |= {"hybrid": check(hybrid, plain()), "both": check(both, wide())}
    ddp = DistributedDataParallel(plain())
    steelyard.save(ddp, FOLDER / "ddp.dcp")
    dist.barrier()
    same(steelyard.weights(FOLDER / "ddp.dcp"), steelyard.weights(ddp))
    bounded()
    fail_together()
    dist.barrier()
    if NUMBER == 0:
        sys.stdout.write(repr(found))
    dist.destroy_process_group()


if IS_MAIN:
    warnings.simplefilter("ignore")
    main()
