/* torch tensors through their Python attributes: every torch, every tensor. */
#ifndef PYACCEL_PY_TENSOR_ATTRIBUTES_H
#define PYACCEL_PY_TENSOR_ATTRIBUTES_H

#include "py/leaves.h"

/* As pyaccel_tensor_add, which comes here with what the other ways do not take. */
int
pyaccel_tensor_add_by_attributes(pyaccel_state *state, PyObject *tensor, bool write,
                                 pyaccel_leaves *leaves);

/* Address of the tensor's memory. -1 with an exception: RuntimeError where torch has
 * none to give. */
int
pyaccel_tensor_address(pyaccel_state *state, PyObject *tensor, char **data);

/* As pyaccel_tensor_make, by torch's own allocator. // new */
PyObject *
pyaccel_tensor_make_by_attributes(pyaccel_state *state, const pyaccel_leaves *leaves,
                                  size_t index, int32_t ndim, const int64_t *shape,
                                  size_t nbytes, char **data);

#endif
