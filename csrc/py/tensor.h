/* torch tensors as leaves, by the exchange table or by Python attributes. */
#ifndef PYACCEL_PY_TENSOR_H
#define PYACCEL_PY_TENSOR_H

#include "py/leaves.h"

/* Which way tensors are read and made; tests force one. */
typedef enum pyaccel_tensor_path {
    PYACCEL_PATH_AUTO,
    PYACCEL_PATH_EXCHANGE,
    PYACCEL_PATH_ATTRIBUTES,
} pyaccel_tensor_path;

/* Finds torch's objects once the script has imported it. -1 with an exception. */
int
pyaccel_tensor_bind(pyaccel_state *state);

/* Whether the object is a torch.Tensor of any kind. Never fails. */
bool
pyaccel_tensor_check(const pyaccel_state *state, PyObject *object);

/* Adds a tensor (pyaccel_tensor_check) to the leaves, contiguous and with conjugation
 * and negation carried out. -1 with TypeError for what has no plain memory on the CPU;
 * with `write`, with ValueError for one whose elements share memory. */
int
pyaccel_tensor_add(pyaccel_state *state, PyObject *tensor, bool write,
                   pyaccel_leaves *leaves);

/* A new tensor of `shape[ndim]` with the dtype of leaf `index`, and its memory. // new
 */
PyObject *
pyaccel_tensor_make(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index,
                    int32_t ndim, const int64_t *shape, size_t nbytes, char **data);

/* Copies what was received in leaf `index` into the tensor that it stands for, where
 * that is not the same memory. -1 with an exception. */
int
pyaccel_tensor_write_back(pyaccel_state *state, const pyaccel_leaves *leaves,
                          size_t index);

/* Adds force_tensor_path. -1 on failure. */
int
pyaccel_tensor_setup(PyObject *module);

#endif
