/* Finding torch in the process, and the path that tensors take: see py/tensor.h. */
#include "py/tensor.h"

#include "torch/devices.h"
#include "torch/exchange.h"
#include "torch/shim.h"

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

/* torch's private call that gives a handle for the shim, where it is. */
static void
bind_shim(pyaccel_state *state, PyObject *torch)
{
    PyObject *at = PyObject_GetAttrString(torch, "_C");
    PyObject *aoti = at != NULL ? PyObject_GetAttrString(at, "_aoti") : NULL;
    PyObject *handle_of =
        aoti != NULL ? PyObject_GetAttrString(aoti, "unsafe_alloc_void_ptr_from_tensor")
                     : NULL;
    Py_XDECREF(at);
    Py_XDECREF(aoti);
    if (handle_of == NULL) {
        PyErr_Clear();
        return;
    }
    pyaccel_slot_set(&state->torch_handle_of, handle_of);
    pa_shim_close(state->shim);
    state->shim = pa_shim_open();
}

/* torch's streams, and whose devices it calls cuda. */
static int
bind_devices(pyaccel_state *state, PyObject *torch)
{
    PyObject *version = PyObject_GetAttrString(torch, "version");
    PyObject *hip = version != NULL ? PyObject_GetAttrString(version, "hip") : NULL;
    state->torch_hip = hip != NULL && hip != Py_None;
    Py_XDECREF(version);
    Py_XDECREF(hip);
    PyObject *at = PyObject_GetAttrString(torch, "_C");
    PyObject *raw =
        at != NULL ? PyObject_GetAttrString(at, "_cuda_getCurrentRawStream") : NULL;
    Py_XDECREF(at);
    PyErr_Clear(); /* each of them may be missing, as in a torch without CUDA */
    pyaccel_slot_set(&state->torch_raw_stream, raw);
    pa_torch_devices_close(state->devices);
    state->devices = pa_torch_devices_open(state->exchange);
    if (state->devices == NULL) {
        PyErr_NoMemory();
        return -1;
    }
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
    bind_shim(state, torch);
    return bind_exchange(state) < 0 ? -1 : bind_devices(state, torch);
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

/* ---- Paths ---- */

static const char *const path_names[] = {"auto", "exchange", "shim", "attributes"};

bool
pyaccel_tensor_path_available(const pyaccel_state *state, pyaccel_tensor_path path)
{
    switch (path) {
    case PYACCEL_PATH_EXCHANGE:
        return state->exchange != NULL;
    case PYACCEL_PATH_SHIM:
        return state->shim != NULL;
    case PYACCEL_PATH_AUTO:
    case PYACCEL_PATH_ATTRIBUTES:
        break;
    }
    return true;
}

pyaccel_tensor_path
pyaccel_tensor_path_now(const pyaccel_state *state)
{
    if (state->tensor_path != PYACCEL_PATH_AUTO &&
        pyaccel_tensor_path_available(state, state->tensor_path)) {
        return state->tensor_path;
    }
    if (state->exchange != NULL) {
        return PYACCEL_PATH_EXCHANGE;
    }
    return state->shim != NULL ? PYACCEL_PATH_SHIM : PYACCEL_PATH_ATTRIBUTES;
}

const char *
pyaccel_tensor_path_name(pyaccel_tensor_path path)
{
    return path_names[path];
}

static PyObject *
force_tensor_path(PyObject *module, PyObject *path)
{
    pyaccel_state *state = pyaccel_state_get(module);
    if (!PyUnicode_Check(path)) {
        return PyErr_Format(PyExc_TypeError, "path must be a str, not %R",
                            (PyObject *)Py_TYPE(path));
    }
    for (int i = PYACCEL_PATH_AUTO; i <= PYACCEL_PATH_ATTRIBUTES; i++) {
        if (PyUnicode_CompareWithASCIIString(path, path_names[i]) == 0) {
            state->tensor_path = i;
            Py_RETURN_NONE;
        }
    }
    return PyErr_Format(
        PyExc_ValueError,
        "path must be 'auto', 'exchange', 'shim' or 'attributes', not %R", path);
}

static PyMethodDef tensor_methods[] = {
    {"force_tensor_path", force_tensor_path, METH_O,
     PyDoc_STR("force_tensor_path($module, path, /)\n--\n\n"
               "Read tensors in one way: 'auto', 'exchange', 'shim' or 'attributes'.\n"
               "One that this torch lacks counts as 'auto'. For tests.")},
    {NULL, NULL, 0, NULL},
};

int
pyaccel_tensor_setup(PyObject *module)
{
    return PyModule_AddFunctions(module, tensor_methods);
}
