"""Distributed checkpoints that are written: torch's own `load` and its converter read them, and nothing else is replaced.

`tests/frameworks/torch/test_distributed.py` loads them in 2 and 4 processes.
"""

import os
import pickle
import threading
import warnings

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from ml_dtypes import bfloat16
from torch import nn
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

import steelyard
from steelyard.cli import main
from steelyard.errors import FormatError, ShapeError
from steelyard.formats.dcp.writing import require_replaceable

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3).bfloat16())
    net.tied = net[0].weight
    net.eight = nn.Buffer(torch.ones(3, 2).to(torch.float8_e4m3fn))
    net.empty = nn.Buffer(torch.ones(0, 2))
    net.wide = nn.Buffer(torch.tensor([1, 2, 3], dtype=torch.uint32))
    return net


def loaded(net, folder):
    """Return what torch loads into a state dict of zeros."""
    state = {name: torch.zeros_like(tensor) for name, tensor in net.state_dict().items()}
    dcp.load(state, checkpoint_id=folder)
    return state


def same(state, expected):
    assert state.keys() == expected.keys()
    for name, tensor in state.items():
        assert (tensor.dtype, tensor.shape) == (expected[name].dtype, expected[name].shape)
        assert torch.equal(tensor.contiguous().view(-1).view(torch.uint8), expected[name].contiguous().view(-1).view(torch.uint8))


@pytest.mark.parametrize(("processes", "files"), [(None, 1), (1, 1), (3, 3), (4, 4), (9, 7)])  # no axis is longer than 7
def test_torch_loads_every_number_and_the_facts_come_back(net, tmp_path, processes, files):
    folder = tmp_path / "net.dcp"
    listed = steelyard.weights(net)
    steelyard.save(net, folder, processes=processes)
    same(loaded(net, folder), net.state_dict())
    assert len(os.listdir(folder)) == files + 1
    found = steelyard.weights(folder)
    assert [*found] == [*listed]
    for name, weight in found.items():
        facts = [(each.role, each.axes, each.layer, each.tied, each.trainable) for each in (weight, listed[name])]
        assert facts[0] == facts[1]
        assert weight.numpy().tobytes() == listed[name].numpy().tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch
        dcp_to_torch_save(folder, tmp_path / "whole.pt")
    same(torch.load(tmp_path / "whole.pt"), net.state_dict())


def test_chunks_are_those_of_fsdp_and_tied_weights_are_written_once(net, tmp_path):
    steelyard.save(net, tmp_path / "net.dcp", processes=4)
    metadata = pickle.loads((tmp_path / "net.dcp/.metadata").read_bytes())
    chunks = metadata.state_dict_metadata["0.weight"].chunks
    assert [tuple(chunk.sizes) for chunk in chunks] == [tuple(part.shape) for part in torch.chunk(net[0].weight, 4)]
    places = {index.fqn: info for index, info in metadata.storage_data.items() if index.offset == torch.Size((2, 0))}
    assert places["0.weight"] == places["tied"]
    assert places["0.weight"].relative_path == "__1_0.distcp"


def test_names_of_weights_may_be_any_words_of_the_pickle(tmp_path):
    arrays = {
        name: np.full(3, n, "f4") for n, name in enumerate(["fqn", "offset", "sizes", "size", "step", "optimizer.x", "ä\n'", ""])
    }
    steelyard.save(arrays, tmp_path / "x.dcp", processes=2)
    state = {name: torch.zeros(3) for name in arrays}
    dcp.load(state, checkpoint_id=tmp_path / "x.dcp")
    assert {name: tensor.tolist() for name, tensor in state.items()} == {name: array.tolist() for name, array in arrays.items()}
    assert [*steelyard.weights(tmp_path / "x.dcp")] == [*arrays]


