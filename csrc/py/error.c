/* From the core's status to a Python exception: see the header. */
#include "py/error.h"

#include <string.h>

/* As PyErr_SetString, for texts that may have been cut inside a character. */
static void
set_text(PyObject *type, const char *text)
{
    PyObject *message = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
    if (message != NULL) {
        PyErr_SetObject(type, message);
        Py_DECREF(message);
    }
}

PyObject *
pyaccel_error_raise(pyaccel_state *state, pa_status status, const pa_error *error)
{
    const char *text =
        error->message[0] != '\0' ? error->message : pa_status_text(status);
    switch (status) {
    case PA_EARGUMENT:
        set_text(PyExc_ValueError, text);
        break;
    case PA_EMEMORY:
        set_text(PyExc_MemoryError, text);
        break;
    case PA_ESYSTEM: {
        PyObject *message =
            PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
        if (message != NULL && error->sys_errno == 0) {
            /* A library refused, and not the system: there is no number of an error. */
            PyErr_SetObject(PyExc_OSError, message);
            Py_DECREF(message);
            break;
        }
        PyObject *arguments =
            message != NULL ? Py_BuildValue("(iN)", error->sys_errno, message) : NULL;
        if (arguments != NULL) {
            PyErr_SetObject(PyExc_OSError, arguments);
            Py_DECREF(arguments);
        }
        break;
    }
    case PA_ETIMEOUT:
        set_text(state->DistributedTimeoutError, text);
        break;
    case PA_EPEER:
        set_text(state->DistributedPeerError, text);
        break;
    case PA_EINTERRUPTED:
        if (!PyErr_Occurred()) {
            PyErr_SetNone(PyExc_KeyboardInterrupt);
        }
        break;
    case PA_EFORKED:
        set_text(PyExc_RuntimeError, text);
        break;
    case PA_OK:
    case PA_EMISMATCH:
    case PA_EREMOTE:
    case PA_EBROKEN:
    case PA_ECLOSED:
        set_text(state->DistributedOperationException, text);
        break;
    }
    return NULL;
}

/* One exception type, public as pyaccel.utils.operations.NAME; kept in the state. */
static int
add_exception(PyObject *module, const char *name, const char *doc, PyObject *bases,
              PyObject **slot)
{
    char qualified[96];
    PyOS_snprintf(qualified, sizeof qualified, "pyaccel.utils.operations.%s", name);
    *slot = PyErr_NewExceptionWithDoc(qualified, doc, bases, NULL);
    if (*slot == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, name, *slot);
}

int
pyaccel_error_setup(PyObject *module)
{
    pyaccel_state *state = pyaccel_state_get(module);
    if (add_exception(module, "DistributedOperationException",
                      "A collective operation could not be carried out: the ranks "
                      "called different operations, a rank failed, or the group is "
                      "broken.",
                      NULL, &state->DistributedOperationException) < 0) {
        return -1;
    }
    PyObject *bases =
        PyTuple_Pack(2, state->DistributedOperationException, PyExc_TimeoutError);
    if (bases == NULL) {
        return -1;
    }
    int status = add_exception(module, "DistributedTimeoutError",
                               "A rank did not arrive within the deadline.", bases,
                               &state->DistributedTimeoutError);
    Py_DECREF(bases);
    if (status < 0) {
        return -1;
    }
    bases =
        PyTuple_Pack(2, state->DistributedOperationException, PyExc_ConnectionError);
    if (bases == NULL) {
        return -1;
    }
    status =
        add_exception(module, "DistributedPeerError", "A rank ended or left the group.",
                      bases, &state->DistributedPeerError);
    Py_DECREF(bases);
    return status;
}
