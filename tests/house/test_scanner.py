"""The rules' own reading of C: a reader that finds nothing would let all pass."""

from tests.house.repository import c_code
from tests.house.scanner import declarations

HEADER = """\
/* What it is. */
#ifndef PA_X_H
#define PA_X_H

typedef int (*pa_hook)(void *context);

/* A table of calls. */
typedef struct pa_table {
    int (*open)(int fd); /* opens */
} pa_table;

/* Adds. */
int
pa_add(int a, int b);
int
pa_subtract(int a, int b);

int
pa_bare(void);

/* Formats: see printf. */
__attribute__((format(printf, 1, 2))) int
pa_format(const char *format, ...);

/* Inline; its body has braces; and semicolons. */
static inline int
pa_inline(int a)
{
    if (a > 0) {
        return pa_add(a, 1);
    }
    return 0;
}

struct pa_table *
pa_pointer(void);
#endif
"""


def test_declarations_and_their_comments():
    found = {item.name: (item.line, item.comment) for item in declarations(HEADER)}
    assert found == {
        "pa_add": (13, "/* Adds. */"),
        "pa_subtract": (15, "/* Adds. */"),
        "pa_bare": (18, ""),
        "pa_format": (22, "/* Formats: see printf. */"),
        "pa_inline": (26, "/* Inline; its body has braces; and semicolons. */"),
        "pa_pointer": (35, ""),
    }


def test_c_code_keeps_lines_and_drops_what_is_no_code(tmp_path):
    path = tmp_path / "x.c"
    path.write_text("/* exit(1);\n */ a(\"abort(\", 'x'); // puts()\nb();\n")
    assert c_code(path) == '\n a("", 0); \nb();\n'
