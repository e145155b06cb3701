"""`copy=False` of `gather_object` and `gather`: arrays that the ranks read together."""

import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from pyaccel import PartialState
from pyaccel.utils.operations import (
    DistributedOperationException,
    gather,
    gather_object,
)
from tests.distributed.values import bits, check_same
from tests.harness import every_size, here

LARGE = 300_000


def own_arrays(rank, add=0):
    return [
        np.full(LARGE, rank + add, np.int16),
        np.arange(6000.0).reshape(60, 100) + rank + add,
        np.asfortranarray(np.arange(6000).reshape(60, 100)),
        {"mask": np.arange(9000) % 2 == rank % 2, "few": np.arange(3)},
        np.zeros((0, 5)),
    ]


def mappings(kind):
    """Lines of this process' mappings that have the kind and are of a memory file."""
    with open("/proc/self/maps", encoding="ascii") as lines:
        return [line for line in lines if kind in line and "memfd:pyaccel" in line]


def check_read_only(array):
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[...] = 0
    with pytest.raises(ValueError, match="WRITEABLE|writeable"):
        array.flags.writeable = True


def check_views(got):
    for start in range(0, len(got), 5):
        for array in (*got[start : start + 3], got[start + 3]["mask"]):
            check_read_only(array)


def gather_views(leases):
    PartialState()
    for add in range(3):
        got = gather_object(own_arrays(here.rank, add), copy=False)
        check_same(got, [x for r in range(here.size) for x in own_arrays(r, add)])
        if here.size > 1:
            check_views(got)
            assert len(mappings("r--s")) == (here.size if leases else 0)
        del got
        assert not mappings("r--s")
    # Without it as before.
    for array in gather_object(own_arrays(here.rank))[:2]:
        array[...] = 0


@every_size
def test_values_that_cannot_be_written(shm, size):
    shm.run(gather_views, True, size=size)


@pytest.mark.parametrize("size", [2, 3])
def test_over_torch_they_are_copies(ranks, size):
    variables = {"PYACCEL_COMM": "torch"}
    ranks.run(gather_views, False, size=size, via="variables", group_env=variables)


def arenas():
    """Inodes of the memory files that this process writes to, the segment's too."""
    return {line.split()[4] for line in mappings("rw-s")}


def gather_repeatedly():
    PartialState()
    segment = arenas()
    made = []
    for add in range(4):
        gather_object([np.full(LARGE, add)], copy=False)
        here.meet(f"given back {add}")
        made.append(arenas() - segment)
    assert len(made[0]) == 1
    assert made == [made[0]] * 4
    kept = [gather_object([np.full(LARGE, add)], copy=False) for add in range(3)]
    for add, got in enumerate(kept):
        assert all((array == add).all() for array in got)
    assert len(arenas() - segment) == 3
    del kept, got
    here.meet("all given back")
    gather_object([np.zeros(LARGE * 2)], copy=False)
    # None of those was large enough.
    assert len(arenas() - segment) == 1
    # A view keeps what it is a part of.
    view = gather_object([np.arange(LARGE) + here.rank], copy=False)[1][-2:]
    gather_object([np.zeros(LARGE)], copy=False)
    assert view.tolist() == [LARGE - 1, LARGE]


def test_an_arena_is_used_again_when_nobody_reads_it(shm):
    shm.run(gather_repeatedly, size=2, own_group=True)


def outlive(how):
    state = PartialState()
    segment = arenas()
    got = gather_object([np.full(LARGE, here.rank)], copy=False)
    here.meet("gathered")
    if here.rank == 1 and how == "killed":
        here.die()
    if how == "killed":
        here.wait_ended(1)
    state.destroy_process_group()
    for rank, array in enumerate(got):
        assert (array == rank).all()
        check_read_only(array)
    assert len(mappings("r--s")) == here.size
    assert arenas() <= segment
    del got, array
    assert not mappings("r--s")


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_views_outlive_the_group(each_way, how):
    outcomes = each_way.run(outlive, how, size=3, check=False, own_group=True)
    for rank, outcome in enumerate(outcomes):
        if how == "killed" and rank == 1:
            assert outcome.exit == -signal.SIGKILL
        else:
            assert outcome.exception_type_name is None, outcome.message


def fork_with_views():
    PartialState()
    got = gather_object([np.full(LARGE, here.rank)], copy=False)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        # It reads when its parent has long given its own views back.
        os.close(write)
        os.read(read, 1)
        right = all((array == rank).all() for rank, array in enumerate(got))
        os._exit(0 if right else 1)
    del got
    for add in range(3):
        gather_object([np.full(LARGE, 100 + add)], copy=False)
    os.close(read)
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0


def test_a_forked_child_keeps_its_views(shm):
    shm.run(fork_with_views, size=2)


def gather_other_types():
    PartialState()
    image = Image.new("RGB", (200, 100), (here.rank, 2, 3))
    own = (torch.full((5000,), here.rank), image, b"x" * 9000, bytearray(9000))
    for rank, (tensor, picture, text, array) in enumerate(
        gather_object([own], copy=False)
    ):
        assert tensor.tolist() == [rank] * 5000
        tensor.add_(1)
        assert picture.getpixel((5, 5)) == (rank, 2, 3)
        picture.putpixel((5, 5), (7, 7, 7))
        assert picture.getpixel((5, 5)) == (7, 7, 7)
        assert text == b"x" * 9000
        array[0] = 1


