"""Budgets: what a small file may cost in memory, whatever it claims."""

import json
import zipfile

import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError, SteelyardError

BOMB = b"[" + b"[]," * 3_000_000 + b"[]]"


def test_a_json_of_empty_lists_is_not_decoded(tmp_path, monkeypatch):
    decoded = []
    real = json.loads
    monkeypatch.setattr(json, "loads", lambda text, **named: decoded.append(len(text)) or real(text, **named))
    header = b'{"w":' + BOMB + b"}"
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (tmp_path / "a.safetensors.index.json").write_bytes(b'{"weight_map":' + BOMB + b"}")
    with zipfile.ZipFile(tmp_path / "a.skops", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b'{"__loader__":' + BOMB + b"}")
    for name in ("a.safetensors", "a.safetensors.index.json", "a.skops"):
        with pytest.raises(FormatError, match=r"takes more than [\d,]+ bytes of memory, too many for a file of [\d,]+ bytes"):
            steelyard.weights(tmp_path / name)
    assert not decoded


def test_a_keras_model_whose_config_is_a_bomb_is_listed_without_it(tmp_path):
    steelyard.save({"w": np.arange(3.0)}, tmp_path / "model.weights.h5.h5")
    with zipfile.ZipFile(tmp_path / "a.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", BOMB)
        archive.write(tmp_path / "model.weights.h5.h5", "model.weights.h5")
    found = steelyard.weights(tmp_path / "a.keras", scope="all")
    assert found["w"].numpy().tolist() == [0, 1, 2]
    assert "config.json cannot be read" in found.meta["note"]


def test_a_header_of_many_tensors_is_within_the_budget(tmp_path):
    steelyard.save({f"a{number}": np.zeros(1, "i1") for number in range(20_000)}, tmp_path / "a.safetensors")
    with steelyard.limits.allow(MEMORY=0):
        assert len(steelyard.weights(tmp_path / "a.safetensors")) == 20_000


def test_the_names_of_an_index_have_a_budget_that_follows_its_size(tmp_path):
    import tensorflow as tf

    class Net(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable([1.0, 2.0])

    tf.train.Checkpoint(net=Net()).write(str(tmp_path / "net"))
    assert len(steelyard.weights(tmp_path / "net.index")) == 1
    few = steelyard.limits.allow(MEMORY=10, MEMORY_PER_BYTE=0)
    with few, pytest.raises(SteelyardError, match="takes more than 10 bytes of memory, too many for a file of"):
        steelyard.weights(tmp_path / "net.index")
