"""Everyday helpers under accelerate's names, each imported at its first use.

`__init__.pyi` says the same names to type checkers.
"""

import sys
from importlib import import_module

# Public name -> the module that defines it.
_NAMES = {
    "CannotPadNestedTensorWarning": "pyaccel.utils.operations",
    "ComputeEnvironment": "pyaccel.utils.dataclasses",
    "CustomDtype": "pyaccel.utils.dataclasses",
    "DistributedType": "pyaccel.utils.dataclasses",
    "GatheredParameters": "pyaccel.utils.operations",
    "InitProcessGroupKwargs": "pyaccel.utils.dataclasses",
    "KwargsHandler": "pyaccel.utils.dataclasses",
    "LoggerType": "pyaccel.utils.dataclasses",
    "MITA_PROFILING_AVAILABLE_PYTORCH_VERSION": "pyaccel.utils.constants",
    "MODEL_NAME": "pyaccel.utils.constants",
    "OPTIMIZER_NAME": "pyaccel.utils.constants",
    "PROFILE_PATTERN_NAME": "pyaccel.utils.constants",
    "PrecisionType": "pyaccel.utils.dataclasses",
    "RNGType": "pyaccel.utils.dataclasses",
    "RNG_STATE_NAME": "pyaccel.utils.constants",
    "SAFE_MODEL_NAME": "pyaccel.utils.constants",
    "SAFE_WEIGHTS_INDEX_NAME": "pyaccel.utils.constants",
    "SAFE_WEIGHTS_NAME": "pyaccel.utils.constants",
    "SAFE_WEIGHTS_PATTERN_NAME": "pyaccel.utils.constants",
    "SAMPLER_NAME": "pyaccel.utils.constants",
    "SCALER_NAME": "pyaccel.utils.constants",
    "SCHEDULER_NAME": "pyaccel.utils.constants",
    "TORCH_DISTRIBUTED_OPERATION_TYPES": "pyaccel.utils.constants",
    "TORCH_LAUNCH_PARAMS": "pyaccel.utils.constants",
    "TensorInformation": "pyaccel.utils.dataclasses",
    "WEIGHTS_INDEX_NAME": "pyaccel.utils.constants",
    "WEIGHTS_NAME": "pyaccel.utils.constants",
    "WEIGHTS_PATTERN_NAME": "pyaccel.utils.constants",
    "XPU_PROFILING_AVAILABLE_PYTORCH_VERSION": "pyaccel.utils.constants",
    "are_libraries_initialized": "pyaccel.utils.environment",
    "broadcast": "pyaccel.utils.operations",
    "broadcast_object_list": "pyaccel.utils.operations",
    "check_cuda_fp8_capability": "pyaccel.utils.environment",
    "check_cuda_p2p_ib_support": "pyaccel.utils.environment",
    "check_os_kernel": "pyaccel.utils.other",
    "clean_state_dict_for_safetensors": "pyaccel.utils.other",
    "clear_environment": "pyaccel.utils.environment",
    "compare_versions": "pyaccel.utils.versions",
    "compile_regions": "pyaccel.utils.other",
    "concatenate": "pyaccel.utils.operations",
    "convert_bytes": "pyaccel.utils.other",
    "convert_dict_to_env_variables": "pyaccel.utils.environment",
    "convert_outputs_to_fp32": "pyaccel.utils.operations",
    "convert_to_fp32": "pyaccel.utils.operations",
    "copy_tensor_to_devices": "pyaccel.utils.operations",
    "extract_model_from_parallel": "pyaccel.utils.other",
    "find_batch_size": "pyaccel.utils.operations",
    "find_device": "pyaccel.utils.operations",
    "find_executable_batch_size": "pyaccel.utils.memory",
    "gather": "pyaccel.utils.operations",
    "gather_object": "pyaccel.utils.operations",
    "get_cpu_distributed_information": "pyaccel.utils.environment",
    "get_current_device_type": "pyaccel.utils.environment",
    "get_data_structure": "pyaccel.utils.operations",
    "get_gpu_info": "pyaccel.utils.environment",
    "get_int_from_env": "pyaccel.utils.environment",
    "get_model_tp_size": "pyaccel.utils.other",
    "get_module_children_bottom_up": "pyaccel.utils.other",
    "get_pretty_name": "pyaccel.utils.other",
    "gpu_ways": "pyaccel.utils.operations",
    "has_compiled_regions": "pyaccel.utils.other",
    "honor_type": "pyaccel.utils.operations",
    "ignorant_find_batch_size": "pyaccel.utils.operations",
    "initialize_tensors": "pyaccel.utils.operations",
    "is_4bit_bnb_available": "pyaccel.utils.imports",
    "is_8bit_bnb_available": "pyaccel.utils.imports",
    "is_aim_available": "pyaccel.utils.imports",
    "is_amdsmi_available": "pyaccel.utils.imports",
    "is_bf16_available": "pyaccel.utils.imports",
    "is_bitsandbytes_multi_backend_available": "pyaccel.utils.imports",
    "is_bnb_available": "pyaccel.utils.imports",
    "is_boto3_available": "pyaccel.utils.imports",
    "is_clearml_available": "pyaccel.utils.imports",
    "is_comet_ml_available": "pyaccel.utils.imports",
    "is_compiled_module": "pyaccel.utils.other",
    "is_cuda_available": "pyaccel.utils.imports",
    "is_datasets_available": "pyaccel.utils.imports",
    "is_deepspeed_available": "pyaccel.utils.imports",
    "is_dvclive_available": "pyaccel.utils.imports",
    "is_fp16_available": "pyaccel.utils.imports",
    "is_fp8_available": "pyaccel.utils.imports",
    "is_habana_gaudi1": "pyaccel.utils.imports",
    "is_hpu_available": "pyaccel.utils.imports",
    "is_import_timer_available": "pyaccel.utils.imports",
    "is_lomo_available": "pyaccel.utils.imports",
    "is_matplotlib_available": "pyaccel.utils.imports",
    "is_megatron_lm_available": "pyaccel.utils.imports",
    "is_mlflow_available": "pyaccel.utils.imports",
    "is_mlu_available": "pyaccel.utils.imports",
    "is_mps_available": "pyaccel.utils.imports",
    "is_msamp_available": "pyaccel.utils.imports",
    "is_musa_available": "pyaccel.utils.imports",
    "is_namedtuple": "pyaccel.utils.operations",
    "is_neuron_available": "pyaccel.utils.imports",
    "is_npu_available": "pyaccel.utils.imports",
    "is_pandas_available": "pyaccel.utils.imports",
    "is_peft_available": "pyaccel.utils.imports",
    "is_pippy_available": "pyaccel.utils.imports",
    "is_port_in_use": "pyaccel.utils.other",
    "is_pynvml_available": "pyaccel.utils.imports",
    "is_pytest_available": "pyaccel.utils.imports",
    "is_rich_available": "pyaccel.utils.imports",
    "is_rocm_available": "pyaccel.utils.imports",
    "is_sagemaker_available": "pyaccel.utils.imports",
    "is_schedulefree_available": "pyaccel.utils.imports",
    "is_sdaa_available": "pyaccel.utils.imports",
    "is_swanlab_available": "pyaccel.utils.imports",
    "is_tensor_information": "pyaccel.utils.operations",
    "is_tensorboard_available": "pyaccel.utils.imports",
    "is_timm_available": "pyaccel.utils.imports",
    "is_torch_tensor": "pyaccel.utils.operations",
    "is_torch_version": "pyaccel.utils.versions",
    "is_torch_xla_available": "pyaccel.utils.imports",
    "is_torchao_available": "pyaccel.utils.imports",
    "is_torchdata_available": "pyaccel.utils.imports",
    "is_torchdata_stateful_dataloader_available": "pyaccel.utils.imports",
    "is_torchvision_available": "pyaccel.utils.imports",
    "is_trackio_available": "pyaccel.utils.imports",
    "is_transformer_engine_available": "pyaccel.utils.imports",
    "is_transformer_engine_mxfp8_available": "pyaccel.utils.imports",
    "is_transformers_available": "pyaccel.utils.imports",
    "is_triton_available": "pyaccel.utils.imports",
    "is_wandb_available": "pyaccel.utils.imports",
    "is_weights_only_available": "pyaccel.utils.imports",
    "is_xccl_available": "pyaccel.utils.imports",
    "is_xpu_available": "pyaccel.utils.imports",
    "listify": "pyaccel.utils.operations",
    "load": "pyaccel.utils.other",
    "merge_dicts": "pyaccel.utils.other",
    "model_has_dtensor": "pyaccel.utils.other",
    "pad_across_processes": "pyaccel.utils.operations",
    "pad_input_tensors": "pyaccel.utils.operations",
    "parse_choice_from_env": "pyaccel.utils.environment",
    "parse_flag_from_env": "pyaccel.utils.environment",
    "patch_environment": "pyaccel.utils.environment",
    "purge_accelerate_environment": "pyaccel.utils.environment",
    "recursive_getattr": "pyaccel.utils.other",
    "recursively_apply": "pyaccel.utils.operations",
    "reduce": "pyaccel.utils.operations",
    "release_memory": "pyaccel.utils.memory",
    "save": "pyaccel.utils.other",
    "send_to_device": "pyaccel.utils.operations",
    "set_numa_affinity": "pyaccel.utils.environment",
    "set_seed": "pyaccel.utils.random",
    "slice_tensors": "pyaccel.utils.operations",
    "str_to_bool": "pyaccel.utils.environment",
    "synchronize_rng_state": "pyaccel.utils.random",
    "synchronize_rng_states": "pyaccel.utils.random",
    "torchao_required": "pyaccel.utils.imports",
    "tqdm": "pyaccel.utils.tqdm",
    "wait_for_everyone": "pyaccel.utils.other",
    "write_basic_config": "pyaccel.commands.config.default",
}

__all__ = list(_NAMES)


def __getattr__(name):
    module = _NAMES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(_NAMES))


class _Package(type(sys)):
    """A package in which a name of the table never means a submodule."""

    def __setattr__(self, name, value):
        # Importing the submodule `tqdm` would else hide the function of that name.
        if name not in _NAMES or not isinstance(value, type(sys)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
