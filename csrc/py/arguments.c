/* Arguments of fast-called functions: see the header. */
#include "py/arguments.h"

#include "base/clock.h"

static int
parameter_of(const char *const *parameters, int n, PyObject *name)
{
    for (int i = 0; i < n; i++) {
        if (PyUnicode_CompareWithASCIIString(name, parameters[i]) == 0) {
            return i;
        }
    }
    return -1;
}

int
pyaccel_arguments_parse(const char *function, const char *const *parameters, int n,
                        int required, PyObject *const *arguments, Py_ssize_t count,
                        PyObject *names, PyObject **values)
{
    if (count > n) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d arguments (%zd given)",
                     function, n, count);
        return -1;
    }
    for (int i = 0; i < n; i++) {
        values[i] = i < count ? arguments[i] : NULL;
    }
    Py_ssize_t named = names != NULL ? PyTuple_Size(names) : 0;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GetItem(names, i); // borrowed
        int at = parameter_of(parameters, n, name);
        if (at < 0 || values[at] != NULL) {
            PyErr_Format(PyExc_TypeError,
                         at < 0 ? "%s() got an unexpected keyword argument '%U'"
                                : "%s() got multiple values for argument '%U'",
                         function, name);
            return -1;
        }
        values[at] = arguments[count + i];
    }
    for (int i = 0; i < required; i++) {
        if (values[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() needs the argument '%s'", function,
                         parameters[i]);
            return -1;
        }
    }
    return 0;
}

int
pyaccel_arguments_timeout(PyObject *object, uint64_t *timeout_ns)
{
    double seconds = PyFloat_AsDouble(object);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (!(seconds > 0.0)) {
        PyErr_Format(PyExc_ValueError,
                     "timeout must be a positive number of seconds, not %R", object);
        return -1;
    }
    *timeout_ns = seconds >= 9e9 ? PA_DEADLINE_NEVER : (uint64_t)(seconds * 1e9);
    return 0;
}

int
pyaccel_arguments_int(PyObject *object, const char *name, int64_t missing,
                      int64_t *value)
{
    *value = missing;
    if (object == NULL) {
        return 0;
    }
    *value = PyLong_AsLongLong(object);
    if (*value != -1 || !PyErr_Occurred()) {
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Format(PyExc_TypeError, "%s must be an int, not %R", name,
                     (PyObject *)Py_TYPE(object));
    } else if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Format(PyExc_ValueError, "%s is %R: that is out of range", name, object);
    }
    return -1;
}
