"""A small reader of C headers: which functions they declare, under which comments."""

import re
from dataclasses import dataclass

_PIECE = re.compile(
    r"""
      (?P<comment> /\*.*?\*/ | //[^\n]* )
    | (?P<directive> ^[ \t]*\#(?:\\\n|[^\n])* )
    | (?P<string> "(?:\\.|[^"\\\n])*" )
    | (?P<open> [{(] )
    | (?P<close> [})] )
    | (?P<end> ; )
    | (?P<blank> \s+ )
    | (?P<word> \w+ )
    | (?P<other> . )
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
_FUNCTION = re.compile(r"(\w+)\s*\((?!\()")
_NO_FUNCTION = ("typedef", "struct", "enum", "union", "extern const", "_Static_assert")


@dataclass
class Declaration:
    """A function's prototype or inline definition in a header."""

    name: str
    line: int
    comment: str  # the comment above it or its group, "" if there is none


def declarations(text):
    """The functions that a header declares, in their order."""
    return [found for found in map(_function, _statements(text)) if found is not None]


def _statements(text):
    """Top-level statements of a header: the comment above, the line, the text.

    Statements that follow each other without an empty line share one comment.
    """
    comment, start, depth = "", None, 0
    for piece in _PIECE.finditer(text):
        kind = piece.lastgroup
        if start is None:
            if kind == "comment":
                comment = piece.group()
                continue
            if kind == "blank" and piece.group().count("\n") < 2:
                continue
            if kind in ("blank", "directive", "end"):
                comment = ""
                continue
            start = piece.start()
        depth += (kind == "open") - (kind == "close")
        ends_body = kind == "close" and piece.group() == "}" and depth == 0
        inline_body = ends_body and not text[start : piece.start()].startswith(
            _NO_FUNCTION
        )
        if depth == 0 and (kind == "end" or inline_body):
            line = text.count("\n", 0, start) + 1
            yield comment, line, text[start : piece.end()]
            start = None


def _function(statement):
    """A statement as a Declaration; None if it declares no function."""
    comment, line, text = statement
    text = re.sub(r"__attribute__\s*\(\(.*?\)\)\)?\s*", "", text, flags=re.DOTALL)
    head = text.split("{")[0]
    if head.startswith(_NO_FUNCTION) and "(" not in head.replace("(*", ""):
        return None
    if head.startswith(("typedef", "_Static_assert")):
        return None
    found = _FUNCTION.search(head)
    return Declaration(found[1], line, comment) if found else None
