"""A progress bar that only one process of each host shows."""

from typing import Any

from ..state import PartialState


def tqdm(*args, main_process_only: bool = True, **kwargs) -> Any:
    """`tqdm.auto.tqdm` of the same arguments, silent but on each host's first process.

    With `main_process_only=False` every process shows its own bar.
    """
    try:
        from tqdm.auto import tqdm as bar
    except ImportError as error:
        raise ImportError(
            "tqdm is not installed, and pyaccel.utils.tqdm shows its bars: install it "
            "with pip install tqdm"
        ) from error
    if args and isinstance(args[0], bool):
        raise ValueError(
            f"tqdm: the first argument is {args[0]}, not an iterable: pass "
            f"main_process_only={args[0]} by its name"
        )
    if main_process_only and not PartialState().is_local_main_process:
        kwargs["disable"] = True
    return bar(*args, **kwargs)
