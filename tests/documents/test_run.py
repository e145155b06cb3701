"""The documents' programs, run by the documents' commands, do what the text says."""

import json
import os
import shlex
import sys

import pytest

from tests.documents import page
from tests.harness.group import free_port

CONFIG = {
    "compute_environment": "LOCAL_MACHINE",
    "distributed_type": "MULTI_CPU",
    "machine_rank": 0,
    "main_training_function": "main",
    "mixed_precision": "no",
    "num_machines": 1,
    "num_processes": 2,
    "use_cpu": True,
}

SPLIT = [["a dog"], ["a cat"]]
PADDED = [["a dog", "a cat"], ["a chicken", "a chicken"]]


@pytest.fixture
def run(fresh, tmp_path, tiny_model):
    """Runs a program of the table; returns the folder that it ran in and its output."""

    def run(name):
        [program] = [each for each in page.programs() if each.name == name]
        command = shlex.split(page.as_run(program.command))
        [script] = [word for word in command if word.endswith(".py")]
        text = "\n".join(page.as_run(block) for block in program.script)
        (tmp_path / script).write_text(text, encoding="utf-8")
        assert command[0] == "python"
        command[0] = sys.executable
        return tmp_path, fresh.start(command, environment()).finish(240.0).check()

    def environment():
        (tmp_path / "tiny-stable-diffusion").symlink_to(tiny_model)
        (tmp_path / "my_config.json").write_text(json.dumps(CONFIG))
        default = tmp_path / "home" / "accelerate" / "default_config.yaml"
        default.parent.mkdir(parents=True)
        # JSON is YAML too.
        default.write_text(json.dumps(CONFIG))
        path = [str(page.HERE / "observe"), str(page.HERE.parents[1])]
        path += filter(None, [os.environ.get("PYTHONPATH")])
        return {
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_OFFLINE": "1",
            # torchrun's own default port may be taken by another run of the tests.
            "PET_MASTER_PORT": str(free_port()),
            "PYACCEL_TEST_OBSERVED": str(tmp_path),
            "PYTHONPATH": os.pathsep.join(path),
        }

    return run


def pictures(folder):
    return sorted(path.name for path in folder.glob("*.png"))


def shares(folder):
    """The prompts of each rank, as the observer saw them."""
    seen = [json.loads(path.read_text()) for path in sorted(folder.glob("seen_*.json"))]
    assert all(each["num_processes"] == len(seen) for each in seen)
    return [each["prompt"] for each in seen]


@pytest.mark.parametrize(
    "name",
    [
        "guide-default-config",
        "guide-config-file",
        "guide-num-processes",
        "diffusers",
        "xpu",
        "xpu-default-config",
    ],
)
def test_two_prompts_go_to_two_processes(run, name):
    folder, _ = run(name)
    assert shares(folder) == SPLIT
    assert pictures(folder) == ["result_0.png", "result_1.png"]


def test_three_prompts_are_padded_to_two_on_each_process(run):
    folder, _ = run("guide-padding")
    assert shares(folder) == PADDED
    seen = [json.loads((folder / f"seen_{r}.json").read_text()) for r in range(2)]
    assert [each["pictures"] for each in seen] == [2, 2]


def test_only_the_last_process_has_the_output_of_a_pipeline(run):
    _, finished = run("guide-pipeline")
    assert finished.stdout.count("SequenceClassifierOutputWithPast(") == 1
    assert "None\n" not in finished.stdout
    # A row of logits for each of the two sequences.
    logits = finished.stdout.split("logits=tensor([[")[1].split("]])")[0]
    assert logits.count("],") == 1


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("guide-spawn", ["result_0.png", "result_1.png"]),
        # The guide joins the letters of the prompt.
        ("diffusers-spawn", ["a_ _c_a_t.png", "a_ _d_o_g.png"]),
    ],
)
def test_spawned_ranks_choose_their_prompt(run, name, files):
    folder, _ = run(name)
    assert pictures(folder) == files
