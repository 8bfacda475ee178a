"""Files of the Hub by its own library, from a server on this machine that answers as the Hub does."""

import json
import re

import huggingface_hub as hub
import numpy as np
import pytest
from serving import Server, direct  # noqa: F401 - a fixture

import steelyard
from steelyard.errors import FileMissingError, FormatError

NUMBERS = {"model.layers.0.mlp.up_proj.weight": np.arange(100_000.0).reshape(500, 200), "model.norm.weight": np.ones(3)}
API = "/api/models/org/model"
REVISION = "a" * 40


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A repository with a model in two shards, their index and a config; its files come from the server itself."""
    steelyard.save(NUMBERS, tmp_path / "model.safetensors", shard_size=400_000)
    held = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    held["config.json"] = json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}).encode()
    tree = [{"type": "file", "oid": "b" * 40, "size": len(content), "path": name} for name, content in held.items()]
    files = {f"/org/model/resolve/main/{name}": content for name, content in held.items()}
    about = json.dumps({"id": "org/model", "sha": REVISION, "private": False, "siblings": []}).encode()
    api = {API: about, f"{API}/revision/main": about, f"{API}/tree/main": json.dumps(tree).encode()}
    with Server(files | api) as server:
        files = hub.HfFileSystem(endpoint=server.address, skip_instance_cache=True)
        monkeypatch.setattr("fsspec.core.url_to_fs", lambda url: (files, url.removeprefix("hf://")))
        yield server


def test_a_folder_of_the_hub_is_its_model(server):
    weights = steelyard.weights("hf://org/model")
    asked = server.taken()
    assert [path for path, _, _ in asked if path.startswith("/api")] == [API, f"{API}/tree/main"]
    assert len(asked) == 2 + 4  # the index, two shards and the config
    assert sum(length for path, _, length in asked if "/resolve/" in path) < 200_000
    assert weights.meta["config.json"]["model_type"] == "llama"
    assert {name: weight.numpy().tolist() for name, weight in weights.items()} == {n: a.tolist() for n, a in NUMBERS.items()}


def test_one_file_of_the_hub_is_that_file_and_no_byte_more_is_fetched_than_asked_for(server):
    shard = next(path for path in server.files if re.search(r"00001-of-.*safetensors$", path)).rpartition("/")[2]
    weights = steelyard.weights(f"hf://org/model/{shard}")
    assert sum("/resolve/" in path for path, _, _ in server.taken()) == 1
    assert weights["model.layers.0.mlp.up_proj.weight"].read(50_000, 50_002).tolist() == [50_000, 50_001]
    assert sum(length for _, _, length in server.taken()) <= 1 << 16


def test_a_missing_file_and_repository_are_errors_in_one_line(server):
    with pytest.raises(FileMissingError, match=r"hf://org/model/x\.pt: .*is the address right"):
        steelyard.weights("hf://org/model/x.pt")
    with pytest.raises((FileMissingError, FormatError), match=r"hf://org/other: .*404") as caught:
        steelyard.weights("hf://org/other")
    assert len(str(caught.value).splitlines()) == 1
