"""What a launch will do: the command line over the configuration file over guesses."""

import os
from types import SimpleNamespace

from pyaccel.commands._launch import config_file, port
from pyaccel.commands._launch.command_line import convert
from pyaccel.commands._launch.devices import cuda_device_count
from pyaccel.commands._launch.errors import LaunchError
from pyaccel.commands._launch.options import OPTIONS

# What a group of processes on one machine can be told about machines and restarts.
_ONLY = {
    "num_machines": (1,),
    "machine_rank": (0,),
    "rdzv_backend": ("static", "c10d"),
    "rdzv_conf": ("",),
    "max_restarts": (0,),
    "mpirun_hostfile": (),
}
_DYNAMO = (
    "dynamo_backend",
    "dynamo_mode",
    "dynamo_use_fullgraph",
    "dynamo_use_dynamic",
    "dynamo_use_regional_compilation",
)
_TRAINING_TYPES = ("DEEPSPEED", "FSDP", "MEGATRON_LM", "TPU", "XLA")
_TYPES = (
    *("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_XPU", "MULTI_NPU", "MULTI_HPU"),
    *("MULTI_MLU", "MULTI_SDAA", "MULTI_MUSA", "MULTI_NEURON"),
)


def resolve(args):
    """A namespace with one attribute an option, each with its final value.

    Besides the options it has `use_cpu`, which stands for `--cpu` and for the file's
    key of that name, the script with its arguments, and `notes` for the user.
    """
    given = getattr(args, "nondefault", None)
    values = {n: getattr(args, n, o.default) for n, o in OPTIONS.items()}
    if given is None:  # a namespace that no parser of ours has made
        given = {n for n, o in OPTIONS.items() if values[n] != o.default}
    settings = SimpleNamespace(
        **values,
        use_cpu=values["cpu"],
        training_script=args.training_script,
        training_script_args=list(args.training_script_args),
        notes=[],
    )
    _check_command_line(settings, given)
    path = settings.config_file
    if path is None and not settings.cpu and os.path.isfile(config_file.default_path()):
        path = config_file.default_path()
    if path is not None:
        _take_file(settings, config_file.read(path), path, given)
    _check_one_machine(settings)
    _fill(settings, guess=path is None)
    _note_place(settings, getattr(args, "found_after_script", None))
    return settings


def _check_command_line(settings, given):
    if settings.cpu and settings.multi_gpu:
        raise LaunchError("--cpu and --multi_gpu contradict each other; give one")
    if settings.module and settings.no_python:
        raise LaunchError("--module and --no_python contradict each other; give one")
    if "num_processes" in given:
        _check_count(settings.num_processes, "--num_processes")
        if settings.multi_gpu and settings.num_processes == 1:
            raise LaunchError("--multi_gpu needs --num_processes 2 or more, not 1")
    threads = settings.num_cpu_threads_per_process
    if threads is not None:
        _check_count(threads, "--num_cpu_threads_per_process")
    # Written so that "not a number" is refused too.
    if not 0 <= settings.grace < float("inf"):
        raise LaunchError(f"--grace must be 0 or more seconds, not {settings.grace}")


def _check_count(count, source):
    if count < 1:
        raise LaunchError(f"{source} must be 1 or more, not {count}")


def _take_file(settings, values, path, given):
    """Take each key of the file that the command line does not decide."""
    kind = values["distributed_type"] or "NO"  # an unquoted NO is False in YAML
    _check_kind(settings, kind, values, path)
    for key in ("debug", "enable_cpu_affinity", "same_network", "use_cpu"):
        value = values.get(key) or False
        if not isinstance(value, bool):
            raise LaunchError(f"{key} in {path!r} must be true or false, not {value!r}")
        setattr(settings, key, value or getattr(settings, key))
    if kind == "MULTI_CPU":
        settings.use_cpu = True
    if settings.multi_gpu:
        settings.use_cpu = False
    if kind not in ("NO", "MULTI_CPU") and not settings.cpu:
        settings.multi_gpu = True
    for key, value in _flat(values, path):
        if value is None or key in given or key not in OPTIONS:
            continue
        if OPTIONS[key].kind != "flag":
            setattr(settings, key, convert(OPTIONS[key], value, f"{key} in {path!r}"))
        elif key in _DYNAMO:
            setattr(settings, key, bool(value))
    if settings.num_processes is None:
        settings.num_processes = 1 if kind == "NO" else -1
    if settings.num_processes == -1:
        raise LaunchError(
            f"{path!r} leaves the number of processes open; give --num_processes"
        )
    _check_count(settings.num_processes, f"num_processes in {path!r}")


