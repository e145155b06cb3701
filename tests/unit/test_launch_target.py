"""What a launch is asked to run is found, or refused, before anything starts."""

import os
import sys
from types import SimpleNamespace

import pytest

from pyaccel.commands._launch import target
from pyaccel.commands._launch.errors import LaunchError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def command(name, *args, module=False, no_python=False):
    return target.command(
        SimpleNamespace(
            training_script=name,
            training_script_args=args,
            module=module,
            no_python=no_python,
        )
    )


def refusal(name, **kind):
    with pytest.raises(LaunchError) as raised:
        command(name, **kind)
    message = str(raised.value)
    assert name in message
    return message


def test_a_script(tmp_path):
    (tmp_path / "s.py").touch()
    assert command("s.py", "a") == [sys.executable, "s.py", "a"]


def test_a_folder_with_a_main_program(tmp_path):
    (tmp_path / "folder").mkdir()
    assert "is a folder without a __main__.py" in refusal("folder")
    (tmp_path / "folder" / "__main__.py").touch()
    assert command("folder") == [sys.executable, "folder"]


def test_a_script_that_does_not_exist(tmp_path):
    message = refusal("nowhere.py")
    assert "No such file" in message
    assert str(tmp_path) in message
    assert "-m" not in message
    assert "-m runs a module" in refusal("nowhere")


def test_a_script_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "s.py").touch()
    # The tests may run as root, who may read everything.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "cannot be read" in refusal("s.py")


def test_a_program_as_a_script():
    message = refusal(os.path.realpath(sys.executable))
    assert "is a program and no Python; --no_python runs it" in message


def test_modules(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "one.py").touch()
    for name in ("json.tool", "package.one", "this"):
        assert command(name, "a", module=True) == [sys.executable, "-m", name, "a"]


def test_packages_are_not_imported_to_find_their_modules():
    before = set(sys.modules)
    command("pydoc_data.topics", module=True)
    command("torch.distributed.run", module=True)
    assert not {"pydoc_data", "torch"} & (set(sys.modules) - before)


def test_modules_that_do_not_exist(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "one.py").touch()
    assert "no module 'nowhere'" in refusal("nowhere.one", module=True)
    assert "no module 'package.one'" in refusal("package.one", module=True)
    assert "'one' is no package" in refusal("one.two", module=True)
    assert "without a __main__" in refusal("package", module=True)
    assert "not the name of a module" in refusal("./one.py", module=True)
    assert "'one' is no package" in refusal("one.py", module=True)


def test_a_package_that_changes_its_path_is_believed(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("__path__.append('elsewhere')")
    assert command("package.one", module=True)[-1] == "package.one"


def test_programs():
    assert command("sh", "-c", no_python=True)[1:] == ["-c"]
    assert os.path.isabs(command("sh", no_python=True)[0])
    assert "cannot be found" in refusal("no-such-program", no_python=True)
    assert "cannot be found" in refusal("./sh", no_python=True)
    assert "cannot be executed; change its" in refusal(__file__, no_python=True)
