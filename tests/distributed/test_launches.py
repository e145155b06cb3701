"""Several launches of ours: one inside the other, and at once."""

import os

WORK = """
    import os, sys
    import torch.distributed as dist
    from pyaccel import PartialState
    from pyaccel.utils import gather_object

    state = PartialState(cpu=True)

    def say(name):
        parts = [None] * state.num_processes
        dist.all_gather_object(parts, (name, state.process_index))
        assert parts == gather_object([(name, state.process_index)])
        os.write(1, f"{name} {[rank for _, rank in parts]}\\n".encode())
"""
INNER = (
    WORK
    + """
    say(sys.argv[1])
    state.wait_for_everyone()
"""
)
# Each rank has a group, starts a launch of more ranks, and goes on in its group.
OUTER = (
    WORK
    + """
    import subprocess
    say("outer")
    command = ["-m", "pyaccel.commands.launch", "--cpu", "--num_processes=2"]
    command += [sys.argv[1], f"inner {state.process_index}"]
    code = subprocess.run([sys.executable, *command]).returncode
    assert gather_object([code]) == [0, 0]
    say("outer")
    state.wait_for_everyone()
"""
)


def test_a_launch_in_every_worker_of_a_launch(fresh):
    inner = fresh.script(INNER)
    output = fresh.launch(OUTER, inner, timeout=180.0).check().stdout
    expected = ["inner 0 [0, 1]"] * 2 + ["inner 1 [0, 1]"] * 2
    assert sorted(output.splitlines()) == expected + ["outer [0, 1]"] * 4


# A pipe with a name opens when both its ends are there, so both groups are then.
TOGETHER = (
    WORK
    + """
    name, way, pipe = sys.argv[1:]
    if state.is_main_process:
        open(pipe, way).close()
    state.wait_for_everyone()
    say(name)
    state.wait_for_everyone()
"""
)


def test_two_launches_at_once(fresh, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = fresh.script(TOGETHER)
    first = fresh.start_launch(script, "first", "r", pipe, size=4)
    second = fresh.start_launch(script, "second", "w", pipe, size=2)
    outputs = [running.finish(120.0).check().stdout for running in (first, second)]
    assert outputs == ["first [0, 1, 2, 3]\n" * 4, "second [0, 1]\n" * 2]
