"""Builds the fakes and prints where they are: python -m tests.fakes."""

import argparse

from tests.c import runner
from tests.fakes.libraries import build

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--sanitizer", choices=sorted(runner.SANITIZERS))
parser.add_argument("--without", nargs="*", default=(), metavar="FUNCTION")
options = parser.parse_args()
for library, path in build(options.sanitizer, options.without).items():
    print(f"{library}\t{path}")
