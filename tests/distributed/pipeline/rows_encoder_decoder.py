"""Rows of models with an encoder and a decoder."""

import torch

from tests.distributed.pipeline.rows import BATCH, add, ids, padded

BART = {
    "vocab_size": 100,
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
T5 = {
    "vocab_size": 100,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 4,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
FROM_ZERO = {"pad_token_id": 0, "decoder_start_token_id": 0}


def texts():
    tokens = ids()
    return {
        "input_ids": tokens,
        "attention_mask": padded(tokens, "right"),
        "decoder_input_ids": ids(7),
    }


def pair(name, model, kind, config, inputs=texts):
    heard = inputs is not texts
    names = ("input_features",) if heard else ("input_ids", "attention_mask")
    add(
        name,
        "transformers",
        model,
        config,
        inputs,
        config_class=f"{kind}Config",
        generates=names,
    )


for _name, _kind, _more in (
    ("bart", "Bart", {}),
    ("mbart", "MBart", {}),
    ("m2m100", "M2M100", {}),
    ("blenderbot", "Blenderbot", {}),
    ("blenderbot_small", "BlenderbotSmall", {}),
    ("pegasus", "Pegasus", FROM_ZERO),
):
    pair(_name, f"{_kind}ForConditionalGeneration", _kind, {**BART, **_more})
pair("marian", "MarianMTModel", "Marian", {**BART, **FROM_ZERO})
pair("t5", "T5ForConditionalGeneration", "T5", T5)
pair("mt5", "MT5ForConditionalGeneration", "MT5", T5)
pair("umt5", "UMT5ForConditionalGeneration", "UMT5", T5)
pair(
    "prophetnet",
    "ProphetNetForConditionalGeneration",
    "ProphetNet",
    {
        "vocab_size": 100,
        "hidden_size": 32,
        "num_encoder_layers": 3,
        "num_decoder_layers": 3,
        "num_encoder_attention_heads": 4,
        "num_decoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 64,
        "ngram": 2,
        "decoder_start_token_id": 0,
    },
)
pair(
    "whisper",
    "WhisperForConditionalGeneration",
    "Whisper",
    {
        **BART,
        "num_mel_bins": 16,
        "max_source_positions": 30,
        "max_target_positions": 64,
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
    },
    lambda: {
        "input_features": torch.randn(BATCH, 16, 60),
        "decoder_input_ids": ids(7),
    },
)
add(
    "switch",
    "transformers",
    "SwitchTransformersForConditionalGeneration",
    {
        **T5,
        "num_experts": 4,
        "num_sparse_encoder_layers": 2,
        "num_sparse_decoder_layers": 2,
        "expert_capacity": 32,
    },
    texts,
    config_class="SwitchTransformersConfig",
)
