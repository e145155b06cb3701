"""Loggers, progress bars, files and waiting, on several processes."""

import io
import logging
import os
import time

import pytest
import torch

from pyaccel import PartialState
from pyaccel.logging import get_logger
from pyaccel.utils import load, save, tqdm, wait_for_everyone
from tests.harness import every_size, here


class ToServer(logging.Handler):
    """Tells the harness of each line, in the order in which they come."""

    def emit(self, record):
        with open(self.path, "a") as file:
            file.write(record.getMessage() + "\n")


def log_lines(path, level_of_last):
    PartialState(cpu=True)
    handler = ToServer()
    handler.path = path
    logger = get_logger("tests.helpers")
    logger.logger.addHandler(handler)
    last = here.rank == here.size - 1
    try:
        logger.logger.setLevel(level_of_last if last else logging.INFO)
        logger.info("main")
        logger.info("all in turn", in_order=True)
        logger.debug("nobody", in_order=True)
        wait_for_everyone()
        logger.warning("everyone", main_process_only=False)
    finally:
        logger.logger.removeHandler(handler)
        logger.logger.setLevel(logging.NOTSET)


@every_size
def test_lines_come_once_in_turn_or_from_all(ranks, size, tmp_path):
    path = tmp_path / "lines"
    ranks.run(log_lines, str(path), logging.INFO, size=size)
    lines = path.read_text().splitlines()
    everyone = [f"[RANK {rank}] everyone" for rank in range(size)]
    assert lines[: 1 + size] == [
        "[RANK 0] main",
        *(f"[RANK {rank}] all in turn" for rank in range(size)),
    ]
    assert sorted(lines[1 + size :]) == everyone


def test_a_level_of_one_process_does_not_leave_the_others_waiting(ranks, tmp_path):
    path = tmp_path / "lines"
    ranks.run(log_lines, str(path), logging.WARNING, size=3)
    turns = [line for line in path.read_text().splitlines() if "turn" in line]
    assert turns == ["[RANK 0] all in turn", "[RANK 1] all in turn"]


class Unprintable:
    """What no line can say."""

    def __str__(self):
        raise RuntimeError("no text")


def log_what_fails():
    PartialState(cpu=True)
    logger = get_logger("tests.helpers")
    text = Unprintable() if here.rank == 0 else "x"
    try:
        logger.error(text, in_order=True)
    except RuntimeError as error:
        return str(error)
    finally:
        wait_for_everyone()
    return None


def test_a_line_that_fails_does_not_leave_the_others_waiting(ranks):
    assert ranks.run(log_what_fails, size=3) == ["no text", None, None]


def count_with_bars():
    PartialState(cpu=True)
    text = {True: io.StringIO(), False: io.StringIO()}
    for main_process_only, file in text.items():
        items = tqdm([1, 2, 3], main_process_only=main_process_only, file=file)
        assert list(items) == [1, 2, 3]
    return [file.getvalue() != "" for file in text.values()]


@every_size
def test_a_bar_is_the_main_process_alone(ranks, size):
    shown = ranks.run(count_with_bars, size=size)
    assert shown == [[True, True], *[[False, True]] * (size - 1)]


def save_all_ways(folder):
    PartialState(cpu=True)
    mine = f"{folder}/{here.rank}"
    os.mkdir(mine)
    tensors = {"weight": torch.full((2,), float(here.rank))}
    save(tensors, f"{mine}/plain")
    save(tensors, f"{mine}/safe", safe_serialization=True)
    save(tensors, f"{mine}/node", save_on_each_node=True)
    written = io.BytesIO()
    save(tensors, written, safe_serialization=True)
    wait_for_everyone()
    read = [load(f"{folder}/0/{name}") for name in ("plain", "safe", "node")]
    return (
        sorted(os.listdir(mine)),
        [dict(r)["weight"].tolist() for r in read],
        bool(written.getvalue()),
    )


@every_size
def test_the_main_process_alone_writes(backend, size, tmp_path):
    results = backend.run(save_all_ways, str(tmp_path), size=size)
    for rank, (files, read, written) in enumerate(results):
        assert files == (["node", "plain", "safe"] if rank == 0 else [])
        assert read == [[0.0, 0.0]] * 3
        assert written == (rank == 0)


def save_what_cannot_be(path):
    PartialState(cpu=True)
    with pytest.raises(ValueError, match="Key `a` is invalid, .*int.*: leave it out"):
        save({"a": 3}, path, safe_serialization=True)


def test_a_mistake_in_saving_is_an_error_of_every_process(ranks, tmp_path):
    ranks.run(save_what_cannot_be, str(tmp_path / "file"), size=2)
    assert not list(tmp_path.iterdir())


def wait_for_the_last():
    """When the last rank came, all others asleep, or when one of those was let go."""
    PartialState(cpu=True)
    last = here.size - 1
    if here.rank < last:
        here.post("waiting")
        wait_for_everyone()
        return time.monotonic_ns()
    for rank in range(last):
        here.wait_asleep(rank, "waiting")
    came = time.monotonic_ns()
    wait_for_everyone()
    return came


@pytest.mark.parametrize("size", [2, 3, 4])
def test_everyone_is_waited_for(ranks, size):
    *let_go, came = ranks.run(wait_for_the_last, size=size)
    assert all(moment >= came for moment in let_go)
