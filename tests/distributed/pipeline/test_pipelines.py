"""Whole pipelines of diffusers, called as usual, with parts of them prepared."""

import diffusers
import pytest
import torch

from pyaccel import PartialState
from pyaccel.inference import prepare_pippy
from tests.distributed.pipeline.compare import same, seeded
from tests.distributed.pipeline.rows import load
from tests.distributed.pipeline.rows_diffusers import VAE, WAN

NO_CHECKS = {"safety_checker": None, "feature_extractor": None}
NO_TEXT = {"text_encoder": None, "tokenizer": None}
UNET = {
    "sample_size": 16,
    "block_out_channels": (32, 64),
    "layers_per_block": 2,
    "norm_num_groups": 8,
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
SQUARE = {"height": 32, "width": 32}


def part(name):
    return load()[name].build()


def vae():
    return diffusers.AutoencoderKL(
        **{**VAE, "layers_per_block": 1, "shift_factor": 0.1, "scaling_factor": 0.5}
    )


def stable_diffusion():
    pipe = diffusers.StableDiffusionPipeline(
        vae=vae(),
        unet=diffusers.UNet2DConditionModel(**UNET),
        scheduler=diffusers.DDIMScheduler(),
        requires_safety_checker=False,
        **NO_TEXT,
        **NO_CHECKS,
    )
    return pipe, {**prompts(2, 32), "num_inference_steps": 3, **SQUARE}


def with_control():
    down = {key: value for key, value in UNET.items() if key != "up_block_types"}
    down.pop("sample_size")
    pipe = diffusers.StableDiffusionControlNetPipeline(
        vae=vae(),
        unet=diffusers.UNet2DConditionModel(**UNET),
        controlnet=diffusers.ControlNetModel(
            conditioning_embedding_out_channels=(16, 32), **down
        ),
        scheduler=diffusers.EulerDiscreteScheduler(),
        requires_safety_checker=False,
        **NO_TEXT,
        **NO_CHECKS,
    )
    image = {"image": torch.rand(2, 3, 32, 32), "num_inference_steps": 3}
    return pipe, {**prompts(2, 32), **image, **SQUARE}


def flux():
    pipe = diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=vae(),
        transformer=part("flux"),
        text_encoder_2=None,
        tokenizer_2=None,
        **NO_TEXT,
    )
    return pipe, {
        "prompt_embeds": torch.randn(2, 6, 32),
        "pooled_prompt_embeds": torch.randn(2, 24),
        "num_inference_steps": 3,
        "height": 16,
        "width": 16,
    }


def stable_diffusion_3():
    pipe = diffusers.StableDiffusion3Pipeline(
        transformer=part("sd3"),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=vae(),
        text_encoder_2=None,
        tokenizer_2=None,
        text_encoder_3=None,
        tokenizer_3=None,
        **NO_TEXT,
    )
    pooled = {
        "pooled_prompt_embeds": torch.randn(2, 24),
        "negative_pooled_prompt_embeds": torch.randn(2, 24),
    }
    return pipe, {**prompts(2, 32), **pooled, "num_inference_steps": 3, **SQUARE}


def wan():
    config = {**WAN, "in_channels": 16, "out_channels": 16}
    pipe = diffusers.WanPipeline(
        transformer=diffusers.WanTransformer3DModel(**config),
        vae=part("vae_wan"),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        **NO_TEXT,
    )
    size = {"height": 16, "width": 16, "num_frames": 5, "num_inference_steps": 3}
    return pipe, {**prompts(1, 16), **size}


def ltx():
    pipe = diffusers.LTXPipeline(
        transformer=part("ltx"),
        vae=diffusers.AutoencoderKLLTXVideo(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
            layers_per_block=(1, 1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1, 1),
            spatio_temporal_scaling=(True, True, False, False),
            decoder_spatio_temporal_scaling=(True, True, False, False),
            decoder_inject_noise=(False,) * 5,
            upsample_residual=(False,) * 4,
            upsample_factor=(1,) * 4,
            timestep_conditioning=False,
            patch_size=1,
            patch_size_t=1,
            encoder_causal=True,
            decoder_causal=False,
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        **NO_TEXT,
    )
    masks = {
        "prompt_attention_mask": torch.ones(1, 6),
        "negative_prompt_attention_mask": torch.ones(1, 6),
    }
    size = {"height": 32, "width": 32, "num_frames": 9, "num_inference_steps": 2}
    return pipe, {**prompts(1, 16), **masks, **size}


def prompts(batch, width):
    return {
        "prompt_embeds": torch.randn(batch, 6, width),
        "negative_prompt_embeds": torch.randn(batch, 6, width),
    }


PIPELINES = {
    each.__name__: each
    for each in (stable_diffusion, with_control, flux, stable_diffusion_3, wan, ltx)
}


def compare(name):
    """A pipeline in one process and with its large parts prepared."""
    PartialState(cpu=True)
    pipe, inputs = seeded(PIPELINES[name])
    pipe.set_progress_bar_config(disable=True)

    def run():
        generator = torch.Generator().manual_seed(7)
        return pipe(**inputs, output_type="pt", generator=generator)[0]

    expected = run()
    for part_name in ("unet", "transformer", "controlnet", "vae"):
        model = getattr(pipe, part_name, None)
        if model is not None:
            prepare_pippy(model, num_chunks=1, gather_output=True)
    for _ in range(2):
        assert same(torch.as_tensor(run()), torch.as_tensor(expected))


@pytest.mark.parametrize(
    ("number", "row"), [(2 * n, name) for n, name in enumerate(PIPELINES)]
)
def test_pipelines(shm, number, row):
    shm.run(compare, row, size=3, timeout=180.0)
