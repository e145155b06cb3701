"""The benchmark of GPUs: what it measures where, and its trials on the CPU."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.harness.rank import BACKEND, TORCH, find_case
from benchmarks.harness.session import Session

ROOT = Path(__file__).resolve().parents[2]
# What stands in for a GPU: the trials ask their library where their tensors are.
ON_THE_CPU = {"ACCELERATE_USE_CPU": "true", BACKEND: "gloo"}


@pytest.mark.parametrize(
    ("gpus", "names"),
    [(0, []), (1, ["one GPU"]), (2, ["one GPU", "a GPU each"]), (8, None)],
)
def test_the_settings_follow_from_the_gpus(gpus, names):
    found = [setting.name for setting in gpu.settings(gpus)]
    assert found == (["one GPU", "a GPU each"] if names is None else names)


def test_ranks_find_every_case_by_its_name():
    assert len({case.name for case in gpu.CASES}) == len(gpu.CASES)
    for case in gpu.CASES:
        assert find_case("benchmarks.gpu", case.name, case.ranks) is case


def test_two_ranks_on_one_gpu_see_only_that(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert gpu.SHARED.variables()["CUDA_VISIBLE_DEVICES"] == "3"
    assert gpu.SHARED.variables()[BACKEND] == "gloo"
    assert "CUDA_VISIBLE_DEVICES" not in gpu.APART.variables()


def is_small(case):
    wanted = ("gather of 8 B", "tensors of 512 B", "1 and 2 MiB", "the first gather")
    return any(name in case.name for name in wanted)


def test_the_trials_are_right_with_every_contestant(monkeypatch):
    """On the CPU: the results, and that all take part; the floors need a GPU."""
    monkeypatch.setattr(gpu, "KERNEL", None)
    with Session(quick=True) as session:
        gpu.measure(session, gpu.SHARED, ON_THE_CPU, is_small)
        assert session.servers == {}
        rows = session.rows
    assert [row.error for row in rows if row.error] == []
    by_case = {}
    for row in rows:
        by_case.setdefault(row.case, set()).add(row.library)
    assert len(by_case) == 6
    for case, libraries in by_case.items():
        assert {"accelerate", "pyaccel", TORCH} <= libraries, case
        ways = {"pyaccel, ipc", "pyaccel, staged"}
        assert ways <= libraries or "first" in case


def test_between_gpus_the_floor_is_torchs_own_gather():
    with Session(quick=True) as session:
        wanted = "a GPU each: gather of 8 B"
        gpu.measure(session, gpu.APART, ON_THE_CPU, lambda case: case.name == wanted)
        rows = {row.library: row for row in session.rows}
    assert set(rows) == {
        *("accelerate", "pyaccel", "pyaccel, nccl", "pyaccel, ipc", "pyaccel, staged"),
        f"floor: {gpu.NCCL.label}",
    }
    assert not any(row.error for row in rows.values())
    assert rows["pyaccel"].to_floor > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for no GPU, and has one")
def test_without_a_gpu_it_says_so_and_measures_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "gpu", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "gpu: skipped: needs a CUDA GPU" in done.stderr
    assert "pyaccel" in done.stdout
