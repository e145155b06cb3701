/* Comm.reduce: from Python objects to the core and back. */
#include "comm/reduce.h"
#include "py/arguments.h"
#include "py/comm.h"
#include "py/outputs.h"
#include "py/tree.h"

/* The reduction that `object` (NULL: "mean") names. -1 with an exception. */
static int
read_reduction(PyObject *object, pa_reduction *reduction)
{
    *reduction = PA_REDUCTION_MEAN;
    if (object == NULL) {
        return 0;
    }
    PyObject *bytes = PyUnicode_Check(object) ? PyUnicode_AsUTF8String(object) : NULL;
    const char *text = bytes != NULL ? PyBytes_AsString(bytes) : NULL;
    bool found = text != NULL && pa_reduction_find(text, reduction);
    Py_XDECREF(bytes);
    if (!found) {
        PyErr_Format(PyExc_ValueError,
                     "reduce: reduction is %R: take \"sum\", \"mean\", \"max\", "
                     "\"min\" or \"none\"",
                     object);
        return -1;
    }
    return 0;
}

static int
read_scale(PyObject *object, double *scale)
{
    *scale = object != NULL ? PyFloat_AsDouble(object) : 1.0;
    if (*scale == -1.0 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Format(PyExc_TypeError, "reduce: scale must be a number, not %R",
                         (PyObject *)Py_TYPE(object));
        }
        return -1;
    }
    return 0;
}

/* Makes results like the leaves, before anybody is met: what fails here is an excuse.
 */
static int
make_results(const pyaccel_call *call, const pyaccel_leaves *leaves,
             pyaccel_outputs *made)
{
    if (pyaccel_outputs_init(made, leaves->count) < 0) {
        return -1;
    }
    for (size_t i = 0; i < leaves->count; i++) {
        if (pyaccel_outputs_add(made, call->state, leaves, -1) < 0) {
            return -1;
        }
    }
    return 0;
}

PyObject *
pyaccel_comm_reduce(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                    PyObject *names)
{
    static const char *const parameters[] = {"tree", "reduction", "scale"};
    PyObject *values[3];
    pyaccel_call call;
    if (pyaccel_arguments_parse("reduce", parameters, 3, 1, arguments, count, names,
                                values) < 0 ||
        pyaccel_call_begin(&call, (CommObject *)object, PA_OP_REDUCE) < 0) {
        return NULL;
    }
    call.tree = values[0];
    pa_reduction reduction = PA_REDUCTION_MEAN;
    double scale = 1.0;
    pyaccel_outputs made;
    pyaccel_outputs_empty(&made);
    pyaccel_leaves leaves;
    pyaccel_leaves_init(&leaves);
    pyaccel_flatten how = {
        .state = call.state,
        .leaves = &leaves,
        .function = "_reduce_across_processes",
    };
    int failed = read_reduction(values[1], &reduction) < 0 ||
                         read_scale(values[2], &scale) < 0 ||
                         pyaccel_call_flatten(&call, &how, values[0]) < 0 ||
                         make_results(&call, &leaves, &made) < 0
                     ? -1
                     : 0;
    if (failed < 0) {
        pyaccel_call_excuse(&call);
    } else {
        pa_leaves view = pyaccel_leaves_view(&leaves);
        pa_status status = pa_reduce(call.self->comm, &view, reduction, scale,
                                     made.data, &call.hooks, &call.error);
        failed = pyaccel_call_check(&call, status);
    }
    pyaccel_call_end(&call);
    PyObject *result =
        failed < 0 ? NULL
                   : pyaccel_outputs_rebuild(&made, call.state, values[0], &leaves);
    pyaccel_outputs_fini(&made);
    pyaccel_leaves_fini(&leaves);
    return result;
}
