"""Thinc and spaCy: arrays as msgpack-numpy has them, nodes by number and name, wrapped models, and the folder of a pipeline."""

import io
import json

import msgpack
import numpy as np
import pytest
import torch

import steelyard
from steelyard.errors import FormatError

W, B = np.arange(6, dtype="f4").reshape(2, 3), np.arange(2, dtype=">f8")


def held(array):
    """Return an array as msgpack-numpy puts it into a message."""
    return {b"nd": True, b"type": array.dtype.str, b"kind": b"", b"shape": array.shape, b"data": array.tobytes()}


def packed(params, shims=None, names=None):
    names = names or ["linear", "tanh", "maxout"][: len(params)]
    nodes = [{"index": place, "name": name, "dims": {}, "refs": {}} for place, name in enumerate(names)]
    content = {"nodes": nodes, "attrs": [{} for _ in params], "params": params, "shims": shims or [[] for _ in params]}
    return msgpack.packb(content, use_bin_type=True)


PLAIN = packed([{"W": held(W), "b": held(B), "c": None}, {}, {"W": held(np.ones((2, 3, 4), "f4"))}])


def read(folder, data, scope="model"):
    (folder / "model").write_bytes(data)
    return steelyard.weights(folder / "model", scope=scope)


def test_parameters_have_the_number_and_the_name_of_their_node(tmp_path):
    w = read(tmp_path, PLAIN)
    assert [*w] == ["0:linear.W", "0:linear.b", "2:maxout.W"]
    assert [(str(weight.role), weight.axes) for weight in w.values()] == [
        ("kernel", "out in"),
        ("bias", "out"),
        ("kernel", "out pieces in"),
    ]
    assert np.array_equal(w["0:linear.W"].numpy(), W)
    assert np.array_equal(w["0:linear.b"].numpy(), B)


def test_a_wrapped_model_of_torch_is_read_in_its_place(tmp_path):
    buffer = io.BytesIO()
    torch.save({"fc.weight": torch.ones(3, 2)}, buffer)
    state = msgpack.packb({"config": {}, "state": buffer.getvalue()}, use_bin_type=True)
    w = read(tmp_path, packed([{}, {"W": held(W)}], [[state], [b"unknown"]]))
    assert [*w] == ["1:tanh.W", "0:linear.shims.0.fc.weight", "1:tanh.shims.0"]
    assert w["0:linear.shims.0.fc.weight"].numpy().sum() == 6
    assert "7 bytes of another framework" in w["1:tanh.shims.0"].unreadable


def pipeline(folder):
    (folder / "config.cfg").write_text("[nlp]\n")
    (folder / "meta.json").write_text(json.dumps({"lang": "en", "name": "x", "pipeline": ["tagger", "absent", "ner"]}))
    for name in ("ner", "tagger", "vocab"):
        (folder / name).mkdir()
    (folder / "ner" / "cfg").write_text("{}")
    (folder / "tagger" / "model").write_bytes(PLAIN)
    with (folder / "vocab" / "vectors").open("wb") as file:
        np.save(file, np.ones((5, 3), "f4"))
    return folder


def test_a_pipeline_has_the_nets_of_its_components_and_its_vectors(tmp_path):
    w = steelyard.weights(pipeline(tmp_path))
    assert [*w] == ["vocab/vectors", "tagger/0:linear.W", "tagger/0:linear.b", "tagger/2:maxout.W"]
    assert (str(w["vocab/vectors"].role), w["vocab/vectors"].shape) == ("embedding", (5, 3))
    assert w["tagger/0:linear.W"].layer == "tagger/0:linear"
    assert w.meta["pipeline"] == ["tagger", "absent", "ner"]


def test_a_pipeline_without_nets_is_refused(tmp_path):
    (tmp_path / "config.cfg").write_text("[nlp]\n")
    (tmp_path / "meta.json").write_text("[]")
    with pytest.raises(FormatError, match="a pipeline of spaCy without nets"):
        steelyard.weights(tmp_path)


HOSTILE = {
    "a shape": (packed([{"W": held(W) | {b"shape": [1 << 40, 3]}}]), r"'0:linear\.W' is float32"),
    "a length below zero": (packed([{"W": held(W) | {b"shape": [-2, -3]}}]), "and has 24 bytes"),
    "numbers of nodes": (packed([{}], [[], []]), "has 1 nodes, and parameters of 1 and shims of 2"),
    "no name": (packed([{}], names=[7]), "a node without a name"),
    "no map": (msgpack.packb({"nodes": 1, "attrs": 2, "params": [1], "shims": []}), "has 0 nodes"),
    "two of a name": (PLAIN.replace(b"\xa1b", b"\xa1W"), "the duplicate key 'W'"),
    "a cut": (PLAIN[:-3], "partial download"),
    "more": (PLAIN + b"\0", "followed by 1 more"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_lies_is_refused_in_one_line(case, tmp_path):
    data, what = HOSTILE[case]
    with pytest.raises(FormatError, match=what):
        read(tmp_path, data)


def test_arrays_that_are_no_numbers_are_listed_with_the_reason(tmp_path):
    w = read(tmp_path, packed([{"W": held(W) | {b"type": "|O8"}, "b": held(W) | {b"data": "text"}, "c": 5}]))
    assert [weight.unreadable is not None for weight in w.values()] == [True] * 3
    assert "of '|O8'" in w["0:linear.W"].unreadable
