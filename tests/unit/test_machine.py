"""What the environment helpers say of variables and of a machine, a made-up one."""

import os
from types import SimpleNamespace

import pytest
import torch

from pyaccel.utils import (
    _affinity,
    are_libraries_initialized,
    check_cuda_fp8_capability,
    check_cuda_p2p_ib_support,
    convert_dict_to_env_variables,
    get_cpu_distributed_information,
    get_current_device_type,
    get_gpu_info,
    patch_environment,
    purge_accelerate_environment,
    set_numa_affinity,
)
from pyaccel.utils.environment import get_driver_version, override_numa_affinity

SMI = """#!/bin/sh
case "$1" in
*gpu_name*) printf '%s' "$NAMES" ;;
*driver_version*) printf '%s\\n' "$DRIVER" "$DRIVER" ;;
esac
"""


@pytest.fixture
def no_nvml(monkeypatch):
    """NVML is not there, so that NVIDIA's command is asked."""

    def refuse():
        raise OSError("NVML could not be loaded")

    monkeypatch.setattr("pyaccel._C.gpu_list", refuse)
    monkeypatch.setattr("pyaccel._C.gpu_driver", refuse)


@pytest.fixture
def gpus(tmp_path, monkeypatch, no_nvml):
    """Puts a command of NVIDIA's on the path that knows these GPUs."""

    def there(*names, driver="550.40.07"):
        command = tmp_path / "nvidia-smi"
        command.write_text(SMI)
        command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setenv("NAMES", "".join(f"{name}\n" for name in names))
        monkeypatch.setenv("DRIVER", driver)

    return there


def test_gpus(gpus):
    gpus("NVIDIA A100-SXM4-80GB", "NVIDIA A100-SXM4-80GB")
    assert get_gpu_info() == (["NVIDIA A100-SXM4-80GB"] * 2, 2)
    assert get_driver_version() == "550.40.07"
    assert check_cuda_p2p_ib_support()


@pytest.mark.parametrize(
    ("count", "driver", "supported"),
    [(2, "550.40.06", False), (2, "550.40.07", True), (1, "535.0", True)],
)
def test_gpus_that_may_not_talk_to_each_other(gpus, count, driver, supported):
    gpus(*["NVIDIA GeForce RTX 4090"] * count, driver=driver)
    assert check_cuda_p2p_ib_support() is supported


def test_gpus_as_nvml_knows_them(monkeypatch):
    """Without a process of NVIDIA's command."""
    gpu = {"name": "NVIDIA GeForce RTX 4090"}
    monkeypatch.setattr("pyaccel._C.gpu_list", lambda: [gpu, gpu])
    monkeypatch.setattr("pyaccel._C.gpu_driver", lambda: "550.40.06")
    monkeypatch.setattr("subprocess.run", None)
    assert get_gpu_info() == (["NVIDIA GeForce RTX 4090"] * 2, 2)
    assert get_driver_version() == "550.40.06"
    assert not check_cuda_p2p_ib_support()


@pytest.mark.usefixtures("no_nvml")
def test_no_driver(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="NVIDIA's driver is not installed"):
        get_gpu_info()
    assert check_cuda_p2p_ib_support()


@pytest.mark.parametrize(
    ("capability", "able"), [((8, 0), False), ((8, 9), True), ((9, 0), True)]
)
def test_fp8(monkeypatch, capability, able):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert check_cuda_fp8_capability() is able


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0-2,8,10-11\n", {0, 1, 2, 8, 10, 11}), ("3", {3}), ("\n", set())],
)
def test_lists_of_processors(text, numbers):
    assert _affinity.parse_cpu_list(text) == numbers


@pytest.fixture
def bus(tmp_path, monkeypatch):
    """A GPU on the bus, next to some processors."""
    place = SimpleNamespace(pci_domain_id=0, pci_bus_id=0x1B, pci_device_id=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", [place, place].__getitem__)
    monkeypatch.setattr(_affinity, "_DEVICES", tmp_path)
    bound = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: bound.append(cpus))
    (tmp_path / "0000:1b:00.0").mkdir()
    set_numa_affinity.cache_clear()
    yield SimpleNamespace(file=tmp_path / "0000:1b:00.0/local_cpulist", bound=bound)
    set_numa_affinity.cache_clear()


