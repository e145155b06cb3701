"""How long do collectives take where processes cannot share memory?"""

from __future__ import annotations

from benchmarks.broadcast import one_tensor as broadcast_one
from benchmarks.gather import MIB, TENSORS, dictionary, one_tensor as gather_one
from benchmarks.harness.case import Case, Goal
from benchmarks.harness.session import Session

SIZES = {"8 B": 8, "4 KiB": 4096, "1 MiB": MIB, "64 MiB": 64 * MIB}
# What makes pyaccel use torch.distributed, as between hosts; accelerate always does.
ENVIRONMENT = {"PYACCEL_COMM": "torch"}

CASES = (
    *(
        Case(f"gather of {name}", gather_one(nbytes), goal=Goal(times=1))
        for name, nbytes in SIZES.items()
    ),
    *(
        Case(f"broadcast of {name}", broadcast_one(nbytes), goal=Goal(times=1))
        for name, nbytes in SIZES.items()
    ),
    Case(
        f"gather of a dict of {TENSORS} tensors of 512 B",
        dictionary,
        goal=Goal(times=10),
    ),
)


def run(session: Session) -> None:
    session.compare(__name__, CASES, ENVIRONMENT)
