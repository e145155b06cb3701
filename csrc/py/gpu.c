/* What there is of a GPU's libraries: see the header. */
#include "py/gpu.h"

#include "gpu/library.h"
#include "gpu/nccl.h"
#include "gpu/nvml.h"
#include "py/error.h"

#include <stdlib.h>
#include <string.h>

enum { VERSION_CAPACITY = 32, DRIVER_CAPACITY = 96 };

/* What Python calls the libraries. */
static const char *const names[PA_GPU_KINDS] = {
    [PA_GPU_CUDART] = "cudart",
    [PA_GPU_DRIVER] = "driver",
    [PA_GPU_NCCL] = "nccl",
    [PA_GPU_NVML] = "nvml",
};

/* The kind of that name; PA_GPU_KINDS with ValueError where there is none. */
static pa_gpu_kind
kind_of(const char *name)
{
    int kind = 0;
    while (kind < PA_GPU_KINDS && strcmp(names[kind], name) != 0) {
        kind++;
    }
    if (kind == PA_GPU_KINDS) {
        PyErr_Format(PyExc_ValueError,
                     "there is no library '%s': name cudart, driver, nccl or nvml",
                     name);
    }
    return (pa_gpu_kind)kind;
}

/* The paths of a list as the file system has them, in a list of bytes. // new */
static PyObject *
encode_paths(PyObject *paths)
{
    Py_ssize_t count = PyList_Size(paths);
    PyObject *encoded = PyList_New(count);
    for (Py_ssize_t i = 0; encoded != NULL && i < count; i++) {
        PyObject *bytes = NULL;
        if (PyUnicode_FSConverter(PyList_GetItem(paths, i), &bytes) == 0) {
            Py_CLEAR(encoded);
        } else {
            (void)PyList_SetItem(encoded, i, bytes);
        }
    }
    return encoded;
}

static PyObject *
gpu_search(PyObject *module, PyObject *arguments)
{
    (void)module;
    const char *name = NULL;
    PyObject *paths = NULL;
    if (!PyArg_ParseTuple(arguments, "sO!:gpu_search", &name, &PyList_Type, &paths)) {
        return NULL;
    }
    pa_gpu_kind kind = kind_of(name);
    PyObject *encoded = kind != PA_GPU_KINDS ? encode_paths(paths) : NULL;
    if (encoded == NULL) {
        return NULL;
    }
    PyObject *result = NULL;
    size_t count = (size_t)PyList_Size(encoded);
    const char **words = PyMem_Malloc((count + 1) * sizeof *words);
    if (words == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        words[i] = PyBytes_AsString(PyList_GetItem(encoded, (Py_ssize_t)i));
    }
    bool in_time;
    /* Another thread may be looking for the library, which takes its time. */
    Py_BEGIN_ALLOW_THREADS;
    in_time = pa_gpu_search(kind, words, count);
    Py_END_ALLOW_THREADS;
    result = PyBool_FromLong(in_time);
done:
    PyMem_Free(words);
    Py_DECREF(encoded);
    return result;
}

/* A version as text; empty where it is not known. */
static void
format_version(pa_gpu_kind kind, int version, char *text, size_t capacity)
{
    text[0] = '\0';
    if (version != 0 && kind == PA_GPU_NCCL) {
        pa_nccl_version_format(version, text, capacity);
    } else if (version != 0) {
        PyOS_snprintf(text, capacity, "%d.%d", version / 1000, version % 1000 / 10);
    }
}

