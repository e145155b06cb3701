"""The libraries that are found beside a real GPU: torch's own, and what they say."""

import json

import pytest
import torch

FOUND = """
    import json
    import torch
    from pyaccel import _C, _gpu_libraries

    torch.cuda.init()
    _gpu_libraries.prepare()
    print(json.dumps([_C.gpu_libraries(), _C.gpu_list(), _C.gpu_driver()]))
    print(*_gpu_libraries.describe(), sep="\\n")
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a process finds whose torch uses CUDA: libraries, GPUs, driver, lines."""
    from tests.harness import Fresh

    runner = Fresh(tmp_path_factory.mktemp("found"))
    try:
        finished = runner.python(FOUND, timeout=120.0).check()
    finally:
        runner.close()
    first, *lines = finished.stdout.splitlines()
    return (*json.loads(first), lines)


def test_torchs_own_libraries_are_taken(found):
    libraries, _, _, lines = found
    for kind in ("cudart", "driver", "nvml"):
        assert libraries[kind]["reason"] == "", lines
        assert libraries[kind]["version"] or kind == "nvml"
    assert libraries["cudart"]["mapped"]
    assert libraries["driver"]["mapped"]
    major = torch.version.cuda.partition(".")[0]
    assert libraries["cudart"]["version"].startswith(f"{major}.")


@pytest.mark.skipif(
    not torch.distributed.is_nccl_available(), reason="torch for GPUs without NCCL"
)
def test_nccl_is_torchs(found):
    library = found[0]["nccl"]
    assert library["reason"] == ""
    assert library["version"] == ".".join(map(str, torch.cuda.nccl.version()))


def test_the_gpus_are_those_of_torch(found):
    _, gpus, driver, lines = found
    known = {gpu["uuid"].removeprefix("GPU-") for gpu in gpus}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        assert properties.name in {gpu["name"] for gpu in gpus}
        # An instance of a GPU has an identity of its own.
        assert str(properties.uuid) in known or any(gpu["mig"] for gpu in gpus)
    assert all(gpu["memory"] >= gpu["memory_free"] > 0 for gpu in gpus)
    assert driver.split(".")[0].isdigit()
    assert any(driver in line for line in lines)
