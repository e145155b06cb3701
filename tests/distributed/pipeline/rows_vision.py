"""Rows of models of images."""

import torch

from tests.distributed.pipeline.rows import BATCH, add, images

VIT = {
    "image_size": 32,
    "patch_size": 8,
    "num_channels": 3,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
SWIN = {
    "image_size": 32,
    "patch_size": 2,
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 4,
}
STAGES = {"hidden_sizes": [16, 32, 32, 64], "depths": [1, 1, 2, 1]}
ALL_STAGES = ["stage1", "stage2", "stage3", "stage4"]


def pixels(size=32):
    return lambda: {"pixel_values": images(size)}


def vision(name, kind, task, config, size=32, **options):
    add(
        name,
        "transformers",
        f"{kind}For{task}",
        config,
        options.pop("inputs", pixels(size)),
        config_class=f"{kind}Config",
        **options,
    )


for _name, _kind in {
    "vit": "ViT",
    "deit": "DeiT",
    "beit": "Beit",
    "dinov2": "Dinov2",
    "ijepa": "IJepa",
    "vit_msn": "ViTMSN",
}.items():
    vision(_name, _kind, "ImageClassification", VIT)
vision("swin", "Swin", "ImageClassification", SWIN)
vision("swinv2", "Swinv2", "ImageClassification", SWIN)
vision(
    "resnet",
    "ResNet",
    "ImageClassification",
    {**STAGES, "embedding_size": 16, "layer_type": "basic"},
    attention=False,
)
vision("convnext", "ConvNext", "ImageClassification", STAGES, attention=False)
vision("convnextv2", "ConvNextV2", "ImageClassification", STAGES, attention=False)
vision(
    "regnet",
    "RegNet",
    "ImageClassification",
    {**STAGES, "embedding_size": 16, "groups_width": 8},
    attention=False,
)
vision(
    "poolformer",
    "PoolFormer",
    "ImageClassification",
    {"hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1]},
    size=64,
    attention=False,
)
vision(
    "mobilevit",
    "MobileViT",
    "ImageClassification",
    {
        "image_size": 32,
        "hidden_sizes": [16, 24, 32],
        "neck_hidden_sizes": [8, 8, 16, 16, 24, 32, 32],
        "num_attention_heads": 2,
    },
)
vision(
    "segformer",
    "Segformer",
    "SemanticSegmentation",
    {
        "hidden_sizes": [16, 16, 32, 32],
        "depths": [1, 1, 2, 1],
        "num_attention_heads": [1, 1, 2, 2],
        "decoder_hidden_size": 16,
        "num_labels": 5,
    },
    size=64,
)
vision(
    "upernet",
    "UperNet",
    "SemanticSegmentation",
    {
        "hidden_size": 16,
        "auxiliary_in_channels": 32,
        "auxiliary_channels": 16,
        "num_labels": 5,
        "pool_scales": [1, 2],
    },
    size=64,
    attention=False,
    parts={
        "backbone_config": (
            "ConvNextConfig",
            {**STAGES, "depths": [1] * 4, "out_features": ALL_STAGES},
        )
    },
)
vision(
    "dpt",
    "DPT",
    "DepthEstimation",
    {
        **VIT,
        "backbone_out_indices": [0, 1, 2, 3],
        "neck_hidden_sizes": [16, 16, 32, 32],
        "fusion_hidden_size": 16,
        "reassemble_factors": [4, 2, 1, 0.5],
        "is_hybrid": False,
    },
)
vision(
    "depth_anything",
    "DepthAnything",
    "DepthEstimation",
    {
        "reassemble_hidden_size": 32,
        "patch_size": 8,
        "neck_hidden_sizes": [16, 16, 32, 32],
        "fusion_hidden_size": 16,
    },
    attention=False,
    parts={
        "backbone_config": (
            "Dinov2Config",
            {**VIT, "out_features": ALL_STAGES, "reshape_hidden_states": False},
        )
    },
)
DETR = {
    "use_timm_backbone": False,
    "backbone": None,
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_queries": 6,
    "num_labels": 5,
}
for _name, _kind, _stages, _more in (
    ("detr", "Detr", ALL_STAGES[3:], {}),
    ("conditional_detr", "ConditionalDetr", ALL_STAGES[3:], {}),
    ("deformable_detr", "DeformableDetr", ALL_STAGES[1:], {"num_feature_levels": 3}),
):
    vision(
        _name,
        _kind,
        "ObjectDetection",
        {**DETR, **_more},
        size=64,
        attention=False,
        parts={
            "backbone_config": (
                "ResNetConfig",
                {
                    **STAGES,
                    "depths": [1] * 4,
                    "embedding_size": 16,
                    "layer_type": "basic",
                    "out_features": _stages,
                },
            )
        },
    )
vision(
    "vitmae",
    "ViTMAE",
    "PreTraining",
    {
        **VIT,
        "decoder_hidden_size": 16,
        "decoder_num_hidden_layers": 2,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 32,
    },
    inputs=lambda: {"pixel_values": images(), "noise": torch.rand(BATCH, 16)},
)
vision(
    "videomae",
    "VideoMAE",
    "VideoClassification",
    {**VIT, "num_frames": 4, "tubelet_size": 2},
    inputs=lambda: {"pixel_values": torch.randn(BATCH, 4, 3, 32, 32)},
)
