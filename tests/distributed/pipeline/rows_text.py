"""Rows of models of text: encoders, decoders, experts, state spaces."""

from tests.distributed.pipeline.rows import add, ids, padded

SMALL = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
MARKS = {"bos_token_id": 1, "eos_token_id": 2}
DECODER = {**SMALL, **MARKS, "num_key_value_heads": 2, "pad_token_id": 0}
GPT2 = {"n_layer": 4, "n_embd": 32, "n_head": 4, "vocab_size": 100, **MARKS}
PAIRS = {"layer_types": ["sliding_attention", "full_attention"] * 2}
LINEAR = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "pad_token_id": 0,
    **MARKS,
}


def masked(side="right"):
    tokens = ids()
    return {"input_ids": tokens, "attention_mask": padded(tokens, side)}


def bare(length=12):
    return {"input_ids": ids(length)}


def encoder(name, kind, task, inputs=masked, base=None, **config):
    base = SMALL if base is None else base
    add(
        name,
        "transformers",
        f"{kind}{task}",
        {**base, **config},
        inputs,
        config_class=f"{kind}Config",
    )


def decoder(name, kind, base=None, *, mask=True, beams=True, **config):
    base = DECODER if base is None else base
    add(
        name,
        "transformers",
        f"{kind}{config.pop('head', 'ForCausalLM')}",
        {**base, **config},
        (lambda: masked("left")) if mask else bare,
        config_class=f"{kind}Config",
        generates=("input_ids", "attention_mask") if mask else ("input_ids",),
        beams=beams,
    )


encoder("bert", "Bert", "ForMaskedLM")
encoder("bert_cls", "Bert", "ForSequenceClassification")
encoder("roberta", "Roberta", "ForMaskedLM", pad_token_id=1)
encoder("electra", "Electra", "ForMaskedLM", embedding_size=16)
encoder("albert", "Albert", "ForMaskedLM", embedding_size=16)
encoder("camembert", "Camembert", "ForMaskedLM", pad_token_id=1)
encoder("xlm_roberta", "XLMRoberta", "ForMaskedLM", pad_token_id=1)
encoder("xlm_roberta_xl", "XLMRobertaXL", "ForMaskedLM", bare, pad_token_id=1)
encoder("ernie", "Ernie", "ForMaskedLM")
encoder("mpnet", "MPNet", "ForMaskedLM", pad_token_id=1)
encoder("convbert", "ConvBert", "ForMaskedLM", embedding_size=16)
encoder("roformer", "RoFormer", "ForMaskedLM", embedding_size=32)
encoder("layoutlm", "LayoutLM", "ForMaskedLM")
encoder(
    "mobilebert",
    "MobileBert",
    "ForMaskedLM",
    embedding_size=16,
    intra_bottleneck_size=16,
    num_feedforward_networks=2,
)
encoder(
    "distilbert",
    "DistilBert",
    "ForMaskedLM",
    base={
        "vocab_size": 100,
        "dim": 32,
        "n_layers": 4,
        "n_heads": 4,
        "hidden_dim": 64,
        "max_position_embeddings": 64,
    },
)
encoder(
    "deberta_v2",
    "DebertaV2",
    "ForMaskedLM",
    relative_attention=True,
    pos_att_type=["c2p", "p2c"],
    position_biased_input=False,
    max_relative_positions=16,
    position_buckets=8,
    share_att_key=True,
    norm_rel_ebd="layer_norm",
)
encoder(
    "modernbert",
    "ModernBert",
    "ForMaskedLM",
    pad_token_id=0,
    cls_token_id=1,
    sep_token_id=2,
    local_attention=4,
    global_attn_every_n_layers=2,
    **MARKS,
)
encoder(
    "longformer",
    "Longformer",
    "ForMaskedLM",
    lambda: bare(13),
    attention_window=[4] * 4,
)
encoder(
    "xlnet",
    "XLNet",
    "LMHeadModel",
    bare,
    {"vocab_size": 100, "d_model": 32, "n_layer": 4, "n_head": 4, "d_inner": 64},
)
encoder(
    "reformer",
    "Reformer",
    "ModelWithLMHead",
    lambda: bare(16),
    {
        "vocab_size": 100,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "attention_head_size": 8,
        "feed_forward_size": 64,
        "attn_layers": ["local"] * 4,
        "axial_pos_shape": [4, 4],
        "axial_pos_embds_dim": [16, 16],
        "local_attn_chunk_length": 4,
        "is_decoder": True,
        "max_position_embeddings": 16,
    },
)
encoder(
    "gpt2_cls",
    "GPT2",
    "ForSequenceClassification",
    lambda: masked("left"),
    GPT2,
    pad_token_id=0,
)

