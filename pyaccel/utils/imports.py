"""What is installed: questions that are answered without importing the package.

Only a package that adds a device to torch is imported to be asked for its devices, and
only where it is installed.
"""

from functools import wraps
from importlib import metadata
from importlib.util import find_spec

from ._device_checks import (
    is_bf16_available,
    is_cuda_available,
    is_fp16_available,
    is_habana_gaudi1,
    is_hpu_available,
    is_mlu_available,
    is_mps_available,
    is_musa_available,
    is_neuron_available,
    is_npu_available,
    is_rocm_available,
    is_sdaa_available,
    is_torch_distributed_available,
    is_torch_xla_available,
    is_xccl_available,
    is_xpu_available,
)
from .environment import parse_flag_from_env
from .versions import compare_versions, is_torch_version

__all__ = [
    "is_4bit_bnb_available",
    "is_8bit_bnb_available",
    "is_aim_available",
    "is_amdsmi_available",
    "is_bf16_available",
    "is_bitsandbytes_multi_backend_available",
    "is_bnb_available",
    "is_boto3_available",
    "is_clearml_available",
    "is_comet_ml_available",
    "is_cuda_available",
    "is_datasets_available",
    "is_deepspeed_available",
    "is_dvclive_available",
    "is_fp8_available",
    "is_fp16_available",
    "is_habana_gaudi1",
    "is_hpu_available",
    "is_import_timer_available",
    "is_lomo_available",
    "is_matplotlib_available",
    "is_megatron_lm_available",
    "is_mlflow_available",
    "is_mlu_available",
    "is_mps_available",
    "is_msamp_available",
    "is_musa_available",
    "is_neuron_available",
    "is_npu_available",
    "is_numpy_available",
    "is_pandas_available",
    "is_peft_available",
    "is_pippy_available",
    "is_pynvml_available",
    "is_pytest_available",
    "is_rich_available",
    "is_rocm_available",
    "is_sagemaker_available",
    "is_schedulefree_available",
    "is_sdaa_available",
    "is_swanlab_available",
    "is_tensorboard_available",
    "is_timm_available",
    "is_torch_distributed_available",
    "is_torch_xla_available",
    "is_torchao_available",
    "is_torchdata_available",
    "is_torchdata_stateful_dataloader_available",
    "is_torchvision_available",
    "is_tqdm_available",
    "is_trackio_available",
    "is_transformer_engine_available",
    "is_transformer_engine_mxfp8_available",
    "is_transformers_available",
    "is_triton_available",
    "is_wandb_available",
    "is_weights_only_available",
    "is_xccl_available",
    "is_xpu_available",
    "torchao_required",
]


