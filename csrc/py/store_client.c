/* The StoreClient type: see the header. */
#include "py/store_client.h"

#include "py/arguments.h"
#include "py/error.h"
#include "store/client.h"

#include <pthread.h>

typedef struct ClientObject {
    PyObject_HEAD pa_client *client; /* until close */
    pthread_mutex_t lock;            /* one call at a time */
    pthread_t holder;                /* who has the lock, while `held` */
    int held;
    uint64_t timeout_ns;
} ClientObject;

/* One call, during which the interpreter lock is released. */
typedef struct client_call {
    ClientObject *self;
    PyThreadState *thread;
    pa_patience patience;
    pa_error error;
} client_call;

/* ---- One call ---- */

/* Lets Python's signal handlers run. */
static bool
tick_hook(void *context)
{
    client_call *call = context;
    PyEval_RestoreThread(call->thread);
    bool go_on = PyErr_CheckSignals() == 0;
    call->thread = PyEval_SaveThread();
    return go_on;
}

/* Releases the interpreter lock, after which other threads may come. */
static void
release(client_call *call)
{
    call->thread = PyEval_SaveThread();
}

/* Begins a call with a timeout of its own, which may be NULL or None, and releases the
 * interpreter lock. -1 with an exception. */
static int
begin(client_call *call, ClientObject *self, const char *name, PyObject *timeout)
{
    *call = (client_call){.self = self};
    call->patience = (pa_patience){self->timeout_ns, call, tick_hook};
    if (timeout != NULL && timeout != Py_None &&
        pyaccel_arguments_timeout(timeout, &call->patience.timeout_ns) < 0) {
        return -1;
    }
    if (self->held && pthread_equal(self->holder, pthread_self())) {
        PyErr_Format(PyExc_RuntimeError,
                     "%s was called while this thread is in another call of the same "
                     "client (from a signal handler or a destructor)",
                     name);
        return -1;
    }
    release(call);
    (void)pthread_mutex_lock(&self->lock);
    self->holder = pthread_self();
    self->held = 1;
    if (self->client == NULL) {
        self->held = 0;
        (void)pthread_mutex_unlock(&self->lock);
        PyEval_RestoreThread(call->thread);
        PyErr_Format(PyExc_ValueError, "%s: the client of the store is closed", name);
        return -1;
    }
    return 0;
}

/* Lets the next call begin, once the results are taken out of the client. */
static void
end(client_call *call)
{
    call->self->held = 0;
    (void)pthread_mutex_unlock(&call->self->lock);
}

/* Takes the interpreter lock back and sets the exception for a failure. -1 then. */
static int
resume(client_call *call, pa_status status)
{
    PyEval_RestoreThread(call->thread);
    if (status == PA_OK) {
        return 0;
    }
    pyaccel_state *state = pyaccel_state_of(Py_TYPE((PyObject *)call->self));
    (void)pyaccel_error_raise(state, status, &call->error);
    return -1;
}

/* The UTF-8 of a key, borrowed from it. -1 with an exception. */
static int
read_key(PyObject *object, pa_bytes *key)
{
    Py_ssize_t nbytes = 0;
    const char *text = PyUnicode_AsUTF8AndSize(object, &nbytes);
    *key = (pa_bytes){text, (size_t)nbytes};
    return text != NULL ? 0 : -1;
}

/* Several keys. `*held` is a list that keeps them. NULL with an exception. */
static pa_bytes *
read_keys(PyObject *sequence, PyObject **held, Py_ssize_t *count)
{
    if (PyUnicode_Check(sequence)) {
        PyErr_SetString(PyExc_TypeError, "keys must be a list of texts, not one text");
        return NULL;
    }
    *held = PySequence_List(sequence); // new
    if (*held == NULL) {
        return NULL;
    }
    *count = PyList_Size(*held);
    pa_bytes *keys = PyMem_Malloc(((size_t)*count + 1) * sizeof *keys);
    for (Py_ssize_t i = 0; keys != NULL && i < *count; i++) {
        if (read_key(PyList_GetItem(*held, i), &keys[i]) < 0) {
            PyMem_Free(keys);
            Py_CLEAR(*held);
            return NULL;
        }
    }
    if (keys == NULL) {
        Py_CLEAR(*held);
        PyErr_NoMemory();
    }
    return keys;
}

/* ---- Making and closing ---- */

