"""`pyaccel launch`: what its workers are given, and what it gives back."""

import json
import os
import socket
import subprocess
import sys

import pytest

from tests.house.repository import ROOT

SHOW = """
    import json, os, sys
    row = {"argv": sys.argv[1:], "pid": os.getpid(), **os.environ}
    sys.stdout.write(json.dumps(row) + "\\n")
"""


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch, tmp_path):
    """No default configuration file, a machine without GPUs, nothing set for OpenMP."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def launch(fresh):
    """Runs a command line of `pyaccel launch` to its end; words may be source text."""

    def run(*words, env=None, start="pyaccel.commands.launch"):
        command = [sys.executable, "-m", *start.split(), *words]
        return fresh.start(command, {"OMP_NUM_THREADS": None, **(env or {})}).finish()

    return run


def rows(result):
    """What each worker has shown, by rank."""
    found = [json.loads(line) for line in result.check().stdout.splitlines()]
    return sorted(found, key=lambda row: int(row["RANK"]))


def test_every_worker_knows_its_place(launch, fresh):
    shown = rows(launch("--num_processes=3", str(fresh.script(SHOW)), "a", "--b"))
    assert len(shown) == 3
    for rank, row in enumerate(shown):
        assert row["argv"] == ["a", "--b"]
        assert row["RANK"] == row["LOCAL_RANK"] == str(rank)
        assert row["WORLD_SIZE"] == row["LOCAL_WORLD_SIZE"] == "3"
        assert row["MASTER_ADDR"] == "127.0.0.1"
        assert row["MASTER_PORT"] == shown[0]["MASTER_PORT"]
        assert row["PYACCEL_CONTROL"].split(":")[0] == str(row["pid"])
        assert row["ACCELERATE_USE_CPU"] == "False"
        assert row["ACCELERATE_MIXED_PRECISION"] == "no"
        assert row["ACCELERATE_DYNAMO_BACKEND"] == "NO"
        assert "ACCELERATE_DEBUG_MODE" not in row


@pytest.mark.parametrize(
    "words", [[], ["--cpu", "--num_processes=1"]], ids=["guessed", "given"]
)
def test_one_process_is_a_world_of_one(launch, fresh, words):
    [row] = rows(launch(*words, str(fresh.script(SHOW))))
    assert row["RANK"] == "0"
    assert row["WORLD_SIZE"] == "1"
    assert "PYACCEL_CONTROL" not in row


def test_options_reach_the_workers(launch, fresh):
    shown = rows(
        launch(
            *("--cpu", "--num-processes", "2", "--mixed-precision", "bf16", "--debug"),
            *("--gpu_ids=1,0", "--dynamo_backend=inductor", "--enable_cpu_affinity"),
            *("--num_cpu_threads_per_process=7", "--dynamo_use_dynamic"),
            str(fresh.script(SHOW)),
        )
    )
    for row in shown:
        assert row["ACCELERATE_USE_CPU"] == "True"
        assert row["ACCELERATE_MIXED_PRECISION"] == "bf16"
        assert row["ACCELERATE_DEBUG_MODE"] == "true"
        assert row["ACCELERATE_DYNAMO_BACKEND"] == "INDUCTOR"
        assert row["ACCELERATE_DYNAMO_USE_DYNAMIC"] == "True"
        assert row["ACCELERATE_CPU_AFFINITY"] == "1"
        assert row["CUDA_VISIBLE_DEVICES"] == "1,0"
        assert row["OMP_NUM_THREADS"] == "7"


def test_cores_are_shared_out(launch, fresh):
    script = str(fresh.script(SHOW))
    cores = len(os.sched_getaffinity(0))
    [alone] = rows(launch("--num_processes=1", script))
    assert 1 <= int(alone["OMP_NUM_THREADS"]) <= cores
    many = rows(launch(f"--num_processes={cores + 1}", script))
    assert {row["OMP_NUM_THREADS"] for row in many} == {"1"}
    told = rows(launch("--num_processes=2", script, env={"OMP_NUM_THREADS": "5"}))
    assert {row["OMP_NUM_THREADS"] for row in told} == {"5"}


def test_an_outer_launch_is_forgotten(launch, fresh):
    outer = {
        "RANK": "7",
        "WORLD_SIZE": "9",
        "PYACCEL_CONTROL": "1:1",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RUN_ID": "x",
    }
    [row] = rows(launch("--num_processes=1", str(fresh.script(SHOW)), env=outer))
    assert row["RANK"] == "0"
    assert row["WORLD_SIZE"] == "1"
    assert not [name for name in row if name.startswith("TORCHELASTIC_")]
    assert "PYACCEL_CONTROL" not in row


def test_the_number_after_the_script_is_honoured_and_said(launch, fresh):
    result = launch(str(fresh.script(SHOW)), "--num-processes=2")
    assert [row["argv"] for row in rows(result)] == [["--num-processes=2"]] * 2
    [line] = result.stderr.splitlines()
    assert "--num-processes=2 stands after the script" in line


def test_guesses_are_said_unless_quiet(launch, fresh):
    script = str(fresh.script("pass"))
    [line] = launch(script).check().stderr.splitlines()
    assert line.startswith("pyaccel launch: not given, so set here: num_processes=1")
    assert launch("--quiet", script).check().stderr == ""


def test_a_configuration_file_is_followed(launch, fresh, tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text("distributed_type: MULTI_CPU\nnum_processes: 2\nuse_cpu: true\n")
    result = launch("--config_file", str(path), str(fresh.script(SHOW)))
    shown = rows(result)
    assert [row["ACCELERATE_USE_CPU"] for row in shown] == ["True", "True"]
    assert result.stderr == ""


def test_a_module_in_the_current_folder(launch, tmp_path):
    package = tmp_path / "outer" / "inner"
    package.mkdir(parents=True)
    # Packages above the module run in the workers only.
    (tmp_path / "outer" / "__init__.py").write_text("print('imported')\n")
    (package / "__main__.py").write_text("import sys; print(__name__, sys.argv[1:])\n")
    result = launch("--num_processes=2", "-m", "outer.inner", "-x").check()
    expected = ["__main__ ['-x']", "__main__ ['-x']", "imported", "imported"]
    assert sorted(result.stdout.splitlines()) == expected


def test_a_program_instead_of_python(launch):
    result = launch("--num_processes=2", "--no_python", "sh", "-c", "echo $RANK")
    assert sorted(result.check().stdout.split()) == ["0", "1"]


def test_the_command_imports_nothing_that_takes_long(fresh):
    command = [
        sys.executable,
        str(ROOT / "pyaccel" / "commands" / "bin" / "pyaccel"),
        "launch",
    ]
    command += ["--num_processes=2", "--no_python", "true"]
    bare = [sys.executable, "-c", ""]

    def imports(command):
        result = fresh.start(command, {"PYTHONPROFILEIMPORTTIME": "1"}).finish().check()
        return {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}

    # Without what the interpreter imports anyway, to find an editable package.
    imported = imports(command) - imports(bare)
    assert "pyaccel.commands._launch.supervisor" in imported
    slow = {"collections", "contextlib", "enum", "functools", "re", "signal", "socket"}
    assert not imported & slow


@pytest.mark.parametrize("name", ["pyaccel", "pyaccel-launch"])
def test_installed_commands(fresh, name):
    command = [sys.executable, str(ROOT / "pyaccel" / "commands" / "bin" / name)]
    command += ["launch"] if name == "pyaccel" else []
    script = fresh.script("raise SystemExit(7)")
    result = fresh.start([*command, "--num_processes=2", str(script)]).finish()
    assert result.returncode == 7
    assert "ended with exit code 7" in result.stderr
    result = fresh.start([*command, "--help"]).finish().check()
    assert "SCRIPT" in result.stdout


@pytest.mark.parametrize("start", ["pyaccel launch", "pyaccel.commands.pyaccel_cli"])
def test_other_ways_to_start(launch, fresh, start):
    if start == "pyaccel.commands.pyaccel_cli":
        code = "from pyaccel.commands.pyaccel_cli import main; main()"
        command = [sys.executable, "-c", code, "launch"]
        command += ["--num_processes=2", str(fresh.script("print(1)"))]
        result = fresh.start(command).finish()
    else:
        result = launch("--num_processes=2", str(fresh.script("print(1)")), start=start)
    assert result.check().stdout == "1\n1\n"


def test_the_dispatcher_speaks_for_itself(launch):
    def run(*words):
        return launch(*words, start="pyaccel")

    assert run("--version").check().stdout.startswith("pyaccel 0.")
    assert "launch" in run("--help").check().stdout
    for words in ((), ("nonsense",)):
        result = run(*words)
        assert result.returncode == 2
        assert result.stdout == ""
        assert "launch" in result.stderr
    assert "SCRIPT" in run("launch", "--help").check().stdout


def test_a_given_port_is_used(launch, fresh):
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    script = str(fresh.script(SHOW))
    [row] = rows(launch("--num_processes=1", f"--main_process_port={port}", script))
    assert row["MASTER_PORT"] == str(port)
    [row] = rows(launch("--num_processes=1", "--main_process_port=0", script))
    assert 0 < int(row["MASTER_PORT"]) < 65536


def test_a_port_in_use_is_named(launch, fresh):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        result = launch(f"--main_process_port={port}", str(fresh.script("print(1)")))
    assert result.returncode == 2
    assert result.stdout == ""
    assert f"port {port} of --main_process_port is in use" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nonsense", "x.py"], "no option --nonsense"),
        (["nowhere.py"], "the script 'nowhere.py' cannot be found"),
        (["-m", "nowhere.at_all"], "no module 'nowhere'"),
        (["--config_file", "nowhere.yaml", "x.py"], "'nowhere.yaml' does not exist"),
        (["--main_process_port=70000", __file__], "between 0 and 65535, not 70000"),
    ],
)
def test_what_cannot_begin_is_one_line_and_code_2(launch, words, message):
    result = launch("--num_processes=2", *words)
    assert result.returncode == 2
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("pyaccel launch: error: ")
    assert message in line


READ = """
    import os, sys
    print(os.environ["RANK"], repr(sys.stdin.read()))
