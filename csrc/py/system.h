/* Functions about the machine and this build. */
#ifndef PYACCEL_PY_SYSTEM_H
#define PYACCEL_PY_SYSTEM_H

#include "py/state.h"

/* Adds usable_cpus and build_info. -1 on failure. */
int
pyaccel_system_setup(PyObject *module);

#endif
