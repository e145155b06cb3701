"""Scripts in new interpreters, under each launcher: for what start-up itself does."""

import os
import sys
import textwrap
import uuid
from pathlib import Path

from .group import free_port
from .processes import Running, kill_marked, still_marked

# Every process that a runner starts, and every descendant, has this in its environment.
_MARK = "PYACCEL_TEST_MARK"
# What a launcher's environment would add to a worker's; a test starts from none of it.
_LAUNCHER_PREFIXES = (
    "ACCELERATE_",
    "FORK_LAUNCHED",
    "GROUP_",
    "LOCAL_",
    "MASTER_",
    "OMPI_",
    "PMI_",
    "PYACCEL_",
    "RANK",
    "ROLE_",
    "SLURM_",
    "TORCHELASTIC_",
    "WORLD_SIZE",
)
_ROOT = Path(__file__).resolve().parents[2]


class Fresh:
    """Starts scripts; every process of theirs is gone when `close` returns.

    A script is a path, or source text, which is dedented and written to `directory`.
    `start_…` methods return a Running at once; their namesakes wait for the end and
    return one Finished, or with `variables` a list of them, one a rank.
    """

    def __init__(self, directory):
        self._directory = Path(directory)
        self._mark = f"{os.getpid()}-{uuid.uuid4().hex}"
        self._running = []
        self._scripts = 0

    def python(self, script, *args, timeout=60.0, **options):
        """The script alone in one interpreter."""
        return self.start_python(script, *args, **options).finish(timeout)

    def launch(self, script, *args, timeout=60.0, **options):
        """The script under `pyaccel launch`."""
        return self.start_launch(script, *args, **options).finish(timeout)

    def torchrun(self, script, *args, size=2, timeout=120.0, env=None, options=None):
        """The script under torchrun, on a free port of its own unless `options` say."""
        if options is None:
            options = ["--master-addr=127.0.0.1", f"--master-port={free_port()}"]
        command = ["-m", "torch.distributed.run", f"--nproc-per-node={size}", *options]
        command += [str(self.script(script)), *map(str, args)]
        return self.start([sys.executable, *command], env).finish(timeout)

    def accelerate(self, script, *args, size=2, timeout=120.0, env=None, options=()):
        """The script under accelerate's launcher, with a CPU group where size > 1.

        accelerate starts several processes on a CPU only by way of torchrun.
        """
        if size > 1:
            env = {"ACCELERATE_USE_CPU": "true", **(env or {})}
            return self.torchrun(script, *args, size=size, timeout=timeout, env=env)
        command = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes=1"]
        command += [*options, str(self.script(script)), *map(str, args)]
        return self.start([sys.executable, *command], env).finish(timeout)

    def variables(self, script, *args, size=2, timeout=60.0, env=None, ranks=None):
        """The script once a rank, with the plain variables set by hand.

        `ranks` names those to start when not all of `size` shall come. `env` is a dict,
        or a function from rank to dict; a value of None removes a variable.
        """
        path = self.script(script)
        common = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
            "WORLD_SIZE": str(size),
        }
        started = []
        for rank in range(size) if ranks is None else ranks:
            own = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            own.update((env(rank) if callable(env) else env) or {})
            command = [sys.executable, str(path), *map(str, args)]
            started.append(self.start(command, own))
        return [running.finish(timeout) for running in started]

    def start_python(self, script, *args, env=None):
        """Like `python`, without waiting."""
        return self.start([sys.executable, str(self.script(script)), *args], env)

    def start_launch(self, script, *args, size=2, options=("--cpu",), env=None):
        """Like `launch`, without waiting."""
        command = [sys.executable, "-m", "pyaccel.commands.launch"]
        command += [f"--num_processes={size}", *options]
        return self.start([*command, str(self.script(script)), *map(str, args)], env)

    def start(self, command, env=None):
        """Any command, in a session of its own, in the runner's directory."""
        running = Running(command, self._environment(env or {}), self._directory)
        self._running.append(running)
        return running

    def script(self, script):
        """The path of a script that is given as a path or as source text."""
        if isinstance(script, Path):
            return script
        self._scripts += 1
        path = self._directory / f"script_{self._scripts}.py"
        path.write_text(textwrap.dedent(script), encoding="utf-8")
        return path

    def leftovers(self, timeout=10.0):
        """Ids of processes of the runner's commands that do not end by themselves."""
        return still_marked(f"{_MARK}={self._mark}", timeout)

    def close(self):
        """Kill whatever still runs, orphans included, and close all files."""
        kill_marked(f"{_MARK}={self._mark}")
        for running in self._running:
            running.close()

    def _environment(self, changes):
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_LAUNCHER_PREFIXES)
        }
        path = [str(_ROOT), environment.get("PYTHONPATH")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        environment["OMP_NUM_THREADS"] = "1"
        environment[_MARK] = self._mark
        environment.update(changes)
        return {k: v for k, v in environment.items() if v is not None}
