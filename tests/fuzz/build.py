"""Builds and runs the fuzz targets: python -m tests.fuzz.build TARGET INPUTS SEED."""

import sys
from pathlib import Path

from tests.c import runner

HERE = Path(__file__).resolve().parent


def targets():
    """The names of the fuzz targets, without their ending."""
    return sorted(path.stem for path in HERE.glob("fuzz_*.c"))


def build(target):
    """Builds a target with driver.c, under the address and undefined sanitizers.

    RuntimeError with the compiler's words when that fails.
    """
    folder = runner.build_folder("address")
    flags = [*runner.DEFINITIONS, *runner.WARNINGS, "-O1", "-g"]
    flags += ["-fno-omit-frame-pointer", "-pthread", *runner.SANITIZERS["address"]]
    own = [HERE / f"{target}.c", HERE / "driver.c"]
    objects = runner.compile_all([*runner.core_sources(), *own], folder, flags)
    program = folder / target
    link = [runner.compiler(), *runner.SANITIZERS["address"], "-pthread", *objects]
    result = runner.run_quietly([*link, "-ldl", "-lm", "-o", program])
    if result.returncode != 0:
        raise RuntimeError(f"linking {target}:\n{result.stdout}")
    return program


def run(program, inputs, seed):
    """Runs a target; its exit status and what it said."""
    result = runner.run_quietly([program, str(inputs), str(seed)])
    return result.returncode, result.stdout


if __name__ == "__main__":
    name, inputs, seed = sys.argv[1:]
    status, output = run(build(name), int(inputs), int(seed))
    print(output, end="")
    sys.exit(status)