def test_processors_next_to_the_gpu(bus, caplog):
    own = min(os.sched_getaffinity(0))
    bus.file.write_text(f"{own},100000-100003\n")
    caplog.set_level("INFO")
    set_numa_affinity(0, verbose=True)
    set_numa_affinity(0, verbose=True)
    assert bus.bound == [{own}]
    assert f"bound to the processors [{own}]" in caplog.text
    override_numa_affinity(0)
    override_numa_affinity(5)  # the second GPU, as its device is
    assert len(bus.bound) == 3


@pytest.mark.parametrize("text", [None, "", "100000"])
def test_nothing_to_bind_to(bus, text):
    if text is not None:
        bus.file.write_text(text)
    set_numa_affinity(0)
    assert bus.bound == []


def test_the_kind_of_device(monkeypatch):
    assert get_current_device_type() == ("cuda", "MULTI_GPU")
    monkeypatch.setattr(
        "pyaccel.utils._device_checks.is_xpu_available", lambda check_device=False: True
    )
    assert get_current_device_type() == ("xpu", "MULTI_XPU")


def test_places_by_variables(alone):
    alone("OMPI_COMM_WORLD_RANK", "3")
    alone("OMPI_COMM_WORLD_SIZE", "4")
    alone("MPI_LOCALRANKID", "1")
    alone("LOCAL_WORLD_SIZE", "2")
    place = get_cpu_distributed_information()
    assert (place.rank, place.world_size) == (3, 4)
    assert (place.local_rank, place.local_world_size) == (1, 2)


def test_variables_for_a_launcher(caplog):
    lines = convert_dict_to_env_variables({"A": "1", "B": "x;y", "C": "", "D": "k=v"})
    assert lines == ["A=1\n", "D=k=v\n"]
    assert len(caplog.records) == 2
    assert "Skipping 'B=x;y'" in caplog.text


def test_libraries():
    assert are_libraries_initialized("torch", "nowhere", "os") == ["torch", "os"]


def test_variables_for_a_block(alone):
    alone("ACCELERATE_OLD", "1")
    with pytest.raises(KeyError), patch_environment(accelerate_old=2, Accelerate_New=3):
        assert os.environ["ACCELERATE_OLD"] == "2"
        assert os.environ["ACCELERATE_NEW"] == "3"
        os.environ["ACCELERATE_OLD"] = "4"
        del os.environ["ACCELERATE_NEW"]
        raise KeyError
    assert os.environ["ACCELERATE_OLD"] == "1"
    assert "ACCELERATE_NEW" not in os.environ


def test_a_function_leaves_no_variables(alone):
    alone("ACCELERATE_OLD", "1")

    @purge_accelerate_environment
    def function(*, fails):
        """Says something."""
        os.environ["ACCELERATE_NEW"] = "1"
        del os.environ["ACCELERATE_OLD"]
        if fails:
            raise KeyError
        return 3

    assert function(fails=False) == 3
    with pytest.raises(KeyError):
        function(fails=True)
    assert function.__doc__ == "Says something."
    assert os.environ["ACCELERATE_OLD"] == "1"
    assert "ACCELERATE_NEW" not in os.environ


def test_tests_of_a_class_leave_no_variables(alone):
    class Base:
        def test_inherited(self):
            os.environ["ACCELERATE_INHERITED"] = "1"

    @purge_accelerate_environment
    class Tests(Base):
        subclasses = ()

        def __init_subclass__(cls, **kwargs):
            Tests.subclasses += (cls,)

        def test_own(self):
            os.environ["ACCELERATE_OWN"] = "1"

        @classmethod
        def test_of_class(cls):
            os.environ["ACCELERATE_CLASS"] = cls.__name__
            return cls

        @staticmethod
        def test_static(value):
            os.environ["ACCELERATE_STATIC"] = value
            return value

        def helper(self):
            os.environ["ACCELERATE_HELPER"] = "1"

    class Derived(Tests):
        def test_derived(self):
            os.environ["ACCELERATE_DERIVED"] = "1"

    tests = Derived()
    tests.test_inherited()
    tests.test_own()
    tests.test_derived()
    assert tests.test_of_class() is Derived
    assert tests.test_static("x") == Tests.test_static("x") == "x"
    assert Tests.subclasses == (Derived,)
    assert not [name for name in os.environ if name.startswith("ACCELERATE_")]
    try:
        tests.helper()
        assert os.environ["ACCELERATE_HELPER"] == "1"
    finally:
        del os.environ["ACCELERATE_HELPER"]
