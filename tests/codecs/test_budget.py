"""Budgets: what a small file may cost in memory, whatever it claims."""

import json
import zipfile

import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError, SteelyardError
from steelyard.formats.tensorflow.bundle import Bundle
from steelyard.formats.tensorflow.object_graph import checkpoint_graph
from steelyard.storage.source import open_path

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
    bundle = Bundle(open_path(tmp_path / "net.index"), lambda name: open_path(tmp_path / name))
    graph = bundle.text(b"_CHECKPOINTABLE_OBJECT_GRAPH")
    assert checkpoint_graph(graph)
    assert graph.whole is bundle.shard(0)
    assert bundle.shard(0).spent > 0
    few = steelyard.limits.allow(MEMORY=10, MEMORY_PER_BYTE=0)
    with few, pytest.raises(SteelyardError, match="takes more than 10 bytes of memory, too many for a file of"):
        steelyard.weights(tmp_path / "net.index")


def test_the_metadata_of_a_gguf_has_a_budget_that_follows_its_size(tmp_path):
    pairs = b"".join((8).to_bytes(8, "little") + b"%08d" % n + b"\0\0\0\0\1" for n in range(2000))
    (tmp_path / "a.gguf").write_bytes(b"GGUF\3\0\0\0" + bytes(8) + (2000).to_bytes(8, "little") + pairs + bytes(32))
    with steelyard.limits.allow(MEMORY=0):
        assert not steelyard.weights(tmp_path / "a.gguf")
    few = steelyard.limits.allow(MEMORY=0, MEMORY_PER_BYTE=20)
    with few, pytest.raises(FormatError, match=r"takes more than [\d,]+ bytes of memory, too many for a file of"):
        steelyard.weights(tmp_path / "a.gguf")


def test_a_long_state_of_packed_weights_is_not_decoded(tmp_path, monkeypatch):
    decoded = []
    real = json.loads
    monkeypatch.setattr(json, "loads", lambda text, **named: decoded.append(len(text)) or real(text, **named))
    for filler in (b"", b"[]," * 10_000):
        state = b'{"shape":[2,2],"dtype":"float16","blocksize":64,"x":[' + filler + b"[]]}"
        packed = {"w.weight": np.zeros((2, 1), "u1"), "w.weight.quant_state.bitsandbytes__nf4": np.frombuffer(state, "u1")}
        packed |= {"w.weight.absmax": np.ones(1, "f4"), "w.weight.quant_map": np.ones(16, "f4")}
        steelyard.save(packed, tmp_path / "a.safetensors")
        assert "1 weight is packed" in str(steelyard.weights(tmp_path / "a.safetensors").meta["notes"])
        assert (len(state) in decoded) is not bool(filler)


def test_modules_of_r_torch_that_share_modules_are_searched_within_the_budget():
    from steelyard.codecs.r.modules import declared_parameters, orders
    from steelyard.codecs.r.values import Environment, Vector
    from steelyard.storage.source import from_bytes

    def named(**items):
        made = Vector("list", len(items), items=list(items.values()))
        made.attributes = {"names": Vector("character", len(items), strings=list(items))}
        return made

    def environment(**frame):
        made = Environment(locked=False)
        made.frame = frame
        return made

    def module(depth):
        inner = module(depth - 1) if depth else None
        children = named(a=inner, b=inner) if depth else named()
        private = environment(parameters_=named(weight=None), modules_=children, buffers_=named())
        return environment(**{".__enclos_env__": environment(private=private)})

    source = from_bytes(bytes(100), "a.rds")
    assert declared_parameters(module(1), [], source) == ["a.weight", "b.weight", "weight"]
    with pytest.raises(FormatError, match=r"takes more than [\d,]+ bytes of memory"):
        declared_parameters(module(40), [], source)
    source.spent = 7
    assert orders([], source, module(40))["parameters"]() == []  # in the order that follows from the weights alone
    assert source.spent == 7


def test_the_text_of_a_tensor_of_r_torch_spends_the_budget_of_the_file(monkeypatch):
    from steelyard.codecs.r import torch as r_torch
    from steelyard.codecs.r.values import Vector
    from steelyard.codecs.torch import archive
    from steelyard.storage.source import from_bytes

    opened = []
    monkeypatch.setattr(archive, "open_archive", lambda source: opened.append(source) or 1 / 0)
    file = from_bytes(bytes(9), "a.rds")
    text = Vector("character", 1, strings=["AAAA"])
    text.source = file
    held = Vector("list", 1, items=[text])
    held.attributes = {"names": Vector("character", 1, strings=["values"])}
    with pytest.raises(ZeroDivisionError):
        r_torch._tensor(held, "a.rds")
    assert opened[0].whole is file
