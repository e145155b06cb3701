"""Processes that a rank starts: alone, or told what they are, and never the rank."""

import sys
import textwrap

import pytest

CHILD = """
    import os
    from pyaccel import PartialState
    state = PartialState(cpu=True)
    state.wait_for_everyone()
    os.write(1, f"child {state.process_index} of {state.num_processes}\\n".encode())
"""
PARENT = """
    import os, subprocess, sys
    from pyaccel import PartialState
    from pyaccel.utils import gather_object

    def start_child():
        return subprocess.run([sys.executable, sys.argv[1]], timeout=60).returncode

    before, after = sys.argv[2] == "before", sys.argv[2] == "after"
    code = start_child() if before else 0
    state = PartialState(cpu=True)
    code = start_child() if after else code
    os.write(1, f"rank {gather_object([state.process_index])}\\n".encode())
    state.wait_for_everyone()
    sys.exit(code)
"""
EXPECTED = ["child 0 of 1"] * 2 + ["rank [0, 1]"] * 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_under_our_launcher_a_child_is_alone(fresh, when):
    child = fresh.script(CHILD)
    finished = fresh.launch(PARENT, child, when).check()
    assert sorted(finished.stdout.splitlines()) == EXPECTED


def test_without_shared_memory_a_child_is_alone(fresh):
    child = fresh.script(CHILD)
    command = [sys.executable, "-m", "pyaccel.commands.launch", "--num_processes=2"]
    command += ["--cpu", str(fresh.script(PARENT)), str(child), "before"]
    sandbox = [sys.executable, "-m", "tests.harness.seccomp", "memfd_create"]
    finished = fresh.start([*sandbox, *command]).finish(120.0).check()
    assert sorted(finished.stdout.splitlines()) == EXPECTED


@pytest.mark.parametrize("launcher", ["torchrun", "variables"])
def test_a_child_of_a_rank_is_alone(fresh, launcher):
    child = fresh.script(CHILD)
    if launcher == "torchrun":
        output = fresh.torchrun(PARENT, child, "after").check().stdout
    else:
        started = fresh.variables(PARENT, child, "after")
        output = "".join(finished.check().stdout for finished in started)
    assert sorted(output.splitlines()) == EXPECTED


# A child of rank 1 with its variables, started before anyone has a group, so that
# nothing tells it from the rank; it comes when the rank has its group.
EARLY = """
    import os, subprocess, sys
    from pyaccel import PartialState
    from pyaccel.utils import gather_object
    child = None
    if os.environ["RANK"] == sys.argv[2]:
        child = subprocess.Popen(
            [sys.executable, sys.argv[1]],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
    state = PartialState(cpu=True)
    state.wait_for_everyone()
    if child is not None:
        _, said = child.communicate("go")
        assert child.returncode == 1
        assert str(os.getpid()) in said and str(child.pid) in said
        os.write(1, said.splitlines()[-1].encode() + b"\\n")
    os.write(1, f"rank {gather_object([state.process_index])}\\n".encode())
    state.wait_for_everyone()
"""
LATE_CHILD = "import sys; sys.stdin.read()\n"


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize("launcher", ["torchrun", "variables"])
def test_a_child_that_takes_itself_for_the_rank_is_told(fresh, launcher, rank):
    child = fresh.script(LATE_CHILD + textwrap.dedent(CHILD))
    if launcher == "torchrun":
        output = fresh.torchrun(EARLY, child, rank).check().stdout
    else:
        started = fresh.variables(EARLY, child, rank)
        output = "".join(finished.check().stdout for finished in started)
    error, *ranks = sorted(output.splitlines())
    assert ranks == ["rank [0, 1]"] * 2
    assert f"ValueError: set-up of 2 processes: rank {rank} is process" in error
    assert "unset RANK and WORLD_SIZE to run alone" in error


LOADER = """
    import os
    import torch
    from pyaccel import PartialState
    from pyaccel.utils import gather_object

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            state = PartialState(cpu=True)
            try:
                state.wait_for_everyone()
            except Exception as error:
                return f"{state.process_index} {error}"
            return f"alone {state.num_processes}"

    if __name__ == "__main__":
        for method in ("fork", "spawn", "forkserver"):
            state = PartialState(cpu=True)
            loader = torch.utils.data.DataLoader(
                Rows(), num_workers=2, multiprocessing_context=method, collate_fn=list
            )
            said = sorted({text for batch in loader for text in batch})
            assert len(said) == 1, said
            rank = state.process_index
            if method == "fork":
                assert said[0].startswith(f"{rank} "), said
                assert f"forked from rank {rank}" in said[0]
            else:
                assert said == ["alone 1"], said
        os.write(1, f"rank {gather_object([state.process_index])}\\n".encode())
        state.wait_for_everyone()
"""


@pytest.mark.parametrize("launcher", ["torchrun", "launch"])
def test_workers_of_a_data_loader(fresh, launcher):
    finished = getattr(fresh, launcher)(LOADER, timeout=180.0).check()
    assert finished.stdout.splitlines() == ["rank [0, 1]"] * 2


def test_a_shell_around_the_script(fresh):
    """The worker is the shell, and the interpreter that it starts is the rank."""
    script = fresh.script(PARENT)
    child = fresh.script(CHILD)
    options = ["-m", "pyaccel.commands.launch", "--cpu", "--num_processes=2"]
    line = f"{sys.executable} {script} {child} after; exit $?"
    command = [sys.executable, *options, "--no_python", "sh", "-c", line]
    finished = fresh.start(command).finish(120.0).check()
    assert sorted(finished.stdout.splitlines()) == EXPECTED