static PyObject *
client_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    static char *client_keywords[] = {"host", "port", "timeout", "secret", NULL};
    const char *host = NULL;
    int port = 0;
    PyObject *timeout = NULL;
    const char *secret = "";
    Py_ssize_t nsecret = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, named, "siO|y#:StoreClient",
                                     client_keywords, &host, &port, &timeout, &secret,
                                     &nsecret)) {
        return NULL;
    }
    client_call call = {.self = NULL};
    call.patience = (pa_patience){0, &call, tick_hook};
    if (pyaccel_arguments_timeout(timeout, &call.patience.timeout_ns) < 0) {
        return NULL;
    }
    pa_client *client = NULL;
    pa_bytes shown = {secret, (size_t)nsecret};
    release(&call);
    pa_status status =
        pa_client_open(host, port, shown, &call.patience, &client, &call.error);
    PyEval_RestoreThread(call.thread);
    if (status != PA_OK) {
        return pyaccel_error_raise(pyaccel_state_of(type), status, &call.error);
    }
    ClientObject *self = PyObject_New(ClientObject, type);
    if (self == NULL) {
        pa_client_close(client);
        return NULL;
    }
    self->client = client;
    self->held = 0;
    self->timeout_ns = call.patience.timeout_ns;
    (void)pthread_mutex_init(&self->lock, NULL);
    return (PyObject *)self;
}

static void
client_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    ClientObject *self = (ClientObject *)object;
    pa_client_close(self->client);
    (void)pthread_mutex_destroy(&self->lock);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *
client_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    ClientObject *self = (ClientObject *)object;
    if (self->held && pthread_equal(self->holder, pthread_self())) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "close was called while this thread is in a call of the client");
        return NULL;
    }
    if (self->client != NULL) {
        /* With the interpreter lock, so that nobody frees it meanwhile. */
        pa_client_abort(self->client);
    }
    PyThreadState *thread = PyEval_SaveThread();
    (void)pthread_mutex_lock(&self->lock);
    PyEval_RestoreThread(thread);
    pa_client *client = self->client;
    self->client = NULL;
    (void)pthread_mutex_unlock(&self->lock);
    pa_client_close(client);
    Py_RETURN_NONE;
}

/* ---- Calls ---- */

