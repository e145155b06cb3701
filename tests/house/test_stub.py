"""The stub of the C module lists exactly what the module has, with its signatures."""

import ast
import inspect
import types

from tests.house.repository import PACKAGE, agree

STUB = PACKAGE / "_C.pyi"
FUNCTIONS = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
)
SIGNATURE = "name(arguments)\n--\n\n"
ATTRIBUTES = (types.GetSetDescriptorType, types.MemberDescriptorType)


def stub_members(body):
    """Name -> syntax node of what a stub's module or class declares."""
    members = {}
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            members[node.name] = node
        elif isinstance(node, ast.AnnAssign):
            members[node.target.id] = node
    return {name: node for name, node in members.items() if not is_private(name)}


def is_private(name):
    """A name of the stub's own: an alias or a type variable."""
    return name.startswith("_") and not name.startswith("__")


def module_members():
    """Name -> object of what pyaccel._C has, without the names of every module."""
    import pyaccel._C

    return {
        name: value
        for name, value in vars(pyaccel._C).items()
        if not (name.startswith("__") and name.endswith("__"))
    }


def class_members(kind):
    """Name -> object of what a C class defines for its users."""
    wanted = {"__enter__", "__exit__", "__len__", "__call__"}
    return {
        name: value
        for name, value in vars(kind).items()
        if not name.startswith("_") or name in wanted
    }


def stub_parameters(node, method):
    """The parameters of a stub's function: (name, kind, has a default) each."""
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    optional = len(positional) - len(arguments.defaults)
    found = []
    for index, argument in enumerate(positional):
        only = index < len(arguments.posonlyargs)
        kind = "positional only" if only else "positional or keyword"
        found.append((argument.arg, kind, index >= optional))
    if arguments.vararg:
        found.append((arguments.vararg.arg, "variadic positional", False))
    for argument, default in zip(
        arguments.kwonlyargs, arguments.kw_defaults, strict=True
    ):
        found.append((argument.arg, "keyword-only", default is not None))
    return found[1:] if method else found


def real_parameters(value, method):
    """The parameters of a C function, as stub_parameters gives them."""
    found = [
        (
            parameter.name,
            parameter.kind.description.replace("-", " ")
            if parameter.kind is not parameter.KEYWORD_ONLY
            else "keyword-only",
            parameter.default is not parameter.empty,
        )
        for parameter in inspect.signature(value).parameters.values()
    ]
    return found[1:] if method else found


def faults_of_function(full, value, node, method):
    """What differs between a C function and its line in the stub."""
    if not value.__doc__:
        yield f"{full} has no docstring"
    try:
        real = real_parameters(value, method)
    except ValueError:
        yield f"{full} has no signature: begin its docstring with {SIGNATURE!r}"
        return
    stub = stub_parameters(node, method)
    if real != stub:
        yield f"{full} takes {real}; the stub says {stub}"


def faults(prefix, real, stub, method):
    """What differs between a module or class and its part of the stub."""
    for name in sorted(real.keys() - stub.keys()):
        yield f"{prefix}{name} is not in pyaccel/_C.pyi"
    for name in sorted(stub.keys() - real.keys()):
        yield f"{prefix}{name} is in pyaccel/_C.pyi only"
    for name in sorted(real.keys() & stub.keys()):
        value, node, full = real[name], stub[name], prefix + name
        if isinstance(value, type):
            if not isinstance(node, ast.ClassDef):
                yield f"{full} is a class; the stub says otherwise"
                continue
            members = stub_members(node.body)
            members.pop("__init__", None)
            yield from faults(f"{full}.", class_members(value), members, True)
        elif isinstance(value, FUNCTIONS) and isinstance(node, ast.FunctionDef):
            if not name.startswith("__"):
                yield from faults_of_function(full, value, node, method)
        elif isinstance(value, ATTRIBUTES) and not value.__doc__:
            yield f"{full} has no docstring"


def test_stub_says_what_the_module_has():
    stub = stub_members(ast.parse(STUB.read_text()).body)
    agree(faults("", module_members(), stub, method=False))
