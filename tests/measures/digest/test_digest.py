"""Digests: equal for equal weights in any container, different for other weights, and computed exactly as documented."""

import hashlib
import json
import sys

import blake3
import ml_dtypes
import numpy as np
import pytest
import torch
import xxhash
from torch import nn

import steelyard
from steelyard.cli import main
from steelyard.errors import MissingExtraError, ShapeError
from steelyard.measures.digest import ALGORITHMS, LEAF, Digest, digest

HASHES = {"blake3": blake3.blake3, "sha256": hashlib.sha256, "xxh3": xxhash.xxh3_128}


def by_the_book(arrays, algorithm):
    """Implement the module's documentation independently."""

    def h(data):
        return HASHES[algorithm](data).digest()

    whole = b""
    for name in sorted(arrays, key=str.encode):
        array = np.asarray(arrays[name], order="C")
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        leaves = b"".join(h(raw[at : at + 2**24]) for at in range(0, len(raw), 2**24))
        own = h(f"{array.dtype.name} {','.join(map(str, array.shape))}\n".encode() + leaves)
        whole += len(name.encode()).to_bytes(8, "little") + name.encode() + own
    return h(whole).hex()


ARRAYS = {
    "b.weight": np.arange(12, dtype="f4").reshape(3, 4).T,
    "a": np.array(3, "i8"),
    "é": np.zeros((0, 2), "f2"),
    "c": np.arange(5).astype(ml_dtypes.bfloat16),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_digest_is_computed_as_documented(algorithm):
    assert digest(ARRAYS, algorithm).whole == by_the_book(ARRAYS, algorithm)


@pytest.mark.parametrize("length", [LEAF // 8 - 1, LEAF // 8, LEAF // 8 + 1, 2 * LEAF // 8 + 3])
def test_leaves_end_where_documented(length):
    big = {"w": np.arange(length, dtype="f8")}
    assert digest(big, "xxh3").whole == by_the_book(big, "xxh3")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_leaves_digested_in_parallel_equal_those_digested_in_sequence(tmp_path, algorithm):
    chance = np.random.default_rng(0)
    arrays = {name: chance.random(size).astype("f4") for name, size in (("a", 10_000_000), ("b", 9), ("c", 300_000), ("d", 0))}
    steelyard.save(arrays, tmp_path / "x.safetensors")
    found = digest(tmp_path / "x.safetensors", algorithm)
    assert found.whole == by_the_book(arrays, algorithm)
    assert found.weights == digest(arrays, algorithm).weights


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt"])
def test_equal_weights_have_equal_digests_in_any_container_and_order(tmp_path, suffix):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    net[2].weight.data = net[2].weight.data.bfloat16()
    path = tmp_path / f"net{suffix}"
    if suffix == ".pt":
        torch.save(dict(reversed(net.state_dict().items())), path)
    else:
        steelyard.save(net, path)
    assert digest(path) == digest(net)
    assert digest(path).weights == digest(net).weights


def test_tied_weights_are_the_same_as_two_equal_ones():
    net = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6, bias=False))
    net[1].weight = net[0].weight
    twice = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert digest(net) == digest(twice)


@pytest.mark.parametrize(
    "other",
    [
        {"w": np.array([1.0, 2.0], "f4"), "v": np.zeros(2, "f4")},  # another value
        {"w": np.array([1.0, 3.0], "f8"), "v": np.zeros(2, "f4")},  # another dtype
        {"w": np.array([[1.0, 3.0]], "f4"), "v": np.zeros(2, "f4")},  # another shape
        {"x": np.array([1.0, 3.0], "f4"), "v": np.zeros(2, "f4")},  # another name
        {"w": np.array([1.0, 3.0], "f4"), "v": -np.zeros(2, "f4")},  # another zero
        {"w": np.array([1.0, 3.0], "f4")},  # one less
    ],
)
def test_other_weights_have_another_digest(other):
    assert digest({"w": np.array([1.0, 3.0], "f4"), "v": np.zeros(2, "f4")}, "sha256") != digest(other, "sha256")


def test_a_digest_without_its_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "blake3", None)
    monkeypatch.setitem(sys.modules, "xxhash", None)
    for algorithm in ("blake3", "xxh3"):
        with pytest.raises(MissingExtraError, match=r"sha256.*pip install \"steelyard\[digest\]\""):
            digest({"w": np.zeros(2)}, algorithm)
    assert digest({"w": np.zeros(2)}, "sha256").whole == by_the_book({"w": np.zeros(2)}, "sha256")
    with pytest.raises(ShapeError, match=r"md5.*sha256, blake3, xxh3"):
        digest({"w": np.zeros(2)}, "md5")


def test_the_command_prints_a_line_for_each_weight_and_one_for_the_whole(tmp_path, capsys):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.zeros(2), b=np.ones(3))
    expected = digest(path)
    assert main(["digest", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{expected.weights['a']}  a",
        f"{expected.weights['b']}  b",
        f"{expected.whole}  {path} (sha256 of 2 weights)",
    ]
    assert main(["digest", str(path), str(path), "--total", "-a", "xxh3"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{digest(path, 'xxh3').whole}  {path} (xxh3 of 2 weights)"] * 2
    assert main(["digest", str(path), "--json", "--select", "a"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"] == {"a": expected.weights["a"]}


def test_a_digest_prints_as_a_table_and_is_plain_for_json():
    found = digest({"w": np.zeros(2)}, "sha256")
    assert repr(found).splitlines()[0] == f"{found.weights['w']}  w"
    assert json.loads(json.dumps(found.to_dict()))["digest"] == found.whole
    assert len({found, Digest("sha256", found.whole, {})}) == 1
