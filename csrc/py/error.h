/* From the core's status to a Python exception: one switch for the whole extension. */
#ifndef PYACCEL_PY_ERROR_H
#define PYACCEL_PY_ERROR_H

#include "base/status.h"
#include "py/state.h"

/* Sets the exception that belongs to `status` with the message of `error` and
 * returns NULL. With PA_EINTERRUPTED the exception is set already and kept. */
PyObject *
pyaccel_error_raise(pyaccel_state *state, pa_status status, const pa_error *error);

/* Makes the exception types and adds them to the module. -1 on failure. */
int
pyaccel_error_setup(PyObject *module);

#endif
