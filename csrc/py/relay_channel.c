/* Messages between two ranks over a relay: each flow is one call of its transport. */
#include "py/relay_comm.h"

#include <stdio.h>
#include <stdlib.h>

/* The bytes of all flows as a list of views. `packed[nflows]` are to be freed. // new
 */
static PyObject *
views_of(const pa_flow *flows, size_t nflows, char **packed)
{
    PyObject *views = PyList_New((Py_ssize_t)nflows);
    for (size_t i = 0; i < nflows && views != NULL; i++) {
        PyObject *view = pyaccel_relay_view(&flows[i], true, &packed[i]);
        if (view == NULL) {
            Py_CLEAR(views);
        } else {
            (void)PyList_SetItem(views, (Py_ssize_t)i, view);
        }
    }
    return views;
}

/* -1 with an exception */
static int
call_put(pyaccel_relay *relay, uint32_t op, int to, const pa_flow *flows, size_t nflows)
{
    char **packed = calloc(nflows + 1, sizeof *packed);
    if (packed == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    PyObject *done = NULL;
    PyObject *views = views_of(flows, nflows, packed);
    if (views != NULL) {
        done = PyObject_CallMethod(relay->transport, "put", "sddiO", pa_op_text(op),
                                   pyaccel_relay_timeout(relay),
                                   (double)relay->base.patience_ns / 1e9, to, views);
    }
    for (size_t i = 0; i < nflows; i++) {
        free(packed[i]);
    }
    free(packed);
    Py_XDECREF(views);
    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

pa_status
pyaccel_relay_put(pa_comm *comm, uint32_t op, int to, const pa_flow *flows,
                  size_t nflows, const pa_hooks *hooks, pa_error *error)
{
    (void)hooks;
    pyaccel_relay *relay = (pyaccel_relay *)comm;
    PyGILState_STATE lock = PyGILState_Ensure();
    pa_status status = pyaccel_relay_whole(relay, op, error);
    if (status == PA_OK && call_put(relay, op, to, flows, nflows) < 0) {
        status = pyaccel_relay_break(relay, error);
    }
    PyGILState_Release(lock);
    return status;
}

/* -1 with an exception */
static int
call_take(pyaccel_relay *relay, uint32_t op, int from, const pa_flow *into)
{
    char *packed = NULL;
    PyObject *done = NULL;
    PyObject *view = pyaccel_relay_view(into, false, &packed);
    if (view != NULL) {
        done = PyObject_CallMethod(relay->transport, "take", "sddinO", pa_op_text(op),
                                   pyaccel_relay_timeout(relay),
                                   (double)relay->base.patience_ns / 1e9, from,
                                   (Py_ssize_t)into->nbytes, view);
    }
    if (done != NULL && packed != NULL) {
        pa_cursor to = {.parts = into->parts};
        pa_cursor_write(&to, packed, into->nbytes);
    }
    free(packed);
    Py_XDECREF(view);
    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

pa_status
pyaccel_relay_take(pa_comm *comm, uint32_t op, int from, const pa_flow *into,
                   const pa_hooks *hooks, pa_error *error)
{
    (void)hooks;
    pyaccel_relay *relay = (pyaccel_relay *)comm;
    PyGILState_STATE lock = PyGILState_Ensure();
    pa_status status = pyaccel_relay_whole(relay, op, error);
    if (status == PA_OK && call_take(relay, op, from, into) < 0) {
        status = pyaccel_relay_break(relay, error);
    }
    PyGILState_Release(lock);
    return status;
}

void
pyaccel_relay_taken(pa_comm *comm, int from, const char *refusal)
{
    pyaccel_relay *relay = (pyaccel_relay *)comm;
    if (refusal == NULL) {
        return;
    }
    PyGILState_STATE lock = PyGILState_Ensure();
    Py_XDECREF(PyObject_CallMethod(relay->transport, "refuse", "is", from, refusal));
    PyErr_Clear(); /* the receiver has an error of its own to raise */
    PyGILState_Release(lock);
}

bool
pyaccel_relay_refused(pa_comm *comm, int to, char *text, size_t capacity)
{
    pyaccel_relay *relay = (pyaccel_relay *)comm;
    PyGILState_STATE lock = PyGILState_Ensure();
    PyObject *said = PyObject_CallMethod(relay->transport, "refused", "i", to);
    const char *words = NULL;
    PyObject *bytes =
        said != NULL && said != Py_None ? PyUnicode_AsUTF8String(said) : NULL;
    if (bytes != NULL) {
        words = PyBytes_AsString(bytes);
        (void)snprintf(text, capacity, "%s", words != NULL ? words : "");
    }
    Py_XDECREF(bytes);
    Py_XDECREF(said);
    bool interrupted =
        PyErr_Occurred() != NULL && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
    PyErr_Clear(); /* what cannot be asked is not known */
    if (interrupted) {
        PyErr_SetInterrupt(); /* but Ctrl-C is for the call that follows */
    }
    PyGILState_Release(lock);
    return words != NULL;
}
