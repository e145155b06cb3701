/* Where a script is: the innermost line of Python that is not pyaccel's own. */
#ifndef PYACCEL_PY_SITE_H
#define PYACCEL_PY_SITE_H

#include "py/state.h"

/* Writes it, such as "run.py:12", to `text` (cut at the front to `capacity`); nothing
 * if there is none. Needs the interpreter lock; leaves no exception. */
void
pyaccel_site_format(char *text, size_t capacity);

/* Adds call_site. -1 on failure. */
int
pyaccel_site_setup(PyObject *module);

#endif
