"""What this machine has for the tests of GPUs, as torch says it."""

import functools
import os

import torch

# NCCL lets several ranks use one GPU from this version on, where this variable says so.
SHARES_A_GPU = (2, 30)
ALLOWED = {"NCCL_MULTI_RANK_GPU_ENABLE": "1"}


@functools.cache
def gpus():
    """How many CUDA GPUs torch can use here."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def needs(count):
    """Why what needs so many GPUs cannot run here; None if it can."""
    if gpus() >= count:
        return None
    if gpus() == 0:
        return "needs a CUDA GPU, and torch.cuda.is_available() is false"
    return f"needs {count} CUDA GPUs, and torch sees {gpus()}"


def one_nccl_gpu():
    """Why several ranks cannot share a GPU over NCCL here; None if they can."""
    if reason := needs(1):
        return reason
    if not torch.distributed.is_nccl_available():
        return "needs NCCL, and this torch for GPUs was built without"
    version = torch.cuda.nccl.version()
    if version < SHARES_A_GPU:
        found, least = (".".join(map(str, v)) for v in (version, SHARES_A_GPU))
        return f"needs NCCL {least} for several ranks on one GPU, and torch has {found}"
    return None


def one_visible():
    """The variable by which a process sees the first of this machine's GPUs alone."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    return {"CUDA_VISIBLE_DEVICES": named.split(",")[0]}
