"""The test build: pyaccel with fake devices where torch would speak of real ones.

The extension is made of csrc with tests/fakes/torch_devices.c instead of
csrc/torch/devices.c, and lies in a folder of its own beside links to pyaccel's Python
files. A process that has this folder first on its path has the test build.
"""

from pathlib import Path

import setup
from tests.c.flags import extension_flags
from tests.c.runner import build_folder, compile_all, compiler, run_quietly

HERE = Path(__file__).resolve().parent
REPLACED = setup.ROOT / "csrc" / "torch" / "devices.c"
OVERLAY = setup.ROOT / "build" / "fakes" / "overlay"


def make():
    """Build what is not built yet; the folder to put first on the path.

    RuntimeError with the compiler's words when something does not compile.
    """
    package = OVERLAY / "pyaccel"
    package.mkdir(parents=True, exist_ok=True)
    for path in (setup.ROOT / "pyaccel").iterdir():
        link = package / path.name
        if path.suffix != ".so" and not link.is_symlink():
            link.symlink_to(path)
    sources = [setup.ROOT / name for name in setup.sources()]
    sources[sources.index(REPLACED)] = HERE / "torch_devices.c"
    flags = [*extension_flags(), "-fPIC", f"-I{HERE.parent}"]
    objects = compile_all(sources, build_folder("fakes"), flags)
    target = package / "_C.abi3.so"
    newest = max(path.stat().st_mtime_ns for path in objects)
    if not target.exists() or target.stat().st_mtime_ns < newest:
        _, options = setup.compile_flags()
        link = [compiler(), "-shared", *options, *objects, "-o", target, "-ldl", "-lm"]
        result = run_quietly(link)
        if result.returncode != 0:
            raise RuntimeError(f"linking the test build:\n{result.stdout}")
    return OVERLAY
