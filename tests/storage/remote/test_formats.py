"""What listing a file of each format asks a server for, and that its numbers are those of the file on this machine."""

import pickle

import numpy as np
import pytest
import torch
from serving import Server, direct  # noqa: F401 - a fixture

import steelyard
from steelyard import sizes
from steelyard.errors import RemoteWarning

COUNT = 30
NUMBERS = {f"layer{nth}.weight": np.full((300, 300), nth, "float32") for nth in range(COUNT)}
SIZE = COUNT * 360_000
FEW = {".safetensors": 1, ".pt": 2, ".gguf": 2, ".raw.json": 3, ".index.json": 2}
"""How many requests list a file with an index."""
ONE_EACH = (".msgpack", ".h5", ".pkl")
"""The suffixes of formats without one, of which each tensor must be passed over."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("files")
    for suffix in (*FEW, ".msgpack", ".h5", ".npz"):
        steelyard.save(NUMBERS, made / f"net{suffix}")
    torch.save({name: torch.from_numpy(each) for name, each in NUMBERS.items()}, made / "own.pt")
    (made / "net.pkl").write_bytes(pickle.dumps(NUMBERS))
    return made


@pytest.fixture
def server(folder):
    with Server({f"/{path.name}": path.read_bytes() for path in folder.iterdir()}) as server:
        yield server


def same_numbers(weights, path):
    assert {name: weight.numpy().tobytes() for name, weight in weights.items()} == {
        name: weight.numpy().tobytes() for name, weight in steelyard.weights(path).items()
    }


@pytest.mark.parametrize(("suffix", "count"), FEW.items())
def test_a_file_with_an_index_is_listed_by_few_requests(server, folder, suffix, count):
    weights = steelyard.weights(f"{server.address}/net{suffix}")
    asked = server.taken()
    assert len(asked) <= count
    assert sum(length for _, _, length in asked) <= 6 * sizes.REMOTE_HEAD_BYTES
    same_numbers(weights, folder / f"net{suffix}")


def test_a_checkpoint_of_torch_is_listed_by_two(server, folder):
    weights = steelyard.weights(f"{server.address}/own.pt")
    assert len(server.taken()) == 2
    same_numbers(weights, folder / "own.pt")


def test_an_archive_of_arrays_is_listed_by_two_and_a_small_one_for_each_member_at_once(folder):
    with Server({"/net.npz": (folder / "net.npz").read_bytes()}, delay=0.01) as server:
        weights = steelyard.weights(f"{server.address}/net.npz")
        lengths = sorted(length for _, _, length in server.taken())
        assert lengths[-2:] == [sizes.REMOTE_FIRST_BYTES, sizes.REMOTE_TAIL_BYTES]
        assert len(lengths) <= COUNT + 2
        assert sum(lengths[:-2]) < 1024 * COUNT
        assert server.most > 2
    assert list(weights) == list(NUMBERS)


@pytest.mark.parametrize("suffix", ONE_EACH)
def test_one_without_an_index_says_how_many_requests_it_takes(server, folder, suffix):
    with pytest.warns(
        RemoteWarning, match=r"has no index, so that listing its [\d,]+ bytes takes (about|up to) \d+ requests"
    ) as said:
        weights = steelyard.weights(f"{server.address}/net{suffix}")
    told = int(str(said[0].message).partition(" requests")[0].rpartition(" ")[2])
    assert told / 2 <= len(server.taken()) <= 2 * told
    same_numbers(weights, folder / f"net{suffix}")


def test_a_model_in_shards_takes_one_request_for_the_index_and_each_shard(tmp_path):
    steelyard.save(NUMBERS, tmp_path / "model.safetensors", shard_size=SIZE // 3)
    files = {f"/m/{path.name}": path.read_bytes() for path in tmp_path.iterdir()}
    with Server(files) as server:
        weights = steelyard.weights(f"{server.address}/m/model.safetensors.index.json")
        assert len(server.taken()) == len(files) > 3
        assert weights.remote
        same_numbers(weights, tmp_path / "model.safetensors.index.json")


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("echo harm",)


def test_what_a_file_would_run_is_found_without_its_numbers(tmp_path):
    numbers = {name: torch.from_numpy(each) for name, each in NUMBERS.items()}
    torch.save({**numbers, "evil": Evil()}, tmp_path / "evil.pt")
    with Server({"/evil.pt": (tmp_path / "evil.pt").read_bytes()}) as server:
        audit = steelyard.audit(f"{server.address}/evil.pt")
        assert audit.would_run
        assert "system" in str(audit)
        assert sum(length for _, _, length in server.taken()) < SIZE // 10


@pytest.mark.parametrize("name", ["net.safetensors", "own.pt", "net.npz"])
def test_an_audit_reads_no_numbers(server, name):
    audit = steelyard.audit(f"{server.address}/{name}")
    assert not audit.would_run
    assert audit.looked >= 1
    assert sum(length for _, _, length in server.taken()) < SIZE // 8


def test_a_check_reads_every_number_once(server):
    weights = steelyard.weights(f"{server.address}/net.safetensors")
    assert steelyard.check(weights).ok
    assert sum(length for _, _, length in server.taken()) <= SIZE * 1.05
