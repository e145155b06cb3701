"""Loggers in one process; `distributed` has those of several."""

import io
import logging

import pytest

from pyaccel import PartialState
from pyaccel.logging import MultiProcessAdapter, get_logger


@pytest.fixture
def logger(alone):
    """A logger at its usual level, with the state set up."""
    PartialState(cpu=True)
    logger = get_logger("tests.unit.logging")
    logger.logger.setLevel(logging.DEBUG)
    yield logger
    logger.logger.setLevel(logging.NOTSET)


@pytest.fixture
def levels():
    """Puts the root logger's level back."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)


def test_a_line_says_its_process(logger, caplog):
    logger.warning("of %s", "text")
    assert caplog.messages == ["[RANK 0] of text"]


@pytest.mark.parametrize(
    "log",
    [
        lambda logger: logger.warning("x"),
        lambda logger: logger.log(logging.WARNING, "x"),
        lambda logger: logger.warning("x", in_order=True),
        lambda logger: logger.warning_once("x"),
    ],
)
def test_a_line_is_its_callers(logger, caplog, log):
    log(logger)
    (record,) = caplog.records
    assert (record.filename, record.funcName) == ("test_logging.py", "<lambda>")


def test_a_callers_stack_level_is_kept(logger, caplog):
    def helper():
        logger.warning("x", stacklevel=3)

    helper()
    assert caplog.records[0].funcName == "test_a_callers_stack_level_is_kept"


def test_once(logger, caplog):
    for _ in range(2):
        logger.warning_once("of %s", ["a list"])
        logger.warning_once("of %s", ["another"])
    assert len(caplog.records) == 2
    get_logger("tests.unit.logging").warning_once("of %s", ["a list"])
    assert len(caplog.records) == 3


def test_a_line_below_the_level_costs_no_text(logger, caplog):
    class Text:
        def __str__(self):
            raise AssertionError("nobody reads this")

    logger.logger.setLevel(logging.ERROR)
    logger.info(Text())
    logger.info(Text(), in_order=True)
    assert not caplog.records


def test_the_state_must_be_set_up(alone):
    logger = get_logger("tests.unit.logging")
    assert isinstance(logger, MultiProcessAdapter)
    with pytest.raises(RuntimeError, match="You must initialize the accelerate state"):
        logger.warning("x")
    PartialState(cpu=True)
    logger.warning("x")


@pytest.mark.parametrize("level", ["debug", "DEBUG", logging.DEBUG])
def test_level(levels, level):
    assert get_logger("tests.a", level).logger.level == logging.DEBUG
    assert logging.getLogger().level == logging.DEBUG


def test_level_by_variable(levels, alone):
    alone("ACCELERATE_LOG_LEVEL", "error")
    assert get_logger("tests.b").logger.level == logging.ERROR
    assert get_logger("tests.b", "info").logger.level == logging.INFO


def test_a_level_that_is_none(levels, alone):
    before = logging.getLogger().level
    with pytest.raises(ValueError, match="Unknown level: 'loud': name one of DEBUG"):
        get_logger("tests.c", "loud")
    alone("ACCELERATE_LOG_LEVEL", "quiet")
    with pytest.raises(ValueError, match="'quiet'.*ACCELERATE_LOG_LEVEL"):
        get_logger("tests.c")
    assert logging.getLogger().level == before


def test_a_handler_of_ones_own(logger):
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logger.logger.addHandler(handler)
    try:
        logger.error("x")
    finally:
        logger.logger.removeHandler(handler)
    assert written.getvalue() == "[RANK 0] x\n"
