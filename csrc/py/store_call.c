/* One call of a StoreClient: see the header. */
#include "py/store_call.h"

#include "py/arguments.h"
#include "py/error.h"

#include <string.h>

/* ---- The interpreter lock ---- */

/* Lets Python's signal handlers run. */
static bool
tick_hook(void *context)
{
    pyaccel_store_call *call = context;
    PyEval_RestoreThread(call->thread);
    bool go_on = PyErr_CheckSignals() == 0;
    call->thread = PyEval_SaveThread();
    return go_on;
}

int
pyaccel_store_call_init(pyaccel_store_call *call, PyObject *timeout)
{
    *call = (pyaccel_store_call){.patience = {0, call, tick_hook}};
    return pyaccel_arguments_timeout(timeout, &call->patience.timeout_ns);
}

void
pyaccel_store_call_release(pyaccel_store_call *call)
{
    call->thread = PyEval_SaveThread();
}

void
pyaccel_store_call_resume(pyaccel_store_call *call)
{
    PyEval_RestoreThread(call->thread);
}

/* ---- Arguments ---- */

/* The UTF-8 of a key, borrowed from it. -1 with an exception. */
static int
read_key(PyObject *object, pa_bytes *key)
{
    Py_ssize_t nbytes = 0;
    const char *text = PyUnicode_AsUTF8AndSize(object, &nbytes);
    *key = (pa_bytes){text, (size_t)nbytes};
    return text != NULL ? 0 : -1;
}

static int
read_value(PyObject *object, pa_bytes *value)
{
    char *data = NULL;
    Py_ssize_t nbytes = 0;
    int status = PyBytes_AsStringAndSize(object, &data, &nbytes);
    *value = (pa_bytes){data, (size_t)nbytes};
    return status;
}

/* Several keys. What is read of them goes with the call, also on an error. */
static int
read_keys(PyObject *sequence, pyaccel_store_call *call)
{
    if (PyUnicode_Check(sequence)) {
        PyErr_SetString(PyExc_TypeError, "keys must be a list of texts, not one text");
        return -1;
    }
    call->held = PySequence_List(sequence); // new
    if (call->held == NULL) {
        return -1;
    }
    call->nkeys = PyList_Size(call->held);
    call->keys = PyMem_Malloc(((size_t)call->nkeys + 1) * sizeof *call->keys);
    if (call->keys == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < call->nkeys; i++) {
        if (read_key(PyList_GetItem(call->held, i), &call->keys[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
read_one(pyaccel_store_call *call, int i, char kind, PyObject *given)
{
    switch (kind) {
    case 'k':
        return read_key(given, &call->at[i]);
    case 'v':
        return read_value(given, &call->at[i]);
    case 'n':
        call->number = PyLong_AsLongLong(given);
        return call->number == -1 && PyErr_Occurred() ? -1 : 0;
    case 'l':
        return read_keys(given, call);
    default:
        return given == Py_None
                   ? 0
                   : pyaccel_arguments_timeout(given, &call->patience.timeout_ns);
    }
}

/* ---- The call ---- */

/* Waits for the client's lock; returns with the interpreter lock released. */
static int
take_turn(pyaccel_store_call *call, const char *name)
{
    ClientObject *self = call->self;
    if (self->held && pthread_equal(self->holder, pthread_self())) {
        PyErr_Format(PyExc_RuntimeError,
                     "%s was called while this thread is in another call of the same "
                     "client (from a signal handler or a destructor)",
                     name);
        return -1;
    }
    pyaccel_store_call_release(call);
    (void)pthread_mutex_lock(&self->lock);
    self->holder = pthread_self();
    self->held = 1;
    if (self->client == NULL) {
        self->held = 0;
        (void)pthread_mutex_unlock(&self->lock);
        pyaccel_store_call_resume(call);
        PyErr_Format(PyExc_ValueError, "%s: the client of the store is closed", name);
        return -1;
    }
    return 0;
}

/* Lets the next call begin. */
static void
end_turn(pyaccel_store_call *call)
{
    call->self->held = 0;
    (void)pthread_mutex_unlock(&call->self->lock);
}

static int
read_arguments(pyaccel_store_call *call, const pyaccel_store_method *method,
               PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    PyObject *values[PYACCEL_STORE_ARGUMENTS];
    int n = (int)strlen(method->kinds);
    int status =
        pyaccel_arguments_parse(method->name, method->parameters, n, method->required,
                                arguments, count, names, values);
    for (int i = 0; i < n && status == 0; i++) {
        if (values[i] != NULL) {
            status = read_one(call, i, method->kinds[i], values[i]);
        }
    }
    return status;
}

/* The answer of a call that has succeeded. */
static PyObject * // new
answer_of(const pyaccel_store_call *call, char kind)
{
    switch (kind) {
    case 'v':
        return PyBytes_FromStringAndSize(call->value.data,
                                         (Py_ssize_t)call->value.nbytes);
    case 'n':
        return PyLong_FromLongLong(call->number);
    case 'b':
        return PyBool_FromLong(call->yes);
    default:
        return Py_NewRef(Py_None);
    }
}

PyObject *
pyaccel_store_call_make(PyObject *object, const pyaccel_store_method *method,
                        PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    ClientObject *self = (ClientObject *)object;
    pyaccel_store_call call = {.self = self};
    call.patience = (pa_patience){self->timeout_ns, &call, tick_hook};
    PyObject *answer = NULL;
    if (read_arguments(&call, method, arguments, count, names) == 0 &&
        take_turn(&call, method->name) == 0) {
        pa_status status = method->run(self->client, &call);
        pyaccel_store_call_resume(&call);
        /* A value stays in the client until its next call: nobody may begin one yet. */
        answer = status == PA_OK
                     ? answer_of(&call, method->answer)
                     : pyaccel_error_raise(pyaccel_state_of(Py_TYPE(object)), status,
                                           &call.error);
        end_turn(&call);
    }
    PyMem_Free(call.keys);
    Py_XDECREF(call.held);
    return answer;
}
