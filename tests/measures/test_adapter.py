"""`diff --adapter` tells which layers received an adapter, which did not, and by what scale, as a merge in PyTorch makes them."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from steelyard.cli import main
from steelyard.errors import ShapeError
from steelyard.measures.adapter import adapter_merge


@pytest.fixture
def nets():
    """A base, an adapter of rank 2 for four layers, and the merge with the scale 2 as torch computes it in float32."""
    torch.manual_seed(0)
    base = {
        "model.q.weight": torch.randn(6, 4),
        "model.v.weight": torch.randn(4, 6),
        "model.conv.weight": torch.randn(5, 3, 2, 2),
        "model.embed.weight": torch.randn(9, 4),
        "model.norm.weight": torch.ones(4),
    }
    head = "base_model.model.model."
    lora = {
        f"{head}q.lora_A.weight": torch.randn(2, 4), f"{head}q.lora_B.weight": torch.randn(6, 2),
        f"{head}v.lora_A.default.weight": torch.randn(2, 6), f"{head}v.lora_B.default.weight": torch.randn(4, 2),
        f"{head}conv.lora_A.weight": torch.randn(2, 3, 2, 2), f"{head}conv.lora_B.weight": torch.randn(5, 2, 1, 1),
        f"{head}embed.lora_embedding_A": torch.randn(2, 9), f"{head}embed.lora_embedding_B": torch.randn(4, 2),
    }  # fmt: skip
    merged = dict(base)
    merged["model.q.weight"] = base["model.q.weight"] + 2 * lora[f"{head}q.lora_B.weight"] @ lora[f"{head}q.lora_A.weight"]
    merged["model.v.weight"] = (
        base["model.v.weight"] + 2 * lora[f"{head}v.lora_B.default.weight"] @ lora[f"{head}v.lora_A.default.weight"]
    )
    down, up = lora[f"{head}conv.lora_A.weight"], lora[f"{head}conv.lora_B.weight"]
    product = torch.nn.functional.conv2d(down.permute(1, 0, 2, 3), up).permute(1, 0, 2, 3)  # as PEFT computes it
    merged["model.conv.weight"] = base["model.conv.weight"] + 2 * product
    product = lora[f"{head}embed.lora_embedding_B"] @ lora[f"{head}embed.lora_embedding_A"]
    merged["model.embed.weight"] = base["model.embed.weight"] + 2 * product.T
    return lora, base, merged


def verdicts(found):
    return {each.layer: each.verdict for each in found.layers}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_layer_of_a_merge_received_the_adapter_by_its_scale_although_the_type_rounds(nets, dtype):
    lora, base, merged = nets
    rounded = {name: weight.to(dtype) for name, weight in base.items()}
    added = {name: (rounded[name].float() + merged[name] - base[name]).to(dtype) for name in base}
    found = adapter_merge(lora, rounded, added)
    assert verdicts(found) == dict.fromkeys(("model.q", "model.v", "model.conv", "model.embed"), "received")
    assert [each.scale for each in found.layers] == pytest.approx([2] * 4, rel=0.01)
    assert found.complete


def test_a_layer_that_was_left_out_one_that_was_changed_and_one_without_an_adapter_are_named(nets):
    lora, base, merged = nets
    merged["model.v.weight"] = base["model.v.weight"]
    merged["model.conv.weight"] = merged["model.conv.weight"] + torch.randn(5, 3, 2, 2)
    merged["model.norm.weight"] = 2 * merged["model.norm.weight"]
    del merged["model.embed.weight"]
    found = adapter_merge(lora, base, merged)
    assert verdicts(found) == {
        "model.q": "received",
        "model.v": "unchanged",
        "model.conv": "changed otherwise",
        "model.embed": "no such weight",
    }
    assert found.others == ["model.norm.weight"]
    assert not found.complete


def test_an_adapter_of_zeros_cannot_be_seen_and_factors_that_do_not_fit_are_refused(nets):
    lora, base, _ = nets
    zero = {name: torch.zeros_like(weight) if "B" in name else weight for name, weight in lora.items()}
    assert set(verdicts(adapter_merge(zero, base, base)).values()) == {"too small to see"}
    with pytest.raises(ShapeError, match="do not fit"):
        adapter_merge({"q.lora_A.weight": np.ones((2, 5)), "q.lora_B.weight": np.ones((6, 2))}, base, base)
    with pytest.raises(ShapeError, match="no pair"):
        adapter_merge(base, base, base)


def test_the_command_compares_the_scale_with_the_config_and_counts_what_it_found(nets, tmp_path, capsys):
    lora, base, merged = nets
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps({"lora_alpha": 8, "r": 2}))
    paths = [tmp_path / "lora" / "adapter_model.safetensors", tmp_path / "base.safetensors", tmp_path / "merged.safetensors"]
    for path, tensors in zip(paths, (lora, base, merged), strict=True):
        save_file({name: weight.contiguous() for name, weight in tensors.items()}, path)
    adapter, before, after = map(str, paths)
    assert main(["diff", "--adapter", adapter, before, after]) == 1  # the scale is not the one of the config
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.endswith("received, but the config of the adapter has the scale 4")]) == 4
    assert lines[-1] == "4 layers: 4 received"
    assert main(["diff", "--adapter", adapter, before, before, "--json"]) == 1
    assert {each["verdict"] for each in json.loads(capsys.readouterr().out)["layers"]} == {"unchanged"}


PREFIX = "base_model.model."


def saved(folder, tensors, **config):
    """Write an adapter as PEFT does, and return its path."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 8, **config}))
    save_file({f"{PREFIX}{name}": weight.contiguous() for name, weight in tensors.items()}, folder / "adapter_model.safetensors")
    return folder / "adapter_model.safetensors"


