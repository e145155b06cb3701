/* torch tensors as leaves: see the header.
 *
 * The exchange table looks at memory only. What it would pass with wrong bytes or a
 * wrong dtype is told apart first (lazy conjugation and negation, sub-byte integers),
 * and what it refuses is never shown to it twice: a refusal costs it milliseconds. */
#include "py/tensor.h"

#include "torch/exchange.h"
#include "torch/shim.h"

#include <string.h>

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

/* Whether the bytes are the values: no lazy conjugation, no lazy negation that hides
 * in a contiguous tensor, no dtype that the table cannot tell. */
static int
bytes_are_values(pyaccel_state *state, PyObject *tensor, const pa_leaf *leaf)
{
    uint8_t code = leaf->dtype.code;
    bool complex_ = code == PA_DTYPE_COMPLEX;
    bool lone = leaf->nbytes == leaf->itemsize && code == PA_DTYPE_FLOAT;
    if (complex_ || lone) {
        int lazy = ask(tensor, state->str_is_neg);
        if (lazy == 0 && complex_) {
            lazy = ask(tensor, state->str_is_conj);
        }
        if (lazy != 0) {
            return lazy < 0 ? -1 : 0;
        }
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
    int plain = bytes_are_values(state, tensor, &leaf);
    if (plain <= 0) {
        return plain;
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
        added = bytes_are_values(state, tensor, &leaf);
    }
    if (added > 0 &&
        pyaccel_leaves_add(leaves, &leaf, PYACCEL_TENSOR, tensor, tensor, NULL) < 0) {
        added = -1;
    }
    pa_shim_release(state->shim, handle);
    return added;
}

/* ---- By attributes ---- */

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

/* 0 for an ordinary tensor in the memory of the CPU; -1 with TypeError else. */
static int
check_ordinary(pyaccel_state *state, PyObject *tensor)
{
    PyObject *layout = PyObject_GetAttr(tensor, state->str_layout);
    if (layout == NULL) {
        return -1;
    }
    bool strided = layout == state->torch_strided;
    Py_DECREF(layout);
    if (!strided) {
        return refuse(tensor, "it is sparse", "pass tensor.to_dense()");
    }
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
    PyObject *device = PyObject_GetAttr(tensor, state->str_device);
    PyObject *type = device != NULL ? PyObject_GetAttr(device, state->str_type) : NULL;
    Py_XDECREF(device);
    if (type == NULL) {
        return -1;
    }
    int cpu = PyUnicode_CompareWithASCIIString(type, "cpu") == 0;
    int meta = PyUnicode_CompareWithASCIIString(type, "meta") == 0;
    Py_DECREF(type);
    if (meta) {
        return refuse(tensor, "it is on the meta device and has no data",
                      "load its values first");
    }
    return cpu ? 0
               : refuse(tensor, "it is not in the memory of the CPU",
                        "pass tensor.cpu()");
}

/* The tensor's values in row-major memory: itself or a copy. // new */
static PyObject *
plain_copy(pyaccel_state *state, PyObject *tensor)
{
    PyObject *const steps[] = {state->str_detach, state->str_resolve_conj,
                               state->str_resolve_neg, state->str_contiguous};
    PyObject *at = Py_NewRef(tensor);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && at != NULL; i++) {
        PyObject *next = PyObject_CallMethodObjArgs(at, steps[i], NULL);
        Py_DECREF(at);
        at = next;
    }
    return at;
}

/* Dimensions of a shape into `dims`; the number of them, -1 with an exception. */
static int
read_shape(PyObject *shape, int64_t *dims, int capacity)
{
    Py_ssize_t ndim = PyTuple_Size(shape);
    if (ndim < 0 || ndim > capacity) {
        PyErr_Format(PyExc_TypeError, "a tensor of %zd dimensions cannot be sent",
                     ndim);
        return -1;
    }
    for (Py_ssize_t d = 0; d < ndim; d++) {
        dims[d] = PyLong_AsLongLong(PyTuple_GetItem(shape, d));
        if (dims[d] == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    return (int)ndim;
}

/* Address of the tensor's memory. -1 with an exception. */
static int
read_address(pyaccel_state *state, PyObject *tensor, char **data)
{
    PyObject *address = PyObject_CallMethodObjArgs(tensor, state->str_data_ptr, NULL);
    if (address == NULL) {
        return -1;
    }
    *data = PyLong_AsVoidPtr(address);
    Py_DECREF(address);
    return PyErr_Occurred() ? -1 : 0;
}

/* torch has at most 64 dimensions. */
enum { MOST_DIMS = 64 };

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
        PyErr_Format(
            PyExc_TypeError,
            "a tensor of %R cannot be sent to other processes; convert it to a "
            "dtype with whole bytes first",
            object);
    }
    Py_DECREF(object);
    return known != NULL ? 0 : -1;
}

/* Reads an ordinary contiguous tensor through its attributes. */
static int
read_attributes(pyaccel_state *state, PyObject *tensor, pa_leaf *leaf, int64_t *dims)
{
    PyObject *shape = PyObject_GetAttr(tensor, state->str_shape);
    int ndim = shape != NULL ? read_shape(shape, dims, MOST_DIMS) : -1;
    Py_XDECREF(shape);
    if (ndim < 0 || read_address(state, tensor, &leaf->data) < 0) {
        return -1;
    }
    if (read_dtype(state, tensor, &leaf->dtype) < 0) {
        return -1;
    }
    leaf->itemsize = (size_t)leaf->dtype.bits * leaf->dtype.lanes / 8;
    leaf->ndim = ndim;
    leaf->shape = dims;
    leaf->nbytes = leaf->itemsize;
    for (int d = 0; d < ndim; d++) {
        leaf->nbytes *= (size_t)dims[d];
    }
    if (leaf->data == NULL && leaf->nbytes > 0) {
        return refuse(tensor, "it has no memory (a fake or functional tensor)",
                      "pass a real one");
    }
    return 0;
}

