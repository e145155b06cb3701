/* torch tensors through their Python attributes: see the header. */
#include "py/tensor_attributes.h"

#include "base/strides.h"
#include "py/place.h"
#include "py/tensor.h"

#include <stdlib.h>
#include <string.h>

/* ---- What can travel ---- */

/* TypeError for a tensor that cannot travel, with why and what to do. */
static int
refuse(PyObject *tensor, const char *why, const char *remedy)
{
    PyErr_Format(PyExc_TypeError,
                 "a tensor of type %R cannot be sent to other processes: %s; %s",
                 (PyObject *)Py_TYPE(tensor), why, remedy);
    return -1;
}

static int
attribute_is_true(PyObject *object, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(object, name);
    if (value == NULL) {
        return -1;
    }
    int truth = PyObject_IsTrue(value);
    Py_DECREF(value);
    return truth;
}

/* 0 for a tensor whose layout is strided; -1 with TypeError else. */
static int
check_layout(pyaccel_state *state, PyObject *tensor)
{
    int quantized = attribute_is_true(tensor, state->str_is_quantized);
    int nested = quantized == 0 ? attribute_is_true(tensor, state->str_is_nested) : 0;
    if (quantized < 0 || nested < 0) {
        return -1;
    }
    if (quantized) {
        return refuse(tensor, "it is quantised", "pass tensor.dequantize()");
    }
    if (nested) {
        return refuse(tensor, "it is a nested tensor", "pass tensor.unbind()");
    }
    PyObject *layout = PyObject_GetAttr(tensor, state->str_layout);
    if (layout == NULL) {
        return -1;
    }
    int strided = layout == state->torch_strided;
    if (!strided) {
        PyErr_Format(PyExc_TypeError,
                     "a tensor of type %R cannot be sent to other processes: its "
                     "layout is %R; pass tensor.to_dense()",
                     (PyObject *)Py_TYPE(tensor), layout);
    }
    Py_DECREF(layout);
    return strided ? 0 : -1;
}

/* The device of a tensor; of type 0 for one that is neither the CPU nor served. -1 with
 * an exception. */
static int
read_device(pyaccel_state *state, PyObject *tensor, pa_dl_device *at)
{
    PyObject *device = PyObject_GetAttr(tensor, state->str_device);
    PyObject *type = device != NULL ? PyObject_GetAttr(device, state->str_type) : NULL;
    PyObject *index = NULL;
    int status = -1;
    *at = (pa_dl_device){0};
    if (type == NULL) {
        goto done;
    }
    if (PyUnicode_CompareWithASCIIString(type, "meta") == 0) {
        status = refuse(tensor, "it is on the meta device and has no data",
                        "load its values first");
        goto done;
    }
    if (PyUnicode_Compare(type, state->str_cpu) == 0) {
        at->type = PA_DL_CPU;
    } else if (PyUnicode_CompareWithASCIIString(type, "cuda") == 0 &&
               pyaccel_place_served(state)) {
        index = PyObject_GetAttr(device, state->str_index);
        *at = (pa_dl_device){PA_DL_CUDA, index != NULL ? (int)PyLong_AsLong(index) : 0};
    }
    status = PyErr_Occurred() ? -1 : 0;
done:
    Py_XDECREF(index);
    Py_XDECREF(type);
    Py_XDECREF(device);
    return status;
}

/* ---- Reading ---- */

/* The tensor's values in row-major memory of its device, or with `away` of the CPU:
 * itself or a copy. // new */
static PyObject *
plain_copy(pyaccel_state *state, PyObject *tensor, bool away)
{
    PyObject *const steps[] = {state->str_cpu, state->str_detach,
                               state->str_resolve_conj, state->str_resolve_neg,
                               state->str_contiguous};
    PyObject *at = Py_NewRef(tensor);
    for (size_t i = away ? 0 : 1; i < sizeof steps / sizeof steps[0] && at != NULL;
         i++) {
        PyObject *next = PyObject_CallMethodObjArgs(at, steps[i], NULL);
        Py_DECREF(at);
        at = next;
    }
    return at;
}

/* The numbers of a shape or of strides in new memory (free), and how many there are.
 * NULL with an exception. */
static int64_t *
read_numbers(PyObject *tuple, int32_t *count)
{
    Py_ssize_t size = tuple != NULL ? PyTuple_Size(tuple) : -1;
    if (size < 0) {
        return NULL;
    }
    int64_t *numbers = malloc(((size_t)size + 1) * sizeof *numbers);
    if (numbers == NULL) {
        return (int64_t *)PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        numbers[i] = PyLong_AsLongLong(PyTuple_GetItem(tuple, i));
        if (numbers[i] == -1 && PyErr_Occurred()) {
            free(numbers);
            return NULL;
        }
    }
    *count = (int32_t)size;
    return numbers;
}

