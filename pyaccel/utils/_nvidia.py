"""What NVIDIA's driver says of the GPUs, without initialising CUDA in this process.

NVML answers within this process; where it is not there, NVIDIA's command is asked.
"""

from shutil import which

from .. import _C, _gpu_libraries

# The first driver with which GeForce cards of the 4000 series talk to each other.
_P2P_DRIVER = "550.40.07"
_NO_P2P = ("RTX 40",)
_SECONDS = 60.0  # the driver may have to wake the GPUs first


def _nvidia_smi() -> str:
    """The command: where it is on the path, else its name."""
    return which("nvidia-smi") or "nvidia-smi"


def _query(what: str) -> list[str]:
    """One line a GPU with one of its properties, as the command says it."""
    import subprocess

    command = [_nvidia_smi(), f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_SECONDS
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(
            error.errno,
            "NVIDIA's driver is not installed here, so there are no GPUs to ask for",
            "nvidia-smi",
        ) from None
    return [line.strip() for line in result.stdout.splitlines() if line.strip()]


def get_gpu_info() -> tuple[list[str], int]:
    """The names of this machine's NVIDIA GPUs, and how many there are.

    FileNotFoundError where NVIDIA's driver is not installed.
    """
    _gpu_libraries.prepare()
    try:
        names = [gpu["name"] for gpu in _C.gpu_list()]
    except OSError:
        names = _query("gpu_name")
    return names, len(names)


def get_driver_version() -> str:
    """The version of NVIDIA's driver; FileNotFoundError where it is not installed."""
    _gpu_libraries.prepare()
    try:
        return _C.gpu_driver()
    except OSError:
        return _query("driver_version")[0]


def check_cuda_p2p_ib_support() -> bool:
    """Whether the GPUs may talk to each other directly, or need not.

    GeForce cards of the 4000 series may not with drivers before 550.40.07.
    """
    from subprocess import SubprocessError

    from packaging.version import parse

    try:
        names, count = get_gpu_info()
        affected = any(part in name for name in names for part in _NO_P2P)
        if count < 2 or not affected:
            return True
        return parse(get_driver_version()) >= parse(_P2P_DRIVER)
    except (OSError, ValueError, IndexError, SubprocessError):
        return True  # Nobody can say, and most machines do.


def check_cuda_fp8_capability() -> bool:
    """Whether the first GPU computes in FP8: compute capability 8.9 or more."""
    import torch

    if not torch.cuda.is_available():
        return False
    return torch.cuda.get_device_capability() >= (8, 9)