decoder("gpt2", "GPT2", GPT2, head="LMHeadModel")
decoder("gpt_bigcode", "GPTBigCode", GPT2, n_positions=64, multi_query=True)
decoder("gptj", "GPTJ", GPT2, rotary_dim=4, n_positions=64)
decoder("gpt_neox", "GPTNeoX")
decoder(
    "gpt_neo",
    "GPTNeo",
    {
        "vocab_size": 100,
        "hidden_size": 32,
        "num_layers": 4,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 2]],
        "window_size": 4,
        "max_position_embeddings": 64,
        **MARKS,
    },
)
decoder(
    "opt",
    "OPT",
    {
        "vocab_size": 100,
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "ffn_dim": 64,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 32,
        "pad_token_id": 1,
        "bos_token_id": 2,
        "eos_token_id": 2,
    },
)
decoder(
    "bloom",
    "Bloom",
    {"vocab_size": 100, "hidden_size": 32, "n_layer": 4, "n_head": 4, **MARKS},
    pad_token_id=0,
)
decoder("falcon", "Falcon", alibi=False)
decoder("falcon_alibi", "Falcon", alibi=True)
for _name, _kind in {
    "llama": "Llama",
    "qwen2": "Qwen2",
    "stablelm": "StableLm",
    "olmo": "Olmo",
    "olmo2": "Olmo2",
    "phi": "Phi",
    "granite": "Granite",
    "cohere": "Cohere",
    "starcoder2": "Starcoder2",
    "smollm3": "SmolLM3",
    "nemotron": "Nemotron",
    "gemma": "Gemma",
    "persimmon": "Persimmon",
    "arcee": "Arcee",
    "seed_oss": "SeedOss",
}.items():
    decoder(_name, _kind)
for _name, _kind in {
    "helium": "Helium",
    "glm": "Glm",
    "glm4": "Glm4",
    "qwen3": "Qwen3",
    "ernie4_5": "Ernie4_5",
}.items():
    decoder(_name, _kind, head_dim=8)
decoder("mistral", "Mistral", sliding_window=8)
decoder("phi3", "Phi3", sliding_window=8)
decoder("gemma2", "Gemma2", head_dim=8, sliding_window=8, query_pre_attn_scalar=8)
add_gemma = {"head_dim": 8, "sliding_window": 8, **PAIRS}
for _name, _kind, _more in (
    ("gemma3", "Gemma3", {"query_pre_attn_scalar": 8}),
    (
        "gemma3n",
        "Gemma3n",
        {
            "num_kv_shared_layers": 2,
            "vocab_size_per_layer_input": 100,
            "hidden_size_per_layer_input": 8,
            "laurel_rank": 4,
            "altup_num_inputs": 2,
            "activation_sparsity_pattern": [0.0] * 4,
        },
    ),
    (
        "gemma4",
        "Gemma4",
        {
            "global_head_dim": 8,
            "num_kv_shared_layers": 2,
            "vocab_size_per_layer_input": 100,
            "hidden_size_per_layer_input": 8,
        },
    ),
):
    add(
        _name,
        "transformers",
        f"{_kind}ForCausalLM",
        {**DECODER, **add_gemma, **_more},
        lambda: masked("left"),
        config_class=f"{_kind}TextConfig",
        generates=("input_ids", "attention_mask"),
    )

EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
decoder("mixtral", "Mixtral", num_local_experts=4, num_experts_per_tok=2)
decoder("qwen2_moe", "Qwen2Moe", shared_expert_intermediate_size=32, **EXPERTS)
decoder("qwen3_moe", "Qwen3Moe", head_dim=8, **EXPERTS)
decoder("olmoe", "Olmoe", num_experts=4, num_experts_per_tok=2)
decoder("phimoe", "Phimoe", num_local_experts=4, num_experts_per_tok=2)
add(
    "llama4",
    "transformers",
    "Llama4ForCausalLM",
    {
        **DECODER,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "head_dim": 8,
        "intermediate_size_mlp": 64,
        "attention_chunk_size": 8,
    },
    lambda: masked("left"),
    config_class="Llama4TextConfig",
    generates=("input_ids", "attention_mask"),
)
decoder(
    "qwen3_next",
    "Qwen3Next",
    shared_expert_intermediate_size=16,
    head_dim=8,
    linear_key_head_dim=8,
    linear_value_head_dim=8,
    linear_num_key_heads=2,
    linear_num_value_heads=4,
    layer_types=["linear_attention", "full_attention"] * 2,
    **EXPERTS,
)
decoder("mamba", "Mamba", LINEAR, mask=False, state_size=4)
decoder(
    "mamba2",
    "Mamba2",
    LINEAR,
    mask=False,
    state_size=4,
    num_heads=8,
    head_dim=8,
    n_groups=2,
    chunk_size=4,
)
decoder(
    "jamba",
    "Jamba",
    num_experts=2,
    num_experts_per_tok=1,
    attn_layer_period=2,
    attn_layer_offset=1,
    expert_layer_period=2,
    expert_layer_offset=1,
    mamba_d_state=4,
    mamba_d_conv=2,
    mamba_dt_rank=4,
    use_mamba_kernels=False,
)
decoder("lfm2", "Lfm2", layer_types=["conv", "full_attention"] * 2)
decoder(
    "rwkv",
    "Rwkv",
    LINEAR,
    mask=False,
    beams=False,
    attention_hidden_size=32,
    intermediate_size=64,
)
