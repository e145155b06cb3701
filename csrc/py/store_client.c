/* The StoreClient type: see the header. */
#include "py/store_client.h"

#include "py/error.h"
#include "py/store_call.h"

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
    pyaccel_store_call call;
    if (pyaccel_store_call_init(&call, timeout) < 0) {
        return NULL;
    }
    pa_client *client = NULL;
    pa_bytes shown = {secret, (size_t)nsecret};
    pyaccel_store_call_release(&call);
    pa_status status =
        pa_client_open(host, port, shown, &call.patience, &client, &call.error);
    pyaccel_store_call_resume(&call);
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

/* ---- Calls: what each does with the client, without the interpreter lock ---- */

static pa_status
run_set(pa_client *client, pyaccel_store_call *call)
{
    return pa_client_set(client, call->at[0], call->at[1], &call->patience,
                         &call->error);
}

static pa_status
run_get(pa_client *client, pyaccel_store_call *call)
{
    return pa_client_get(client, call->at[0], &call->patience, &call->value,
                         &call->error);
}

static pa_status
run_compare_set(pa_client *client, pyaccel_store_call *call)
{
    return pa_client_compare_set(client, call->at[0], call->at[1], call->at[2],
                                 &call->patience, &call->value, &call->error);
}

static pa_status
run_add(pa_client *client, pyaccel_store_call *call)
{
    return pa_client_add(client, call->at[0], call->number, &call->patience,
                         &call->number, &call->error);
}

static pa_status
run_delete_key(pa_client *client, pyaccel_store_call *call)
{
    return pa_client_delete(client, call->at[0], &call->patience, &call->yes,
                            &call->error);
}

static pa_status
run_check(pa_client *client, pyaccel_store_call *call)
{
    return pa_client_check(client, call->keys, (size_t)call->nkeys, &call->patience,
                           &call->yes, &call->error);
}

static pa_status
run_wait(pa_client *client, pyaccel_store_call *call)
{
    return pa_client_wait(client, call->keys, (size_t)call->nkeys, &call->patience,
                          &call->error);
}

/* A macro because Python does not tell a function which method it was called as: each
 * needs a function of its own, and they differ in their tables alone. */
#define PYACCEL_CLIENT_METHOD(method_name, method_kinds, least, method_answer, ...)    \
    static PyObject *client_##method_name(PyObject *object,                            \
                                          PyObject *const *arguments,                  \
                                          Py_ssize_t count, PyObject *names)           \
    {                                                                                  \
        static const pyaccel_store_method method = {                                   \
            .name = #method_name,                                                      \
            .run = run_##method_name,                                                  \
            .kinds = (method_kinds),                                                   \
            .required = (least),                                                       \
            .answer = (method_answer),                                                 \
            .parameters = {__VA_ARGS__},                                               \
        };                                                                             \
        return pyaccel_store_call_make(object, &method, arguments, count, names);      \
    }
PYACCEL_CLIENT_METHOD(set, "kv", 2, ' ', "key", "value")
PYACCEL_CLIENT_METHOD(get, "kt", 1, 'v', "key", "timeout")
PYACCEL_CLIENT_METHOD(compare_set, "kvv", 3, 'v', "key", "expected", "desired")
PYACCEL_CLIENT_METHOD(add, "kn", 2, 'n', "key", "amount")
PYACCEL_CLIENT_METHOD(delete_key, "k", 1, 'b', "key")
PYACCEL_CLIENT_METHOD(check, "l", 1, 'b', "keys")
PYACCEL_CLIENT_METHOD(wait, "lt", 1, ' ', "keys", "timeout")
#undef PYACCEL_CLIENT_METHOD

/* ---- The type ---- */

static PyMethodDef client_methods[] = {
    {"set", PYACCEL_METHOD(client_set), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("set($self, /, key, value)\n--\n\nGives a key a value.")},
    {"get", PYACCEL_METHOD(client_get), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("get($self, /, key, timeout=None)\n--\n\n"
               "The value of a key; waits until it has one.")},
    {"compare_set", PYACCEL_METHOD(client_compare_set), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("compare_set($self, /, key, expected, desired)\n--\n\n"
               "Gives a key a value if its value is `expected`, or if it has none and\n"
               "`expected` is empty; its value after that.")},
    {"add", PYACCEL_METHOD(client_add), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("add($self, /, key, amount)\n--\n\n"
               "Adds to the number that a key holds, 0 at first; the sum.")},
    {"check", PYACCEL_METHOD(client_check), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("check($self, /, keys)\n--\n\nWhether all keys have a value.")},
    {"wait", PYACCEL_METHOD(client_wait), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("wait($self, /, keys, timeout=None)\n--\n\n"
               "Waits until all keys have a value.")},
    {"delete_key", PYACCEL_METHOD(client_delete_key), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("delete_key($self, /, key)\n--\n\n"
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
