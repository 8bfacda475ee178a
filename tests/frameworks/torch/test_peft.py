"""Effective weights of live nets with adapters of PEFT, as `merge_and_unload` has them."""

import copy

import pytest
import torch
from torch import nn

import steelyard

pytestmark = [  # PEFT warns of norms, and of nets that are merged already; its words of transformers are older than these
    pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning"),
    pytest.mark.filterwarnings("ignore:All adapters are already merged:UserWarning"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(9, 8)
        self.query = nn.Linear(8, 8, bias=False)
        self.value = nn.Linear(8, 16)
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 9, bias=False)


LAYERS = ["query", "value"]
CASES = {
    "lora": ("Lora", {"r": 2, "lora_alpha": 6, "target_modules": [*LAYERS, "tokens", "conv"], "modules_to_save": ["head"]}),
    "rslora with patterns": ("Lora", {"r": 2, "use_rslora": True, "rank_pattern": {"query": 3}, "target_modules": LAYERS}),
    "dora": ("Lora", {"r": 2, "use_dora": True, "target_modules": [*LAYERS, "conv"]}),
    "all biases": ("Lora", {"r": 2, "bias": "all", "target_modules": LAYERS}),
    "one parameter": ("Lora", {"r": 2, "target_modules": [], "target_parameters": ["query.weight"]}),
    "adalora": ("AdaLora", {"init_r": 4, "target_r": 2, "total_step": 10, "target_modules": LAYERS}),
    "loha": ("LoHa", {"r": 2, "alpha": 4, "target_modules": [*LAYERS, "conv"]}),
    "lokr": ("LoKr", {"r": 2, "alpha": 4, "target_modules": LAYERS}),
    "ia3": ("IA3", {"target_modules": LAYERS, "feedforward_modules": []}),
    "vera": ("Vera", {"r": 4, "target_modules": ["query"]}),
    "tokens": ("TrainableTokens", {"token_indices": [1, 5], "target_modules": ["tokens"]}),
    "lora and tokens": ("Lora", {"r": 2, "target_modules": LAYERS, "trainable_token_indices": {"tokens": [1, 3]}}),
}
MERGED = {
    "oft": ("OFT", {"oft_block_size": 4, "target_modules": LAYERS}),
    "hra": ("HRA", {"r": 2, "target_modules": ["query"], "modules_to_save": ["head"]}),
    "fourier": ("FourierFT", {"n_frequency": 10, "target_modules": ["query"]}),
    "norms": ("LNTuning", {"target_modules": ["norm"]}),
    "shared bank": ("VBLoRA", {"num_vectors": 8, "vector_length": 8, "topk": 2, "r": 2, "target_modules": ["query"]}),
    "shared projections": ("RandLora", {"r": 4, "target_modules": ["query"]}),
}
"""Kinds that Steelyard does not compute itself: the layers merge them."""


def adapted(kind, options):
    """A net with an adapter whose numbers are not those of its start."""
    import peft

    torch.manual_seed(0)
    net = peft.get_peft_model(Block(), getattr(peft, f"{kind}Config")(**options))
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return net


def assert_is_merged(net, found):
    expected = copy.deepcopy(net).merge_and_unload().state_dict()
    assert {*found} == {*expected}
    for name, known in expected.items():
        torch.testing.assert_close(found[name].to_torch(), known, rtol=2e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("case", {**CASES, **MERGED})
def test_the_weights_are_those_of_the_merged_net_and_the_net_is_unchanged(case):
    net = adapted(*{**CASES, **MERGED}[case])
    before = copy.deepcopy(net.state_dict())
    found = steelyard.effective(net)
    assert_is_merged(net, found)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    schemes = {weight.derivation.scheme for weight in found.values() if weight.derivation}
    assert any("merged by its layer" in scheme for scheme in schemes) == (case in MERGED)


def test_what_a_layer_merges_follows_the_module_until_it_is_merged_or_disabled():
    net = adapted(*MERGED["hra"])
    found = steelyard.effective(net)
    with torch.no_grad():
        net.base_model.model.query.base_layer.weight.mul_(2)
    assert_is_merged(net, found)
    plain = net.base_model.model.query.base_layer.weight.detach().clone()
    with net.disable_adapter():
        assert torch.equal(steelyard.effective(net)["query.weight"].to_torch(), plain)
    net.merge_adapter()
    assert_is_merged(net, steelyard.effective(net))


def test_a_kind_that_no_layer_can_merge_is_refused_by_name():
    net = adapted("Poly", {"r": 2, "target_modules": ["query"]})
    found = steelyard.effective(net)
    assert "POLY of PEFT" in found.unreadable["query.weight"]
    assert {*found.unreadable} == {"query.weight"}


def test_tokens_of_a_tied_head_are_those_of_its_embedding():
    import peft
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 8, "n_positions": 4, "n_embd": 4, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    config = peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, trainable_token_indices={"wte": [1, 3]})
    net = peft.get_peft_model(GPT2LMHeadModel(GPT2Config(**sizes)), config)
    with torch.no_grad():
        net.base_model.model.transformer.wte.token_adapter.trainable_tokens_delta["default"].add_(1)
    found = steelyard.effective(net)
    assert_is_merged(net, found)
    assert torch.equal(found["lm_head.weight"].to_torch(), found["transformer.wte.weight"].to_torch())


def test_ia3_leaves_a_layer_without_a_bias_without_one(tmp_path):
    net = adapted(*CASES["ia3"])
    net.save_pretrained(tmp_path)
    expected = copy.deepcopy(net).merge_and_unload().state_dict()
    torch.manual_seed(0)
    found = steelyard.merge_adapter(Block(), tmp_path)
    assert not found.unreadable
    for name, known in expected.items():
        torch.testing.assert_close(found[name].to_torch(), known, rtol=1e-6, atol=0, msg=name)
