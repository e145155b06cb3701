"""Reads accelerate's configuration file, YAML or JSON, into a dict.

Every key that accelerate 1.15 knows is known here; a key that it does not know is an
error, so that a slip is not silently without effect.
"""

import os

from pyaccel.commands._launch.errors import LaunchError

# Keys that become settings, or whose value is looked at; `settings.py` says how.
_USED = {
    "compute_environment",
    "debug",
    "distributed_type",
    "dynamo_config",
    "enable_cpu_affinity",
    "gpu_ids",
    "machine_rank",
    "main_process_ip",
    "main_process_port",
    "mixed_precision",
    "mpirun_config",
    "num_machines",
    "num_processes",
    "rdzv_backend",
    "same_network",
    "use_cpu",
}
# Keys of training or of TPUs, which `accelerate config` writes into every file.
_WITHOUT_EFFECT = {
    "command_file",
    "commands",
    "deepspeed_config",
    "downcast_bf16",
    "fp8_config",
    "fsdp_config",
    "main_training_function",
    "megatron_lm_config",
    "parallelism_config",
    "tpu_env",
    "tpu_name",
    "tpu_use_cluster",
    "tpu_use_sudo",
    "tpu_vm",
    "tpu_zone",
}


def default_path():
    """Where accelerate keeps the file that counts when none is named."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME", os.path.join(cache, "huggingface"))
    folder = os.path.join(os.path.expanduser(home), "accelerate")
    path = os.path.join(folder, "default_config.yaml")
    # Long ago it was written as JSON, which counts where it is the only one.
    old = os.path.join(folder, "default_config.json")
    return old if os.path.isfile(old) and not os.path.isfile(path) else path


def read(path):
    """The keys and values of the file at `path`, old keys under their new names.

    `FileNotFoundError` if there is no such file, `LaunchError` if it cannot be used.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"the configuration file {path!r} does not exist; give the path of one, or "
            "leave --config_file out"
        )
    values = _load(path)
    if not isinstance(values, dict):
        raise LaunchError(
            f"the configuration file {path!r} must hold keys with values, but holds "
            f"{type(values).__name__}"
        )
    values = _with_new_names(values)
    unknown = sorted(str(key) for key in values.keys() - _USED - _WITHOUT_EFFECT)
    if unknown:
        raise LaunchError(
            f"the configuration file {path!r} has unknown keys ({', '.join(unknown)}); "
            "correct or remove them"
        )
    if "distributed_type" not in values:
        raise LaunchError(
            f"the configuration file {path!r} has no distributed_type; add one, such "
            "as distributed_type: MULTI_GPU, MULTI_CPU or 'NO'"
        )
    return values


def _load(path):
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise _unreadable(path, error.strerror) from None
    except UnicodeDecodeError as error:
        raise _unreadable(path, error) from None
    return _from_json(text, path) if path.endswith(".json") else _from_yaml(text, path)


def _from_json(text, path):
    import json

    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _unreadable(path, error) from None


def _from_yaml(text, path):
    # Takes as long to import as a worker to start, so only a YAML file pays for it.
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _unreadable(path, " ".join(str(error).split())) from None


def _unreadable(path, reason):
    return LaunchError(f"the configuration file {path!r} cannot be read: {reason}")


def _with_new_names(values):
    """What accelerate called `fp16` and `dynamo_backend` long ago has new names."""
    values = dict(values)
    if values.pop("fp16", False) and not values.get("mixed_precision"):
        values["mixed_precision"] = "fp16"
    backend = values.pop("dynamo_backend", None)
    if backend and "dynamo_config" not in values:
        values["dynamo_config"] = {"dynamo_backend": backend}
    return values
