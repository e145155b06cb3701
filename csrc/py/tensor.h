/* torch tensors as leaves: by the exchange table, by the C shim, or by attributes. */
#ifndef PYACCEL_PY_TENSOR_H
#define PYACCEL_PY_TENSOR_H

#include "py/leaves.h"

/* Which way tensors are read and made; tests force one. */
typedef enum pyaccel_tensor_path {
    PYACCEL_PATH_AUTO,
    PYACCEL_PATH_EXCHANGE,   /* torch 2.10 on */
    PYACCEL_PATH_SHIM,       /* where torch has the private call that gives handles */
    PYACCEL_PATH_ATTRIBUTES, /* every torch, every tensor */
} pyaccel_tensor_path;

/* Finds torch's objects once the script has imported it. -1 with an exception. */
int
pyaccel_tensor_bind(pyaccel_state *state);

/* Whether the object is a torch.Tensor of any kind. Never fails. */
bool
pyaccel_tensor_check(const pyaccel_state *state, PyObject *object);

/* Whether a tensor is a nested one. -1 with an exception. */
int
pyaccel_tensor_nested(const pyaccel_state *state, PyObject *tensor);

/* Adds a tensor (pyaccel_tensor_check) to the leaves, contiguous with conjugation and
 * negation carried out: on the CPU or on a device that the core serves where it is, and
 * of any other device as a copy on the CPU. -1 with TypeError for what has no plain
 * values; with `write`, with ValueError for one whose elements share memory. */
int
pyaccel_tensor_add(pyaccel_state *state, PyObject *tensor, bool write,
                   pyaccel_leaves *leaves);

/* A new tensor of `shape[ndim]` with the dtype of leaf `index`, and its memory, in the
 * place of that leaf. // new */
PyObject *
pyaccel_tensor_make(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index,
                    int32_t ndim, const int64_t *shape, size_t nbytes, char **data);

/* Copies what was received in leaf `index` into the tensor that it stands for, where
 * that is not the same memory. -1 with an exception. */
int
pyaccel_tensor_write_back(pyaccel_state *state, const pyaccel_leaves *leaves,
                          size_t index);

/* Fills `made`, which is on a device and like the leaf `index` but of `length` along
 * `dim`: with that leaf's values and `value`, before them where `first`, else behind.
 * -1 with an exception. */
int
pyaccel_tensor_pad(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index,
                   PyObject *made, int dim, int64_t length, PyObject *value,
                   bool first);

/* A result `made` in the place of leaf `index`, on the device of that leaf's tensor:
 * itself, or a copy where that is not served. // new */
PyObject *
pyaccel_tensor_send_home(pyaccel_state *state, const pyaccel_leaves *leaves,
                         size_t index, PyObject *made);

/* Whether a path can be taken with the torch that is loaded. */
bool
pyaccel_tensor_path_available(const pyaccel_state *state, pyaccel_tensor_path path);

/* The path that ordinary tensors take now: the forced one, else the quickest there is.
 */
pyaccel_tensor_path
pyaccel_tensor_path_now(const pyaccel_state *state);

/* A path's name, as force_tensor_path takes it. */
const char *
pyaccel_tensor_path_name(pyaccel_tensor_path path);

/* Adds force_tensor_path. -1 on failure. */
int
pyaccel_tensor_setup(PyObject *module);

#endif
