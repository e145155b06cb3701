/* torch tensors as leaves: see the header.
 *
 * The exchange table looks at memory only. What it would pass with wrong bytes or a
 * wrong dtype is told apart first (lazy conjugation and negation, sub-byte integers),
 * and what it refuses is never shown to it twice: a refusal costs it milliseconds. */
#include "py/tensor.h"

#include "py/block.h"
#include "torch/exchange.h"

#include <string.h>

/* ---- Finding torch ---- */

/* A dict from torch.dtype to the bytes of its pa_dtype. // new */
static PyObject *
make_dtypes(PyObject *torch)
{
    PyObject *table = PyDict_New();
    if (table == NULL) {
        return NULL;
    }
    static const struct {
        const char *name;
        pa_dtype dtype;
    } rows[] = {
#define PYACCEL_DTYPE_ROW(name, code, bits, lanes) {#name, {code, bits, lanes, 0}},
        PA_DTYPE_MAP(PYACCEL_DTYPE_ROW)
#undef PYACCEL_DTYPE_ROW
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        PyObject *dtype = PyObject_GetAttrString(torch, rows[i].name);
        if (dtype == NULL) {
            PyErr_Clear(); /* an older torch */
            continue;
        }
        PyObject *bytes = PyBytes_FromStringAndSize((const char *)&rows[i].dtype,
                                                    sizeof rows[i].dtype);
        int status = bytes != NULL ? PyDict_SetItem(table, dtype, bytes) : -1;
        Py_XDECREF(bytes);
        Py_DECREF(dtype);
        if (status < 0) {
            Py_DECREF(table);
            return NULL;
        }
    }
    return table;
}

static int
bind_exchange(pyaccel_state *state)
{
    PyObject *capsule =
        PyObject_GetAttrString(state->torch_Tensor, "__dlpack_c_exchange_api__");
    if (capsule == NULL) {
        PyErr_Clear(); /* torch before 2.10 */
        return 0;
    }
    if (PyCapsule_CheckExact(capsule)) {
        const void *table = PyCapsule_GetPointer(capsule, PA_DL_CAPSULE);
        if (table == NULL) {
            PyErr_Clear();
        } else {
            state->exchange = pa_exchange_check(table);
        }
    }
    Py_DECREF(capsule);
    return 0;
}

static int
bind_objects(pyaccel_state *state, PyObject *torch)
{
    PyObject *nn = PyObject_GetAttrString(torch, "nn");
    if (nn == NULL) {
        return -1;
    }
    pyaccel_slot_set(&state->torch_Parameter, PyObject_GetAttrString(nn, "Parameter"));
    Py_DECREF(nn);
    pyaccel_slot_set(&state->torch_Tensor, PyObject_GetAttrString(torch, "Tensor"));
    pyaccel_slot_set(&state->torch_empty, PyObject_GetAttrString(torch, "empty"));
    pyaccel_slot_set(&state->torch_strided, PyObject_GetAttrString(torch, "strided"));
    pyaccel_slot_set(&state->torch_int8, PyObject_GetAttrString(torch, "int8"));
    pyaccel_slot_set(&state->torch_uint8, PyObject_GetAttrString(torch, "uint8"));
    pyaccel_slot_set(&state->torch_dtypes, make_dtypes(torch));
    if (state->torch_Parameter == NULL || state->torch_Tensor == NULL ||
        state->torch_empty == NULL || state->torch_strided == NULL ||
        state->torch_int8 == NULL || state->torch_uint8 == NULL ||
        state->torch_dtypes == NULL) {
        return -1;
    }
    return bind_exchange(state);
}

int
pyaccel_tensor_bind(pyaccel_state *state)
{
    PyObject *modules = PyImport_GetModuleDict();             // borrowed
    PyObject *torch = PyDict_GetItemString(modules, "torch"); // borrowed
    /* While torch is being imported it has no tensors to give away yet. */
    if (torch == NULL || !PyObject_HasAttrString(torch, "nn")) {
        return 0;
    }
    Py_INCREF(torch);
    int status = bind_objects(state, torch);
    Py_DECREF(torch);
    state->torch_bound = status == 0;
    return status;
}

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

/* Reads an ordinary contiguous tensor through its attributes. `*dtype` is // new. */
static int
read_attributes(pyaccel_state *state, PyObject *tensor, pa_leaf *leaf, int64_t *dims,
                PyObject **dtype)
{
    PyObject *shape = PyObject_GetAttr(tensor, state->str_shape);
    int ndim = shape != NULL ? read_shape(shape, dims, MOST_DIMS) : -1;
    Py_XDECREF(shape);
    if (ndim < 0 || read_address(state, tensor, &leaf->data) < 0) {
        return -1;
    }
    *dtype = PyObject_GetAttr(tensor, state->str_dtype);
    if (*dtype == NULL) {
        return -1;
    }
    PyObject *known = PyDict_GetItemWithError(state->torch_dtypes, *dtype); // borrowed
    if (known == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_TypeError,
                         "a tensor of %R cannot be sent to other processes; convert it "
                         "to a dtype with whole bytes first",
                         *dtype);
        }
        return -1;
    }
    memcpy(&leaf->dtype, PyBytes_AsString(known), sizeof leaf->dtype);
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
    PyObject *dtype = NULL;
    int status = read_attributes(state, plain, &leaf, dims, &dtype);
    if (status == 0) {
        status =
            pyaccel_leaves_add(leaves, &leaf, PYACCEL_TENSOR, tensor, plain, dtype);
    }
    Py_XDECREF(dtype);
    Py_DECREF(plain);
    return status;
}

int
pyaccel_tensor_add(pyaccel_state *state, PyObject *tensor, bool write,
                   pyaccel_leaves *leaves)
{
    PyObject *type = (PyObject *)Py_TYPE(tensor);
    bool exact = type == state->torch_Tensor || type == state->torch_Parameter;
    if (exact && state->exchange != NULL &&
        state->tensor_path != PYACCEL_PATH_ATTRIBUTES) {
        int added = add_by_exchange(state, tensor, leaves);
        if (added != 0) {
            return added < 0 ? -1 : 0;
        }
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
    const pyaccel_leaf *extra = &leaves->extra[index];
    if (state->exchange == NULL || state->tensor_path == PYACCEL_PATH_ATTRIBUTES) {
        return make_by_attributes(state, extra->dtype, ndim, shape, data);
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

/* ---- Forcing a path ---- */

static PyObject *
force_tensor_path(PyObject *module, PyObject *path)
{
    static const char *const names[] = {"auto", "exchange", "attributes"};
    pyaccel_state *state = pyaccel_state_get(module);
    if (!PyUnicode_Check(path)) {
        return PyErr_Format(PyExc_TypeError, "path must be a str, not %R",
                            (PyObject *)Py_TYPE(path));
    }
    for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++) {
        if (PyUnicode_CompareWithASCIIString(path, names[i]) == 0) {
            state->tensor_path = i;
            Py_RETURN_NONE;
        }
    }
    return PyErr_Format(PyExc_ValueError,
                        "path must be 'auto', 'exchange' or 'attributes', not %R",
                        path);
}

static PyMethodDef tensor_methods[] = {
    {"force_tensor_path", force_tensor_path, METH_O,
     PyDoc_STR("force_tensor_path($module, path, /)\n--\n\n"
               "Read and make tensors by one way: 'auto', 'exchange' or 'attributes'.\n"
               "For tests.")},
    {NULL, NULL, 0, NULL},
};

int
pyaccel_tensor_setup(PyObject *module)
{
    return PyModule_AddFunctions(module, tensor_methods);
}
