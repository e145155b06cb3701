/* Walks over nested structures that need no other rank, as functions of the module. */
#ifndef PYACCEL_PY_WALK_H
#define PYACCEL_PY_WALK_H

#include "py/state.h"

/* Adds recursively_apply, send_to_device and find_batch_size. -1 on failure. */
int
pyaccel_walk_setup(PyObject *module);

#endif
