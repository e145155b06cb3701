"""Builds the C tests and runs them: one program a file, the core without Python.

Each `tests/c/test_NAME.c` has its own `main` and is linked with every source of the
core. Objects are kept in build/c and made anew when a source or a header is newer, so
that a second run only runs. From the command line: `python -m tests.c.runner`, and with
`--under memcheck` the same under valgrind, which sees what was read but never written.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "c"
BUILD = ROOT / "build" / "c"

DEFINITIONS = ["-std=c11", "-D_GNU_SOURCE", f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'tests'}"]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]

# What each kind of run adds to the compiler's and to the linker's command line.
SANITIZERS = {
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-fsanitize=thread"],
    "memcheck": [],
}

# How valgrind runs a program. Its threads take turns, fairly: a rank that spins would
# else keep the turn from who it waits for.
MEMCHECK = ["valgrind", "--quiet", "--fair-sched=yes", "--error-exitcode=99"]
MEMCHECK += ["--leak-check=full", "--errors-for-leak-kinds=definite"]

# Programs whose threads share memory: only these run under the thread sanitizer.
THREADED = ("test_comm", "test_device", "test_gpu", "test_store_net", "test_sys_shared")

# Programs that valgrind does not run as the kernel does: it makes vfork a fork, after
# which a child cannot tell its parent why nothing was executed; and in the loader's own
# reading of the fakes' "$ORIGIN", whole words at a time, it sees errors.
NOT_UNDER_MEMCHECK = ("test_spawn", "test_device")

# Programs of several processes, each with a fake GPU.
ON_FAKES = "test_device"

# No file, shared memory included, may grow beyond this in a test program: the system
# refuses at once instead of reserving page by page and ending processes for want of
# memory, others' among them.
FILE_LIMIT = 1 << 30

# A program that takes longer hangs: each of its own waits has a shorter deadline.
TIMEOUT = 120.0


def compiler():
    """The C compiler's path, or None where there is none."""
    return shutil.which(os.environ.get("CC") or "cc")


def build_folder(kind):
    """Where objects and programs of one compiler and one sanitizer are kept."""
    return BUILD / Path(compiler()).name / kind


def core_sources():
    """Every source of the core; csrc/py, which needs Python, is not of the core."""
    folder = ROOT / "csrc"
    return sorted(p for p in folder.glob("**/*.c") if folder / "py" not in p.parents)


def programs():
    """The names of the C tests, without their ending."""
    return sorted(path.stem for path in HERE.glob("test_*.c"))


def kinds_of(program, under=None):
    """What a program runs under: `under` if it can, by default its sanitizers."""
    if under is not None:
        skipped = under == "memcheck" and program.startswith(NOT_UNDER_MEMCHECK)
        return [] if skipped else [under]
    return ["address", "thread"] if program.startswith(THREADED) else ["address"]


def unavailable(kind):
    """Why programs cannot be built and run under a sanitizer here; None if they can."""
    if compiler() is None:
        return "there is no C compiler: install gcc or clang, or name one in CC"
    if kind == "memcheck":
        return None if shutil.which("valgrind") else "there is no valgrind: install it"
    folder = build_folder(kind)
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "probe.c"
    source.write_text("int main(void) { return 0; }\n")
    probe = folder / "probe"
    result = run_quietly([compiler(), *SANITIZERS[kind], source, "-o", probe])
    if result.returncode != 0:
        return f"{compiler()} cannot build with the {kind} sanitizer: {result.stdout}"
    result = run_quietly([probe])
    if result.returncode != 0:
        return f"the {kind} sanitizer does not work here: {result.stdout}"
    return None


def run_quietly(command, **options):
    """Runs a command; its output, both streams in one text, is in `stdout`."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=TIMEOUT,
        **options,
    )


def compile_object(source, folder, flags):
    """Compiles one source into `folder` unless its object is new enough; its path."""
    target = folder / source.relative_to(ROOT).with_suffix(".o")
    inputs = [source, *ROOT.glob("csrc/**/*.h"), *HERE.glob("*.h"), Path(__file__)]
    if target.exists():
        newest = max(path.stat().st_mtime_ns for path in inputs)
        if target.stat().st_mtime_ns > newest:
            return target
    target.parent.mkdir(parents=True, exist_ok=True)
    result = run_quietly([compiler(), *flags, "-c", source, "-o", target])
    if result.returncode != 0:
        target.unlink(missing_ok=True)
        raise RuntimeError(f"{source.relative_to(ROOT)}:\n{result.stdout}")
    return target


def compile_all(sources, folder, flags):
    """Compiles several sources, as many at a time as there are cores; their objects.

    RuntimeError with the compiler's words when one does not compile.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda path: compile_object(path, folder, flags), sources))


def build(program, kind):
    """Builds one test program under a sanitizer; the path of the executable.

    RuntimeError with the compiler's words when that fails.
    """
    folder = build_folder(kind)
    flags = [*DEFINITIONS, *WARNINGS, "-O1", "-g", "-fno-omit-frame-pointer"]
    flags += ["-pthread", *SANITIZERS[kind]]
    sources = [*core_sources(), HERE / f"{program}.c"]
    objects = compile_all(sources, folder, flags)
    target = folder / program
    link = [compiler(), *SANITIZERS[kind], "-pthread", *objects, "-o", target]
    result = run_quietly([*link, "-ldl", "-lm"])
    if result.returncode != 0:
        raise RuntimeError(f"linking {program}:\n{result.stdout}")
    return target


def limit_files():
    """Sets the limit on the size of files, in the child that becomes the program."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))


def fakes_of(executable, kind):
    """The variables by which a program finds the fakes of GPUs, if it uses them."""
    if not executable.name.startswith(ON_FAKES):
        return {}
    from tests.fakes import environment  # which builds by this module

    return environment(sanitizer=kind if kind in ("address", "thread") else None)


def run(executable, under=()):
    """Runs a test program, by the command `under` if one is given; its exit status
    (negative: a signal) and its output."""
    environment = {
        **os.environ,
        **fakes_of(executable, executable.parent.name),
        "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": "halt_on_error=1",
    }
    try:
        # Signals as Python has them: what is beyond the limit is an error, no signal.
        result = run_quietly(
            [*under, executable],
            env=environment,
            preexec_fn=limit_files,
            restore_signals=False,
        )
    except subprocess.TimeoutExpired as error:
        output = error.output.decode(errors="replace") if error.output else ""
        return 124, f"{output}\n{executable.name} did not end within {TIMEOUT:.0f} s"
    return result.returncode, result.stdout


def main():
    """Runs the programs named on the command line, or all; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", nargs="*", help="such as test_hash; all by default")
    parser.add_argument("--under", choices=sorted(SANITIZERS))
    options = parser.parse_args()
    failed = 0
    for program in options.program or programs():
        for kind in kinds_of(program, options.under):
            if reason := unavailable(kind):
                sys.exit(reason)
            under = MEMCHECK if kind == "memcheck" else ()
            status, output = run(build(program, kind), under)
            failed += status != 0
            print(f"{program} ({kind}): {'ok' if status == 0 else f'failed, {status}'}")
            if status != 0:
                print(output)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