/* ValueError for a tensor that holds a row many times over in the same memory: values
 * received for it would overwrite each other. */
static int
check_writeable(pyaccel_state *state, PyObject *tensor)
{
    int64_t dims[MOST_DIMS];
    int64_t strides[MOST_DIMS];
    PyObject *shape = PyObject_GetAttr(tensor, state->str_shape);
    PyObject *steps = PyObject_CallMethodObjArgs(tensor, state->str_stride, NULL);
    int ndim = -1;
    if (shape != NULL && steps != NULL && read_shape(shape, dims, MOST_DIMS) >= 0) {
        ndim = read_shape(steps, strides, MOST_DIMS);
    }
    Py_XDECREF(shape);
    Py_XDECREF(steps);
    for (int d = 0; d < ndim; d++) {
        if (strides[d] == 0 && dims[d] > 1) {
            PyErr_SetString(PyExc_ValueError,
                            "an expanded tensor cannot receive values: its rows share "
                            "their memory; pass tensor.clone()");
            return -1;
        }
    }
    return ndim < 0 ? -1 : 0;
}

static int
add_by_attributes(pyaccel_state *state, PyObject *tensor, bool write,
                  pyaccel_leaves *leaves)
{
    if (check_ordinary(state, tensor) < 0 ||
        (write && check_writeable(state, tensor) < 0)) {
        return -1;
    }
    PyObject *plain = plain_copy(state, tensor);
    if (plain == NULL) {
        return -1;
    }
    int64_t dims[MOST_DIMS];
    pa_leaf leaf = {0};
    int status = read_attributes(state, plain, &leaf, dims);
    if (status == 0) {
        status = pyaccel_leaves_add(leaves, &leaf, PYACCEL_TENSOR, tensor, plain, NULL);
    }
    Py_DECREF(plain);
    return status;
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
    return add_by_attributes(state, tensor, write, leaves);
}

/* ---- Results ---- */

static PyObject *
make_by_attributes(pyaccel_state *state, PyObject *dtype, int32_t ndim,
                   const int64_t *shape, char **data)
{
    PyObject *made = NULL;
    PyObject *sizes = PyTuple_New(ndim);
    PyObject *positional = NULL;
    PyObject *named = NULL;
    if (sizes == NULL) {
        return NULL;
    }
    for (int32_t d = 0; d < ndim; d++) {
        PyObject *size = PyLong_FromLongLong(shape[d]);
        if (size == NULL || PyTuple_SetItem(sizes, d, size) < 0) {
            goto done;
        }
    }
    positional = PyTuple_Pack(1, sizes);
    named = PyDict_New();
    if (positional == NULL || named == NULL ||
        PyDict_SetItem(named, state->str_dtype, dtype) < 0 ||
        PyDict_SetItemString(named, "device", state->str_cpu) < 0) {
        goto done;
    }
    made = PyObject_Call(state->torch_empty, positional, named);
    if (made != NULL && read_address(state, made, data) < 0) {
        Py_CLEAR(made);
    }
done:
    Py_DECREF(sizes);
    Py_XDECREF(positional);
    Py_XDECREF(named);
    return made;
}

PyObject *
pyaccel_tensor_make(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index,
                    int32_t ndim, const int64_t *shape, size_t nbytes, char **data)
{
    if (pyaccel_tensor_path_now(state) != PYACCEL_PATH_EXCHANGE) {
        PyObject *dtype =
            PyObject_GetAttr(leaves->extra[index].holder, state->str_dtype);
        PyObject *made =
            dtype != NULL ? make_by_attributes(state, dtype, ndim, shape, data) : NULL;
        Py_XDECREF(dtype);
        return made;
    }
    void *object = NULL;
    int status = pa_exchange_make(state->exchange, state->pool, leaves->at[index].dtype,
                                  ndim, shape, nbytes, data, &object);
    if (status > 0) {
        PyErr_Format(PyExc_MemoryError, "no memory for a result of %zu bytes", nbytes);
    }
    return status == 0 ? object : NULL;
}

int
pyaccel_tensor_write_back(pyaccel_state *state, const pyaccel_leaves *leaves,
                          size_t index)
{
    const pyaccel_leaf *extra = &leaves->extra[index];
    if (extra->holder == extra->source) {
        return 0;
    }
    /* Through a detached alias: a parameter refuses to be written in place. */
    PyObject *target =
        PyObject_CallMethodObjArgs(extra->source, state->str_detach, NULL);
    if (target == NULL) {
        return -1;
    }
    char *here = NULL;
    int status = read_address(state, target, &here);
    if (status == 0 && here != leaves->at[index].data) {
        PyObject *done =
            PyObject_CallMethodObjArgs(target, state->str_copy_, extra->holder, NULL);
        status = done != NULL ? 0 : -1;
        Py_XDECREF(done);
    }
    Py_DECREF(target);
    return status;
}