def test_convert_divides_a_file_anew_and_replaces_a_checkpoint_that_it_reads(tmp_path, capsys):
    array = np.arange(35, dtype="f4").reshape(7, 5).astype(bfloat16)
    steelyard.save({"w": array, "n": np.int64(3)}, tmp_path / "net.safetensors")
    folder = tmp_path / "run" / "step-1"
    folder.parent.mkdir()
    for count, options in ((1, []), (4, ["--processes", "4"]), (2, ["--processes", "2", "--dtype", "float32"])):
        source = folder if folder.exists() else tmp_path / "net.safetensors"
        assert main(["convert", str(source), str(folder / ".metadata"), *options]) == 0, capsys.readouterr().err
        assert len(os.listdir(folder)) == count + 1
    state = {"w": torch.zeros(7, 5), "n": torch.tensor(0)}
    dcp.load(state, checkpoint_id=folder)
    assert state["w"].numpy().tolist() == array.tolist()
    assert state["n"] == 3


def test_a_folder_that_another_process_makes_at_the_same_time_is_one(tmp_path):
    folder, done = tmp_path / "net.dcp", threading.Event()

    def make():
        while not done.is_set():
            folder.mkdir()
            folder.rmdir()

    maker = threading.Thread(target=make)
    maker.start()
    try:
        for _ in range(20_000):
            require_replaceable(folder)
    finally:
        done.set()
        maker.join()
    (tmp_path / "link.dcp").symlink_to(folder)
    with pytest.raises(FormatError, match="is not a folder"):
        require_replaceable(tmp_path / "link.dcp")


def test_a_checkpoint_of_torch_is_replaced_and_nothing_else_is(tmp_path):
    old = tmp_path / "old"
    dcp.save({"w": torch.zeros(3)}, checkpoint_id=old, no_dist=True)
    (old / "notes.txt").write_text("mine")
    steelyard.save({"w": np.ones(3)}, old / ".metadata")
    assert sorted(os.listdir(old)) == [".metadata", "__0_1.distcp", "notes.txt"]
    with pytest.raises(FormatError, match=r"holds a distributed checkpoint; write to .*old.\.metadata to replace it"):
        steelyard.save({"w": np.ones(3)}, old)
    (old / "common.pt").write_bytes(b"")
    with pytest.raises(FormatError, match=r"is a checkpoint of Megatron"):
        steelyard.save({"w": np.ones(3)}, old / ".metadata")
    other = tmp_path / "other.dcp"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(FormatError, match=r"is a folder with other files, such as 'notes\.txt', and holds no distributed"):
        steelyard.save({"w": np.ones(3)}, other)
    (tmp_path / "file.dcp").write_bytes(b"mine")
    with pytest.raises(FormatError, match="is not a folder, which a distributed checkpoint is"):
        steelyard.save({"w": np.ones(3)}, tmp_path / "file.dcp")
    with pytest.raises(FormatError, match=r"end it in \.dcp"):
        steelyard.save({"w": np.ones(3)}, tmp_path / "net.metadata")
    assert (tmp_path / "file.dcp").read_bytes() == b"mine"
    assert os.listdir(other) == ["notes.txt"]


def test_a_save_that_fails_leaves_no_folder(tmp_path):
    with pytest.raises(FormatError, match="w is int4, which PyTorch cannot hold"):
        steelyard.save({"w": np.zeros(3, "int4")}, tmp_path / "a.dcp")

    def broken():
        raise OSError("no such block")

    weights = steelyard.weights({"v": np.ones(9), "w": np.ones(3)})
    bad = weights["w"].replace(read=lambda start, stop: broken())
    with pytest.raises(OSError, match="no such block"):
        steelyard.save(weights.with_weights([weights["v"], bad]), tmp_path / "b.dcp")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "options", "reason"),
    [
        ("x.dcp", {"processes": 0}, "processes is 0; it must be at least 1"),
        ("x.pt", {"processes": 2}, r"'x\.pt' is no distributed checkpoint, whose parts are for processes"),
        ("x.dcp/", {"shard_size": 100}, "a distributed checkpoint has a file for each process"),
    ],
)
def test_numbers_without_meaning_are_refused(tmp_path, monkeypatch, path, options, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ShapeError, match=reason):
        steelyard.save({"w": np.ones(3)}, path, **options)
    assert os.listdir() == []
