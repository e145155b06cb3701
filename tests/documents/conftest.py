"""The tiny model that stands for the documents' one."""

import pytest

from tests.harness.fresh import Fresh

_SAVE = """
import sys
from pyaccel.examples._diffusion import tiny_pipeline

tiny_pipeline().save_pretrained(sys.argv[1])
"""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """The folder of a small random Stable Diffusion, made once."""
    folder = tmp_path_factory.mktemp("model")
    runner = Fresh(folder)
    try:
        runner.python(_SAVE, folder / "tiny", timeout=120.0).check()
    finally:
        runner.close()
    return folder / "tiny"
