"""The script that runs all that a GPU is needed for, where there is none."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "gpu" / "run_all.sh"


def test_every_part_is_skipped_without_a_gpu(tmp_path):
    report = tmp_path / "report.md"
    done = subprocess.run(
        ["bash", str(SCRIPT), report.name],
        # A machine that has GPUs hides them here.
        env={**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    text = report.read_text(encoding="utf-8")
    for fact in ("date:", "commit:", "torch:", "pyaccel finds:"):
        assert f"\n- {fact}" in text, text
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 8
    assert all(row.endswith("| skipped: no GPU |  |") for row in rows)
    assert [path.name for path in tmp_path.iterdir()] == [report.name]
