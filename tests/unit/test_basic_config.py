"""The configuration that suits a machine, written for the launcher."""

import json
from types import SimpleNamespace

import pytest
import torch

from pyaccel.commands._launch import config_file
from pyaccel.utils import DistributedType, write_basic_config


@pytest.fixture
def devices(monkeypatch):
    """Gives this machine so many GPUs."""

    def there(count):
        kind = SimpleNamespace(name="cuda", distributed_type=DistributedType.MULTI_GPU)
        monkeypatch.setattr("pyaccel._devices.find_accelerator", lambda: kind)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return there


@pytest.mark.parametrize("name", ["config.json", "config.yaml"])
def test_the_launcher_reads_it(tmp_path, name):
    path = write_basic_config("BF16", tmp_path / "new" / name)
    values = config_file.read(str(path))
    assert values == json.loads(path.read_text())
    assert values["mixed_precision"] == "bf16"


@pytest.mark.parametrize(
    ("count", "kind", "processes"), [(1, "NO", 1), (4, "MULTI_GPU", 4)]
)
def test_gpus(tmp_path, devices, count, kind, processes):
    devices(count)
    values = json.loads(write_basic_config(save_location=tmp_path / "c").read_text())
    assert values["distributed_type"] == kind
    assert values["num_processes"] == processes
    assert values["use_cpu"] is False


def test_no_gpus(tmp_path, monkeypatch):
    monkeypatch.setattr("pyaccel._devices.find_accelerator", lambda: None)
    values = json.loads(write_basic_config(save_location=tmp_path / "c").read_text())
    assert values["distributed_type"] == "NO"
    assert values["num_processes"] == 1
    assert values["use_cpu"] is True


def test_a_file_that_is_there_stays(tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text("mine")
    assert write_basic_config(save_location=path) is False
    assert path.read_text() == "mine"
    assert f"already exists at {path}" in capsys.readouterr().out


def test_a_precision_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="should be one of .* Received int8"):
        write_basic_config("int8", tmp_path / "new" / "config.json")
    assert not list(tmp_path.iterdir())
