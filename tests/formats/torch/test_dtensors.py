"""A file of DTensors that one process of two wrote: whole numbers are read, and parts are not taken for the whole."""

import subprocess
import sys

import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError, UnreadableError

WRITTEN = """
import sys, torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
mesh = init_device_mesh("cpu", (2,))
numbers = torch.arange(12.0).reshape(4, 3)
placed = {"rows": Shard(0), "copies": Replicate(), "terms": Partial()}
state = {name: DTensor.from_local(numbers.clone(), mesh, [placement]) for name, placement in placed.items()}
torch.save(state | {"plain": torch.ones(2)}, sys.argv[1])
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("dtensors") / "net.pt"
    subprocess.run([sys.executable, "-W", "ignore", "-c", WRITTEN, str(path)], check=True, capture_output=True)
    return steelyard.weights(path)


def test_they_are_listed_by_name_with_the_shape_of_the_whole(weights):
    assert {name: weight.shape for name, weight in weights.items()} == {
        "rows": (8, 3), "copies": (4, 3), "terms": (4, 3), "plain": (2,),
    }  # fmt: skip
    assert [weight.dtype for weight in weights.values()] == ["float32"] * 4


def test_copies_are_read(weights):
    assert np.array_equal(weights["copies"].numpy(), np.arange(12, dtype="f4").reshape(4, 3))


@pytest.mark.parametrize(("name", "reason"), [("rows", r"only the part \(4, 3\) of one process"), ("terms", "a term of a sum")])
def test_parts_are_refused_by_name(weights, name, reason):
    with pytest.raises(FormatError, match=reason):
        weights[name].numpy()
    with pytest.raises(UnreadableError, match=name):
        weights.to_vector()
