"""Names and rule 8, read from what the compiler made: symbols and static data."""

import re
import subprocess

from tests.house.repository import agree, folder_of, name

# Writable data that CPython takes through a pointer to non-const and only reads.
READ_ONLY_IN_FACT = re.compile(
    r"(\w+_)?(slots|spec|methods|members|getset|definition|keywords)$"
)

# Other writable data, each with the reason why it may be there.
WRITABLE = {
    ("csrc/gpu/library.c", "all"): "the libraries of a GPU, found once",
    ("csrc/gpu/cuda.c", "known"): "CUDA's symbols, filled once",
    ("csrc/gpu/nccl.c", "known"): "NCCL's symbols, filled once",
    ("csrc/gpu/nvml.c", "known"): "NVML's symbols, filled once",
    ("csrc/py/numpy.c", "PyArray_API"): "NumPy's headers define its table",
    ("csrc/py/numpy.c", "PyArray_RUNTIME_VERSION"): "NumPy's headers define it",
}


def symbols(path, *options):
    """nm's lines of an object or a library: the name and the letter of its kind."""
    command = ["nm", "-f", "posix", *options, path]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return [tuple(line.split()[:2]) for line in result.stdout.splitlines()]


def writable_data(path):
    """The names of an object's variables that are not constant."""
    command = ["objdump", "-t", path]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    found = []
    for line in result.stdout.splitlines():
        match = re.match(r"\w+ .{7} (\S+)\t\w+ (?:\.hidden )?(\S+)$", line)
        if match and match[1] != match[2]:
            section = match[1]
            constant = section.startswith((".data.rel.ro", ".rodata"))
            writable = section.startswith((".data", ".bss", ".tdata", ".tbss"))
            if section == "*COM*" or (writable and not constant):
                found.append(match[2])
    return found


def test_the_library_exports_its_init_function_only():
    import pyaccel._C

    exported = {
        symbol for symbol, _ in symbols(pyaccel._C.__file__, "-D", "--defined-only")
    }
    agree(
        f"pyaccel._C exports {symbol}: it should be static, or hidden"
        for symbol in sorted(exported - {"PyInit__C", "_init", "_fini"})
    )
    assert "PyInit__C" in exported


def test_functions_carry_their_prefix(objects):
    def prefixes(source):
        return ("pyaccel_", "PyInit__C") if folder_of(source) == "py" else ("pa_",)

    agree(
        f"{name(source)} defines {symbol}: what is not static begins with "
        f"{prefixes(source)[0]}"
        for source, path in objects.items()
        for symbol, _ in symbols(path, "--defined-only", "--extern-only")
        if not symbol.startswith(prefixes(source))
    )


def test_no_writable_static_data(objects):
    def excused(source, variable):
        if folder_of(source) == "py" and READ_ONLY_IN_FACT.match(variable):
            return True
        return (name(source), variable) in WRITABLE

    agree(
        f"{name(source)} keeps {variable} in writable static memory: state belongs "
        "to a handle or to the module"
        for source, path in objects.items()
        for variable in writable_data(path)
        if not excused(source, variable.split(".")[0])
    )


def test_excuses_are_needed(objects):
    kept = {
        (name(source), variable.split(".")[0])
        for source, path in objects.items()
        for variable in writable_data(path)
    }
    agree(
        f"{source} has no writable {variable} any more: take it from the table"
        for source, variable in WRITABLE
        if (source, variable) not in kept
    )
