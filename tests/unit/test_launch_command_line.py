"""The words of `pyaccel launch`: what they mean, and what is wrong with them."""

import argparse

import pytest

from pyaccel.commands._launch.command_line import parse
from pyaccel.commands._launch.errors import LaunchError
from pyaccel.commands._launch.options import OPTIONS
from pyaccel.commands.launch import launch_command_parser


def test_defaults():
    args = parse(["script.py"])
    assert args.training_script == "script.py"
    assert args.training_script_args == []
    assert args.nondefault == set()
    assert {name: getattr(args, name) for name in OPTIONS} == {
        name: option.default for name, option in OPTIONS.items()
    }


@pytest.mark.parametrize(
    "words",
    [
        ["--num_processes", "3"],
        ["--num-processes", "3"],
        ["--num_processes=3"],
        ["--num-processes=3"],
    ],
)
def test_both_spellings_of_an_option(words):
    args = parse([*words, "script.py"])
    assert args.num_processes == 3
    assert args.nondefault == {"num_processes"}
    assert args.found_after_script is None


def test_everything_after_the_script_is_the_scripts():
    words = ["script.py", "--cpu", "-m", "--", "--unknown", ""]
    args = parse(["--debug", *words])
    assert args.training_script_args == words[1:]
    assert args.debug
    assert not args.cpu
    assert not args.module


def test_short_options_may_stand_together():
    args = parse(["-qm", "package.module", "-q"])
    assert args.quiet
    assert args.module
    assert args.training_script == "package.module"
    assert args.training_script_args == ["-q"]


def test_a_value_may_be_negative_or_hold_an_equals_sign():
    args = parse(["--machine_rank", "-1", "--rdzv_conf=a=1,b=2", "script.py"])
    assert args.machine_rank == -1
    assert args.rdzv_conf == "a=1,b=2"


def test_two_hyphens_end_the_options():
    args = parse(["--cpu", "--", "-script.py", "x"])
    assert args.training_script == "-script.py"
    assert args.training_script_args == ["x"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--num_processes=2"], "--num_processes=2"),
        (["--num-processes=2"], "--num-processes=2"),
        (["a", "--num-processes", "2", "b"], "--num-processes 2"),
        (["--num_processes=4", "--num_processes=2"], "--num_processes=2"),
        (["--num_processes=2", "--", "--num_processes=4"], "--num_processes=2"),
    ],
)
def test_the_number_of_processes_after_the_script_counts(words, found):
    args = parse(["script.py", *words])
    assert args.num_processes == 2
    assert args.found_after_script == found
    assert args.training_script_args == words


@pytest.mark.parametrize(
    "words",
    [
        ["--num_processes=3", "script.py", "--num_processes=2"],
        ["--num_processes=3", "--", "script.py", "--num_processes=2"],
    ],
)
def test_the_number_before_the_script_wins(words):
    args = parse(words)
    assert args.num_processes == 3
    assert args.found_after_script is None


@pytest.mark.parametrize(
    "words",
    [
        ["--", "script.py", "--num_processes=2"],
        ["script.py", "--", "--num_processes=2"],
        ["script.py", "--num_processes=many"],
        ["script.py", "--num_processes=0"],
        ["script.py", "--num_processes"],
        ["script.py", "--num_processes_of_mine=2"],
    ],
)
def test_a_number_that_is_the_scripts_own_is_left_alone(words):
    args = parse(words)
    assert args.num_processes is None
    assert args.found_after_script is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no script was given"),
        (["--cpu"], "no script was given"),
        (["--num_processes"], "--num_processes needs a value"),
        (["--num_processes", "--cpu", "s.py"], "--num_processes needs a value"),
        (["--num-processes", "two", "s.py"], "--num-processes must be a whole number"),
        (["--num_processes=2.5", "s.py"], "whole number, not '2.5'"),
        (["--grace", "soon", "s.py"], "--grace must be a number, not 'soon'"),
        (["--cpu=yes", "s.py"], "--cpu takes no value, but was given 'yes'"),
        (["--mixed_precision", "fp64", "s.py"], "one of no, fp16, bf16, fp8, not 'fp6"),
        (["--num_proc", "2", "s.py"], "no option --num_proc; did you mean --num_proc"),
        (["--nonsense", "s.py"], "no option --nonsense; --help lists"),
        (["-x", "s.py"], "no option -x"),
    ],
)
def test_wrong_words_are_named(words, message):
    with pytest.raises(LaunchError) as raised:
        parse(words)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("option", "purpose"),
    [
        ("--use_deepspeed", "DeepSpeed"),
        ("--zero-stage=3", "DeepSpeed"),
        ("--deepspeed_config_file", "DeepSpeed"),
        ("--use-fsdp", "FSDP"),
        ("--fsdp_version", "FSDP"),
        ("--use_megatron_lm", "Megatron-LM"),
        ("--megatron_lm_tp_degree", "Megatron-LM"),
        ("--use_parallelism_config", "N-d parallel"),
        ("--fp8_backend", "FP8"),
        ("--tpu", "TPU"),
        ("--tpu_cluster", "TPU"),
        ("--aws_access_key_id", "SageMaker"),
    ],
)
def test_options_of_training_are_refused_in_one_sentence(option, purpose):
    with pytest.raises(LaunchError) as raised:
        parse([option, "s.py"])
    message = str(raised.value)
    assert option.partition("=")[0] in message
    assert purpose in message
    assert "inference" in message
    assert "\n" not in message


def test_the_argparse_parser_reads_the_same():
    words = ["--cpu", "--num-processes=2", "-q", "script.py", "--", "--cpu"]
    args = launch_command_parser().parse_args(words)
    assert vars(args) == vars(parse(words))


def test_the_argparse_parser_as_a_sub_command():
    parser = argparse.ArgumentParser()
    launch_command_parser(parser.add_subparsers())
    args = parser.parse_args(["launch", "--num-processes", "2", "script.py", "--cpu"])
    assert args.num_processes == 2
    assert args.training_script == "script.py"
    assert args.training_script_args == ["--cpu"]
    assert args.func.__name__ == "launch_command"


def test_the_argparse_parser_names_a_mistake(capsys):
    with pytest.raises(SystemExit) as raised:
        launch_command_parser().parse_args(["--nonsense", "script.py"])
    assert raised.value.code == 2
    assert "there is no option --nonsense" in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as raised:
        launch_command_parser().parse_args(["--help"])
    assert raised.value.code == 0
    text = capsys.readouterr().out
    for name in OPTIONS:
        assert f"--{name}" in text
        assert f"--{name.replace('_', '-')}" in text
