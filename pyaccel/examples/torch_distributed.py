"""PyTorch's own ways to distribute go on working beside pyaccel.

`run_inference(rank, world_size)` is the function of the guides: it makes a group with
`torch.distributed` and picks a prompt by its rank. Inside it, `PartialState` finds that
group and takes its ranks from there. The processes come from `mp.spawn`, or from a
launcher such as `torchrun` or `pyaccel launch`, which tells each its rank.
"""

import argparse
import os
import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pyaccel import PartialState
from pyaccel.examples._arguments import output_folder, positive_int, require
from pyaccel.examples._diffusion import add_model_arguments, load_pipeline
from pyaccel.utils import gather_object

PROMPTS = ["a dog", "a cat", "a chicken", "a horse"]

# What a launcher told this one process would mislead the processes that it spawns.
LAUNCHER_VARIABLES = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "TORCHELASTIC_USE_AGENT_STORE",
)

EPILOG = """\
  python -m pyaccel.examples.torch_distributed --num_processes 2 --tiny
  torchrun --nproc_per_node 2 -m pyaccel.examples.torch_distributed --tiny
  pyaccel launch --num_processes 2 -m pyaccel.examples.torch_distributed --tiny

The first one starts its processes with mp.spawn.
"""


def main():
    args = parse_arguments()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1:
        run_inference(int(os.environ["RANK"]), world_size, args)
    else:
        spawn(args)


def spawn(args):
    """Start the processes as the guides do, with an address for them to meet at."""
    for name in LAUNCHER_VARIABLES:
        os.environ.pop(name, None)
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    os.environ["MASTER_PORT"] = str(free_port())
    world_size = args.num_processes
    mp.spawn(run_inference, args=(world_size, args), nprocs=world_size, join=True)


def run_inference(rank, world_size, args):
    backend = "nccl" if torch.cuda.device_count() >= world_size else "gloo"
    dist.init_process_group(backend, rank=rank, world_size=world_size)
    state = PartialState()

    pipeline = load_pipeline(args, state.device, first=state.local_main_process_first())
    pipeline.set_progress_bar_config(disable=True)
    prompt = PROMPTS[dist.get_rank() % len(PROMPTS)]
    noise = torch.Generator("cpu").manual_seed(rank)
    picture = pipeline(prompt, num_inference_steps=10, generator=noise).images[0]
    path = args.output_dir / f"result_{rank}.png"
    picture.save(path)

    lines = gather_object(
        [
            f"torch.distributed: rank {dist.get_rank()} of {dist.get_world_size()}; "
            f"PartialState: {state.process_index} of {state.num_processes}; "
            f"{prompt!r} is in {path}"
        ]
    )
    state.print("\n".join(lines))
    dist.destroy_process_group()


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="pyaccel.examples.torch_distributed",
        description="Paint a picture in each process of a group that the script makes "
        "with torch.distributed itself.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--num_processes",
        type=positive_int,
        default=2,
        metavar="N",
        help="processes to spawn when no launcher started several (2)",
    )
    parser.add_argument(
        "--output_dir",
        type=output_folder,
        default="pictures",
        metavar="FOLDER",
        help="where the pictures go (%(default)s)",
    )
    args = parser.parse_args()
    require(parser, "diffusers", "transformers", "PIL")
    return args


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
