"""The same net, live and in a file, has the same roles and layers, and never axes that contradict each other."""

import pytest
import torch

import steelyard

nn = torch.nn
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
PICTURE = {"image_size": 8, "patch_size": 4}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GPT2 = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 50, "n_positions": 12, "bos_token_id": 1, "eos_token_id": 2}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "vocab_size": 50}
WHISPER = {
    **{f"{side}_{word}": 2 for side in ("encoder", "decoder") for word in ("attention_heads",)},
    **{f"{side}_{word}": number for side in ("encoder", "decoder") for word, number in (("layers", 1), ("ffn_dim", 24))},
    "d_model": 16,
    "vocab_size": 50,
    "num_mel_bins": 8,
    "max_source_positions": 10,
    "max_target_positions": 9,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "decoder_start_token_id": 1,
    **TOKENS,
}
TEXT = {**SMALL, "vocab_size": 50, "max_position_embeddings": 12}
NETS = {
    "Bert": ("BertModel", TEXT),
    "GPT2": ("GPT2LMHeadModel", GPT2),
    "Llama": ("LlamaForCausalLM", {**TEXT, "num_key_value_heads": 1}),
    "T5": ("T5ForConditionalGeneration", T5),
    "ViT": ("ViTForImageClassification", SMALL | PICTURE),
    "Whisper": ("WhisperForConditionalGeneration", WHISPER),
    "CLIP": ("CLIPModel", {"text_config": TEXT | TOKENS, "vision_config": SMALL | PICTURE, "projection_dim": 8}),
}
KERNELS_OF_GPT2 = {"c_attn": (16, 48), "c_proj": (16, 16), "c_fc": (16, 64)}


def net_of(name):
    import transformers

    torch.manual_seed(0)
    kind, settings = NETS[name]
    return getattr(transformers, kind)(getattr(transformers, f"{name}Config")(**settings))


class Block(nn.Module):
    """A residual block with the names of timm's ResNet."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, bias=False), nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(Block(8, 8), Block(8, 16))
        self.fc = nn.Linear(16, 10)


class Scaled(nn.Module):
    """LayerScale, as timm and DINOv2 name it."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(8))


class OwnNorm(nn.Module):
    """A user's norm, recognisable by its class alone."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))


def assert_agree(live, file):
    for name, weight in file.items():
        assert (weight.role, weight.layer) == (live[name].role, live[name].layer), name
        assert weight.axes in ("", live[name].axes), name
    assert sum(w.axes == live[name].axes for name, w in file.items()) >= len(file) / 3


def written(net, folder):
    from safetensors.torch import save_model

    torch.save(net.state_dict(), folder / "net.pt")
    save_model(net, str(folder / "net.safetensors"))
    return [steelyard.weights(folder / name) for name in ("net.pt", "net.safetensors")]


@pytest.mark.parametrize("name", NETS)
def test_a_net_of_transformers_and_its_files_agree(name, tmp_path):
    net = net_of(name)
    live = steelyard.weights(net)
    for file in written(net, tmp_path):
        assert_agree(live, file)
    known = {"kernel", "bias", "embedding", "scale", "offset"}
    other = [n for n, w in live.items() if w.role not in known and "class_embedding" not in n and "cls_token" not in n]
    assert set(other) <= {"vit.embeddings.position_embeddings", "logit_scale"}, other


def test_a_resnet_and_its_files_agree(tmp_path):
    net = nn.ModuleDict({"body": ResNet(), "ls1": Scaled(), "norm": OwnNorm()})
    live = steelyard.weights(net)
    for file in written(net, tmp_path):
        assert_agree(live, file)
    assert [str(live[f"{name}"].role) for name in ("ls1.gamma", "norm.weight")] == ["scale", "scale"]


def test_the_dense_layers_of_gpt2_are_in_out_whether_they_are_square_or_not(tmp_path):
    net = net_of("GPT2")
    live = steelyard.weights(net)
    torch.save(net, tmp_path / "whole.pt")
    whole = steelyard.weights(tmp_path / "whole.pt")
    for layer, shape in KERNELS_OF_GPT2.items():
        found = [w for n, w in live.items() if n.endswith(f"{layer}.weight") and w.shape == shape]
        assert found
        assert all((w.role, w.axes) == ("kernel", "in out") for w in found)
        assert all(whole[w.name].axes == "in out" for w in found)


def test_the_class_of_a_user_proves_nothing_by_a_name_of_pytorch():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(3))

    class Slope(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))

    found = steelyard.weights(nn.Sequential(Linear(), Slope(), nn.PReLU(3)))
    assert [(str(w.role), w.axes) for w in found.values()] == [
        ("kernel", "in out"), ("bias", "out"), ("other", ""), ("other", "channel")
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["live", "file"])
def test_health_calls_the_inputs_of_gpt2_inputs(kind, tmp_path):
    net = net_of("GPT2")
    with torch.no_grad():
        net.transformer.h[0].mlp.c_fc.weight[:5] = 0
        net.transformer.h[0].attn.c_proj.weight[:5] = 0
    source = net
    if kind == "file":
        source = tmp_path / "net.pt"
        torch.save(net.state_dict(), source)
    told = {f.name: (f.severity, f.what) for f in steelyard.check(source, health=True).findings if "zeros" in f.what}
    severity, what = told["transformer.h.0.mlp.c_fc.weight"]
    assert severity == "info"
    assert "only zeros for 5 of 16 inputs" in what
    severity, what = told["transformer.h.0.attn.c_proj.weight"]
    assert severity == "info"
    assert f"only zeros for 5 of 16 {'inputs' if kind == 'live' else 'rows'}" in what
