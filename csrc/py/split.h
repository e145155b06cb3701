/* split_between_processes: the base class that has it, and the block that it opens. */
#ifndef PYACCEL_PY_SPLIT_H
#define PYACCEL_PY_SPLIT_H

#include "py/state.h"

/* Adds the class Splitter and the function split to the module. -1 on failure. */
int
pyaccel_split_setup(PyObject *module);

#endif
