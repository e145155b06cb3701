"""The diffusers pipelines of the examples: any model, or a tiny one made offline."""

import contextlib
import json
import tempfile
from pathlib import Path

import torch

# Stable Diffusion reads prompts of at most so many tokens.
_MAX_TOKENS = 77

# What byte-level tokenizers write for the 256 bytes: a printable character each.
_BYTES = [chr(i) for i in (*range(33, 127), *range(161, 173), *range(174, 324))]
_START, _END = "<|startoftext|>", "<|endoftext|>"


def add_model_arguments(parser):
    """The options by which a user chooses the pipeline."""
    parser.add_argument(
        "--model",
        default="runwayml/stable-diffusion-v1-5",
        help="name or folder of a text-to-image model of diffusers (%(default)s)",
    )
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="instead of --model, a small Stable Diffusion with random weights, made "
        "offline in a second: its pictures show colours, not things",
    )


def load_pipeline(args, device, first=None):
    """The pipeline that the options ask for, on `device`.

    `first` is a context manager in which one process of a host may download the model
    before the others look for it.
    """
    if args.tiny:
        return tiny_pipeline().to(device)
    from diffusers import DiffusionPipeline

    # Half precision is what accelerators are fast at and what CPUs are slow at.
    half = torch.device(device).type != "cpu"
    try:
        with first or contextlib.nullcontext():
            pipeline = DiffusionPipeline.from_pretrained(
                args.model, torch_dtype=torch.float16 if half else torch.float32
            )
    except (OSError, ValueError) as error:
        raise SystemExit(
            f"The model {args.model!r} of --model could not be loaded: {error}\n"
            "Name a model that is here or can be downloaded, or use --tiny."
        ) from error
    return pipeline.to(device)


def tiny_pipeline():
    """A whole Stable Diffusion pipeline in 5 MB; its weights are the same each time."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = _tiny_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            block_out_channels=(16, 32, 32, 32),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            norm_num_groups=8,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_attention_heads=4,
                num_hidden_layers=2,
                max_position_embeddings=_MAX_TOKENS,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _tiny_tokenizer():
    """A tokenizer with one token a byte, inside a word and at its end; no merges."""
    from transformers import CLIPTokenizer

    tokens = [*_BYTES, *(f"{byte}</w>" for byte in _BYTES), _START, _END]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "vocab.json").write_text(json.dumps(vocabulary))
        Path(folder, "merges.txt").write_text("#version: 0.2\n")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=_MAX_TOKENS)
