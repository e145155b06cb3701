"""Rows of models of sound, and of several kinds of input at once."""

import torch

from tests.distributed.pipeline.rows import BATCH, add, ids, images
from tests.distributed.pipeline.rows_text import DECODER, PAIRS, SMALL
from tests.distributed.pipeline.rows_vision import VIT

SPEECH = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (32, 32, 32),
    "conv_stride": (5, 2, 2),
    "conv_kernel": (10, 3, 3),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 32,
}
TEXT_TOWER = {
    **SMALL,
    "projection_dim": 16,
    "bos_token_id": 0,
    "eos_token_id": 99,
    "pad_token_id": 1,
}
IMAGE_TOWER = {**VIT, "projection_dim": 16}
IMAGE_TOKEN = 95


def sound():
    """Waves of two lengths, and where they are over."""
    mask = torch.ones(BATCH, 1600, dtype=torch.long)
    mask[1::2, 1200:] = 0
    return {"input_values": torch.randn(BATCH, 1600), "attention_mask": mask}


def both():
    return {"input_ids": ids(), "pixel_values": images()}


def told(tokens):
    """Text with places for the tokens of an image."""

    def make():
        text = torch.cat(
            [torch.full((BATCH, tokens), IMAGE_TOKEN), ids(8, high=90)], dim=1
        )
        return {
            "input_ids": text,
            "pixel_values": images(),
            "attention_mask": torch.ones_like(text),
        }

    return make


for _name, _kind in {
    "wav2vec2": "Wav2Vec2",
    "hubert": "Hubert",
    "unispeech": "UniSpeech",
}.items():
    add(
        _name,
        "transformers",
        f"{_kind}ForCTC",
        SPEECH,
        sound,
        config_class=f"{_kind}Config",
    )
add(
    "ast",
    "transformers",
    "ASTForAudioClassification",
    {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "patch_size": 4,
        "max_length": 40,
        "num_mel_bins": 16,
        "frequency_stride": 4,
        "time_stride": 4,
    },
    lambda: {"input_values": torch.randn(BATCH, 40, 16)},
    config_class="ASTConfig",
)
for _name, _kind, _more in (
    ("clip", "CLIP", {"projection_dim": 16}),
    ("siglip", "Siglip", {}),
):
    add(
        _name,
        "transformers",
        f"{_kind}Model",
        {"text_config": TEXT_TOWER, "vision_config": IMAGE_TOWER, **_more},
        both,
        config_class=f"{_kind}Config",
        whole=True,
    )
add(
    "blip",
    "transformers",
    "BlipForConditionalGeneration",
    {
        "text_config": {
            **TEXT_TOWER,
            "sep_token_id": 98,
            "encoder_hidden_size": 32,
        },
        "vision_config": IMAGE_TOWER,
        "projection_dim": 16,
    },
    both,
    config_class="BlipConfig",
)
add(
    "llava",
    "transformers",
    "LlavaForConditionalGeneration",
    {
        "vision_config": {"model_type": "clip_vision_model", **IMAGE_TOWER},
        "text_config": {"model_type": "llama", **DECODER},
        "image_token_index": IMAGE_TOKEN,
        "image_token_id": IMAGE_TOKEN,
        "vision_feature_select_strategy": "default",
        "vision_feature_layer": -2,
    },
    told(16),
    config_class="LlavaConfig",
    generates=("input_ids", "pixel_values", "attention_mask"),
)
add(
    "gemma3_vl",
    "transformers",
    "Gemma3ForConditionalGeneration",
    {
        "vision_config": {"model_type": "siglip_vision_model", **IMAGE_TOWER},
        "text_config": {
            "model_type": "gemma3_text",
            "head_dim": 8,
            "sliding_window": 8,
            **PAIRS,
            **DECODER,
        },
        "image_token_index": IMAGE_TOKEN,
        "image_token_id": IMAGE_TOKEN,
        "mm_tokens_per_image": 4,
        "boi_token_index": 93,
        "eoi_token_index": 94,
    },
    told(4),
    config_class="Gemma3Config",
    generates=("input_ids", "pixel_values", "attention_mask"),
)
