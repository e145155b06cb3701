"""Builds and runs the fuzz targets: python -m tests.fuzz.build TARGET INPUTS SEED.

With --libfuzzer clang's fuzzer makes the inputs, which sees what they reach; without it
driver.c does, with any compiler. Both begin with the seeds of the target.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from tests.c import runner

HERE = Path(__file__).resolve().parent
SANITIZERS = runner.SANITIZERS["address"]
INPUT_BYTES = 4096  # at most, as in driver.c

# Lengths that a peer invents ask for memory that there is not: malloc then says so.
ENVIRONMENT = {
    "ASAN_OPTIONS": "allocator_may_return_null=1:max_allocation_size_mb=34:"
    "quarantine_size_mb=16",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


def targets():
    """The names of the fuzz targets, without their ending."""
    return sorted(path.stem for path in HERE.glob("fuzz_*.c"))


def clang():
    """The compiler that has libFuzzer: the one named in CC, or clang; None without."""
    return shutil.which(os.environ.get("CC") or "clang")


def build(target):
    """Builds a target with driver.c, under the address and undefined sanitizers.

    RuntimeError with the compiler's words when that fails.
    """
    folder = runner.build_folder("address")
    flags = [*runner.DEFINITIONS, *runner.WARNINGS, "-O1", "-g"]
    flags += ["-fno-omit-frame-pointer", "-pthread", *SANITIZERS]
    own = [HERE / f"{target}.c", HERE / "driver.c"]
    objects = runner.compile_all([*runner.core_sources(), *own], folder, flags)
    program = folder / target
    link([runner.compiler(), *SANITIZERS, "-pthread", *objects], program)
    return program


def build_for_libfuzzer(target):
    """The same with libFuzzer in the place of driver.c, which only clang has."""
    folder = runner.BUILD / "libfuzzer"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / target
    command = [clang() or "clang", *runner.DEFINITIONS, "-O1", "-g", "-pthread"]
    command += ["-fsanitize=fuzzer", *SANITIZERS, HERE / f"{target}.c"]
    link([*command, *runner.core_sources()], program)
    return program


def link(command, program):
    """Finishes a compiler's command line and runs it."""
    result = runner.run_quietly([*command, "-ldl", "-lm", "-o", program])
    if result.returncode != 0:
        raise RuntimeError(f"building {program.name}:\n{result.stdout}")


def run(program, *arguments):
    """Runs a target of driver.c; its exit status and what it said."""
    environment = {**os.environ, **ENVIRONMENT}
    result = runner.run_quietly([program, *map(str, arguments)], env=environment)
    return result.returncode, result.stdout


def main():
    """Runs one target for as long as it takes, in the place of this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=targets())
    parser.add_argument("inputs", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--libfuzzer", action="store_true")
    options = parser.parse_args()
    driver = build(options.target)
    os.environ.update(ENVIRONMENT)
    if not options.libfuzzer:
        os.execv(driver, [driver, str(options.inputs), str(options.seed)])
    program = build_for_libfuzzer(options.target)
    seeds = program.with_name(f"{options.target}_seeds")
    found = program.with_name(f"{options.target}_found")
    for folder in (seeds, found):
        folder.mkdir(exist_ok=True)
    status, output = run(driver, seeds)
    if status != 0:
        sys.exit(output)
    command = [program, f"-runs={options.inputs}", f"-seed={options.seed}"]
    command += [f"-max_len={INPUT_BYTES}", "-print_final_stats=1"]
    command += [f"-artifact_prefix={program}_"]
    os.execv(program, list(map(str, [*command, found, seeds])))


if __name__ == "__main__":
    main()
