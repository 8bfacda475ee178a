"""Adapters are merged in blocks, several together, into any base, and rounded once."""

import json
import tracemalloc

import numpy as np

import steelyard
from steelyard import sizes
from steelyard.core.merging import applying
from steelyard.core.readers import from_array
from steelyard.core.weight import Weight
from steelyard.numerics import row_changes
from steelyard.numerics.low_rank import lora as lora_of
from steelyard.numerics.row_changes import plus

DRAW = np.random.default_rng(0)
A, B, KERNEL = DRAW.normal(size=(2, 6)), DRAW.normal(size=(8, 2)), DRAW.normal(size=(8, 6)).astype("f2")


def lora(folder, alpha=4, layer="fc"):
    """Save a LoRA adapter of rank 2, and return its folder."""
    folder.mkdir()
    parts = {f"base_model.model.{layer}.lora_A.weight": A, f"base_model.model.{layer}.lora_B.weight": B}
    steelyard.save(parts, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": alpha}))
    return folder


def test_several_adapters_are_added_and_rounded_once(tmp_path):
    merged = steelyard.merge_adapter({"fc.weight": KERNEL}, [lora(tmp_path / "a"), lora(tmp_path / "b", alpha=1)])
    exact = KERNEL.astype("f8") + 2 * (B @ A) + 0.5 * (B @ A)
    assert merged["fc.weight"].dtype == "float16"
    assert merged["fc.weight"].numpy().tobytes() == exact.astype("f2").tobytes()


def test_the_numbers_do_not_depend_on_the_run_that_is_read(tmp_path, monkeypatch):
    wide = DRAW.normal(size=(200, 6)).astype("f4")
    down = {"lora_unet_fc.lora_down.weight": A, "lora_unet_fc.lora_up.weight": DRAW.normal(size=(200, 2))}
    monkeypatch.setattr(sizes, "MERGE_TILE", 40)
    weight = steelyard.merge_adapter({"fc.weight": wide}, down)["fc.weight"]
    whole = weight.numpy().tobytes()
    for step in (1, 7, 100):
        assert np.concatenate([weight.read(at, min(at + step, 1200)) for at in range(0, 1200, step)]).tobytes() == whole


def test_long_rows_are_changed_in_tiles_of_their_columns_with_their_norms(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "MERGE_ROW", 5)
    monkeypatch.setattr(sizes, "MERGE_TILE", 4)
    monkeypatch.setattr(row_changes, "_KEPT_BYTES", 8)  # so that no factor is read whole
    folder, norms = lora(tmp_path / "a"), DRAW.random(8) + 1
    adapter = {name: weight.numpy() for name, weight in steelyard.weights(folder / "adapter_model.safetensors").items()}
    steelyard.save(adapter | {"base_model.model.fc.lora_magnitude_vector": norms}, folder / "adapter_model.safetensors")
    weight = steelyard.merge_adapter({"fc.weight": KERNEL}, folder)["fc.weight"]
    sums = KERNEL.astype("f8") + 2 * (B @ A)
    known = (norms[:, None] * sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype("f2")
    assert np.allclose(weight.numpy(), known, rtol=1e-3)
    assert np.array_equal(weight.read(9, 17), weight.numpy().reshape(-1)[9:17])


def test_one_huge_row_takes_little_memory(tmp_path):
    width = 1 << 23
    weight = Weight(name="fc.weight", shape=(1, width), dtype="float16", read=lambda start, stop: np.zeros(stop - start, "f2"))
    down = weight.replace(name="fc.lora_A", shape=(4, width), dtype="float32", read=lambda a, b: np.ones(b - a, "f4"))
    adapted = applying(weight, [plus(lora_of(down, from_array("fc.lora_B", np.ones((1, 4)))).rows)])
    tracemalloc.start()
    assert adapted(width - 2, width).tolist() == [4, 4]
    assert tracemalloc.get_traced_memory()[1] < 1 << 23
    tracemalloc.stop()


def test_names_of_the_base_may_have_a_prefix_that_the_adapter_lacks_and_the_reverse(tmp_path):
    longer = steelyard.merge_adapter({"model.fc.weight": KERNEL}, lora(tmp_path / "a"))
    shorter = steelyard.merge_adapter({"fc.weight": KERNEL}, lora(tmp_path / "b", layer="transformer.fc"))
    assert longer["model.fc.weight"].numpy().tobytes() == shorter["fc.weight"].numpy().tobytes()
    assert longer["model.fc.weight"].derivation.assumed == (
        "the names of the base have 'model.' in front of those of the adapter",
    )


def test_a_packed_base_is_unpacked_first(tmp_path):
    mask = (DRAW.random((8, 6)) > 0.5).astype("f4")
    base = {"fc.weight_orig": KERNEL.astype("f4"), "fc.weight_mask": mask}
    weight = steelyard.merge_adapter(base, lora(tmp_path / "a"))["fc.weight"]
    assert np.allclose(weight.numpy(), KERNEL.astype("f4") * mask + 2 * (B @ A), rtol=1e-6)
    assert weight.derivation.scheme == "pruning of PyTorch and LoRA of PEFT"
    assert weight.derivation.settings == {"r": 2, "lora_alpha": 4}


def test_a_weight_that_is_tied_to_a_changed_one_keeps_the_numbers_of_the_base(tmp_path):
    kernel = KERNEL.copy()
    merged = steelyard.merge_adapter({"fc.weight": kernel, "head.weight": kernel, "out.weight": kernel}, lora(tmp_path / "a"))
    assert [weight.tied for weight in merged.values()] == [None, None, "head.weight"]
    assert merged["head.weight"].numpy().tobytes() == kernel.tobytes()


def test_a_head_that_the_base_lacks_is_added(tmp_path):
    folder = lora(tmp_path / "a")
    names = steelyard.weights(folder)
    steelyard.save({**names, "base_model.model.score.weight": np.ones((2, 6))}, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "modules_to_save": ["score"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    merged = steelyard.merge_adapter({"fc.weight": KERNEL}, folder)
    assert [*merged] == ["fc.weight", "score.weight"]
    assert merged["score.weight"].layer == "score"


def test_experts_in_one_weight_have_factors_for_each(tmp_path):
    experts, rank, rows, columns = 3, 2, 4, 5
    a, b = DRAW.normal(size=(rank * experts, columns)), DRAW.normal(size=(rows, rank * experts))
    tmp_path.joinpath("a").mkdir()
    parts = {"base_model.model.moe.lora_A.weight": a, "base_model.model.moe.lora_B.weight": b}
    steelyard.save(parts, tmp_path / "a" / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_parameters": ["moe.up"]}
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(config))
    found = steelyard.merge_adapter({"moe.up": np.zeros((experts, rows, columns))}, tmp_path / "a")["moe.up"].numpy()
    expected = np.einsum("ore,eri->eoi", b.reshape(rows, rank, experts), a.reshape(experts, rank, columns))  # as in PEFT
    assert np.allclose(found, expected)
    turned = steelyard.merge_adapter({"moe.up": np.zeros((experts, columns, rows))}, tmp_path / "a")["moe.up"].numpy()
    assert np.allclose(turned, expected.transpose(0, 2, 1))
    square = steelyard.merge_adapter({"moe.up": np.zeros((experts, rows, rows))}, tmp_path / "a")
    assert square.unreadable


def test_an_adapter_of_mlx_has_its_factors_transposed(tmp_path):
    steelyard.save({"model.fc.lora_a": A.T.copy(), "model.fc.lora_b": B.T.copy()}, tmp_path / "adapters.safetensors")
    config = {"fine_tune_type": "lora", "lora_parameters": {"rank": 2, "scale": 3.0}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    found = steelyard.merge_adapter({"model.fc.weight": KERNEL.astype("f4")}, tmp_path / "adapters.safetensors")
    assert np.allclose(found["model.fc.weight"].numpy(), KERNEL.astype("f4") + 3 * (B @ A), rtol=1e-6)