@pytest.mark.parametrize(
    ("config", "scales"),
    [
        ({}, [4, 4]),
        ({"use_rslora": True}, [8 / 2**0.5] * 2),
        ({"alpha_pattern": {"v": 32}}, [4, 16]),
        ({"use_dora": True}, [4, 4]),
    ],
)
def test_a_merge_by_the_formula_of_each_kind_is_complete_and_a_doubled_one_is_not(tmp_path, config, scales):
    """The formulas are those of the papers: LoRA 2106.09685, rsLoRA 2312.03732, DoRA 2402.09353."""
    torch.manual_seed(3)
    base = {f"{layer}.weight": torch.randn(6, 4) for layer in "qv"} | {"head.weight": torch.randn(3, 6)}
    factors = {layer: (torch.randn(2, 4), torch.randn(6, 2)) for layer in "qv"}
    tensors = {
        f"{layer}.lora_{name}.weight": each for layer, pair in factors.items() for name, each in zip("AB", pair, strict=True)
    }
    tensors["head.weight"] = torch.randn(3, 6)  # trained whole, as modules_to_save does
    magnitudes = {layer: torch.rand(6) + 0.5 for layer in "qv"} if "use_dora" in config else {}
    tensors |= {f"{layer}.lora_magnitude_vector": each for layer, each in magnitudes.items()}

    def merged(times):
        made = {"head.weight": tensors["head.weight"]}
        for (layer, (down, up)), scale in zip(factors.items(), scales, strict=True):
            kernel = base[f"{layer}.weight"] + times * scale * up @ down
            if magnitudes:
                kernel = magnitudes[layer][:, None] * kernel / kernel.norm(dim=1, keepdim=True)
            made[f"{layer}.weight"] = kernel
        return made

    adapter = saved(tmp_path / "lora", tensors, **config)
    found = adapter_merge(adapter, base, merged(1))
    assert found.complete
    assert [each.scale for each in found.layers] == pytest.approx(scales)
    assert not adapter_merge(adapter, base, merged(2)).complete
    left_out = adapter_merge(adapter, base, merged(1) | {"v.weight": base["v.weight"]})
    assert verdicts(left_out) == {"q": "received", "v": "unchanged"}
    assert adapter_merge(adapter, base, merged(1) | {"head.weight": torch.randn(3, 6)}).others == ["head.weight"]
    norm = torch.randn(9)
    rounded = {name: weight.bfloat16() for name, weight in (merged(1) | {"norm.weight": norm}).items()}
    assert adapter_merge(adapter, base | {"norm.weight": norm}, rounded).complete
