/* The Block type: memory of a result, recycled or leased, as a Python buffer. */
#ifndef PYACCEL_PY_BLOCK_H
#define PYACCEL_PY_BLOCK_H

#include "py/state.h"
#include "sys/arena.h"
#include "sys/pool.h"

/* A buffer over `nbytes` bytes of the block, which it takes over. // new
 * On failure the block stays the caller's. */
PyObject *
pyaccel_block_new(pyaccel_state *state, pa_block *block, size_t nbytes, bool readonly);

/* A read-only buffer over `nbytes` bytes of the lease, from `start` on; it holds the
 * lease. // new */
PyObject *
pyaccel_block_leased(pyaccel_state *state, pa_lease *lease, size_t start,
                     size_t nbytes);

/* Makes the type and the pool of all results. -1 on failure. */
int
pyaccel_block_setup(PyObject *module);

#endif
