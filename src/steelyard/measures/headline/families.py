"""Well-known families of nets by the words in their names, most specific first.

Names prove a likeness only: another net may have the same. What the file says itself, as `model_type` in config.json or
`general.architecture` in GGUF, is the family's own word.
"""

from __future__ import annotations

BLOCKS = ("block", "layers")
"""A word for the parts that repeat, and the name of the container that holds them."""
_TWO = (("encoder block", "encoder.layers"), ("decoder block", "decoder.layers"))


class Family:
    """The words that all occur in the names of a family, after dots, with # for each number, and the containers of its blocks.

    None of the words in `without` occurs. The containers of `stage` hold containers, such as `layer` with `layer1.0`.
    """

    __slots__ = ("marks", "name", "stacks", "without")

    def __init__(
        self, name: str, marks: tuple[str, ...], stacks: tuple[tuple[str, str], ...] = (BLOCKS,), without: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.marks = marks
        self.stacks = stacks
        self.without = without


FAMILIES = (
    # decoders
    Family("GPT-2", (".attn.c_attn.", ".mlp.c_fc."), (("block", "h"),)),
    Family("GPT-J", (".attn.q_proj.", ".mlp.fc_in."), (("block", "h"),)),
    Family("BLOOM", (".self_attention.query_key_value.", ".word_embeddings_layernorm."), (("block", "h"),)),
    Family("Falcon", (".self_attention.query_key_value.", ".word_embeddings."), (("block", "h"),)),
    Family("GPT-NeoX", (".attention.query_key_value.", ".mlp.dense_h_to_#h.")),
    Family("DeepSeek", (".self_attn.kv_a_proj_with_mqa.",)),
    Family("Mixtral", (".block_sparse_moe.gate.", ".self_attn.q_proj.")),
    Family("Mixtral", (".mlp.experts.", ".mlp.gate.", ".self_attn.q_proj."), without=(".shared_expert", ".q_norm.")),
    Family("Qwen3 MoE", (".mlp.experts.", ".self_attn.q_norm.")),
    Family("Qwen2 MoE", (".mlp.experts.", ".mlp.shared_expert.")),
    Family("Gemma 2", (".pre_feedforward_layernorm.", ".self_attn.q_proj."), without=(".q_norm.",)),
    Family("Gemma 3", (".pre_feedforward_layernorm.", ".self_attn.q_norm.")),
    Family("Qwen3", (".self_attn.q_norm.", ".mlp.gate_proj.")),
    Family("Phi-3", (".self_attn.qkv_proj.", ".mlp.gate_up_proj.")),
    Family("Phi", (".self_attn.dense.", ".mlp.fc#.")),
    Family("Qwen2", (".self_attn.q_proj.bias", ".mlp.gate_proj.")),
    Family("LLaMA", (".self_attn.q_proj.", ".mlp.gate_proj.", ".input_layernorm.")),
    Family("LLaMA", (".attention.wq.", ".feed_forward.w#.")),
    Family("Mamba", (".mixer.A_log", ".mixer.in_proj.")),
    Family("RWKV", (".attention.time_decay", ".feed_forward.key."), (("block", "blocks"),)),
    # encoders and decoders
    Family(
        "T5", (".SelfAttention.q.", ".EncDecAttention."), (("encoder block", "encoder.block"), ("decoder block", "decoder.block"))
    ),
    Family("T5 encoder", (".SelfAttention.q.",), (("block", "encoder.block"),)),
    Family("Whisper", (".encoder_attn.q_proj.", ".encoder.conv#."), _TWO),
    Family("BART", (".encoder_attn.q_proj.", ".layernorm_embedding."), _TWO),
    # several modalities, before the towers that they consist of
    Family(
        "CLIP",
        (".text_projection.", ".visual_projection."),
        (("text block", "text_model.encoder.layers"), ("image block", "vision_model.encoder.layers")),
    ),
    Family(
        "CLIP",
        (".text_projection", ".visual.proj"),
        (("text block", "transformer.resblocks"), ("image block", "visual.transformer.resblocks")),
    ),
    Family("OPT", (".self_attn.out_proj.", ".fc#.", ".decoder.embed_positions.")),
    # encoders
    Family("DistilBERT", (".attention.q_lin.", ".ffn.lin#."), (("block", "layer"),)),
    Family("DeBERTa", (".attention.self.query_proj.",), (("block", "layer"),)),
    Family("ALBERT", (".albert_layer_groups.", ".attention.query."), ()),
    Family("ModernBERT", (".attn.Wqkv.", ".mlp.Wi.")),
    Family("BERT", (".attention.self.query.", ".embeddings.word_embeddings."), (("block", "layer"),)),
    Family("wav2vec 2.0", (".feature_extractor.conv_layers.", ".attention.q_proj.")),
    # images
    Family("DINOv2", (".patch_embeddings.projection.", ".layer_scale#.lambda#"), (("block", "layer"),)),
    Family("Swin", (".relative_position_bias_table",), (("stage", "layers"),)),
    Family("ViT", (".patch_embeddings.projection.", ".attention.attention.query."), (("block", "layer"),)),
    Family("ViT", (".patch_embeddings.projection.", ".attention.q_proj."), (("block", "layers"), ("block", "layer"))),
    Family("ViT", (".patch_embed.proj.", ".attn.qkv."), (("block", "blocks"),)),
    Family("ViT", (".conv_proj.", ".self_attention.in_proj_weight"), (("block", "layers"), ("block", "encoder_layer"))),
    Family("ConvNeXt", (".dwconv.", ".pwconv#."), (("stage", "stages"),)),
    Family("ResNet", (".layer#.#.conv#.", ".layer#.#.bn#."), (("stage", "layer"),)),
    Family("ResNet", (".stages.#.layers.#.layer.#.convolution.",), (("stage", "stages"),)),
    Family("DenseNet", (".denseblock#.denselayer#.",), ()),
    Family(
        "diffusion U-Net",
        (".down_blocks.#.", ".up_blocks.#.", ".time_embedding."),
        (("block down", "down_blocks"), ("block up", "up_blocks")),
    ),
    Family("Stable Diffusion", (".diffusion_model.input_blocks.",), ()),
)

WORDS = {
    "gpt2": "GPT-2",
    "gptj": "GPT-J",
    "gpt_neox": "GPT-NeoX",
    "gptneox": "GPT-NeoX",
    "bloom": "BLOOM",
    "falcon": "Falcon",
    "llama": "LLaMA",
    "mistral": "Mistral",
    "mixtral": "Mixtral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "gemma": "Gemma",
    "gemma2": "Gemma 2",
    "gemma3": "Gemma 3",
    "phi": "Phi",
    "phi2": "Phi-2",
    "phi3": "Phi-3",
    "opt": "OPT",
    "mamba": "Mamba",
    "bert": "BERT",
    "roberta": "RoBERTa",
    "distilbert": "DistilBERT",
    "albert": "ALBERT",
    "electra": "ELECTRA",
    "deberta-v2": "DeBERTa",
    "modernbert": "ModernBERT",
    "t5": "T5",
    "bart": "BART",
    "whisper": "Whisper",
    "clip": "CLIP",
    "vit": "ViT",
    "dinov2": "DINOv2",
    "swin": "Swin",
    "convnext": "ConvNeXt",
    "resnet": "ResNet",
    "wav2vec2": "wav2vec 2.0",
}
"""The families by their own words, in config.json and in GGUF."""
