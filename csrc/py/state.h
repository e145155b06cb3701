/* State of the extension module: every object that it keeps is declared here, once. */
#ifndef PYACCEL_PY_STATE_H
#define PYACCEL_PY_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

/* A function as a slot's value: ISO C converts it only by way of an integer. */
#define PYACCEL_SLOT(function) ((void *)(uintptr_t)(function))

/* A function of any calling convention as a method table's entry. */
#define PYACCEL_METHOD(function) ((PyCFunction)(uintptr_t)(function))

/* Members: types, exceptions and interned names. Traverse, clear and the struct
 * all follow from this list. */
#define PYACCEL_STATE_MAP(X)                                                           \
    X(DistributedOperationException)                                                   \
    X(DistributedTimeoutError)                                                         \
    X(DistributedPeerError)

#define PYACCEL_STATE_MEMBER(name) PyObject *name;
typedef struct pyaccel_state {
    PYACCEL_STATE_MAP(PYACCEL_STATE_MEMBER)
} pyaccel_state;
#undef PYACCEL_STATE_MEMBER

/* The state of a module object; never NULL for ours. */
static inline pyaccel_state *
pyaccel_state_get(PyObject *module)
{
    return PyModule_GetState(module);
}

/* The state behind a type of ours (heap types made with the module). */
static inline pyaccel_state *
pyaccel_state_of(PyTypeObject *type)
{
    return PyType_GetModuleState(type);
}

#endif
