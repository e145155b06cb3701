/* torch tensors as leaves: see the header.
 *
 * The exchange table looks at memory only. What it would pass with wrong bytes or a
 * wrong dtype is told apart first (lazy conjugation and negation, sub-byte integers),
 * and what it refuses is never shown to it twice: a refusal costs it milliseconds. */
#include "py/tensor.h"

#include "py/place.h"
#include "py/tensor_attributes.h"
#include "torch/exchange.h"
#include "torch/shim.h"

bool
pyaccel_tensor_check(const pyaccel_state *state, PyObject *object)
{
    return state->torch_bound &&
           PyType_IsSubtype(Py_TYPE(object), (PyTypeObject *)state->torch_Tensor);
}

/* ---- By the exchange table ---- */

/* Whether a method without arguments answers true; -1 with an exception. */
static int
ask(PyObject *object, PyObject *method)
{
    PyObject *answer = PyObject_CallMethodObjArgs(object, method, NULL);
    if (answer == NULL) {
        return -1;
    }
    int truth = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return truth;
}

/* Whether the bytes are the values: no lazy conjugation or negation, which leave no
 * trace in memory or strides, and no dtype that neither way can tell. */
static int
bytes_are_values(pyaccel_state *state, PyObject *tensor, const pa_leaf *leaf)
{
    uint8_t code = leaf->dtype.code;
    int lazy = code != PA_DTYPE_BOOL ? ask(tensor, state->str_is_neg) : 0;
    if (lazy == 0 && code == PA_DTYPE_COMPLEX) {
        lazy = ask(tensor, state->str_is_conj);
    }
    if (lazy != 0) {
        return lazy < 0 ? -1 : 0;
    }
    if (leaf->dtype.bits == 8 && (code == PA_DTYPE_INT || code == PA_DTYPE_UINT)) {
        PyObject *dtype = PyObject_GetAttr(tensor, state->str_dtype);
        if (dtype == NULL) {
            return -1;
        }
        bool plain = dtype == state->torch_int8 || dtype == state->torch_uint8;
        Py_DECREF(dtype);
        return plain;
    }
    return 1;
}

/* 1: added; 0: this tensor needs the other way; -1: an exception. */
static int
add_by_exchange(pyaccel_state *state, PyObject *tensor, pyaccel_leaves *leaves)
{
    pa_dl_tensor view;
    pa_leaf leaf;
    if (state->exchange->borrow(tensor, &view) != 0) {
        PyErr_Clear();
        return 0;
    }
    if (!pa_exchange_leaf(&view, &leaf)) {
        return 0;
    }
    int usable = pyaccel_place_find(state, leaves, &view, &leaf);
    if (usable > 0) {
        usable = bytes_are_values(state, tensor, &leaf);
    }
    if (usable <= 0) {
        return usable;
    }
    int status =
        pyaccel_leaves_add(leaves, &leaf, PYACCEL_TENSOR, tensor, tensor, NULL);
    return status < 0 ? -1 : 1;
}

/* ---- By the C shim ---- */

/* As add_by_exchange. The handle is the tensor's for the length of the look only. */
static int
add_by_shim(pyaccel_state *state, PyObject *tensor, pyaccel_leaves *leaves)
{
    PyObject *capsule =
        PyObject_CallFunctionObjArgs(state->torch_handle_of, tensor, NULL);
    if (capsule == NULL) {
        PyErr_Clear();
        return 0;
    }
    void *handle = PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule));
    Py_DECREF(capsule);
    if (handle == NULL) {
        PyErr_Clear();
        return 0;
    }
    pa_dl_tensor view;
    pa_leaf leaf;
    int added = 0;
    if (pa_shim_view(state->shim, handle, &view) && pa_exchange_leaf(&view, &leaf)) {
        added = pyaccel_place_find(state, leaves, &view, &leaf);
    }
    if (added > 0) {
        added = bytes_are_values(state, tensor, &leaf);
    }
    if (added > 0 &&
        pyaccel_leaves_add(leaves, &leaf, PYACCEL_TENSOR, tensor, tensor, NULL) < 0) {
        added = -1;
    }
    pa_shim_release(state->shim, handle);
    return added;
}

/* ---- Either way ---- */

int
pyaccel_tensor_nested(const pyaccel_state *state, PyObject *tensor)
{
    PyObject *nested = PyObject_GetAttr(tensor, state->str_is_nested);
    int truth = nested != NULL ? PyObject_IsTrue(nested) : -1;
    Py_XDECREF(nested);
    return truth;
}

int
pyaccel_tensor_add(pyaccel_state *state, PyObject *tensor, bool write,
                   pyaccel_leaves *leaves)
{
    PyObject *type = (PyObject *)Py_TYPE(tensor);
    bool exact = type == state->torch_Tensor || type == state->torch_Parameter;
    pyaccel_tensor_path path = pyaccel_tensor_path_now(state);
    int added = 0;
    if (exact && path == PYACCEL_PATH_EXCHANGE) {
        added = add_by_exchange(state, tensor, leaves);
    } else if (exact && path == PYACCEL_PATH_SHIM) {
        added = add_by_shim(state, tensor, leaves);
    }
    if (added != 0) {
        return added < 0 ? -1 : 0;
    }
    return pyaccel_tensor_add_by_attributes(state, tensor, write, leaves);
}

PyObject *
pyaccel_tensor_make(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index,
                    int32_t ndim, const int64_t *shape, size_t nbytes, char **data)
{
    if (leaves->extra[index].place_at >= 0 ||
        pyaccel_tensor_path_now(state) != PYACCEL_PATH_EXCHANGE) {
        return pyaccel_tensor_make_by_attributes(state, leaves, index, ndim, shape,
                                                 nbytes, data);
    }
    void *object = NULL;
    int status = pa_exchange_make(state->exchange, state->pool, leaves->at[index].dtype,
                                  ndim, shape, nbytes, data, &object);
    if (status > 0) {
        PyErr_Format(PyExc_MemoryError, "no memory for a result of %zu bytes", nbytes);
    }
    return status == 0 ? object : NULL;
}
