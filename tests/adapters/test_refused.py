"""Adapters that do not say what they add, or that belong to another base, are refused with the reason."""

import json

import numpy as np
import pytest

import steelyard
from steelyard.errors import ShapeError, UnreadableError
from tests import carried

BASE = {"fc.weight": np.zeros((4, 3), "f4"), "fc.bias": np.zeros(4, "f4"), "emb.weight": np.zeros((5, 3), "f4")}
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 2}


def adapter(folder, config=CONFIG, **shapes):
    """Save an adapter of these shapes, by name, with its config, and return its folder."""
    names = {name.replace("_dot_", "."): np.ones(shape, "f4") for name, shape in shapes.items()}
    steelyard.save({f"base_model.model.{name}": value for name, value in names.items()}, folder / "adapter_model.safetensors")
    if config is not None:
        (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


LORA = {"fc_dot_lora_A_dot_weight": (2, 3), "fc_dot_lora_B_dot_weight": (4, 2)}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, "no adapter_config.json next to it"),
        ({}, "no adapter_config.json next to it"),
        ({**CONFIG, "peft_type": "PREFIX_TUNING"}, "the kind PREFIX_TUNING of PEFT"),
        ({**CONFIG, "peft_type": ["LORA"]}, "of the kind .*LORA.* of PEFT"),
        ({**CONFIG, "init_lora_weights": ["pissa"]}, "initialised by"),
        ({**CONFIG, "init_lora_weights": "pissa_niter_4"}, "initialised by pissa_niter_4.*base_is_residual=True"),
        ({**CONFIG, "init_lora_weights": "eva"}, "initialised by eva"),
        ({**CONFIG, "alora_invocation_tokens": [1]}, "has alora_invocation_tokens"),
    ],
)
def test_an_adapter_that_does_not_say_what_it_adds_is_refused(tmp_path, config, reason):
    with pytest.raises(ShapeError, match=reason):
        steelyard.merge_adapter(BASE, adapter(tmp_path, config, **LORA))


@pytest.mark.parametrize(
    ("config", "shapes", "reason"),
    [
        ({**CONFIG, "r": 3}, LORA, "has rank 3, and its weights have rank 2"),
        ({"peft_type": "LORA", "r": 2}, LORA, "does not have the rank and the alpha"),
        ({**CONFIG, "lora_alpha": "2"}, LORA, "does not have the rank and the alpha"),
        ({**CONFIG, "r": 10**400}, LORA, "does not have the rank and the alpha"),
        ({**CONFIG, "lora_alpha": 10**400}, LORA, "does not have the rank and the alpha"),
        ({**CONFIG, "r": 0}, LORA, "does not have the rank and the alpha"),
        ({**CONFIG, "rank_pattern": {"(a+)+": 2}}, LORA, "the pattern '.a...', which Steelyard does not read"),
        (CONFIG, {"fc_dot_lora_A_dot_weight": (2, 3)}, "it has no lora_B"),
        (CONFIG, {**LORA, "fc_dot_lora_B_dot_weight": (5, 2)}, "5 rows of 3 numbers, and the weight has shape .4, 3."),
        (CONFIG, {**LORA, "fc_dot_lora_B_dot_weight": (4, 1)}, "a layer in groups is not merged"),
        (CONFIG, {**LORA, "fc_dot_lora_magnitude_vector": (3,)}, "norms have shape .3."),
        ({"peft_type": "VERA", "r": 2}, {"fc_dot_vera_lambda_d": (2,), "fc_dot_vera_lambda_b": (4,)}, "no projections"),
        ({"peft_type": "IA3"}, {"fc_dot_ia3_l": (4, 1)}, "does not list feedforward_modules"),
        ({"peft_type": "IA3", "feedforward_modules": ["fc"]}, {"fc_dot_ia3_l": (4, 1)}, "factors have shape .4, 1."),
        (
            {**CONFIG, "trainable_token_indices": {"emb": [1, 9]}},
            {"emb_dot_token_adapter_dot_trainable_tokens_delta": (2, 3)},
            "2 tokens",
        ),
    ],
)
def test_a_layer_that_cannot_be_computed_is_listed_with_the_reason(tmp_path, config, shapes, reason):
    found = steelyard.merge_adapter(BASE, adapter(tmp_path, config, **shapes))
    (name,) = found.unreadable
    with pytest.raises(UnreadableError, match=f"{name} is changed by .* of PEFT: .*{reason}"):
        found[name].numpy()