static PyObject *
client_set(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
           PyObject *names)
{
    static const char *const parameters[] = {"key", "value"};
    PyObject *values[2];
    pa_bytes key;
    char *data = NULL;
    Py_ssize_t nbytes = 0;
    client_call call;
    if (pyaccel_arguments_parse("set", parameters, 2, 2, arguments, count, names,
                                values) < 0 ||
        read_key(values[0], &key) < 0 ||
        PyBytes_AsStringAndSize(values[1], &data, &nbytes) < 0 ||
        begin(&call, (ClientObject *)object, "set", NULL) < 0) {
        return NULL;
    }
    pa_bytes value = {data, (size_t)nbytes};
    pa_status status =
        pa_client_set(call.self->client, key, value, &call.patience, &call.error);
    end(&call);
    if (resume(&call, status) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
client_get(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
           PyObject *names)
{
    static const char *const parameters[] = {"key", "timeout"};
    PyObject *values[2];
    pa_bytes key;
    client_call call;
    if (pyaccel_arguments_parse("get", parameters, 2, 1, arguments, count, names,
                                values) < 0 ||
        read_key(values[0], &key) < 0 ||
        begin(&call, (ClientObject *)object, "get", values[1]) < 0) {
        return NULL;
    }
    pa_bytes value = {NULL, 0};
    pa_status status =
        pa_client_get(call.self->client, key, &call.patience, &value, &call.error);
    /* The value stays in the client until its next call: nobody may begin one yet. */
    PyObject *result = NULL;
    if (resume(&call, status) == 0) {
        result = PyBytes_FromStringAndSize(value.data, (Py_ssize_t)value.nbytes);
    }
    end(&call);
    return result;
}

static PyObject *
client_add(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
           PyObject *names)
{
    static const char *const parameters[] = {"key", "amount"};
    PyObject *values[2];
    pa_bytes key;
    client_call call;
    if (pyaccel_arguments_parse("add", parameters, 2, 2, arguments, count, names,
                                values) < 0 ||
        read_key(values[0], &key) < 0) {
        return NULL;
    }
    int64_t amount = PyLong_AsLongLong(values[1]);
    if ((amount == -1 && PyErr_Occurred()) ||
        begin(&call, (ClientObject *)object, "add", NULL) < 0) {
        return NULL;
    }
    int64_t sum = 0;
    pa_status status = pa_client_add(call.self->client, key, amount, &call.patience,
                                     &sum, &call.error);
    end(&call);
    return resume(&call, status) < 0 ? NULL : PyLong_FromLongLong(sum);
}

static PyObject *
client_delete_key(PyObject *object, PyObject *argument)
{
    pa_bytes key;
    client_call call;
    if (read_key(argument, &key) < 0 ||
        begin(&call, (ClientObject *)object, "delete_key", NULL) < 0) {
        return NULL;
    }
    bool found = false;
    pa_status status =
        pa_client_delete(call.self->client, key, &call.patience, &found, &call.error);
    end(&call);
    return resume(&call, status) < 0 ? NULL : PyBool_FromLong(found);
}

static PyObject *
client_check(PyObject *object, PyObject *argument)
{
    PyObject *held = NULL;
    Py_ssize_t nkeys = 0;
    pa_bytes *keys = read_keys(argument, &held, &nkeys);
    if (keys == NULL) {
        return NULL;
    }
    client_call call;
    PyObject *result = NULL;
    if (begin(&call, (ClientObject *)object, "check", NULL) == 0) {
        bool all = false;
        pa_status status = pa_client_check(call.self->client, keys, (size_t)nkeys,
                                           &call.patience, &all, &call.error);
        end(&call);
        result = resume(&call, status) < 0 ? NULL : PyBool_FromLong(all);
    }
    PyMem_Free(keys);
    Py_DECREF(held);
    return result;
}

static PyObject *
client_wait(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
            PyObject *names)
{
    static const char *const parameters[] = {"keys", "timeout"};
    PyObject *values[2];
    PyObject *held = NULL;
    Py_ssize_t nkeys = 0;
    if (pyaccel_arguments_parse("wait", parameters, 2, 1, arguments, count, names,
                                values) < 0) {
        return NULL;
    }
    pa_bytes *keys = read_keys(values[0], &held, &nkeys);
    if (keys == NULL) {
        return NULL;
    }
    client_call call;
    PyObject *result = NULL;
    if (begin(&call, (ClientObject *)object, "wait", values[1]) == 0) {
        pa_status status = pa_client_wait(call.self->client, keys, (size_t)nkeys,
                                          &call.patience, &call.error);
        end(&call);
        result = resume(&call, status) < 0 ? NULL : Py_NewRef(Py_None);
    }
    PyMem_Free(keys);
    Py_DECREF(held);
    return result;
}

/* ---- The type ---- */

static PyMethodDef client_methods[] = {
    {"set", PYACCEL_METHOD(client_set), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("set($self, /, key, value)\n--\n\nGives a key a value.")},
    {"get", PYACCEL_METHOD(client_get), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("get($self, /, key, timeout=None)\n--\n\n"
               "The value of a key; waits until it has one.")},
    {"add", PYACCEL_METHOD(client_add), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("add($self, /, key, amount)\n--\n\n"
               "Adds to the number that a key holds, 0 at first; the sum.")},
    {"check", client_check, METH_O,
     PyDoc_STR("check($self, keys, /)\n--\n\nWhether all keys have a value.")},
    {"wait", PYACCEL_METHOD(client_wait), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("wait($self, /, keys, timeout=None)\n--\n\n"
               "Waits until all keys have a value.")},
    {"delete_key", client_delete_key, METH_O,
     PyDoc_STR("delete_key($self, key, /)\n--\n\n"
               "Takes a key away; whether it was there.")},
    {"close", client_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\n"
               "Ends the connection, and a call of another thread. May be called\n"
               "twice.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot client_slots[] = {
    {Py_tp_new, PYACCEL_SLOT(client_new)},
    {Py_tp_dealloc, PYACCEL_SLOT(client_dealloc)},
    {Py_tp_methods, client_methods},
    {Py_tp_doc, "StoreClient(host, port, timeout, secret=b'')\n--\n\n"
                "A client of a key-value store: a StoreServer or torch's TCPStore.\n"
                "Every call waits at most `timeout` seconds."},
    {0, NULL},
};

static PyType_Spec client_spec = {
    .name = "pyaccel._C.StoreClient",
    .basicsize = sizeof(ClientObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = client_slots,
};

int
pyaccel_store_client_setup(PyObject *module)
{
    pyaccel_state *state = pyaccel_state_get(module);
    state->StoreClientType = PyType_FromModuleAndSpec(module, &client_spec, NULL);
    if (state->StoreClientType == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "StoreClient", state->StoreClientType);
}
