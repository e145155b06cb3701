"""Rows of models of diffusers."""

import torch

from tests.distributed.pipeline.rows import BATCH, add

TWO_HEADS = {"num_attention_heads": 2, "attention_head_dim": 16}
VAE = {
    "block_out_channels": (32, 64),
    "norm_num_groups": 8,
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "latent_channels": 4,
}


def normal(*shape):
    return torch.randn(BATCH, *shape)


def steps(value=5):
    return torch.tensor([value] * BATCH)


def model(name, kind, config, inputs, **options):
    add(name, "diffusers", kind, config, inputs, attention=False, **options)


model(
    "unet",
    "UNet2DConditionModel",
    {
        "sample_size": 16,
        "block_out_channels": (32, 64, 64),
        "layers_per_block": 2,
        "norm_num_groups": 8,
        "cross_attention_dim": 32,
        "attention_head_dim": 8,
        "down_block_types": (*["CrossAttnDownBlock2D"] * 2, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *["CrossAttnUpBlock2D"] * 2),
    },
    lambda: {
        "sample": normal(4, 16, 16),
        "timestep": torch.tensor(7),
        "encoder_hidden_states": normal(6, 32),
    },
)
model(
    "unet_xl",
    "UNet2DConditionModel",
    {
        "sample_size": 16,
        "block_out_channels": (32, 64),
        "layers_per_block": 2,
        "norm_num_groups": 8,
        "cross_attention_dim": 64,
        "attention_head_dim": (2, 4),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "transformer_layers_per_block": (1, 2),
        "projection_class_embeddings_input_dim": 80,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    },
    lambda: {
        "sample": normal(4, 16, 16),
        "timestep": steps(3),
        "encoder_hidden_states": normal(6, 64),
        "added_cond_kwargs": {"text_embeds": normal(32), "time_ids": normal(6)},
    },
)
model(
    "unet_plain",
    "UNet2DModel",
    {
        "sample_size": 16,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": (32, 64),
        "norm_num_groups": 8,
        "layers_per_block": 2,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": 8,
    },
    lambda: {"sample": normal(3, 16, 16), "timestep": 10},
)
model("vae", "AutoencoderKL", VAE, lambda: {"sample": normal(3, 16, 16)})
model(
    "vae_sample",
    "AutoencoderKL",
    {**VAE, "layers_per_block": 1},
    lambda: {
        "sample": normal(3, 16, 16),
        "sample_posterior": True,
        "generator": torch.Generator().manual_seed(3),
    },
)
model(
    "vae_tiny",
    "AutoencoderTiny",
    {
        "encoder_block_out_channels": (16,) * 4,
        "decoder_block_out_channels": (16,) * 4,
    },
    lambda: {"sample": normal(3, 32, 32)},
)
model(
    "vae_wan",
    "AutoencoderKLWan",
    {
        "base_dim": 3,
        "z_dim": 16,
        "dim_mult": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "temperal_downsample": [False, True, True],
    },
    lambda: {"sample": torch.randn(2, 3, 5, 16, 16)},
)
model(
    "vq",
    "VQModel",
    {
        "block_out_channels": (32, 64),
        "norm_num_groups": 8,
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": 3,
        "num_vq_embeddings": 32,
    },
    lambda: {"sample": normal(3, 16, 16)},
)
model(
    "dit",
    "DiTTransformer2DModel",
    {
        **TWO_HEADS,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": 4,
        "sample_size": 8,
        "patch_size": 2,
        "num_embeds_ada_norm": 10,
    },
    lambda: {
        "hidden_states": normal(4, 8, 8),
        "timestep": steps(),
        "class_labels": torch.randint(0, 9, (BATCH,)),
    },
)
model(
    "pixart",
    "PixArtTransformer2DModel",
    {
        **TWO_HEADS,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": 4,
        "sample_size": 8,
        "patch_size": 2,
        "caption_channels": 24,
        "cross_attention_dim": 32,
        "use_additional_conditions": False,
    },
    lambda: {
        "hidden_states": normal(4, 8, 8),
        "encoder_hidden_states": normal(6, 24),
        "timestep": steps(),
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    },
)
model(
    "sd3",
    "SD3Transformer2DModel",
    {
        "sample_size": 16,
        "patch_size": 2,
        "in_channels": 4,
        "num_layers": 4,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "joint_attention_dim": 32,
        "caption_projection_dim": 32,
        "pooled_projection_dim": 24,
        "out_channels": 4,
        "pos_embed_max_size": 16,
    },
    lambda: {
        "hidden_states": normal(4, 16, 16),
        "encoder_hidden_states": normal(6, 32),
        "pooled_projections": normal(24),
        "timestep": steps(),
    },
)
FLUX = {
    **TWO_HEADS,
    "patch_size": 1,
    "in_channels": 16,
    "num_layers": 3,
    "num_single_layers": 4,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 24,
    "axes_dims_rope": [4, 4, 8],
    "guidance_embeds": True,
}
model(
    "flux",
    "FluxTransformer2DModel",
    FLUX,
    lambda: {
        "hidden_states": normal(16, 16),
        "encoder_hidden_states": normal(6, 32),
        "pooled_projections": normal(24),
        "timestep": steps(0.5),
        "img_ids": torch.randn(16, 3),
        "txt_ids": torch.zeros(6, 3),
        "guidance": steps(3.0),
    },
)
model(
    "flux2",
    "Flux2Transformer2DModel",
    {
        **TWO_HEADS,
        "patch_size": 1,
        "in_channels": 4,
        "num_layers": 2,
        "num_single_layers": 2,
        "joint_attention_dim": 32,
        "timestep_guidance_channels": 32,
        "axes_dims_rope": (4, 4, 4, 4),
    },
    lambda: {
        "hidden_states": normal(16, 4),
        "encoder_hidden_states": normal(6, 32),
        "timestep": steps(0.5),
        "img_ids": torch.zeros(BATCH, 16, 4),
        "txt_ids": torch.zeros(BATCH, 6, 4),
        "guidance": steps(3.0),
    },
)
model(
    "chroma",
    "ChromaTransformer2DModel",
    {
        **TWO_HEADS,
        "patch_size": 1,
        "in_channels": 16,
        "num_layers": 2,
        "num_single_layers": 2,
        "joint_attention_dim": 32,
        "axes_dims_rope": (4, 4, 8),
        "approximator_hidden_dim": 32,
        "approximator_layers": 1,
        "approximator_num_channels": 16,
    },
    lambda: {
        "hidden_states": normal(16, 16),
        "encoder_hidden_states": normal(6, 32),
        "timestep": steps(0.5),
        "img_ids": torch.randn(16, 3),
        "txt_ids": torch.zeros(6, 3),
    },
)
model(
    "cogvideox",
    "CogVideoXTransformer3DModel",
    {
        **TWO_HEADS,
        "in_channels": 4,
        "out_channels": 4,
        "time_embed_dim": 8,
        "text_embed_dim": 16,
        "num_layers": 3,
        "sample_width": 8,
        "sample_height": 8,
        "sample_frames": 5,
        "patch_size": 2,
        "temporal_compression_ratio": 4,
        "max_text_seq_length": 6,
    },
    lambda: {
        "hidden_states": normal(2, 4, 8, 8),
        "encoder_hidden_states": normal(6, 16),
        "timestep": steps(),
    },
)
WAN = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 16,
    "freq_dim": 32,
    "ffn_dim": 32,
    "num_layers": 4,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 32,
}
model(
    "wan",
    "WanTransformer3DModel",
    WAN,
    lambda: {
        "hidden_states": normal(4, 2, 8, 8),
        "timestep": steps(),
        "encoder_hidden_states": normal(6, 16),
    },
)
model(
    "ltx",
    "LTXVideoTransformer3DModel",
    {
        "in_channels": 4,
        "out_channels": 4,
        "num_attention_heads": 4,
        "attention_head_dim": 8,
        "cross_attention_dim": 32,
        "num_layers": 4,
        "caption_channels": 16,
        "qk_norm": "rms_norm_across_heads",
    },
    lambda: {
        "hidden_states": normal(32, 4),
        "encoder_hidden_states": normal(6, 16),
        "timestep": steps(),
        "encoder_attention_mask": torch.ones(BATCH, 6).bool(),
        "num_frames": 2,
        "height": 4,
        "width": 4,
    },
)
model(
    "hunyuanvideo",
    "HunyuanVideoTransformer3DModel",
    {
        "in_channels": 4,
        "out_channels": 4,
        "num_attention_heads": 2,
        "attention_head_dim": 10,
        "num_layers": 2,
        "num_single_layers": 2,
        "num_refiner_layers": 1,
        "patch_size": 1,
        "patch_size_t": 1,
        "guidance_embeds": True,
        "text_embed_dim": 16,
        "pooled_projection_dim": 8,
        "rope_axes_dim": (2, 4, 4),
    },
    lambda: {
        "hidden_states": normal(4, 1, 8, 8),
        "timestep": steps(),
        "encoder_hidden_states": normal(6, 16),
        "encoder_attention_mask": torch.ones(BATCH, 6),
        "pooled_projections": normal(8),
        "guidance": steps(6.0),
    },
)
model(
    "auraflow",
    "AuraFlowTransformer2DModel",
    {
        "sample_size": 16,
        "patch_size": 2,
        "in_channels": 4,
        "num_mmdit_layers": 2,
        "num_single_dit_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "caption_projection_dim": 32,
        "joint_attention_dim": 32,
        "out_channels": 4,
        "pos_embed_max_size": 64,
    },
    lambda: {
        "hidden_states": normal(4, 16, 16),
        "encoder_hidden_states": normal(6, 32),
        "timestep": steps(0.5),
    },
)
model(
    "prior",
    "PriorTransformer",
    {
        **TWO_HEADS,
        "num_layers": 3,
        "embedding_dim": 32,
        "num_embeddings": 6,
        "additional_embeddings": 4,
    },
    lambda: {
        "hidden_states": normal(32),
        "timestep": torch.tensor(3),
        "proj_embedding": normal(32),
        "encoder_hidden_states": normal(6, 32),
    },
)
