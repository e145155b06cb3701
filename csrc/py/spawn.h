/* Starting programs: the function `spawn`. */
#ifndef PYACCEL_PY_SPAWN_H
#define PYACCEL_PY_SPAWN_H

#include "py/state.h"

/* Adds spawn. -1 on failure. */
int
pyaccel_spawn_setup(PyObject *module);

#endif