def test_tensors_and_images_can_be_written(backend):
    backend.run(gather_other_types, size=2)


def gather_to_one():
    PartialState()
    got = gather_object(own_arrays(here.rank), dst=1, copy=False)
    if here.rank == 1:
        check_same(got, [x for rank in range(here.size) for x in own_arrays(rank)])
        check_read_only(got[0])
        assert len(mappings("r--s")) == here.size
    else:
        assert got is None
        assert not mappings("r--s")


def test_one_receiver(shm):
    shm.run(gather_to_one, size=3)


def gather_nothing_large():
    PartialState()
    own = [None, here.rank] if here.rank else [np.zeros(LARGE)]
    got = gather_object(own, copy=False)
    check_read_only(got[0])
    assert got[1:] == [x for rank in range(1, here.size) for x in (None, rank)]
    assert gather_object([here.rank], copy=False) == list(range(here.size))


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_without_arrays(backend, size):
    backend.run(gather_nothing_large, size=size)


def own_tree(rank, rows):
    return {
        "wide": np.arange(rows * 700.0).reshape(rows, 700) + rank,
        "words": [np.full((rows, 3), rank, np.int16), np.array(rank, ">i4")],
        "tensor": torch.full((rows, 900), float(rank)),
        "none": np.zeros((0, 4)),
        "strided": np.arange(40_000).reshape(200, 200)[:rows, ::2] + rank,
    }


def gather_trees(leases, uneven):
    PartialState()
    for add in range(2):
        parts = [own_tree(r + add, 5 + uneven * 2 * r) for r in range(here.size)]
        got = gather(parts[here.rank], copy=False)
        for name in ("wide", "none", "strided"):
            assert bits(got[name]) == bits(np.concatenate([p[name] for p in parts]))
        words = [np.concatenate([p["words"][0] for p in parts])]
        words.append(np.array([p["words"][1] for p in parts], ">i4"))
        check_same(got["words"], words)
        assert torch.equal(got["tensor"], torch.cat([p["tensor"] for p in parts]))
        got["tensor"].add_(1)
        arrays = [got["wide"], *got["words"], got["strided"]]
        for index in range(len(arrays)):
            assert not arrays[index].flags.writeable
            if leases:
                check_read_only(arrays[index])
        # One memory for all ranks.
        assert len(mappings("r--s")) == leases
        del got, arrays
        assert not mappings("r--s")
    small = gather(np.arange(3) + here.rank, copy=False)
    assert small.tolist() == [x + r for r in range(here.size) for x in range(3)]
    assert not small.flags.writeable
    empty = gather(np.zeros((here.rank, 0)), copy=False)
    assert empty.shape == (sum(range(here.size)), 0)


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_gather_of_arrays(shm, size, uneven):
    shm.run(gather_trees, True, uneven, size=size)


def test_gather_of_arrays_over_torch(ranks):
    variables = {"PYACCEL_COMM": "torch"}
    ranks.run(gather_trees, False, True, size=2, via="variables", group_env=variables)


def gather_array_to_one():
    PartialState()
    own = np.arange(9000) + here.rank
    kept = [gather(own * add, dst=add % 3, copy=False) for add in range(6)]
    for add, got in enumerate(kept):
        if add % 3 != here.rank:
            assert got is None
        else:
            expected = [(np.arange(9000) + rank) * add for rank in range(here.size)]
            assert np.array_equal(got, np.concatenate(expected))
            check_read_only(got)
    assert len(mappings("r--s")) == 2


def test_gather_of_arrays_to_one(shm):
    shm.run(gather_array_to_one, size=3)


def disagree():
    PartialState()
    with pytest.raises(DistributedOperationException, match="copy=False"):
        gather(np.zeros(LARGE), copy=here.rank == 0)
    with pytest.raises(DistributedOperationException, match="copy=False"):
        gather_object([np.zeros(LARGE)], copy=here.rank == 0)
    assert gather_object([here.rank], copy=False) == list(range(here.size))


def test_all_ranks_say_the_same(backend):
    backend.run(disagree, size=2)


def test_without_rights_they_are_copies(fresh):
    """A process that may not be looked into cannot lend, and its peers see to that."""
    lines = fresh.launch(
        """
        import ctypes, os
        import numpy as np
        from pyaccel import PartialState
        from pyaccel.utils import gather, gather_object
        rank = PartialState().process_index
        os.setresuid(*[1000 + rank] * 3) if os.getuid() == 0 else None
        if rank == 1:
            # PR_SET_DUMPABLE: what a program with a secret sets.
            ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
        for add in range(2):
            got = gather_object([np.full(9000, rank + add)], copy=False)
            assert [a[0] for a in got] == [add, 1 + add]
            assert not any(a.flags.writeable for a in got)
            rows = gather(np.full(9000, rank + add), copy=False)
            assert rows.tolist() == [add] * 9000 + [1 + add] * 9000
            with open("/proc/self/maps") as lines:
                assert not [x for x in lines if "r--s" in x and "memfd" in x]
        os.write(1, b"right\\n")
        """,
        size=2,
    ).check()
    assert lines.stdout.splitlines() == ["right"] * 2
