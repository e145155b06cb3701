/* Arguments of fast-called functions: positional or by name, each at most once. */
#ifndef PYACCEL_PY_ARGUMENTS_H
#define PYACCEL_PY_ARGUMENTS_H

#include "py/state.h"

/* Fills `values[n]` (borrowed; NULL where not given) from a METH_FASTCALL|METH_KEYWORDS
 * call of `function`, whose parameters are `parameters[n]`, the first `required` of
 * them required. -1 with TypeError. */
int
pyaccel_arguments_parse(const char *function, const char *const *parameters, int n,
                        int required, PyObject *const *arguments, Py_ssize_t count,
                        PyObject *names, PyObject **values);

/* An int argument called `name`, `missing` where not given (NULL). -1 with TypeError,
 * or with ValueError beyond 64 bits. */
int
pyaccel_arguments_int(PyObject *object, const char *name, int64_t missing,
                      int64_t *value);

/* Seconds, a positive number, as nanoseconds; infinity is no deadline. -1 with an
 * exception. */
int
pyaccel_arguments_timeout(PyObject *object, uint64_t *timeout_ns);

#endif
