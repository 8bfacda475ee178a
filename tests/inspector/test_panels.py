"""Pictures of weights that are more than matrices."""

import json

import numpy as np
import pytest

import steelyard
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.inspector import panels
from steelyard.measures.components import components
from steelyard.measures.heads import heads
from steelyard.measures.images import images

MADE = np.random.default_rng(0)


def numbers(record):
    return record["cells"].astype(float) / 127 * record["scale"]


@pytest.mark.parametrize(("shape", "axes"), [((9, 784), "out in"), ((784, 9), "in out"), ((9, 192), "out in")])
def test_the_units_of_a_dense_kernel_are_its_images(shape, axes):
    weight = from_array("fc.weight", MADE.normal(size=shape), role=Role.KERNEL, axes=axes)
    record, wanted = panels.images_record(weight, 784 * 5), images(weight, 5)
    drawn = numbers(record).reshape(record["units"], *(record["sides"] if record["last"] else np.roll(record["sides"], 1)))
    drawn = drawn if record["last"] else drawn.transpose(0, 2, 3, 1)
    assert record["count"] == 9
    np.testing.assert_allclose(drawn[:5], wanted.pictures, atol=record["scale"] / 250)


def test_only_the_first_kernel_of_a_net_without_embeddings_has_images_in_a_report(tmp_path):
    net = {"a.weight": MADE.normal(size=(64, 784)), "a.bias": np.zeros(64), "b.weight": MADE.normal(size=(10, 64))}
    assert panels.first_kernel(steelyard.weights(net).values()) == "a.weight"
    words = from_array("wte", np.ones((9, 4)), role=Role.EMBEDDING)
    assert panels.first_kernel([words, *steelyard.weights(net).values()]) == ""


def attention(folder, **config):
    kernels = {f"h.{nth}.attn.{word}_proj.weight": MADE.normal(size=(8, 8)).astype("f4") for nth in range(2) for word in "qkvo"}
    steelyard.save(kernels, folder / "model.safetensors")
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return steelyard.weights(folder / "model.safetensors")


def test_the_heads_of_a_kernel_are_those_of_the_measure(tmp_path):
    listed = attention(tmp_path, num_attention_heads=4)
    record, wanted = panels.heads_record(listed, "h.1.attn.q_proj.weight"), heads(listed, "h.1.attn.q_proj.weight")
    (part,) = record["parts"]
    assert (part["letter"], part["heads"], part["height"], part["width"]) == ("q", 4, 2, 8)
    np.testing.assert_allclose(numbers(part), wanted.parts[0].values.reshape(-1), atol=part["scale"] / 250)
    assert record["how"] == wanted.how
    assert "4 heads, by num_attention_heads of config.json" in wanted.how


def test_an_unknown_number_of_heads_is_not_guessed_and_can_be_given(tmp_path):
    listed = attention(tmp_path)
    record = panels.heads_record(listed, "h.0.attn.q_proj.weight")
    assert (record["error"], record["parts"]) == ("the number of heads of h.0.attn is not known", [])
    assert panels.heads_record(listed, "h.0.attn.q_proj.weight", 2)["parts"][0]["heads"] == 2
    assert "cannot be split into 3 heads" in panels.heads_record(listed, "h.0.attn.q_proj.weight", 3)["error"]


def test_a_report_has_heads_as_long_as_there_is_room(tmp_path, monkeypatch):
    listed = attention(tmp_path, num_attention_heads=4)
    monkeypatch.setattr(panels, "ROOM", 3 * 64)
    details = {name: {} for name in listed}
    panels.add_panels(details, listed, 1000)
    assert sum("heads" in detail for detail in details.values()) == 3


def test_the_points_of_an_embedding_are_its_components(monkeypatch):
    weight = from_array("embed.weight", MADE.normal(size=(50, 6)), role=Role.EMBEDDING)
    record, wanted = panels.points_record(weight, small=True), components(weight)
    found = [(record[word] / 32767.0 - 1) * record["scale"] for word in ("across", "down")]
    np.testing.assert_allclose(np.transpose(found), wanted.points, atol=record["scale"] / 30000)
    monkeypatch.setattr(panels, "POINTS", (5, 10))
    assert panels.points_record(weight, small=True)["rows"].tolist() == [0, 12, 24, 37, 49]
    monkeypatch.setattr(panels, "READ", (100, 1000))
    assert "steelyard plot --kind embedding" in panels.points_record(weight, small=True)["error"]


def test_other_weights_have_no_panels():
    bias = from_array("fc.bias", np.ones(8), role=Role.BIAS)
    assert panels.live_panels(bias, Weights([bias]), 1000) == {"images": None, "heads": None, "points": None}
