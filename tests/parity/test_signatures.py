"""accelerate's parameters, in its order and with its defaults, begin each of ours."""

import importlib
import inspect

import pytest

MODULES = [
    "accelerator",
    "commands.config.default",
    "inference",
    "logging",
    "state",
    "test_utils.testing",
    "utils",
    "utils.dataclasses",
    "utils.environment",
    "utils.imports",
    "utils.memory",
    "utils.operations",
    "utils.other",
    "utils.random",
    "utils.tqdm",
    "utils.versions",
]
# A value that only says that nothing was passed: another object in each library.
SENTINELS = {"split_batches"}


def public(module):
    """What a module of ours defines or names in its table, under accelerate's name."""
    ours = importlib.import_module(f"pyaccel.{module}")
    names = getattr(ours, "__all__", None) or [
        name
        for name, value in vars(ours).items()
        if getattr(value, "__module__", None) == ours.__name__
    ]
    theirs = importlib.import_module(f"accelerate.{module}")
    for name in names:
        if not name.startswith("_") and hasattr(theirs, name):
            yield f"{module}.{name}", getattr(ours, name), getattr(theirs, name)


def callables():
    """Every function, constructor and method that both libraries have."""
    for module in MODULES:
        for name, ours, theirs in public(module):
            if not callable(ours):
                continue  # a constant: `test_constants_are_the_same` compares those
            if not inspect.isclass(ours):
                if callable(ours):
                    yield name, ours, theirs
                continue
            if issubclass(ours, (str, Exception)):
                continue  # enumerations and errors: nobody calls them with arguments
            for member, their_member in inspect.getmembers(theirs, inspect.isroutine):
                hidden = member.startswith("_") and member != "__init__"
                if not hidden and hasattr(ours, member):
                    yield f"{name}.{member}", getattr(ours, member), their_member


def default(parameter):
    """A default value; a function by its name, since each library has its own."""
    value = None if parameter.name in SENTINELS else parameter.default
    return value.__name__ if inspect.isfunction(value) else value


def parameters(function):
    return [
        (p.name, p.kind, default(p))
        for p in inspect.signature(function).parameters.values()
        if p.name != "self"  # by position only where the method is written in C
    ]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [pytest.param(ours, theirs, id=name) for name, ours, theirs in callables()],
)
def test_parameters(ours, theirs):
    expected = parameters(theirs)
    assert parameters(ours)[: len(expected)] == expected


@pytest.mark.parametrize("name", ["PartialState", "AcceleratorState"])
def test_members_are_all_offered(name):
    """Every public member of accelerate's class, but for what is for training alone."""
    ours = getattr(importlib.import_module("pyaccel.state"), name)
    theirs = getattr(importlib.import_module("accelerate.state"), name)
    members = {member for member in dir(theirs) if not member.startswith("_")}
    training = {"deepspeed_plugin", "get_deepspeed_plugin", "select_deepspeed_plugin"}
    training |= {"is_fsdp2"}
    own = {"fork_launched"}  # an attribute of ours, a property of theirs
    assert members - training - own <= set(dir(ours))


def test_constants_are_the_same():
    ours = importlib.import_module("pyaccel.utils.constants")
    theirs = importlib.import_module("accelerate.utils.constants")
    values = {name: value for name, value in vars(ours).items() if name.isupper()}
    assert values == {name: getattr(theirs, name) for name in values}
