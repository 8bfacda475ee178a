"""Running servers and the files that they show, and a net with its report."""

import numpy as np
import pytest
import torch
from inspector.packs import Page
from inspector.serving import Served, free_port
from safetensors.numpy import save_file
from torch import nn

import steelyard


@pytest.fixture(scope="module")
def servers():
    """The servers that a test started; they end after it, even if it fails."""
    started = []
    yield started
    for each in started:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def start(servers):
    """Start a server on a free port."""

    def starting(*arguments, port=None, **options):
        servers.append(Served(*arguments, "--port", free_port() if port is None else port, **options))
        return servers[-1]

    return starting


@pytest.fixture(scope="module")
def numbers():
    chance = np.random.default_rng(0)
    return {
        "fc.weight": chance.standard_normal((300, 200)).astype("f4"),
        "conv.weight": chance.standard_normal((4, 3, 5, 5)).astype("f4"),
        "../../etc/pass\r\nwd.bias": np.array([1.5, np.nan, np.inf, -0.1], "f4"),
        "old": chance.standard_normal((3, 3)).astype("f4"),
    }


@pytest.fixture(scope="module")
def folder(numbers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    after = {**numbers, "fc.weight": numbers["fc.weight"] + np.float32(0.1)}
    after["new"] = after.pop("old") * 2
    save_file(after, folder / "after.safetensors")
    save_file(numbers, folder / "before.safetensors")
    (folder / "secret.txt").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def served(folder, servers):
    servers.append(Served(folder / "after.safetensors", "--before", folder / "before.safetensors", "--port", free_port()))
    return servers[-1]


@pytest.fixture(scope="module")
def rows(served):
    """The number of each row."""
    return {name: row for row, name in enumerate(served.ask("index")["columns"]["name"])}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("conv", nn.Conv2d(3, 8, 5))
    net.add_module("bn", nn.BatchNorm2d(8))
    net.add_module("fc", nn.Linear(300, 200))
    net.add_module("out", nn.Linear(200, 10))
    return net


@pytest.fixture
def page(net, tmp_path):
    steelyard.report(net, tmp_path / "report.html")
    return Page(tmp_path / "report.html")
