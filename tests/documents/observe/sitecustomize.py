"""Tells what a script of the documents was given, from outside of it.

Python imports this module at its start when its folder is on the path. When a process
ends that holds a share of the prompts, the share is written down, with the rank; so the
scripts run unchanged.
"""

import atexit
import json
import os
import sys
from pathlib import Path


def _write():
    script = vars(sys.modules["__main__"])
    if "prompt" not in script or "distributed_state" not in script:
        return
    rank = script["distributed_state"].process_index
    # Some scripts keep the whole list of pictures, some its first.
    pictures = script["result"]
    seen = {
        "prompt": script["prompt"],
        "num_processes": script["distributed_state"].num_processes,
        "pictures": len(pictures) if isinstance(pictures, list) else 1,
    }
    folder = Path(os.environ["PYACCEL_TEST_OBSERVED"])
    (folder / f"seen_{rank}.json").write_text(json.dumps(seen), encoding="utf-8")


atexit.register(_write)
