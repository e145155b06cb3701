/* Interned names and types of the standard library that the extension looks up once. */
#ifndef PYACCEL_PY_NAMES_H
#define PYACCEL_PY_NAMES_H

#include "py/state.h"

/* Fills the names of the module's state. -1 on failure. */
int
pyaccel_names_setup(PyObject *module);

#endif
