/* NumPy arrays as leaves; the only file that knows NumPy's C API. */
#ifndef PYACCEL_PY_NUMPY_H
#define PYACCEL_PY_NUMPY_H

#include "py/leaves.h"
#include "sys/arena.h"

/* Whether the object is an array that can be a leaf. -1 with an exception when NumPy
 * is there but cannot be used. */
int
pyaccel_array_check(PyObject *object);

/* Adds an array to the leaves, contiguous. With `write` it must be writeable. -1 with
 * TypeError for arrays of objects and of elements without bytes, ValueError for one
 * that cannot be written or whose elements share memory. */
int
pyaccel_array_add(PyObject *object, bool write, pyaccel_leaves *leaves);

/* A new array of `shape[ndim]` with the dtype of leaf `index`, and its memory. // new
 */
PyObject *
pyaccel_array_make(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index,
                   int32_t ndim, const int64_t *shape, size_t nbytes, char **data);

/* As pyaccel_array_make, over `nbytes` bytes of a lease from `start` on, read-only.
 * // new */
PyObject *
pyaccel_array_leased(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index,
                     int32_t ndim, const int64_t *shape, pa_lease *lease, size_t start,
                     size_t nbytes);

/* Makes an array read-only. */
void
pyaccel_array_freeze(PyObject *array);

/* As pyaccel_tensor_write_back. */
int
pyaccel_array_write_back(const pyaccel_leaves *leaves, size_t index);

#endif
