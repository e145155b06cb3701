"""One command line under accelerate's launcher and under pyaccel's."""

import importlib
import inspect
import json
import os
import sys

import pytest

from pyaccel.commands import launch as ours
from pyaccel.commands._launch.options import OPTIONS, training_purpose
from tests.harness.fresh import Fresh
from tests.parity.differences import differences

# Writes one line a process: the arguments, and the variables that launchers set.
SHOW = """
import json, os, sys
row = {name: value for name, value in os.environ.items() if name.startswith(
    ("ACCELERATE_", "KMP_", "LOCAL_", "MASTER_", "OMP_", "RANK", "WORLD_", "CUDA_"))}
sys.stdout.write(json.dumps({"arguments": sys.argv[1:], **row}) + "\\n")
if "fail" in sys.argv:
    sys.exit(3)
"""
CONFIG = {
    "compute_environment": "LOCAL_MACHINE",
    "debug": True,
    "distributed_type": "MULTI_CPU",
    "dynamo_config": {"dynamo_backend": "EAGER", "dynamo_mode": "max-autotune"},
    "enable_cpu_affinity": True,
    "gpu_ids": "0,1",
    "machine_rank": 0,
    "main_process_port": 29511,
    "mixed_precision": "bf16",
    "num_machines": 1,
    "num_processes": 2,
    "rdzv_backend": "static",
    "same_network": True,
    "use_cpu": True,
}
# Case -> the words after the launcher's name; SCRIPT and the files are filled in.
CASES = {
    "one process": "--cpu --num_processes 1 SCRIPT a -- --cpu",
    "two processes": "--cpu --num-processes=2 SCRIPT",
    "two processes after the script": "SCRIPT --num_processes=2",
    "options": "--cpu --num_processes 1 --mixed_precision fp16 --debug --gpu_ids 1,0"
    " --dynamo_backend inductor --dynamo_use_dynamic --enable_cpu_affinity"
    " --num_cpu_threads_per_process 3 --main_process_port 29512 SCRIPT",
    "configuration file": "--config_file CONFIG SCRIPT",
    "a failing script": "--cpu --num_processes 1 SCRIPT fail",
    "unknown key": "--config_file UNKNOWN SCRIPT",
    "missing file": "--config_file nowhere.json SCRIPT",
    "unknown option": "--nonsense SCRIPT",
}
LIBRARIES = {
    "accelerate": "accelerate.commands.launch",
    "pyaccel": "pyaccel.commands.launch",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What came of every case under each library: {library: {case: {what: value}}}."""
    folder = tmp_path_factory.mktemp("launch")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "unknown.json").write_text(json.dumps({**CONFIG, "foo": 1}))
    (folder / "show.py").write_text(SHOW)
    names = {"SCRIPT": "show.py", "CONFIG": "config.json", "UNKNOWN": "unknown.json"}
    # The number of threads is set: without, it follows the machine.
    env = {"HF_HOME": str(folder), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"}
    fresh = Fresh(folder)
    try:
        running = {}
        for library, module in LIBRARIES.items():
            for case, words in CASES.items():
                command = [names.get(word, word) for word in words.split()]
                command = [sys.executable, "-m", module, *command]
                running[library, case] = fresh.start(command, env)
        found = {library: {} for library in LIBRARIES}
        for (library, case), one in running.items():
            found[library][case] = outcome(one.finish())
        yield found
    finally:
        fresh.close()


def outcome(finished):
    """Each thing that was shown: one value if all processes agree, else one a rank."""
    rows = [json.loads(line) for line in finished.stdout.splitlines()]
    rows.sort(key=lambda row: row.get("RANK", ""))
    found = {"exit code": finished.returncode, "processes": len(rows)}
    for name in {name for row in rows for name in row}:
        values = [row.get(name) for row in rows]
        found[name] = values[0] if values.count(values[0]) == len(values) else values
    # A port that is free is not the same twice.
    if found.get("MASTER_PORT", "29500") not in ("29500", "29511", "29512"):
        found["MASTER_PORT"] = "a free one"
    return found


@pytest.mark.parametrize("case", CASES)
def test_scripts_see_the_same(results, case):
    accepted = differences("launch", case)
    theirs, own = (results[library][case] for library in LIBRARIES)
    for what in sorted(theirs.keys() | own.keys()):
        pair = [found.get(what) for found in (theirs, own)]
        row = accepted.pop(what, None)
        if row is None:
            assert pair[0] == pair[1], what
        else:
            assert pair == [row["accelerate"], row["pyaccel"]], what
    assert not accepted, "rows without a difference"


@pytest.fixture(scope="module")
def theirs():
    return importlib.import_module("accelerate.commands.launch")


def test_options_have_the_same_names_kinds_and_defaults(theirs):
    for action in theirs.launch_command_parser()._actions:
        for spelled in action.option_strings:
            name = spelled.lstrip("-").replace("-", "_")
            option = OPTIONS.get(name)
            if not spelled.startswith("--") or name == "help":
                continue
            if option is None:
                assert training_purpose(name) is not None, spelled
                continue
            assert (option.kind == "flag") == (action.nargs == 0), spelled
            # Some of accelerate's flags are None when they are not given.
            assert (option.default or None) == (action.default or None), spelled
            if name != "dynamo_backend":  # one of accelerate's names has a slip in it
                assert option.choices == (action.choices and tuple(action.choices))


def test_no_option_of_ours_is_missing_there_but_those_that_we_add(theirs):
    known = {action.dest for action in theirs.launch_command_parser()._actions}
    assert OPTIONS.keys() - known == {"grace"}


def test_short_options_are_the_same(theirs):
    pairs = {
        (option, action.dest)
        for action in theirs.launch_command_parser()._actions
        for option in action.option_strings
        if len(option) == 2 and option != "-h"
    }
    assert pairs == {(f"-{o.short}", o.name) for o in OPTIONS.values() if o.short}


@pytest.mark.parametrize("name", ["launch_command_parser", "launch_command", "main"])
def test_functions_have_the_same_parameters(theirs, name):
    parameters = inspect.signature(getattr(theirs, name)).parameters
    assert list(inspect.signature(getattr(ours, name)).parameters) == list(parameters)


def test_a_parsed_command_line_has_the_same_values(theirs):
    words = ["-q", "--cpu", "--num-processes", "2", "--main_process_port=5"]
    words += ["-m", "module", "--x", "y"]
    expected = vars(theirs.launch_command_parser().parse_args(words))
    found = vars(ours.launch_command_parser().parse_args(words))
    for name in found.keys() & expected.keys() - {"nondefault"}:
        assert (found[name] or None) == (expected[name] or None), name


def test_a_wrong_configuration_raises_the_same(theirs, tmp_path):
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({**CONFIG, "foo": 1}))
    for path in (str(wrong), os.fspath(tmp_path / "nowhere.json")):
        words = ["--config_file", path, __file__]
        raised = []
        for module in (theirs, ours):
            with pytest.raises((ValueError, FileNotFoundError)) as error:
                module.launch_command(module.launch_command_parser().parse_args(words))
            raised.append(error)
        assert issubclass(raised[1].type, raised[0].type)
