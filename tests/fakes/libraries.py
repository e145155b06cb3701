"""Builds the fake libraries.

They are kept in build/fakes, in a folder for each compiler, sanitizer and set of
functions that are left out, and are made anew when a source is newer. Several processes
may build at once.
"""

import fcntl
import hashlib
from pathlib import Path

from tests.c import runner

HERE = Path(__file__).resolve().parent
BUILD = runner.ROOT / "build" / "fakes"

_COMMON = ["fault", "record", "settings"]
_RUNTIME = [
    "capture",
    "copy",
    "device",
    "errors",
    "event",
    "ipc",
    "live",
    "memory",
    "order",
]
_NETWORK = ["call", "comm", "join", "run", "sum"]

# Each library's sources. The names are not those of the real libraries, so that a
# process never takes one for the other.
LIBRARIES = {
    "cudart": [*_RUNTIME, "shared", "stream", *_COMMON],
    "nccl": [f"network_{name}" for name in _NETWORK],
    "cuda": ["driver", *_COMMON],
    "nvml": ["nvml", *_COMMON],
}


def build(sanitizer=None, without=()):
    """Builds all libraries; short name -> path. RuntimeError with the compiler's words.

    `sanitizer` is a key of `runner.SANITIZERS` for who has it in the program too;
    `without` names functions that the libraries then lack.
    """
    name = sanitizer or "plain"
    if without:
        names = ",".join(sorted(without))
        name += "-" + hashlib.sha256(names.encode()).hexdigest()[:12]
    folder = BUILD / Path(runner.compiler()).name / name
    folder.mkdir(parents=True, exist_ok=True)
    paths = {library: folder / f"lib{library}-fake.so" for library in LIBRARIES}
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        inputs = [*HERE.glob("*.[ch]"), *runner.ROOT.glob("csrc/gpu/*.h")]
        newest = max(path.stat().st_mtime_ns for path in [*inputs, Path(__file__)])
        for library, path in paths.items():
            if not path.exists() or path.stat().st_mtime_ns <= newest:
                _build_one(library, path, sanitizer, without)
    return paths


def _build_one(library, path, sanitizer, without):
    """Compiles and links one library from all its sources."""
    made = path.with_suffix(".new")
    command = [runner.compiler(), *runner.DEFINITIONS, *runner.WARNINGS, "-O1", "-g"]
    command += ["-fPIC", "-shared", "-pthread", "-fno-omit-frame-pointer"]
    if sanitizer:
        command += runner.SANITIZERS[sanitizer]
    command += [HERE / f"{source}.c" for source in LIBRARIES[library]]
    command += [f"-Wl,-soname,{path.name}", "-Wl,-Bsymbolic", "-Wl,-rpath,$ORIGIN"]
    if library == "nccl":
        command += [path.with_name("libcudart-fake.so"), "-lm"]
    if without:
        script = path.with_suffix(".symbols")
        script.write_text(f"{{ global: *; local: {'; '.join(without)}; }};\n")
        command.append(f"-Wl,--version-script={script}")
    result = runner.run_quietly([*command, "-o", made])
    if result.returncode != 0:
        raise RuntimeError(f"building the fake {library}:\n{result.stdout}")
    made.replace(path)
