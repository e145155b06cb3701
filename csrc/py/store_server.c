/* The StoreServer type: see the header. */
#include "py/store_server.h"

#include "py/error.h"
#include "store/server.h"

typedef struct ServerObject {
    PyObject_HEAD pa_server *server; /* NULL when closed */
} ServerObject;

static PyObject *
server_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    static char *server_keywords[] = {"host", "port", "secret", NULL};
    const char *host = "127.0.0.1";
    int port = 0;
    const char *secret = "";
    Py_ssize_t nsecret = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, named, "|siy#:StoreServer",
                                     server_keywords, &host, &port, &secret,
                                     &nsecret)) {
        return NULL;
    }
    pa_error error = PA_ERROR_INIT;
    pa_server *server = NULL;
    pa_bytes shown = {secret, (size_t)nsecret};
    pa_status status = pa_server_open(host, port, shown, &server, &error);
    if (status != PA_OK) {
        return pyaccel_error_raise(pyaccel_state_of(type), status, &error);
    }
    ServerObject *self = PyObject_New(ServerObject, type);
    if (self == NULL) {
        pa_server_close(server);
        return NULL;
    }
    self->server = server;
    return (PyObject *)self;
}

static void
server_release(ServerObject *self)
{
    pa_server *server = self->server;
    self->server = NULL;
    Py_BEGIN_ALLOW_THREADS pa_server_close(server);
    Py_END_ALLOW_THREADS
}

static void
server_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    server_release((ServerObject *)object);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyObject *
server_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    server_release((ServerObject *)object);
    Py_RETURN_NONE;
}

/* Runs a function of the server, which must not be closed. */
static PyObject *
run(PyObject *object, const char *name, pa_status (*function)(pa_server *, pa_error *))
{
    ServerObject *self = (ServerObject *)object;
    if (self->server == NULL) {
        return PyErr_Format(PyExc_ValueError, "%s: the store's server is closed", name);
    }
    pa_error error = PA_ERROR_INIT;
    pa_status status = function(self->server, &error);
    if (status != PA_OK) {
        return pyaccel_error_raise(pyaccel_state_of(Py_TYPE(object)), status, &error);
    }
    Py_RETURN_NONE;
}

static PyObject *
server_step(PyObject *self, PyObject *unused)
{
    (void)unused;
    /* With the interpreter lock: it never waits, and is no thing for two threads. */
    return run(self, "step", pa_server_step);
}

static PyObject *
server_start(PyObject *self, PyObject *unused)
{
    (void)unused;
    return run(self, "start", pa_server_start);
}

static PyObject *
get_port(PyObject *object, void *unused)
{
    (void)unused;
    const ServerObject *self = (ServerObject *)object;
    return PyLong_FromLong(self->server != NULL ? pa_server_port(self->server) : -1);
}

static PyObject *
get_poll_fd(PyObject *object, void *unused)
{
    (void)unused;
    const ServerObject *self = (ServerObject *)object;
    return PyLong_FromLong(self->server != NULL ? pa_server_poll_fd(self->server) : -1);
}

static PyMethodDef server_methods[] = {
    {"step", server_step, METH_NOARGS,
     PyDoc_STR("step($self, /)\n--\n\n"
               "Does what there is to do now; for whoever polls poll_fd.")},
    {"start", server_start, METH_NOARGS,
     PyDoc_STR("start($self, /)\n--\n\n"
               "Has a thread of its own do all steps until close.")},
    {"close", server_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\n"
               "Ends all connections and the thread. May be called twice.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef server_getset[] = {
    {"port", get_port, NULL, PyDoc_STR("Where it listens. -1 when closed."), NULL},
    {"poll_fd", get_poll_fd, NULL,
     PyDoc_STR("Readable when there is something for step to do. -1 when closed."),
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot server_slots[] = {
    {Py_tp_new, PYACCEL_SLOT(server_new)},
    {Py_tp_dealloc, PYACCEL_SLOT(server_dealloc)},
    {Py_tp_methods, server_methods},
    {Py_tp_getset, server_getset},
    {Py_tp_doc, "StoreServer(host='127.0.0.1', port=0, secret=b'')\n--\n\n"
                "Serves a key-value store that torch.distributed.TCPStore can use."},
    {0, NULL},
};

static PyType_Spec server_spec = {
    .name = "pyaccel._C.StoreServer",
    .basicsize = sizeof(ServerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = server_slots,
};

int
pyaccel_store_server_setup(PyObject *module)
{
    pyaccel_state *state = pyaccel_state_get(module);
    state->StoreServerType = PyType_FromModuleAndSpec(module, &server_spec, NULL);
    if (state->StoreServerType == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "StoreServer", state->StoreServerType);
}
