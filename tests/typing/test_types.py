"""The public names under mypy, as a script with types would use them."""

import re
import subprocess
import sys
from pathlib import Path

USES = Path(__file__).with_name("uses.py")
ROOT = USES.parents[2]


def test_mypy_sees_what_uses_says():
    command = [sys.executable, "-m", "mypy", "--hide-error-context", str(USES)]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=240, cwd=ROOT
    )
    error = rf"(?m)^\S*{USES.name}:(\d+): error: .*\[([\w-]+)\]$"
    said = {(int(line), code) for line, code in re.findall(error, result.stdout)}
    wanted = {
        (number, line.split("# error: ")[1])
        for number, line in enumerate(USES.read_text().splitlines(), 1)
        if re.search(r"\S  # error: [\w-]+$", line)
    }
    assert said == wanted, result.stdout + result.stderr