"""


@pytest.mark.parametrize("size", [1, 2])
def test_rank_0_has_the_standard_input(fresh, size):
    command = [sys.executable, "-m", "pyaccel", "launch", f"--num_processes={size}"]
    result = subprocess.run(
        [*command, str(fresh.script(READ))],
        input="some text",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    expected = ["0 'some text'", "1 ''"][:size]
    assert sorted(result.stdout.splitlines()) == expected


def test_descriptors_of_workers(launch, fresh):
    """Besides 0 to 2: the shared segment, and the tie to the launcher."""
    script = """
        import os
        with os.scandir("/proc/self/fd") as entries:
            targets = [os.readlink(e.path) for e in entries if int(e.name) > 2]
        print(*(target.partition(":")[0] for target in targets))
    """
    result = launch("--num_processes=2", str(fresh.script(script))).check()
    for line in result.stdout.splitlines():
        kinds = sorted(os.path.basename(kind) for kind in line.split())
        # One of them is the folder that is being listed.
        assert len(kinds) == 3
        assert "pipe" in kinds
        assert "fd" in kinds


def test_closed_standard_descriptors(fresh, tmp_path):
    """A launcher that was started without descriptors 0 to 2 still works."""
    told = tmp_path / "told"
    script = fresh.script(f"""
        import os
        open({str(told)!r} + os.environ["RANK"], "w").write("here")
        print("lost")
    """)
    launcher = f'"{sys.executable}" -m pyaccel launch --num_processes=2 "{script}"'
    result = fresh.start(["sh", "-c", f"{launcher} <&- >&- 2>&-"]).finish()
    assert result.returncode == 0
    assert [told.with_name(f"told{rank}").read_text() for rank in (0, 1)] == [
        "here"
    ] * 2


def test_the_launcher_imports_neither_torch_nor_numpy(launch, fresh):
    script = str(fresh.script("pass"))
    env = {"PYTHONPROFILEIMPORTTIME": "1"}
    result = launch("--num_processes=2", "--no_python", "true", env=env).check()
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "pyaccel.commands._launch.supervisor" in imported
    assert not imported & {"torch", "numpy", "argparse", "yaml", "json", "subprocess"}
    assert launch("--num_processes=1", script).returncode == 0
