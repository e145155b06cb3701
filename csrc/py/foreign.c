/* Types of other libraries: see the header. */
#include "py/foreign.h"

#include <stddef.h>

typedef struct library_type {
    const char *module;
    const char *name;
    size_t slot; /* where in the state the type is kept */
    pyaccel_foreign kind;
} library_type;

static const library_type library_types[] = {
    {"torch", "Tensor", offsetof(pyaccel_state, torch_Tensor), PYACCEL_FOREIGN_TENSOR},
    {"numpy", "ndarray", offsetof(pyaccel_state, numpy_ndarray), PYACCEL_FOREIGN_ARRAY},
    {"pandas", "DataFrame", offsetof(pyaccel_state, pandas_DataFrame),
     PYACCEL_FOREIGN_FRAME},
    {"pandas", "Series", offsetof(pyaccel_state, pandas_Series), PYACCEL_FOREIGN_FRAME},
    {"pandas", "Index", offsetof(pyaccel_state, pandas_Index), PYACCEL_FOREIGN_INDEX},
    {"datasets", "Dataset", offsetof(pyaccel_state, datasets_Dataset),
     PYACCEL_FOREIGN_DATASET},
};

/* A library's type, borrowed from the state; NULL while the library is not there. A
 * module that is being imported, or another of that name, may lack the type. */
static PyTypeObject *
find_type(pyaccel_state *state, const library_type *wanted)
{
    PyObject **slot = (PyObject **)((char *)state + wanted->slot);
    if (*slot == NULL) {
        PyObject *module =
            PyDict_GetItemString(PyImport_GetModuleDict(), wanted->module);
        if (module == NULL || !PyModule_Check(module)) {
            return NULL;
        }
        PyObject *type = PyDict_GetItemString(PyModule_GetDict(module), wanted->name);
        if (type == NULL || !PyType_Check(type)) {
            return NULL;
        }
        *slot = Py_NewRef(type);
    }
    return (PyTypeObject *)*slot;
}

pyaccel_foreign
pyaccel_foreign_of(pyaccel_state *state, PyObject *object)
{
    for (size_t i = 0; i < sizeof library_types / sizeof library_types[0]; i++) {
        PyTypeObject *type = find_type(state, &library_types[i]);
        if (type != NULL && PyObject_TypeCheck(object, type)) {
            return library_types[i].kind;
        }
    }
    return PYACCEL_FOREIGN_NONE;
}