/* What was found of a library, as a dict. // new */
static PyObject *
describe(pa_gpu_kind kind)
{
    const pa_gpu_library *library;
    Py_BEGIN_ALLOW_THREADS;
    library = pa_gpu_find(kind);
    Py_END_ALLOW_THREADS;
    char version[VERSION_CAPACITY];
    format_version(kind, library->version, version, sizeof version);
    /* The system's encoding, as the loader's messages and paths have it. */
    PyObject *reason = PyUnicode_DecodeFSDefault(library->reason);
    PyObject *passed = PyUnicode_DecodeFSDefault(library->passed);
    PyObject *path = PyUnicode_DecodeFSDefault(library->path);
    if (reason == NULL || passed == NULL || path == NULL) {
        Py_XDECREF(reason);
        Py_XDECREF(passed);
        Py_XDECREF(path);
        return NULL;
    }
    return Py_BuildValue("{sssOsNsssNsN}", "name", pa_gpu_kind_text(kind), "mapped",
                         library->mapped ? Py_True : Py_False, "path", path, "version",
                         version, "reason", reason, "passed", passed);
}

static PyObject *
gpu_libraries(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    PyObject *found = PyDict_New();
    for (int kind = 0; found != NULL && kind < PA_GPU_KINDS; kind++) {
        PyObject *one = describe((pa_gpu_kind)kind);
        if (one == NULL || PyDict_SetItemString(found, names[kind], one) < 0) {
            Py_CLEAR(found);
        }
        Py_XDECREF(one);
    }
    return found;
}

/* One GPU as a dict. // new */
static PyObject *
describe_gpu(const pa_nvml_gpu *gpu)
{
    PyObject *mig = gpu->mig < 0 ? Py_None : gpu->mig != 0 ? Py_True : Py_False;
    return Py_BuildValue("{sssssKsKsO}", "name", gpu->name, "uuid", gpu->uuid, "memory",
                         (unsigned long long)gpu->memory, "memory_free",
                         (unsigned long long)gpu->memory_free, "mig", mig);
}

static PyObject *
gpu_list(PyObject *module, PyObject *unused)
{
    (void)unused;
    pa_nvml_gpu *gpus = NULL;
    int count = 0;
    pa_error error = PA_ERROR_INIT;
    pa_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = pa_nvml_list(&gpus, &count, &error);
    Py_END_ALLOW_THREADS;
    if (status != PA_OK) {
        return pyaccel_error_raise(pyaccel_state_get(module), status, &error);
    }
    PyObject *list = PyList_New(count);
    for (int i = 0; list != NULL && i < count; i++) {
        PyObject *gpu = describe_gpu(&gpus[i]);
        if (gpu == NULL) {
            Py_CLEAR(list);
        } else {
            (void)PyList_SetItem(list, i, gpu);
        }
    }
    free(gpus);
    return list;
}

static PyObject *
gpu_driver(PyObject *module, PyObject *unused)
{
    (void)unused;
    char text[DRIVER_CAPACITY] = "";
    pa_error error = PA_ERROR_INIT;
    pa_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = pa_nvml_driver(text, sizeof text, &error);
    Py_END_ALLOW_THREADS;
    if (status != PA_OK) {
        return pyaccel_error_raise(pyaccel_state_get(module), status, &error);
    }
    return PyUnicode_DecodeFSDefault(text);
}

static PyMethodDef gpu_methods[] = {
    {"gpu_search", gpu_search, METH_VARARGS,
     PyDoc_STR("gpu_search($module, kind, paths, /)\n--\n\n"
               "Names files to try for a library; False once it was looked for.")},
    {"gpu_libraries", gpu_libraries, METH_NOARGS,
     PyDoc_STR("gpu_libraries($module, /)\n--\n\n"
               "What was found of each library of a GPU, without using it; by kind, a "
               "dict each, with the reason where it is off.")},
    {"gpu_list", gpu_list, METH_NOARGS,
     PyDoc_STR("gpu_list($module, /)\n--\n\n"
               "The machine's GPUs as NVML knows them, a dict each; else OSError.")},
    {"gpu_driver", gpu_driver, METH_NOARGS,
     PyDoc_STR("gpu_driver($module, /)\n--\n\n"
               "The version of NVIDIA's driver as NVML knows it; else OSError.")},
    {NULL, NULL, 0, NULL},
};

int
pyaccel_gpu_setup(PyObject *module)
{
    return PyModule_AddFunctions(module, gpu_methods);
}
