/* The Comm type: making, closing, asking; the collectives are in comm_ops.c. */
#include "py/comm.h"

#include "base/clock.h"
#include "comm/shm/shm.h"
#include "py/alarm.h"
#include "py/arguments.h"
#include "py/error.h"
#include "py/relay.h"

#include <stdlib.h>
#include <string.h>

/* ---- Making ---- */

/* Takes over `comm`. // new */
static PyObject *
comm_new(pyaccel_state *state, pa_comm *comm)
{
    CommObject *self = PyObject_New(CommObject, (PyTypeObject *)state->CommType);
    if (self == NULL) {
        pa_comm_destroy(comm);
        return NULL;
    }
    self->comm = comm;
    self->turn = (pyaccel_turn){.lock = PTHREAD_MUTEX_INITIALIZER};
    self->ends = NULL;
    self->borrowers = 0;
    self->orphan = NULL;
    self->alarm = NULL;
    self->rank = pa_comm_rank(comm);
    self->size = pa_comm_size(comm);
    self->backend = pa_comm_backend(comm);
    self->ends = calloc(2 * (size_t)self->size, sizeof *self->ends);
    if (self->ends == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    for (int i = 0; i < 2 * self->size; i++) {
        self->ends[i].turn = (pyaccel_turn){.lock = PTHREAD_MUTEX_INITIALIZER};
    }
    return (PyObject *)self;
}

static PyObject *
comm_self(PyObject *module, PyObject *unused)
{
    (void)unused;
    pa_comm *comm = pa_comm_create_self();
    return comm != NULL ? comm_new(pyaccel_state_get(module), comm) : PyErr_NoMemory();
}

/* The pidfds as an array of `size`; NULL with an exception. */
static int *
read_pidfds(PyObject *sequence, int size)
{
    Py_ssize_t count = PySequence_Size(sequence);
    if (count != size) {
        if (count >= 0) {
            PyErr_Format(PyExc_ValueError,
                         "pidfds must have one entry for each of %d ranks, not %zd",
                         size, count);
        }
        return NULL;
    }
    int *pidfds = malloc(((size_t)size + 1) * sizeof *pidfds);
    if (pidfds == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (int rank = 0; rank < size; rank++) {
        PyObject *item = PySequence_GetItem(sequence, rank);
        pidfds[rank] = item != NULL ? (int)PyLong_AsLong(item) : -1;
        Py_XDECREF(item);
        if (PyErr_Occurred()) {
            free(pidfds);
            return NULL;
        }
    }
    return pidfds;
}

static PyObject *
comm_attach(PyObject *module, PyObject *const *arguments, Py_ssize_t count,
            PyObject *names)
{
    static const char *const parameters[] = {"fd", "rank", "size", "timeout", "pidfds"};
    PyObject *values[5];
    if (pyaccel_arguments_parse("comm_attach", parameters, 5, 4, arguments, count,
                                names, values) < 0) {
        return NULL;
    }
    int fd = (int)PyLong_AsLong(values[0]);
    int rank = (int)PyLong_AsLong(values[1]);
    int size = (int)PyLong_AsLong(values[2]);
    uint64_t timeout_ns = 0;
    if (PyErr_Occurred() || pyaccel_arguments_timeout(values[3], &timeout_ns) < 0) {
        return NULL;
    }
    int *pidfds = NULL;
    if (values[4] != NULL && values[4] != Py_None) {
        pidfds = read_pidfds(values[4], size);
        if (pidfds == NULL) {
            return NULL;
        }
    }
    pyaccel_state *state = pyaccel_state_get(module);
    pa_error error = PA_ERROR_INIT;
    pa_comm *comm = NULL;
    pa_status status = pa_shm_attach(fd, rank, size, pidfds, &comm, &error);
    free(pidfds);
    if (status != PA_OK) {
        return pyaccel_error_raise(state, status, &error);
    }
    pa_comm_set_timeout(comm, timeout_ns);
    return comm_new(state, comm);
}

static PyObject *
comm_relay(PyObject *module, PyObject *const *arguments, Py_ssize_t count,
           PyObject *names)
{
    static const char *const parameters[] = {"transport", "rank", "size", "timeout"};
    PyObject *values[4];
    if (pyaccel_arguments_parse("comm_relay", parameters, 4, 4, arguments, count, names,
                                values) < 0) {
        return NULL;
    }
    long rank = PyLong_AsLong(values[1]);
    long size = PyLong_AsLong(values[2]);
    uint64_t timeout_ns = 0;
    if (PyErr_Occurred() || pyaccel_arguments_timeout(values[3], &timeout_ns) < 0) {
        return NULL;
    }
    if (size < 1 || size > INT32_MAX || rank < 0 || rank >= size) {
        return PyErr_Format(PyExc_ValueError,
                            "rank %ld is out of range for a group of %ld", rank, size);
    }
    pa_comm *comm = pyaccel_relay_create(values[0], "torch", (int)rank, (int)size);
    if (comm == NULL) {
        return NULL;
    }
    pa_comm_set_timeout(comm, timeout_ns);
    return comm_new(pyaccel_state_get(module), comm);
}

/* ---- Closing ---- */

/* Without the interpreter lock: work on GPUs that still runs is waited for, and its
 * watch may have to break a group whose transport is in Python. */
static void
destroy(pa_comm *comm)
{
    PyThreadState *thread = PyEval_SaveThread();
    pa_comm_destroy(comm);
    PyEval_RestoreThread(thread);
}

/* Lets Python's signal handlers run while the group is left. */
static bool
leaving_tick(void *context, uint64_t waited_ns, int missing)
{
    (void)waited_ns;
    (void)missing;
    PyThreadState **thread = context;
    PyEval_RestoreThread(*thread);
    bool go_on = PyErr_CheckSignals() == 0;
    *thread = PyEval_SaveThread();
    return go_on;
}

/* Leaves the group and frees the communicator. -1 with the exception of a signal's
 * handler, which does not keep the group. */
static int
leave(pa_comm *comm, bool ending)
{
    PyThreadState *thread = PyEval_SaveThread();
    pa_hooks hooks = {.context = &thread, .tick = leaving_tick};
    if (comm != NULL) {
        pa_comm_leave(comm, ending, &hooks);
    }
    pa_comm_destroy(comm);
    PyEval_RestoreThread(thread);
    return PyErr_Occurred() != NULL ? -1 : 0;
}

/* Whether the interpreter is ending. Whoever gives up its lock then may never get it
 * back, and Python's own objects are no more what they were. */
static bool
is_ending(void)
{
    PyObject *type = NULL;
    PyObject *value = NULL;
    PyObject *trace = NULL;
    PyErr_Fetch(&type, &value, &trace);
    PyObject *ask =
        PySys_GetObject("is_finalizing"); /* borrowed; NULL at the very end */
    PyObject *answer = ask != NULL ? PyObject_CallNoArgs(ask) : NULL;
    bool ending = answer == NULL || PyObject_IsTrue(answer) != 0;
    Py_XDECREF(answer);
    PyErr_Restore(type, value, trace);
    return ending;
}

static void
comm_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    CommObject *self = (CommObject *)object;
    /* What nobody has closed by then ends with the process, as its peers will see; also
     * its alarm, which work on GPUs may still ring. */
    if (self->comm == NULL || !is_ending()) {
        destroy(self->comm);
        pyaccel_alarm_release(self->alarm);
    }
    (void)pthread_mutex_destroy(&self->turn.lock);
    for (int i = 0; self->ends != NULL && i < 2 * self->size; i++) {
        (void)pthread_mutex_destroy(&self->ends[i].turn.lock);
        Py_XDECREF(self->ends[i].structures);
    }
    free(self->ends);
    PyObject_Free(self);
    Py_DECREF(type);
}

void
pyaccel_comm_borrow(CommObject *self)
{
    self->borrowers++;
}

void
pyaccel_comm_return(CommObject *self)
{
    self->borrowers--;
    if (self->borrowers == 0 && self->orphan != NULL) {
        pa_comm *orphan = self->orphan;
        self->orphan = NULL;
        destroy(orphan);
    }
}

/* Breaks the group without the lock, which whoever is to be woken holds. A transport in
 * Python may let others run meanwhile, and they may close the Comm. */
static void
abort_borrowed(CommObject *self, const char *text)
{
    if (self->comm == NULL) {
        return;
    }
    pyaccel_comm_borrow(self);
    pa_comm_abort(self->comm, text);
    pyaccel_comm_return(self);
}

static PyObject *
comm_close(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
           PyObject *names)
{
    static const char *const parameters[] = {"ending"};
    PyObject *values[1];
    CommObject *self = (CommObject *)object;
    if (pyaccel_arguments_parse("close", parameters, 1, 0, arguments, count, names,
                                values) < 0) {
        return NULL;
    }
    int ending = values[0] != NULL ? PyObject_IsTrue(values[0]) : 0;
    if (ending < 0) {
        return NULL;
    }
    pyaccel_turn *turn = &self->turn;
    if (turn->held && pthread_equal(turn->holder, pthread_self())) {
        PyErr_SetString(PyExc_RuntimeError,
                        "close was called while this thread is in a collective "
                        "operation");
        return NULL;
    }
    /* In a forked child the lock may be held for ever, and nobody else uses it. */
    bool forked =
        self->comm != NULL && pa_comm_check(self->comm, PA_OP_NONE, NULL) == PA_EFORKED;
    bool busy = !forked && pthread_mutex_trylock(&turn->lock) != 0;
    if (busy || (!forked && self->borrowers > 0)) {
        /* Another thread waits in an operation that will now never be complete. */
        char text[96];
        PyOS_snprintf(text, sizeof text,
                      "rank %d left the group while another of its threads was in an "
                      "operation",
                      self->rank);
        abort_borrowed(self, text);
    }
    if (busy) {
        PyThreadState *thread = PyEval_SaveThread();
        (void)pthread_mutex_lock(&turn->lock);
        PyEval_RestoreThread(thread);
    }
    pa_comm *comm = self->comm;
    self->comm = NULL;
    if (!forked) {
        (void)pthread_mutex_unlock(&turn->lock);
    }
    if (self->borrowers > 0 && comm != NULL) {
        self->orphan = comm;
        Py_RETURN_NONE;
    }
    return leave(comm, ending != 0) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
comm_abort(PyObject *object, PyObject *text)
{
    CommObject *self = (CommObject *)object;
    PyObject *bytes = PyUnicode_AsUTF8String(text);
    if (bytes == NULL) {
        return NULL;
    }
    abort_borrowed(self, PyBytes_AsString(bytes));
    Py_DECREF(bytes);
    Py_RETURN_NONE;
}

/* ---- Asking ---- */

static PyObject *
get_rank(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLong(((CommObject *)self)->rank);
}

static PyObject *
get_size(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLong(((CommObject *)self)->size);
}

static PyObject *
get_backend(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(((CommObject *)self)->backend);
}

static PyObject *
get_closed(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((CommObject *)self)->comm == NULL);
}

static PyObject *
get_broken(PyObject *object, void *unused)
{
    (void)unused;
    char text[PA_COMM_REASON];
    CommObject *self = (CommObject *)object;
    bool broken = false;
    if (self->comm != NULL) {
        pyaccel_comm_borrow(self);
        broken = pa_comm_broken(self->comm, text, sizeof text);
        pyaccel_comm_return(self);
    }
    if (!broken) {
        Py_RETURN_NONE;
    }
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

static PyObject *
get_timeout(PyObject *object, void *unused)
{
    (void)unused;
    CommObject *self = (CommObject *)object;
    uint64_t timeout_ns =
        self->comm != NULL ? pa_comm_timeout(self->comm) : PA_DEADLINE_NEVER;
    return PyFloat_FromDouble(
        timeout_ns == PA_DEADLINE_NEVER ? INFINITY : (double)timeout_ns / 1e9);
}

static int
set_timeout(PyObject *object, PyObject *value, void *unused)
{
    (void)unused;
    CommObject *self = (CommObject *)object;
    uint64_t timeout_ns = 0;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "timeout cannot be deleted");
        return -1;
    }
    if (pyaccel_arguments_timeout(value, &timeout_ns) < 0) {
        return -1;
    }
    if (self->comm != NULL) {
        pa_comm_set_timeout(self->comm, timeout_ns);
    }
    return 0;
}