/* A tensor's sizes, as read_numbers. */
static int64_t *
read_shape(pyaccel_state *state, PyObject *tensor, int32_t *ndim)
{
    PyObject *shape = PyObject_GetAttr(tensor, state->str_shape);
    int64_t *dims = read_numbers(shape, ndim);
    Py_XDECREF(shape);
    return dims;
}

int
pyaccel_tensor_address(pyaccel_state *state, PyObject *tensor, char **data)
{
    PyObject *address = PyObject_CallMethodObjArgs(tensor, state->str_data_ptr, NULL);
    if (address == NULL) {
        return -1;
    }
    *data = PyLong_AsVoidPtr(address);
    Py_DECREF(address);
    return PyErr_Occurred() ? -1 : 0;
}

/* The dtype of a tensor as the core knows it. -1 with TypeError. */
static int
read_dtype(pyaccel_state *state, PyObject *tensor, pa_dtype *dtype)
{
    PyObject *object = PyObject_GetAttr(tensor, state->str_dtype);
    if (object == NULL) {
        return -1;
    }
    PyObject *known = PyDict_GetItemWithError(state->torch_dtypes, object); // borrowed
    if (known != NULL) {
        memcpy(dtype, PyBytes_AsString(known), sizeof *dtype);
    } else if (!PyErr_Occurred()) {
        PyErr_Format(PyExc_TypeError,
                     "a tensor of %R cannot be sent to other processes; pass "
                     "tensor.view(torch.uint8)",
                     object);
    }
    Py_DECREF(object);
    return known != NULL ? 0 : -1;
}

static int
refuse_without_memory(PyObject *tensor)
{
    return refuse(tensor,
                  "it has no memory of its own, as a tensor inside a torch.func "
                  "transform, a fake or a wrapper tensor, or one whose storage was "
                  "freed",
                  "pass a plain tensor");
}

/* Reads an ordinary contiguous tensor of these dimensions. */
static int
read_plain(pyaccel_state *state, PyObject *tensor, int32_t ndim, const int64_t *dims,
           pa_leaf *leaf)
{
    *leaf = (pa_leaf){.shape = dims, .ndim = ndim};
    if (read_dtype(state, tensor, &leaf->dtype) < 0) {
        return -1;
    }
    if (pyaccel_tensor_address(state, tensor, &leaf->data) < 0) {
        /* What torch says where there is no storage to point into. */
        bool absent = PyErr_ExceptionMatches(PyExc_RuntimeError);
        return absent ? (PyErr_Clear(), refuse_without_memory(tensor)) : -1;
    }
    leaf->itemsize = (size_t)leaf->dtype.bits * leaf->dtype.lanes / 8;
    leaf->nbytes = leaf->itemsize;
    for (int32_t d = 0; d < ndim; d++) {
        leaf->nbytes *= (size_t)dims[d];
    }
    return leaf->data == NULL && leaf->nbytes > 0 ? refuse_without_memory(tensor) : 0;
}

/* ValueError for a tensor whose elements share memory: values received for it would
 * overwrite each other. */
static int
check_writeable(pyaccel_state *state, PyObject *tensor)
{
    int32_t ndim = 0;
    int status = -1;
    int64_t *strides = NULL;
    int64_t *dims = read_shape(state, tensor, &ndim);
    PyObject *steps = PyObject_CallMethodObjArgs(tensor, state->str_stride, NULL);
    if (dims == NULL || (strides = read_numbers(steps, &ndim)) == NULL) {
        goto done;
    }
    if (pa_strides_overlap(ndim, dims, strides, 1)) {
        PyErr_SetString(PyExc_ValueError,
                        "a tensor whose elements share memory (an expanded one) cannot "
                        "receive values: they would overwrite each other; pass "
                        "tensor.clone()");
        goto done;
    }
    status = 0;
done:
    free(strides);
    free(dims);
    Py_XDECREF(steps);
    return status;
}

int
pyaccel_tensor_add_by_attributes(pyaccel_state *state, PyObject *tensor, bool write,
                                 pyaccel_leaves *leaves)
{
    pa_dl_device device;
    if (check_layout(state, tensor) < 0 || read_device(state, tensor, &device) < 0 ||
        (write && check_writeable(state, tensor) < 0)) {
        return -1;
    }
    bool away = device.type == 0;
    PyObject *plain = plain_copy(state, tensor, away);
    if (plain == NULL) {
        return -1;
    }
    int32_t ndim = 0;
    pa_leaf leaf;
    int64_t *dims = read_shape(state, plain, &ndim);
    int status = dims != NULL ? read_plain(state, plain, ndim, dims, &leaf) : -1;
    if (status == 0 && !away) {
        pa_dl_tensor view = {.data = leaf.data, .device = device};
        status = pyaccel_place_find(state, leaves, &view, &leaf) < 0 ? -1 : 0;
    }
    if (status == 0) {
        status = pyaccel_leaves_add(leaves, &leaf, PYACCEL_TENSOR, tensor, plain, NULL);
    }
    if (status == 0) {
        leaves->extra[leaves->count - 1].away = away;
    }
    free(dims);
    Py_DECREF(plain);
    return status;
}
