"""Reads the words of the command line into a namespace with accelerate's names.

Written by hand rather than with argparse, which takes longer to import than two
workers take to start, and whose rules for words after the script (REMAINDER and `--`)
changed between versions of Python.
"""

from types import SimpleNamespace

from pyaccel.commands._launch.errors import LaunchError
from pyaccel.commands._launch.options import OPTIONS, SHORT, training_purpose


def parse(words):
    """The namespace of the command line `words` (without the program's name).

    Besides one attribute an option it has `training_script`, `training_script_args`,
    `help`, `nondefault` (the options that were given, as accelerate's parser notes
    them) and `found_after_script`: the word of an option that was honoured although
    it stood after the script, or None.
    """
    args = SimpleNamespace(**{o.name: o.default for o in OPTIONS.values()})
    args.help = False
    args.nondefault = set()
    args.found_after_script = None
    args.training_script = None
    args.training_script_args = []
    words = list(words)
    closed = _read_options(words, args)
    if words:
        args.training_script = words[0]
        args.training_script_args = words[1:]
        if args.num_processes is None and not closed:
            _look_after_script(args)
    elif not args.help:
        raise LaunchError(
            "no script was given: name a script, or a module after -m, as the last "
            "word before the script's own arguments"
        )
    return args


def _read_options(words, args):
    """Take the options off the front of `words`; True if `--` ended them."""
    while words:
        word = words[0]
        if word == "--":
            del words[0]
            return True
        if word == "-" or not word.startswith("-"):
            return False
        del words[0]
        if word.startswith("--"):
            _read_long(word, words, args)
        else:
            _read_short(word, words, args)
    return False


def _read_long(word, words, args):
    spelled, equals, value = word.partition("=")
    name = spelled[2:].replace("-", "_")
    if name == "help":
        args.help = True
        return
    option = OPTIONS.get(name)
    if option is None:
        raise _unknown(spelled, name)
    if option.kind == "flag":
        if equals:
            raise LaunchError(f"{spelled} takes no value, but was given {value!r}")
        _give(args, option, True)
    else:
        if not equals:
            value = _next_value(spelled, words)
        _give(args, option, convert(option, value, spelled))


def _read_short(word, words, args):
    for place, letter in enumerate(word[1:], start=2):
        option = SHORT.get(letter)
        if letter == "h":
            args.help = True
        elif option is None:
            raise _unknown(f"-{letter}", letter)
        elif option.kind == "flag":
            _give(args, option, True)
        else:
            value = word[place:] or _next_value(f"-{letter}", words)
            _give(args, option, convert(option, value, f"-{letter}"))
            return


def _give(args, option, value):
    setattr(args, option.name, value)
    args.nondefault.add(option.name)


def _next_value(spelled, words):
    if not words or (words[0].startswith("-") and not _is_number(words[0])):
        raise LaunchError(f"{spelled} needs a value, such as {spelled}=VALUE")
    return words.pop(0)


def _is_number(word):
    try:
        float(word)
    except ValueError:
        return False
    return True


def convert(option, value, source):
    """`value` as the type that `option` has; `source` names it in the error."""
    kind = {"int": int, "float": float, "text": str}[option.kind]
    what = {"int": "a whole number", "float": "a number", "text": "text"}[option.kind]
    # A bool is an int to Python, but `num_processes: true` is a slip in a file.
    if isinstance(value, (bool, list, dict)):
        raise LaunchError(f"{source} must be {what}, not {value!r}")
    try:
        value = kind(value)
    except ValueError:
        raise LaunchError(f"{source} must be {what}, not {value!r}") from None
    if option.choices is None:
        return value
    if value.lower() not in option.choices:
        choices = ", ".join(option.choices)
        raise LaunchError(f"{source} must be one of {choices}, not {value!r}")
    return value.lower()  # files have some of them in capitals


def _unknown(spelled, name):
    purpose = training_purpose(name)
    if purpose is not None:
        return LaunchError(
            f"{spelled} is for {purpose}, and pyaccel only does inference; leave it out"
        )
    # Imported here, as only this error needs it.
    from difflib import get_close_matches

    near = get_close_matches(name, OPTIONS, n=1)
    remedy = f"did you mean --{near[0]}?" if near else "--help lists the options."
    return LaunchError(
        f"there is no option {spelled}; {remedy} Options of the script come after it"
    )


def _look_after_script(args):
    """Honour `--num_processes` after the script, as the documents write it there."""
    tail = args.training_script_args
    if "--" in tail:
        tail = tail[: tail.index("--")]
    for place, word in enumerate(tail):
        spelled, equals, value = word.partition("=")
        if spelled.replace("-", "_") != "__num_processes":
            continue
        if not equals:
            value = tail[place + 1] if place + 1 < len(tail) else ""
        # Anything else is an option of the script that has the same name.
        if value.isascii() and value.isdigit() and int(value) > 0:
            args.num_processes = int(value)
            args.nondefault.add("num_processes")
            args.found_after_script = word if equals else f"{word} {value}"
