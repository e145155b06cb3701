"""Paint a picture for each prompt: the prompts are split over the processes.

This is the example of the guides to distributed inference. Every process saves the
pictures of its own prompts, one file a prompt; then all pictures are gathered, in the
order of the prompts, and the main process pastes them on one sheet.
"""

import argparse
import math
import re

import torch

from pyaccel import PartialState
from pyaccel.examples._arguments import output_folder, positive_int, require
from pyaccel.examples._diffusion import add_model_arguments, load_pipeline
from pyaccel.utils import gather_object

PROMPTS = ["a dog", "a cat", "a chicken"]

EPILOG = """\
The picture of a prompt does not depend on the number of processes.

  pyaccel launch --num_processes 2 -m pyaccel.examples.text_to_image --tiny
  pyaccel launch --num_processes 2 -m pyaccel.examples.text_to_image \\
      "a dog" "a cat" --model stabilityai/sdxl-turbo --steps 4
"""


def main():
    args = parse_arguments()
    state = PartialState()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    pipeline = load_pipeline(args, state.device, first=state.local_main_process_first())
    pipeline.set_progress_bar_config(disable=not state.is_main_process)

    pictures = []
    with state.split_between_processes(list(enumerate(args.prompts))) as share:
        for number, prompt in share:
            picture = paint(pipeline, prompt, args.steps, args.seed + number)
            picture.save(args.output_dir / file_name(number, prompt))
            pictures.append(picture)
    pictures = gather_object(pictures)

    if state.is_main_process:
        for number, prompt in enumerate(args.prompts):
            print(f"{prompt!r}: {args.output_dir / file_name(number, prompt)}")
        sheet = args.output_dir / "contact_sheet.png"
        contact_sheet(pictures).save(sheet)
        print(f"All {len(pictures)} on one sheet: {sheet}")
    state.destroy_process_group()


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="pyaccel.examples.text_to_image",
        description="Paint a picture for each prompt with a model of diffusers, the "
        "prompts split over the processes.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "prompts",
        nargs="*",
        default=PROMPTS,
        metavar="PROMPT",
        help=f"what to paint ({', '.join(PROMPTS)})",
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--output_dir",
        type=output_folder,
        default="pictures",
        metavar="FOLDER",
        help="where the pictures go (%(default)s)",
    )
    parser.add_argument(
        "--steps",
        type=positive_int,
        default=20,
        metavar="N",
        help="denoising steps a picture (20)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="the noise of the first picture; the next one has N + 1, and so on (0)",
    )
    args = parser.parse_args()
    require(parser, "diffusers", "transformers", "PIL")
    return args


def paint(pipeline, prompt, steps, seed):
    """One picture. Its noise is drawn on the CPU, so it is the same on every device."""
    noise = torch.Generator("cpu").manual_seed(seed)
    return pipeline(prompt, num_inference_steps=steps, generator=noise).images[0]


def file_name(number, prompt):
    """The file of a prompt; the number keeps equal prompts and long ones apart."""
    words = re.sub(r"\W+", "-", prompt.lower()).strip("-")[:60]
    return "-".join(filter(None, [f"{number:03d}", words])) + ".png"


def contact_sheet(pictures):
    """All pictures in rows, in a grid as square as their number allows."""
    from PIL import Image

    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    width, height = pictures[0].size
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        sheet.paste(picture, (column * width, row * height))
    return sheet


if __name__ == "__main__":
    main()
