/* The results of an operation before they have values: see the header. */
#include "py/outputs.h"

#include "py/numpy.h"
#include "py/tensor.h"
#include "py/tree.h"

#include <stdlib.h>
#include <string.h>

void
pyaccel_outputs_empty(pyaccel_outputs *outputs)
{
    outputs->objects = outputs->object_inline;
    outputs->data = outputs->data_inline;
    outputs->count = 0;
    outputs->readonly = false;
    outputs->lease = NULL;
    outputs->starts = NULL;
}

int
pyaccel_outputs_init(pyaccel_outputs *outputs, size_t count)
{
    if (count <= PYACCEL_LEAVES_INLINE) {
        return 0;
    }
    PyObject **objects = malloc(count * sizeof *objects);
    char **data = malloc(count * sizeof *data);
    if (objects == NULL || data == NULL) {
        free(objects);
        free(data);
        PyErr_NoMemory();
        return -1;
    }
    outputs->objects = objects;
    outputs->data = data;
    return 0;
}

void
pyaccel_outputs_fini(pyaccel_outputs *outputs)
{
    for (size_t i = 0; i < outputs->count; i++) {
        Py_XDECREF(outputs->objects[i]);
    }
    pa_lease_release(outputs->lease);
    free(outputs->starts);
    if (outputs->objects != outputs->object_inline) {
        free(outputs->objects);
        free(outputs->data);
    }
    pyaccel_outputs_empty(outputs);
}

PyObject *
pyaccel_output_make(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index,
                    int32_t ndim, const int64_t *shape, size_t nbytes, char **data)
{
    return leaves->extra[index].kind == PYACCEL_TENSOR
               ? pyaccel_tensor_make(state, leaves, index, ndim, shape, nbytes, data)
               : pyaccel_array_make(state, leaves, index, ndim, shape, nbytes, data);
}

/* The result of leaf `index`, in memory of its own or on the lease. // new */
static PyObject *
make_output(pyaccel_outputs *outputs, pyaccel_state *state,
            const pyaccel_leaves *leaves, size_t index, int32_t ndim,
            const int64_t *shape, size_t nbytes)
{
    bool array = leaves->extra[index].kind == PYACCEL_ARRAY;
    if (array && outputs->lease != NULL) {
        return pyaccel_array_leased(state, leaves, index, ndim, shape, outputs->lease,
                                    outputs->starts[index], nbytes);
    }
    PyObject *made = pyaccel_output_make(state, leaves, index, ndim, shape, nbytes,
                                         &outputs->data[index]);
    if (made != NULL && array && outputs->readonly) {
        pyaccel_array_freeze(made);
    }
    if (made != NULL && outputs->lease != NULL && nbytes > 0) {
        memcpy(outputs->data[index],
               pa_lease_data(outputs->lease) + outputs->starts[index], nbytes);
    }
    return made;
}

int
pyaccel_outputs_add(pyaccel_outputs *outputs, pyaccel_state *state,
                    const pyaccel_leaves *leaves, int64_t rows)
{
    size_t index = outputs->count;
    const pa_leaf *leaf = &leaves->at[index];
    int64_t *dims = leaves->dims + leaves->extra[index].dims_at;
    int64_t lone = rows;
    bool joined = rows >= 0;
    int32_t ndim = joined && leaf->ndim == 0 ? 1 : leaf->ndim;
    int64_t *shape = leaf->ndim > 0 ? dims : &lone;
    int64_t own_rows = shape[0];
    size_t nbytes = leaf->itemsize;
    shape[0] = joined ? rows : own_rows;
    bool fits = true;
    for (int32_t d = 0; d < ndim; d++) {
        fits = fits && !__builtin_mul_overflow(nbytes, (size_t)shape[d], &nbytes);
    }
    PyObject *made = NULL;
    if (!fits) {
        PyErr_SetString(PyExc_MemoryError, "the result is too large for any memory");
    } else {
        made = make_output(outputs, state, leaves, index, ndim, shape, nbytes);
    }
    shape[0] = own_rows;
    if (made == NULL) {
        return -1;
    }
    outputs->objects[outputs->count++] = made;
    return 0;
}

PyObject *
pyaccel_outputs_rebuild(pyaccel_outputs *outputs, pyaccel_state *state, PyObject *tree,
                        const pyaccel_leaves *leaves)
{
    for (size_t i = 0; i < outputs->count; i++) {
        PyObject *made = outputs->objects[i];
        PyObject *home = pyaccel_tensor_send_home(state, leaves, i, made);
        if (home == NULL) {
            return NULL;
        }
        outputs->objects[i] = home;
        Py_DECREF(made);
    }
    return pyaccel_tree_rebuild(state, tree, outputs->objects, outputs->count);
}