def _check_kind(settings, kind, values, path):
    where = values.get("compute_environment") or "LOCAL_MACHINE"
    if where != "LOCAL_MACHINE":
        raise LaunchError(
            f"compute_environment in {path!r} is {where!r}, and pyaccel starts "
            "processes on this machine only: LOCAL_MACHINE"
        )
    if kind not in _TYPES + _TRAINING_TYPES:
        raise LaunchError(
            f"distributed_type in {path!r} must be one of {', '.join(_TYPES)}, "
            f"not {kind!r}"
        )
    if kind in _TRAINING_TYPES and not (settings.cpu or settings.multi_gpu):
        raise LaunchError(
            f"distributed_type in {path!r} is {kind!r}, which is for training or "
            "TPUs, and pyaccel does neither; use MULTI_GPU, MULTI_CPU or 'NO'"
        )


def _flat(values, path):
    """The keys of the file; those of its nested parts under their options' names."""
    for key, value in values.items():
        if key == "mixed_precision" and value is False:
            yield key, "no"  # an unquoted no is False in YAML
        elif key == "gpu_ids" and isinstance(value, list):
            yield key, ",".join(str(one) for one in value)
        elif key in ("dynamo_config", "mpirun_config"):
            if not isinstance(value or {}, dict):
                raise LaunchError(f"{key} in {path!r} must hold keys with values")
            prefix = key.partition("_")[0] + "_"
            for name, inner in (value or {}).items():
                yield (name if name.startswith(prefix) else prefix + name), inner
        else:
            yield key, value


def _check_one_machine(settings):
    for name, allowed in _ONLY.items():
        value = getattr(settings, name)
        if value is None or value in allowed:
            continue
        remedy = (
            f"only {' or '.join(map(str, allowed))} can be given" if allowed else ""
        )
        raise LaunchError(
            f"{name} is {value!r}, but pyaccel launch starts the processes of one "
            f"machine, once; {remedy or 'leave it out'}"
        )
    host = settings.main_process_ip
    if host is not None and not port.is_here(host):
        raise LaunchError(
            f"main_process_ip is {host!r}, which is no address of this machine, where "
            "all processes are started; leave it out"
        )


def _fill(settings, guess):
    """Give the options that nobody decided their values; say which were guessed."""
    ids = settings.gpu_ids
    if ids is not None and ids != "all":
        count = len([one for one in ids.split(",") if one.strip()])
        if settings.multi_gpu and count < 2:
            raise LaunchError(
                f"gpu_ids {ids!r} names fewer than two GPUs, but several were asked "
                "for; name more of them, or all"
            )
    elif settings.use_cpu:
        count = 0
    else:
        count = cuda_device_count()
    if settings.num_processes is None:
        settings.num_processes = max(count, 1)
        seen = "none that is wanted" if settings.use_cpu else str(count)
        defaults = f"num_processes={settings.num_processes} (CUDA devices: {seen})"
        rest = {"num_machines": 1, "mixed_precision": "no", "dynamo_backend": "no"}
        for name, value in rest.items():
            if getattr(settings, name) is None:
                defaults += f", {name}={value}"
        if guess:
            settings.notes.append(
                f"not given, so set here: {defaults}; options or a configuration file "
                "say otherwise"
            )
    if settings.mixed_precision is None:
        settings.mixed_precision = "no"
    if settings.dynamo_backend is None:
        settings.dynamo_backend = "no"


def _note_place(settings, word):
    if word is not None:
        settings.notes.append(
            f"{word} stands after the script: starting {settings.num_processes} "
            "process(es), and passing it on to the script; put -- before the "
            "script to leave it to the script"
        )