def _is_package_available(pkg_name: str, metadata_name: str | None = None) -> bool:
    """Whether a package can be imported and was installed, under either name.

    A folder of that name in the working directory can be imported too; only what was
    installed has metadata.
    """
    if find_spec(pkg_name) is None:
        return False
    try:
        metadata.metadata(metadata_name or pkg_name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _is_at_least(package: str, version: str) -> bool:
    return _is_package_available(package) and compare_versions(package, ">=", version)


def is_amdsmi_available() -> bool:
    """Whether amdsmi is installed."""
    return _is_package_available("amdsmi")


def is_boto3_available() -> bool:
    """Whether boto3 is installed."""
    return _is_package_available("boto3")


def is_clearml_available() -> bool:
    """Whether ClearML is installed."""
    return _is_package_available("clearml")


def is_comet_ml_available() -> bool:
    """Whether Comet is installed."""
    return _is_package_available("comet_ml")


def is_datasets_available() -> bool:
    """Whether datasets is installed."""
    return _is_package_available("datasets")


def is_deepspeed_available() -> bool:
    """Whether DeepSpeed is installed."""
    return _is_package_available("deepspeed")


def is_dvclive_available() -> bool:
    """Whether DVCLive is installed."""
    return _is_package_available("dvclive")


def is_import_timer_available() -> bool:
    """Whether import-timer is installed."""
    return _is_package_available("import_timer")


def is_lomo_available() -> bool:
    """Whether lomo-optim is installed."""
    return _is_package_available("lomo_optim")


def is_matplotlib_available() -> bool:
    """Whether Matplotlib is installed."""
    return _is_package_available("matplotlib")


def is_pandas_available() -> bool:
    """Whether pandas is installed."""
    return _is_package_available("pandas")


def is_peft_available() -> bool:
    """Whether peft is installed."""
    return _is_package_available("peft")


def is_pytest_available() -> bool:
    """Whether pytest is installed."""
    return _is_package_available("pytest")


def is_sagemaker_available() -> bool:
    """Whether SageMaker's library is installed."""
    return _is_package_available("sagemaker")


def is_schedulefree_available() -> bool:
    """Whether schedulefree is installed."""
    return _is_package_available("schedulefree")


def is_swanlab_available() -> bool:
    """Whether SwanLab is installed."""
    return _is_package_available("swanlab")


def is_timm_available() -> bool:
    """Whether timm is installed."""
    return _is_package_available("timm")


def is_torchdata_available() -> bool:
    """Whether torchdata is installed."""
    return _is_package_available("torchdata")


def is_torchvision_available() -> bool:
    """Whether torchvision is installed."""
    return _is_package_available("torchvision")


def is_tqdm_available() -> bool:
    """Whether tqdm is installed."""
    return _is_package_available("tqdm")


def is_trackio_available() -> bool:
    """Whether Trackio is installed."""
    return _is_package_available("trackio")


def is_transformers_available() -> bool:
    """Whether transformers is installed."""
    return _is_package_available("transformers")


def is_wandb_available() -> bool:
    """Whether Weights & Biases is installed."""
    return _is_package_available("wandb")


def is_pynvml_available() -> bool:
    """Whether NVIDIA's management library for Python is installed."""
    return any(
        _is_package_available("pynvml", name) for name in ("pynvml", "nvidia-ml-py")
    )


def is_msamp_available() -> bool:
    """Whether MS-AMP is installed."""
    return _is_package_available("msamp", "ms-amp")


def is_transformer_engine_available() -> bool:
    """Whether Transformer Engine is installed, Intel's where there is a Gaudi."""
    if is_hpu_available():
        return _is_package_available(
            "intel_transformer_engine", "intel-transformer-engine"
        )
    return _is_package_available("transformer_engine", "transformer-engine")


def is_transformer_engine_mxfp8_available() -> bool:
    """Whether Transformer Engine can work in MXFP8 on this device; imports it."""
    if not _is_package_available("transformer_engine", "transformer-engine"):
        return False
    from transformer_engine.pytorch.fp8 import (  # type: ignore[import-not-found]
        check_mxfp8_support,
    )

    return check_mxfp8_support()[0]


def is_torchao_available() -> bool:
    """Whether torchao is installed, 0.6.1 or later."""
    return _is_at_least("torchao", "0.6.1")


def torchao_required(func):
    """Decorates a function that raises ImportError where torchao is not installed."""

    @wraps(func)
    def checked(*args, **kwargs):
        if not is_torchao_available():
            raise ImportError(
                f"{func.__name__} needs torchao 0.6.1 or later, which is not "
                "installed: pip install torchao"
            )
        return func(*args, **kwargs)

    return checked


def is_torchdata_stateful_dataloader_available() -> bool:
    """Whether torchdata has loaders that can be saved and resumed: 0.8.0 or later."""
    return _is_at_least("torchdata", "0.8.0")


def is_fp8_available() -> bool:
    """Whether a library for computing in FP8 is installed."""
    return (
        is_msamp_available()
        or is_transformer_engine_available()
        or is_torchao_available()
    )


def is_bnb_available(min_version: str | None = None) -> bool:
    """Whether bitsandbytes is installed, of at least a version if one is given."""
    return _is_at_least("bitsandbytes", min_version or "0")


def is_4bit_bnb_available() -> bool:
    """Whether bitsandbytes can hold weights in 4 bits: 0.39.0 or later."""
    return is_bnb_available("0.39.0")


def is_8bit_bnb_available() -> bool:
    """Whether bitsandbytes can hold weights in 8 bits: 0.37.2 or later."""
    return is_bnb_available("0.37.2")


def is_bitsandbytes_multi_backend_available() -> bool:
    """Whether bitsandbytes, which is imported, works on more than CUDA."""
    if not is_bnb_available():
        return False
    import bitsandbytes  # type: ignore[import-not-found]

    return "multi_backend" in getattr(bitsandbytes, "features", set())


def is_megatron_lm_available() -> bool:
    """Whether Megatron-LM was asked for by its variable and is installed."""
    if not parse_flag_from_env("ACCELERATE_USE_MEGATRON_LM"):
        return False
    return find_spec("megatron") is not None


def is_triton_available() -> bool:
    """Whether Triton is installed, Intel's where there is an XPU."""
    name = "triton-xpu" if is_xpu_available() else "triton"
    return _is_package_available("triton", name)


def is_aim_available() -> bool:
    """Whether Aim is installed, before 4.0.0, which is another interface."""
    return _is_package_available("aim") and compare_versions("aim", "<", "4.0.0")


def is_tensorboard_available() -> bool:
    """Whether TensorBoard, or tensorboardX, is installed."""
    return _is_package_available("tensorboard") or _is_package_available("tensorboardX")


def is_mlflow_available() -> bool:
    """Whether MLflow is installed, whole or in its small edition."""
    return any(
        _is_package_available("mlflow", name) for name in ("mlflow", "mlflow-skinny")
    )


def is_rich_available() -> bool:
    """Whether rich is installed and ACCELERATE_ENABLE_RICH asks for it."""
    return _is_package_available("rich") and parse_flag_from_env(
        "ACCELERATE_ENABLE_RICH"
    )


def is_pippy_available() -> bool:
    """Whether a model can be cut over processes: torch 2.4.0 or later."""
    return is_torch_version(">=", "2.4.0")


def is_weights_only_available() -> bool:
    """Whether torch can load files that hold nothing but data: 2.4.0 or later."""
    return is_torch_version(">=", "2.4.0")


def is_numpy_available(min_version: str = "1.25.0") -> bool:
    """Whether NumPy is of at least a version."""
    return compare_versions("numpy", ">=", min_version)
