"""Memory and events of the fake CUDA that other processes open."""

import pytest

from tests.fakes import scenes_ipc as scenes
from tests.fakes.scene import play


@pytest.mark.parametrize("devices", [1, 2])
def test_order_by_an_event_of_another_process(devices):
    violations, found = play(scenes.shares, True, size=2, devices=devices)
    assert violations == 0
    assert found == [600, [7], 1, 1]  # the third close is the violation


def test_a_missing_wait_gives_stale_data():
    found = play(scenes.shares, False, size=2)[1]
    assert found[:2] == [600, [0xA5]]


@pytest.mark.parametrize("kind", ["Mem", "Event"])
def test_a_handle_of_what_was_freed(kind):
    code, count, text = play(scenes.opens_freed, kind, size=2)[1]
    assert (code != 0, count) == (True, 1)
    assert "that the handle stands for was" in text


def test_where_handles_cannot_be_opened():
    assert play(scenes.opens_elsewhere, size=2) == [[0, 0]] * 2
    assert play(scenes.opens_elsewhere, size=2, ipc_error=801) == [[801, 801]] * 2
    apart = play(scenes.opens_elsewhere, size=2, peers="none")
    assert apart == [[217, 0]] * 2
    together = play(scenes.opens_elsewhere, size=2, peers="none", devices=1)
    assert together == [[0, 0]] * 2
