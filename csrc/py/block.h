/* The Block type: a piece of recycled memory as a Python buffer. */
#ifndef PYACCEL_PY_BLOCK_H
#define PYACCEL_PY_BLOCK_H

#include "py/state.h"
#include "sys/pool.h"

/* A writable buffer over `nbytes` bytes of the block, which it takes over. // new
 * On failure the block stays the caller's. */
PyObject *
pyaccel_block_new(pyaccel_state *state, pa_block *block, size_t nbytes);

/* Makes the type and the pool of all results. -1 on failure. */
int
pyaccel_block_setup(PyObject *module);

#endif