static PyObject *
get_patience(PyObject *object, void *unused)
{
    (void)unused;
    CommObject *self = (CommObject *)object;
    uint64_t ns = self->comm != NULL ? pa_comm_patience(self->comm) : PA_PATIENCE_NS;
    return PyFloat_FromDouble((double)ns / 1e9);
}

static int
set_patience(PyObject *object, PyObject *value, void *unused)
{
    (void)unused;
    CommObject *self = (CommObject *)object;
    uint64_t patience_ns = 0;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "patience cannot be deleted");
        return -1;
    }
    if (pyaccel_arguments_timeout(value, &patience_ns) < 0) {
        return -1;
    }
    if (self->comm != NULL) {
        pa_comm_set_patience(self->comm, patience_ns);
    }
    return 0;
}

/* ---- The type ---- */

static PyMethodDef comm_methods[] = {
    {"barrier", pyaccel_comm_barrier, METH_NOARGS,
     PyDoc_STR("barrier($self, /)\n--\n\n"
               "Collective. Returns when every rank has come.")},
    {"gather", PYACCEL_METHOD(pyaccel_comm_gather), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("gather($self, /, tree, strict=False, root=None, copy=True)\n--\n\n"
               "Collective. The structure with each tensor or array joined over all\n"
               "ranks along its first dimension; strict refuses uneven ones. With a\n"
               "root for that rank alone, and None for the others. Without copy the\n"
               "arrays are read-only, and leased where ranks share memory.")},
    {"broadcast", PYACCEL_METHOD(pyaccel_comm_broadcast), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "broadcast($self, /, tree, root=0)\n--\n\n"
         "Collective. Fills the tensors and arrays of the other ranks with those\n"
         "of root, in place, and returns the structure.")},
    {"reduce", PYACCEL_METHOD(pyaccel_comm_reduce), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "reduce($self, /, tree, reduction='mean', scale=1.0)\n--\n\n"
         "Collective. The structure with the sum, mean, max or min of each tensor\n"
         "or array over all ranks, times scale, in new ones.")},
    {"pad", PYACCEL_METHOD(pyaccel_comm_pad), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "pad($self, /, tree, dim=0, pad_index=0, pad_first=False)\n--\n\n"
         "Collective. The structure with each tensor or array padded to the length\n"
         "that the longest one has on any rank.")},
    {"gather_object", PYACCEL_METHOD(pyaccel_comm_gather_object),
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("gather_object($self, /, value, root=None, copy=True, purpose=...)\n"
               "--\n\n"
               "Collective. A list of every rank's object, in rank order; with a root\n"
               "for that rank alone, and None for the others. Without copy the large\n"
               "buffers in them are read-only, and leased where ranks share memory. A\n"
               "purpose must be equal on all ranks, and is named where they differ.")},
    {"broadcast_object", PYACCEL_METHOD(pyaccel_comm_broadcast_object),
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("broadcast_object($self, /, value, root=0, length=0)\n--\n\n"
               "Collective. The object of root; length must be equal on all ranks.")},
    {"set_device", PYACCEL_METHOD(pyaccel_comm_set_device),
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("set_device($self, /, index, shared_nccl=False)\n--\n\n"
               "Names this rank's CUDA device before the first operation on one, and\n"
               "whether NCCL may be used where several ranks share a GPU.")},
    {"ask_ways", pyaccel_comm_ask_ways, METH_O,
     PyDoc_STR(
         "ask_ways($self, rows, /)\n--\n\n"
         "Asks for ways between GPUs such as 'staged<=4096,nccl': the same on all\n"
         "ranks, before the first operation on a device.")},
    {"devices", pyaccel_comm_devices, METH_NOARGS,
     PyDoc_STR("devices($self, /)\n--\n\n"
               "The ways between the group's GPUs, and why what is off is so.")},
    {"send", PYACCEL_METHOD(pyaccel_comm_send), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "send($self, /, tree, to, tag=0, digest=0)\n--\n\n"
         "Sends a structure of tensors and arrays to one rank, which may be the\n"
         "own one; messages to a rank come in order. Returns when the tensors may\n"
         "be changed again: at once, unless much is still to be received there. A\n"
         "message that the other side refused is an error of the next send.")},
    {"recv", PYACCEL_METHOD(pyaccel_comm_recv), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "recv($self, /, source, tag=0, digest=0)\n--\n\n"
         "The next structure that a rank sends, with new tensors and arrays; waits\n"
         "for it. With another tag or digest (any number of 64 bits) than was sent\n"
         "it is refused: an error on both sides, and the message is lost.")},
    {"send_object", PYACCEL_METHOD(pyaccel_comm_send_object),
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("send_object($self, /, value, to, tag=0, digest=0)\n--\n\n"
               "As send, for any object that can be pickled.")},
    {"recv_object", PYACCEL_METHOD(pyaccel_comm_recv_object),
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("recv_object($self, /, source, tag=0, digest=0)\n--\n\n"
               "The next object that a rank sends by send_object.")},
    {"abort", comm_abort, METH_O,
     PyDoc_STR(
         "abort($self, text, /)\n--\n\n"
         "Breaks the group: every rank that waits or comes later raises with the\n"
         "text. Not collective.")},
    {"close", PYACCEL_METHOD(comm_close), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("close($self, /, ending=False)\n--\n\n"
               "Leaves the group; ending: as this process is about to end. May be\n"
               "called twice. Not collective.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef comm_getset[] = {
    {"rank", get_rank, NULL, PyDoc_STR("This process's rank."), NULL},
    {"size", get_size, NULL, PyDoc_STR("The number of ranks."), NULL},
    {"backend", get_backend, NULL, PyDoc_STR("'self', 'shm' or 'torch'."), NULL},
    {"closed", get_closed, NULL, PyDoc_STR("Whether close was called."), NULL},
    {"broken", get_broken, NULL,
     PyDoc_STR("Why the group can no longer be used, or None."), NULL},
    {"timeout", get_timeout, set_timeout,
     PyDoc_STR("Deadline of each wait, in seconds."), NULL},
    {"patience", get_patience, set_patience,
     PyDoc_STR("Seconds of a wait after which a text on stderr says for whom."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot comm_slots[] = {
    {Py_tp_dealloc, PYACCEL_SLOT(comm_dealloc)},
    {Py_tp_methods, comm_methods},
    {Py_tp_getset, comm_getset},
    {Py_tp_doc, "A communicator: one rank's side of a group of processes."},
    {0, NULL},
};

static PyType_Spec comm_spec = {
    .name = "pyaccel._C.Comm",
    .basicsize = sizeof(CommObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = comm_slots,
};

static PyMethodDef comm_module_methods[] = {
    {"comm_self", comm_self, METH_NOARGS,
     PyDoc_STR("comm_self($module, /)\n--\n\nA world of one.")},
    {"comm_attach", PYACCEL_METHOD(comm_attach), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("comm_attach($module, /, fd, rank, size, timeout, pidfds=None)\n--\n\n"
               "Joins the group of a segment as a rank; waits for nobody.")},
    {"comm_relay", PYACCEL_METHOD(comm_relay), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("comm_relay($module, /, transport, rank, size, timeout)\n--\n\n"
               "A rank of a group whose cards and bytes a Python object carries.")},
    {NULL, NULL, 0, NULL},
};

int
pyaccel_comm_setup(PyObject *module)
{
    pyaccel_state *state = pyaccel_state_get(module);
    state->CommType = PyType_FromModuleAndSpec(module, &comm_spec, NULL);
    if (state->CommType == NULL ||
        PyModule_AddObjectRef(module, "Comm", state->CommType) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, comm_module_methods);
}
