"""The tables of README.md are whole: no block is missing, no row is idle."""

import pytest

from tests.documents import page

RUN = {name for name, run in page.blocks().items() if run == "yes"}


def test_every_block_is_in_the_table():
    files = {
        path.relative_to(page.BLOCKS).as_posix().removesuffix(".txt")
        for path in page.BLOCKS.glob("*/*.txt")
    }
    assert files == set(page.blocks())


@pytest.mark.parametrize("block", page.blocks())
def test_a_block_is_run_or_says_why_not(block):
    how = page.blocks()[block]
    if how.startswith("as "):
        other = how.removeprefix("as ").strip("`")
        assert other in RUN
        assert page.printed(block) == page.printed(other)
    else:
        assert how == "yes" or how.startswith(("later: ", "never: "))


def test_the_programs_use_the_covered_blocks_and_no_other():
    used = set()
    for program in page.programs():
        used |= {*program.script, program.command}
    assert used == RUN


def test_every_substitution_is_used():
    used = [row for block in RUN for row in page.applying(block)]
    assert set(used) == set(page.substitutions())


@pytest.mark.parametrize("block", sorted(b for b in RUN if b.endswith(".py")))
def test_a_block_is_python_once_substituted(block):
    compile(page.as_run(block), block, "exec")
