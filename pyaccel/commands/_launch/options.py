"""The options of `pyaccel launch`: one table, from which all else about them follows.

Names, defaults and choices are accelerate's. Every long option may be spelled with
`-` or `_` between its words; none may be abbreviated.
"""


class Option:
    """One option; `kind` is "flag" (takes no value), "int", "float" or "text"."""

    def __init__(self, name, kind, default, help, choices=None, *, short=None):
        self.name = name
        self.kind = kind
        self.default = default
        self.help = help
        self.choices = choices
        self.short = short


MIXED_PRECISION = ("no", "fp16", "bf16", "fp8")
DYNAMO_BACKENDS = (
    *("no", "eager", "aot_eager", "inductor", "aot_ts_nvfuser", "nvprims_nvfuser"),
    *("cudagraphs", "ofi", "fx2trt", "onnxrt", "tensorrt", "aot_torchxla_trace_once"),
    *("torchxla_trace_once", "tvm", "hpu_backend", "neuron"),
)
DYNAMO_MODES = ("default", "reduce-overhead", "max-autotune")

_TABLE = (
    Option("config_file", "text", None, "a configuration file, YAML or .json"),
    Option("quiet", "flag", False, "leave out the launcher's own notes", short="q"),
    Option("cpu", "flag", False, "run on the CPU even where there are accelerators"),
    Option("multi_gpu", "flag", False, "run on several GPUs"),
    Option("num_processes", "int", None, "how many processes to start"),
    Option("num_machines", "int", None, "how many machines take part; 1"),
    Option("machine_rank", "int", None, "the rank of this machine; 0"),
    Option("main_process_ip", "text", None, "an address of this machine"),
    Option(
        "main_process_port", "int", None, "the port of rank 0; 0 or none: a free one"
    ),
    Option("gpu_ids", "text", None, "the GPUs to use, such as 0,2; or all"),
    Option("mixed_precision", "text", None, "the precision to run in", MIXED_PRECISION),
    Option(
        "num_cpu_threads_per_process", "int", None, "OMP_NUM_THREADS of each process"
    ),
    Option("enable_cpu_affinity", "flag", False, "bind processes to their GPU's cores"),
    Option("debug", "flag", False, "check the shapes of every operation"),
    Option(
        "grace", "float", 5.0, "seconds between TERM and KILL when ending processes"
    ),
    Option(
        *("tee", "text", "0"),
        "put [ROLE RANK]: before each line of 1 stdout, 2 stderr, 3 both, 0 neither; "
        "0:3,2:1 says it for each rank",
        short="t",
    ),
    Option(
        "log_dir",
        "text",
        None,
        "a folder to copy the output to, all or what --tee says",
    ),
    Option("role", "text", "default", "the name that --tee puts before the rank"),
    Option("module", "flag", False, "the script is a module, as python -m", short="m"),
    Option(
        "no_python", "flag", False, "the script is a program: run it without python"
    ),
    Option("dynamo_backend", "text", None, "for torch.compile", DYNAMO_BACKENDS),
    Option("dynamo_mode", "text", "default", "the mode of torch.compile", DYNAMO_MODES),
    Option("dynamo_use_fullgraph", "flag", False, "torch.compile(fullgraph=True)"),
    Option("dynamo_use_dynamic", "flag", False, "torch.compile(dynamic=True)"),
    Option("dynamo_use_regional_compilation", "flag", False, "compile repeated blocks"),
    # These decide how several machines meet, or how torch's elastic agent behaves. On
    # one machine only the values named in `settings.py` make sense.
    Option("same_network", "flag", False, "all machines are on one network"),
    Option("rdzv_backend", "text", "static", "how machines meet: static or c10d"),
    Option("rdzv_conf", "text", "", "further settings of that; none"),
    Option("max_restarts", "int", 0, "how often to restart failed processes; 0"),
    Option("monitor_interval", "float", 0.1, "accepted; ends are noticed at once"),
    Option("mpirun_hostfile", "text", None, "the hosts of mpirun; none"),
)

OPTIONS = {option.name: option for option in _TABLE}
SHORT = {option.short: option for option in _TABLE if option.short}

# accelerate's options that only training or another kind of machine uses: the exact
# names and the beginnings of names, each with what it belongs to.
_TRAINING = (
    ("use_deepspeed", "DeepSpeed training"),
    ("deepspeed_", "DeepSpeed training"),
    ("zero_stage", "DeepSpeed training"),
    ("zero3_", "DeepSpeed training"),
    ("offload_optimizer_", "DeepSpeed training"),
    ("offload_param_", "DeepSpeed training"),
    ("gradient_accumulation_steps", "training"),
    ("gradient_clipping", "training"),
    ("use_fsdp", "FSDP training"),
    ("fsdp_", "FSDP training"),
    ("use_megatron_lm", "Megatron-LM training"),
    ("megatron_lm_", "Megatron-LM training"),
    ("use_parallelism_config", "N-d parallel training"),
    ("parallelism_config_", "N-d parallel training"),
    ("fp8_", "FP8 training"),
    ("tpu", "TPUs"),
    ("no_tpu_cluster", "TPUs"),
    ("vm", "TPUs"),
    ("env", "TPUs"),
    ("downcast_bf16", "TPUs"),
    ("main_training_function", "TPUs"),
    ("aws_", "Amazon SageMaker"),
)


def training_purpose(name):
    """What accelerate's option `name` is for if we refuse it, else None."""
    for beginning, purpose in _TRAINING:
        exact = not beginning.endswith("_") and beginning != "tpu"
        if name == beginning or (not exact and name.startswith(beginning)):
            return purpose
    return None
