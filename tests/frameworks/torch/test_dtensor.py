"""Distributed tensors on a mesh of one process: read, tied by identity, and refused by name where they cannot be written."""

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
print(np.array_equal(steelyard.weights(net)["a.weight"].numpy(), plain.numpy()))
dist.destroy_process_group()
"""


def test_distributed_parameters_are_read_and_tied_and_refuse_numbers_by_name(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    listed, values, plain, distributed, unchanged = done.stdout.splitlines()
    assert listed == "['c', 'a.weight', 'b.weight'] a.weight 8 {}"
    assert values == "True (3, 2) float32"
    assert plain == "c assigned [0.0, 0.0]"
    assert distributed.startswith("a.weight refused: a.weight is quantised, sparse, distributed or without memory")
    assert unchanged == "True"
