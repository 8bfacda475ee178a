"""Makes dcp.tar.xz: distributed checkpoints of one net and its optimizer, which 1, 2 and 4 processes of PyTorch 2.13 save together.

    python tests/data/make_dcp.py FOLDER && tar -C FOLDER -cJf tests/data/dcp.tar.xz .

The folders are named after the writer and the number of processes: "zip" and "st" for the two serialisations, "hf" for the writer
for the Hub, "joined" for that with its files joined. Seven rows do not divide evenly over 2 or 4 processes.
"""

import os
import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import multiprocessing, nn
from torch.distributed.checkpoint.filesystem import SerializationFormat
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


def trained(mesh):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3).bfloat16())
    for layer in (net[0], net[3]):
        fully_shard(layer, mesh=mesh)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.125)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return net, optimizer


def save(rank, size, root):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(29533 + size), RANK=str(rank), WORLD_SIZE=str(size))
    dist.init_process_group("gloo", rank=rank, world_size=size)
    model, optim = get_state_dict(*trained(init_device_mesh("cpu", (size,))))
    turned = torch.arange(12.0).reshape(3, 4).t().bfloat16()
    state = {"model": model, "optim": optim, "step": 17, "extra": [torch.arange(3), {"a": "text"}], "t": turned}
    dcp.save(state, checkpoint_id=f"{root}/zip{size}")
    state["t"] = turned.contiguous()  # safetensors refuses another order
    dcp.save(state, storage_writer=dcp.FileSystemWriter(f"{root}/st{size}", serialization_format=SerializationFormat.SAFETENSORS))
    floats = {name: tensor for name, tensor in model.items() if "num_batches" not in name}  # the only type that it can join
    for name, joins in (("hf", False), ("joined", True)):
        path = f"{root}/{name}{size}"
        dcp.save(floats, storage_writer=HuggingFaceStorageWriter(path, save_distributed=True, enable_consolidation=joins))
    dist.destroy_process_group()


if __name__ == "__main__":
    for size in (1, 2, 4):
        multiprocessing.spawn(save, (size, sys.argv[1]), nprocs=size)