def test_patterns_with_many_ways_through_a_long_name_end(tmp_path):
    pattern = "(ab|ab|a)" * 40 + "c"
    parts = {key.replace("fc", "ab" * 80): shape for key, shape in LORA.items()}
    made = adapter(tmp_path, {**CONFIG, "rank_pattern": {pattern: 7}}, **parts)
    merged = steelyard.merge_adapter({f"{'ab' * 80}.weight": np.zeros((4, 3))}, made)
    assert merged[f"{'ab' * 80}.weight"].numpy().shape == (4, 3)


def test_an_adapter_of_another_net_is_refused(tmp_path):
    with pytest.raises(ShapeError, match=r"no layer fc, which the adapter changes"):
        steelyard.merge_adapter({"other.weight": np.zeros((4, 3))}, adapter(tmp_path, **LORA))


def test_a_base_with_two_nets_of_these_names_is_refused(tmp_path):
    two = {f"{net}.fc.weight": np.zeros((4, 3)) for net in ("one", "two")}
    with pytest.raises(ShapeError, match=r"both one\.fc and two\.fc"):
        steelyard.merge_adapter(two, adapter(tmp_path, **LORA))


def test_the_caller_says_that_the_base_is_the_residual_of_pissa():
    folder = carried.folder("effective") / "peft-lora-pissa"
    with pytest.raises(ShapeError, match=r"initialised by pissa"):
        steelyard.merge_adapter(folder / "base.safetensors", folder / "adapter")
    merged = steelyard.effective(folder / "base.safetensors", folder / "adapter", base_is_residual=True)
    assert not merged.unreadable


def test_the_state_of_a_live_net_is_no_adapter(tmp_path):
    state = carried.folder("effective") / "peft-lora-several-second" / "live_state.pt"
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(ShapeError, match=r"no adapter_config\.json|the state of a live net"):
        steelyard.merge_adapter(BASE, state)


@pytest.mark.parametrize("name", ["lora_unet_fcc", "lora_unet_a_b"])
def test_a_word_of_kohya_that_joins_to_no_layer_or_to_two_is_refused(name):
    base = {"a.b.weight": np.zeros((2, 2)), "a_b.weight": np.zeros((2, 2))}
    parts = {f"{name}.lora_down.weight": np.ones((1, 2)), f"{name}.lora_up.weight": np.ones((2, 1))}
    with pytest.raises(ShapeError, match=r"layer.* join"):
        steelyard.merge_adapter(base, parts)


def test_what_is_not_an_adapter_is_refused():
    with pytest.raises(ShapeError, match=r"no weights named as by lycoris, mlx, peft"):
        steelyard.merge_adapter(BASE, {"fc.weight": np.ones(3)})


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("peft-lora-several-default/live_state.pt", ["base_model.model.q_proj.weight", "base_model.model.v_proj.weight"]),
        ("loralib/train_state.pt", ["lin.weight", "emb.weight", "merged.weight", "conv.conv.weight"]),
        ("loralib/eval_state.pt", ["lin.weight", "emb.weight", "merged.weight", "conv.conv.weight"]),
    ],
)
def test_a_state_with_an_adapter_inside_has_no_scale(file, names):
    found = steelyard.effective(carried.folder("effective") / file)
    assert [*found.unreadable] == names
    assert all("a state dict has neither its scale, nor " in reason for reason in found.unreadable.values())


@pytest.mark.parametrize(
    "file",
    [
        "peft-lora-linear/adapter",
        "peft-vera/adapter",
        "peft-lora-modules-to-save/adapter",
        "peft-lora-trainable-tokens/adapter",
        "lycoris-lokr/lycoris.safetensors",
        "lycoris-diag-oft/lycoris.safetensors",
        "kohya-lora-unet/lora.safetensors",
    ],
)
def test_an_adapter_alone_has_no_effective_weights(file):
    with pytest.raises(ShapeError, match=r"an adapter without its base: call steelyard\.effective\(base, adapter=\.\.\.\)"):
        steelyard.effective(carried.folder("effective") / file)


def test_a_net_whose_own_layers_have_names_like_those_of_an_adapter_stays_as_it_is():
    net = {"attention.qkv.weight": np.zeros((4, 3)), "attention.lora_A.weight": np.zeros((2, 3))}
    assert [*steelyard.effective(net)] == [*net]
