"""What is installed, on a path of this test's own."""

import importlib
import sys

import pytest
import torch

from pyaccel.utils import _device_checks, compare_versions, imports, is_torch_version

# Question -> the package and the name that it was installed under.
PLAIN = {
    "aim": ("aim", "aim"),
    "amdsmi": ("amdsmi", "amdsmi"),
    "bnb": ("bitsandbytes", "bitsandbytes"),
    "boto3": ("boto3", "boto3"),
    "clearml": ("clearml", "clearml"),
    "comet_ml": ("comet_ml", "comet_ml"),
    "deepspeed": ("deepspeed", "deepspeed"),
    "dvclive": ("dvclive", "dvclive"),
    "import_timer": ("import_timer", "import_timer"),
    "lomo": ("lomo_optim", "lomo-optim"),
    "mlflow": ("mlflow", "mlflow-skinny"),
    "msamp": ("msamp", "ms-amp"),
    "pynvml": ("pynvml", "nvidia-ml-py"),
    "sagemaker": ("sagemaker", "sagemaker"),
    "schedulefree": ("schedulefree", "schedulefree"),
    "swanlab": ("swanlab", "swanlab"),
    "tensorboard": ("tensorboardX", "tensorboardX"),
    "torchdata": ("torchdata", "torchdata"),
    "trackio": ("trackio", "trackio"),
    "transformer_engine": ("transformer_engine", "transformer-engine"),
    "wandb": ("wandb", "wandb"),
}
# Question -> package, a version that will do, and one that will not.
VERSIONED = {
    "4bit_bnb": ("bitsandbytes", "0.39.0", "0.38.9"),
    "8bit_bnb": ("bitsandbytes", "0.37.2", "0.37.1"),
    "aim": ("aim", "3.9", "4.0.0"),
    "torchao": ("torchao", "0.6.1", "0.6.0"),
    "torchdata_stateful_dataloader": ("torchdata", "0.8.0", "0.7.9"),
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package that must never be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def do(package, name=None, version="1.0"):
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / "__init__.py").write_text("raise AssertionError\n")
        if name is not None:
            info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
            info.mkdir()
            text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            (info / "METADATA").write_text(text)
        importlib.invalidate_caches()

    return do


@pytest.fixture(autouse=True)
def versions_are_asked_again():
    """Versions do not change in a process, but for tests that install."""
    from pyaccel.utils.versions import _installed

    _installed.cache_clear()
    yield
    _installed.cache_clear()


def ask(question):
    return getattr(imports, f"is_{question}_available")()


@pytest.mark.parametrize("question", PLAIN)
def test_a_package(install, question):
    package, name = PLAIN[question]
    assert ask(question) is False
    install(package)
    assert ask(question) is False, "a folder of that name is not the package"
    install(package, name)
    assert ask(question) is True
    assert package not in sys.modules


@pytest.mark.parametrize("question", VERSIONED)
@pytest.mark.parametrize("which", [1, 2])
def test_a_version(install, question, which):
    package = VERSIONED[question][0]
    install(package, package, VERSIONED[question][which])
    assert ask(question) is (which == 1)


def test_bnb_of_a_version(install):
    install("bitsandbytes", "bitsandbytes", "0.40.0")
    assert imports.is_bnb_available("0.40.0")
    assert not imports.is_bnb_available("0.41.0")


def test_what_a_variable_switches_on(alone, install):
    assert not imports.is_rich_available()
    alone("ACCELERATE_ENABLE_RICH", "1")
    assert imports.is_rich_available()
    install("megatron")
    assert not imports.is_megatron_lm_available()
    alone("ACCELERATE_USE_MEGATRON_LM", "true")
    assert imports.is_megatron_lm_available()


def test_torchao_required(install):
    @imports.torchao_required
    def needs_it(value):
        return value

    with pytest.raises(ImportError, match="needs_it needs torchao 0.6.1 or later"):
        needs_it(1)
    install("torchao", "torchao", "0.7.0")
    assert needs_it(1) == 1


def test_what_tests_are_run_with_is_here():
    for question in ("numpy", "pandas", "pytest", "tqdm", "transformers"):
        assert ask(question), question


def test_nothing_is_imported(fresh):
    """But for the questions that ask torch first which device there is."""
    script = """
        import sys
        from pyaccel.utils import imports
        asks_torch = {
            "is_fp8_available",
            "is_transformer_engine_available",
            "is_triton_available",
        }
        for name in set(imports.__all__) - asks_torch:
            ask = getattr(imports, name)
            if name.startswith("is_") and ask.__module__ == imports.__name__:
                ask()
        print(*{"torch", "numpy", "transformers", "pandas"} & set(sys.modules))
    """
    assert fresh.python(script).check().stdout == "\n"


@pytest.fixture
def device(monkeypatch):
    """Lets torch have a device of some name, whose package can be imported."""
    checks = [
        check
        for check in vars(_device_checks).values()
        if hasattr(check, "cache_clear")
    ]

    def forget():
        for check in checks:
            check.cache_clear()

    def add(name, available):
        class Module:
            is_available = staticmethod(available)

        monkeypatch.setattr(torch, name, Module, raising=False)
        monkeypatch.setattr(_device_checks, "is_importable", lambda package: True)

    forget()
    yield add
    monkeypatch.undo()
    forget()


DEVICES = ["hpu", "mlu", "musa", "neuron", "npu", "sdaa", "xpu"]


@pytest.mark.parametrize("name", DEVICES)
def test_a_device(device, name):
    check = getattr(imports, f"is_{name}_available")
    device(name, lambda: True)
    assert check() is True


@pytest.mark.parametrize("name", DEVICES)
def test_a_driver_without_a_device(device, name):
    def broken():
        raise RuntimeError("no device")

    device(name, broken)
    assert getattr(imports, f"is_{name}_available")() is False


def test_a_package_for_hardware_that_is_not_there(install, device):
    install("torch_npu", "torch-npu")  # its import fails
    assert not _device_checks.is_importable("torch_npu")
    assert not _device_checks.is_importable("nowhere.at.all")
    assert imports.is_npu_available() is False


def test_versions():
    assert compare_versions("torch", ">=", "2.4")
    assert is_torch_version("<", "99")
    with pytest.raises(ValueError, match="must be one of .* received ~"):
        compare_versions("torch", "~", "2.4")
