"""The environment of the workers: what they are told about themselves."""

import os

from pyaccel import _control

# Left by an outer launcher, these would make a worker take part in its group.
_FOREIGN = (
    *("GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_"),
    *("OMPI_COMM_WORLD_", "PMI_", "PMIX_", "TORCHELASTIC_"),
    _control.NAME,
    _control.SECRET,
)


def shared(settings, port, threads, secret=b""):
    """The variables that all workers have alike, over those of the launcher.

    `secret` opens the keys that the store at `port` keeps for pyaccel.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN)
    }
    size = str(settings.num_processes)
    environment.update(
        WORLD_SIZE=size,
        LOCAL_WORLD_SIZE=size,
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        OMP_NUM_THREADS=str(threads),
        ACCELERATE_USE_CPU=str(settings.use_cpu),
        ACCELERATE_MIXED_PRECISION=settings.mixed_precision,
        ACCELERATE_DYNAMO_BACKEND=settings.dynamo_backend.upper(),
        ACCELERATE_DYNAMO_MODE=settings.dynamo_mode,
        ACCELERATE_DYNAMO_USE_FULLGRAPH=str(settings.dynamo_use_fullgraph),
        ACCELERATE_DYNAMO_USE_DYNAMIC=str(settings.dynamo_use_dynamic),
        ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION=str(
            settings.dynamo_use_regional_compilation
        ),
    )
    if settings.debug:
        environment["ACCELERATE_DEBUG_MODE"] = "true"
    if settings.enable_cpu_affinity:
        environment["ACCELERATE_CPU_AFFINITY"] = "1"
    if settings.gpu_ids not in (None, "all"):
        environment["CUDA_VISIBLE_DEVICES"] = settings.gpu_ids
    if settings.num_processes > 1:
        # The launcher serves the store, so torch.distributed is to be its client only;
        # the second one is read by torch before 2.5.
        environment["TORCHELASTIC_USE_AGENT_STORE"] = "True"
        environment["TORCHELASTIC_RESTART_COUNT"] = "0"
        environment[_control.SECRET] = f"{port}:{secret.hex()}"
        # Into a pipe, Python's print waits for 8 KiB before it writes anything.
        environment.setdefault("PYTHONUNBUFFERED", "1")
    elif settings.use_cpu:
        # As accelerate sets them. They bind the threads to the first cores, so several
        # processes would share those and leave the others idle.
        environment.setdefault("KMP_AFFINITY", "granularity=fine,compact,1,0")
        environment.setdefault("KMP_BLOCKTIME", "1")
    return environment


def of_rank(common, rank):
    """The environment of the worker `rank`."""
    return dict(common, RANK=str(rank), LOCAL_RANK=str(rank))


def control(variables, segment_fd):
    """The entry that tells the worker with these variables from its children.

    Empty for a worker that is alone. The worker's pid comes in the place of the `%`.
    `segment_fd` is the shared memory, or None if there is none.
    """
    if variables["WORLD_SIZE"] == "1":
        return b""
    value = _control.compose("%", -1 if segment_fd is None else segment_fd, variables)
    return f"{_control.NAME}={value}".encode()


def threads(settings, cores):
    """OMP_NUM_THREADS: as told, else the variable, else each rank's share of cores."""
    if settings.num_cpu_threads_per_process is not None:
        return settings.num_cpu_threads_per_process
    return os.environ.get("OMP_NUM_THREADS") or max(
        1, int(cores // settings.num_processes)
    )
