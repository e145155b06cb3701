"""What accelerate's operations get wrong, row by row, and that ours do not.

`tests/README.md` shows the table. The parity tests run both libraries on those rows in
which accelerate neither ends the process nor waits for ever.
"""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from pyaccel import PartialState
from pyaccel.utils import pad_input_tensors
from pyaccel.utils.operations import (
    DistributedOperationException,
    broadcast,
    copy_tensor_to_devices,
    gather,
    gather_object,
    pad_across_processes,
    reduce,
)
from tests.distributed.values import check_same
from tests.harness import here


def still_in_step():
    assert gather(torch.tensor([here.rank])).tolist() == list(range(here.size))


def padding_is_local():
    state = PartialState()
    inputs = torch.arange(2 * here.size - 1)
    if here.rank == 1:  # the others do not even take part
        with state.split_between_processes(inputs, apply_padding=True) as own:
            assert own.tolist() == [2, 3 if here.size > 2 else 2]
            assert own.device == inputs.device
    still_in_step()


def uneven_rows():
    PartialState()
    got = gather(torch.full((here.rank, 2), here.rank))
    assert got[:, 0].tolist() == [r for r in range(here.size) for _ in range(r)]
    assert gather(torch.ones(0, 3)).shape == (0, 3)


def different_calls():
    PartialState()
    last = here.rank == here.size - 1
    for own in (
        torch.ones(2, dtype=torch.float64 if last else torch.float32),
        torch.ones((2, 3) if last else (3, 2)),
        [torch.ones(1)] * (1 + last),
    ):
        for operation in (gather, reduce, broadcast):
            with pytest.raises(DistributedOperationException, match="rank 0"):
                operation(own)
    still_in_step()


def single_objects():
    PartialState()
    for item in ("ab", {"a": 1}, 3, None):
        assert gather_object(item) == [item] * here.size
    assert gather_object([here.rank] * here.rank) == [
        rank for rank in range(here.size) for _ in range(rank)
    ]


def unpicklable():
    PartialState()
    with pytest.raises(Exception, match="lambda") as caught:
        gather_object([lambda: 0] if here.rank == 1 else [1])
    if here.rank != 1:
        assert isinstance(caught.value, DistributedOperationException)
    still_in_step()


def reductions():
    PartialState()
    own = torch.tensor([here.rank, -here.rank], dtype=torch.float32)
    last = here.size - 1
    assert reduce(own, "none").tolist() == own.tolist()
    assert reduce(own, "min").tolist() == [0, -last]
    assert reduce(own, "sum", 0.5).tolist() == (reduce(own, "sum") / 2).tolist()
    for wrong in ("avg", "Mean", "", None):
        with pytest.raises(ValueError, match="reduction is"):
            reduce(own, wrong)
    with pytest.raises(ValueError, match="mean of int64"):
        reduce(own.long())
    still_in_step()


def dtypes_after_padding():
    PartialState()
    own = torch.ones(here.rank + 1, dtype=torch.bool)
    got = pad_across_processes(own)
    assert (got.dtype, got.sum().item()) == (torch.bool, here.rank + 1)
    for dtype, value in ((torch.uint8, -1), (torch.int64, 0.5), (torch.bool, 2)):
        with pytest.raises(ValueError, match="pad_index is"):
            pad_across_processes(own.to(dtype), pad_index=value)
    still_in_step()


def padded_inputs():
    for items, count, rows in ((2, 2, 2), (8, 4, 8), (9, 4, 12), (3, 4, 4)):
        inputs = torch.arange(items) + 1
        padded = pad_input_tensors(inputs, items, count).tolist()
        assert padded == [*inputs.tolist(), *[items] * (rows - items)]


def copies():
    PartialState()
    output = BaseModelOutput(
        last_hidden_state=torch.arange(6.0).reshape(2, 3).to(torch.float8_e5m2),
        hidden_states=(torch.zeros(2, 0), torch.tensor(1j)),
    )
    check_same(copy_tensor_to_devices(output if here.rank == 1 else None), output)


def errors_in_the_first_block():
    state = PartialState()
    with (
        pytest.raises(Exception, match="no such file") as caught,
        state.main_process_first(),
    ):
        if state.is_main_process:
            raise KeyError("no such file")
    kind = KeyError if here.rank == 0 else DistributedOperationException
    assert isinstance(caught.value, kind)
    still_in_step()


def views_of_receivers():
    PartialState()
    base = torch.full((3, 4), here.rank)
    broadcast(base[:, ::2], from_process=1)
    assert base.tolist() == [[1, here.rank, 1, here.rank]] * 3


def every_dtype():
    PartialState()
    for dtype in (torch.int16, torch.uint16, torch.uint32, torch.float8_e4m3fn):
        own = torch.tensor([here.rank, 1]).to(dtype)
        assert gather(own).float().tolist()[::2] == list(range(here.size))
        assert reduce(own, "sum").float()[1].item() == here.size


class Defect(NamedTuple):
    name: str
    accelerate: str
    ours: str
    shown: object


TABLE = [
    Defect(
        "B11",
        "a padded split of a tensor communicates and moves it to the device",
        "it is local, and moves nothing",
        padding_is_local,
    ),
    Defect(
        "B12",
        "uneven first dimensions end the process, empty tensors may hang",
        "gathered whole",
        uneven_rows,
    ),
    Defect(
        "B12",
        "other dtypes, shapes or numbers of tensors: wrong data, an abort or a hang",
        "`DistributedOperationException` on every rank, at once",
        different_calls,
    ),
    Defect(
        "B13",
        "`gather_object` of a text gives its characters, of a dict its keys",
        "what is no list or tuple is one item of its rank",
        single_objects,
    ),
    Defect(
        "B13",
        "an object that cannot be pickled leaves the ranks out of step",
        "an error on every rank, and the group goes on",
        unpicklable,
    ),
    Defect(
        "B14",
        '`reduce` with "none", "min" or a typo sums; `scale` is not looked at',
        "they are done as named; a typo and a mean of integers are a `ValueError`",
        reductions,
    ),
    Defect(
        "B15",
        "padding turns booleans to integers, and -1 into 255",
        "the dtype stays; a value that does not fit is a `ValueError`",
        dtypes_after_padding,
    ),
    Defect(
        "B16",
        "`pad_input_tensors` pads with zeros, to no multiple",
        "to a multiple, with the last item",
        padded_inputs,
    ),
    Defect(
        "B17",
        "`copy_tensor_to_devices` reads memory that nobody wrote, and knows one tensor",
        "any structure, shape and dtype",
        copies,
    ),
    Defect(
        "B18",
        "an error in the main process' first block leaves the others waiting",
        "it is raised on the others too",
        errors_in_the_first_block,
    ),
    Defect(
        "views",
        "`broadcast` into a view writes elsewhere",
        "a view receives its own elements, and no others change",
        views_of_receivers,
    ),
    Defect(
        "dtypes",
        "16-bit and unsigned integers and float8 cannot be sent",
        "every dtype can",
        every_dtype,
    ),
]


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize(
    "row", TABLE, ids=[f"{r.name} {r.shown.__name__}" for r in TABLE]
)
def test_row(backend, size, row):
    backend.run(row.shown, size=size)


def test_the_readme_shows_the_table():
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    missing = [
        line
        for name, accelerate, ours, _ in TABLE
        if (line := f"| {name} | {accelerate} | {ours} |") not in text.splitlines()
    ]
    assert not missing
