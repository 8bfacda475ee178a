"""Distributed tensors: read and tied by identity, written by all processes together, and refused where one process is alone."""

import os
import subprocess
import sys

PROGRAM = """
import sys
import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
import steelyard

dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=0, world_size=1)
mesh = init_device_mesh("cpu", (1,))
net = nn.Module()
net.a, net.b = nn.Linear(2, 3, bias=False), nn.Linear(2, 3, bias=False)
plain = torch.arange(6.0).reshape(3, 2)
net.a.weight = nn.Parameter(distribute_tensor(plain, mesh, [Shard(0)]))
net.b.weight = net.a.weight
net.c = nn.Parameter(torch.ones(2))
w = steelyard.weights(net)
print(list(w), w["b.weight"].tied, w.size, w.unreadable)
print(np.array_equal(w["a.weight"].numpy(), plain.numpy()), w["a.weight"].shape, w["a.weight"].dtype)
for name, value in (("c", np.zeros(2)), ("a.weight", np.zeros((3, 2)))):
    try:
        w.assign({name: value})
        print(name, "assigned", steelyard.weights(net)[name].numpy().tolist())
    except steelyard.errors.SteelyardError as error:
        print(name, "refused:", error)
dist.destroy_process_group()
"""


def test_distributed_parameters_are_read_and_tied_and_written(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    listed, values, plain, distributed = done.stdout.splitlines()
    assert listed == "['c', 'a.weight', 'b.weight'] a.weight 8 {}"
    assert values == "True (3, 2) float32"
    assert plain == "c assigned [0.0, 0.0]"
    assert distributed == "a.weight assigned [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]"


TOGETHER = """
import copy
import sys
import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel
import steelyard
from steelyard.frameworks.torch import distributed

rank = int(sys.argv[2])
steelyard.limits.allow(PATIENCE=200)  # a busy machine may start the other process late
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=rank, world_size=2)
torch.manual_seed(0)
plain = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
vector = nn.utils.parameters_to_vector(plain.parameters()).detach().numpy()

def sharded():
    net, mesh = copy.deepcopy(plain), init_device_mesh("cpu", (2,))
    for part in (net[0], net[2], net):
        fully_shard(part, mesh=mesh)
    return net

def alone(w):
    try:
        with steelyard.limits.allow(PATIENCE=0.3):
            return w.to_vector().shape
    except steelyard.errors.SteelyardError as error:
        return type(error).__name__ + ": " + str(error)

def again(w):  # after a refusal; one that waits for the others would not end in time
    distributed.SOON = 100
    refused = 0
    for weight in w.values():
        try:
            weight.numpy()
        except steelyard.errors.UnreadableError:
            refused += 1
    distributed.SOON = 1
    distributed._REFUSED.clear()
    return refused

made = (sharded, lambda: FullyShardedDataParallel(copy.deepcopy(plain), device_id=torch.device("cpu")),
        lambda: DistributedDataParallel(copy.deepcopy(plain)))
for make in made:
    net = make()
    w = steelyard.weights(net)
    first = np.array_equal(w.to_vector(), vector)
    w.assign(vector * 2)
    with torch.no_grad():
        y = net(torch.ones(2, 4)).numpy()
    doubled = copy.deepcopy(plain)
    nn.utils.vector_to_parameters(torch.from_numpy(vector * 2), doubled.parameters())
    print(type(net).__name__, [name.removeprefix("module.") for name in w] == list(plain.state_dict()), first,
          np.array_equal(steelyard.weights(net).to_vector(), vector * 2),
          np.allclose(y, doubled(torch.ones(2, 4)).detach().numpy()), [each.axes for each in w.values()][0])
    if rank == 0 and make is not made[2]:
        print(alone(w))
        print(again(w))
    dist.barrier()
    assert np.array_equal(w.to_vector(), vector * 2)
    if make is sharded:
        with steelyard.record(f"{sys.argv[1]}-{rank}", snapshot=1) as rec:
            rec(0, net)
        assert np.array_equal(steelyard.history(rec.path).at(0).to_vector(), vector * 2)
dist.destroy_process_group()
"""


def test_two_processes_read_and_write_sharded_modules_together_and_one_alone_is_refused(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", TOGETHER, str(tmp_path / "store")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen([*command, rank], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for rank in "01"
    ]
    first, second = ((*each.communicate(timeout=240), each.returncode) for each in running)
    assert (first[2], second[2]) == (0, 0), first[1] + second[1]
    fsdp2, alone, again, fsdp1, alone1, again1, ddp = first[0].splitlines()
    assert (again, again1) == ("4", "4")  # each of the weights at once
    assert fsdp2 == "FSDPSequential True True True True out in"
    assert fsdp1.startswith("FullyShardedDataParallel True True True True")
    assert ddp == "DistributedDataParallel True True True True out in"
    assert alone.startswith(
        "UnreadableError: 0.weight is distributed over 2 processes, and 1 of them did not ask for it within 0.3 s"
    )
    assert "steelyard.limits.allow(PATIENCE=60)" in alone
    assert alone1.startswith("UnreadableError: the module is distributed over 2 processes")
    assert second[0].splitlines() == [fsdp2, fsdp1, ddp]
