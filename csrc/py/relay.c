/* A backend that relays to a Python object: see the header. */
#include "py/relay.h"

#include "base/clock.h"
#include "py/relay_comm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Time between two questions to the transport of what others have said. */
enum { HEAR_NS = 250000000 };

/* Breaks the group for the others as well; where the transport has done so already,
 * its own text is the one that counts. No exception is set before or after. */
static void
tell_others(const pyaccel_relay *relay)
{
    PyErr_Clear();
    PyObject *text = PyUnicode_FromFormat("rank %d failed: %s", relay->base.rank,
                                          relay->broken_text);
    PyObject *done =
        text != NULL ? PyObject_CallMethod(relay->transport, "abort", "O", text) : NULL;
    PyErr_Clear(); /* the group is broken here in any case */
    Py_XDECREF(text);
    Py_XDECREF(done);
}

/* Keeps the exception that is set as the reason why the group is broken. */
pa_status
pyaccel_relay_break(pyaccel_relay *relay, pa_error *error)
{
    PyObject *type = NULL;
    PyObject *value = NULL;
    PyObject *trace = NULL;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject *text = value != NULL ? PyObject_Str(value) : NULL;
    PyObject *bytes = text != NULL ? PyUnicode_AsUTF8String(text) : NULL;
    const char *said = bytes != NULL ? PyBytes_AsString(bytes) : NULL;
    if (!relay->broken) {
        relay->broken = true;
        (void)snprintf(relay->broken_text, sizeof relay->broken_text, "%s",
                       said != NULL && *said != '\0' ? said : "an operation failed");
        tell_others(relay);
    }
    Py_XDECREF(text);
    Py_XDECREF(bytes);
    PyErr_Clear();
    PyErr_Restore(type, value, trace);
    return pa_error_set(error, PA_EINTERRUPTED, "%s", relay->broken_text);
}

pa_status
pyaccel_relay_whole(const pyaccel_relay *relay, uint32_t op, pa_error *error)
{
    if (!relay->broken) {
        return PA_OK;
    }
    return pa_error_set(error, PA_EBROKEN,
                        "%s: the group cannot be used any more after this failure: %s",
                        pa_op_text(op), relay->broken_text);
}

/* The deadline of a call in seconds, as Python says it. */
double
pyaccel_relay_timeout(const pyaccel_relay *relay)
{
    uint64_t timeout_ns = relay->base.timeout_ns;
    return timeout_ns == PA_DEADLINE_NEVER ? (double)INFINITY
                                           : (double)timeout_ns / 1e9;
}

/* A flow's bytes in one piece: the piece itself, or `*packed` (malloc). NULL when
 * memory is short or there are no bytes. */
static char *
one_piece(const pa_flow *flow, bool fill, char **packed)
{
    *packed = NULL;
    for (size_t i = 0; i < flow->nparts; i++) {
        if (flow->parts[i].nbytes == flow->nbytes && flow->parts[i].data != NULL) {
            return flow->parts[i].data;
        }
    }
    *packed = malloc(flow->nbytes + 1);
    if (*packed != NULL && fill) {
        pa_cursor from = {.parts = flow->parts};
        pa_cursor_read(&from, *packed, flow->nbytes);
    }
    return *packed;
}

/* A view of a flow's bytes, or None. // new; NULL with an exception */
PyObject *
pyaccel_relay_view(const pa_flow *flow, bool fill, char **packed)
{
    if (flow == NULL || flow->parts == NULL || flow->nbytes == 0) {
        return Py_NewRef(Py_None);
    }
    char *data = one_piece(flow, fill, packed);
    if (data == NULL) {
        return PyErr_NoMemory();
    }
    return PyMemoryView_FromMemory(data, (Py_ssize_t)flow->nbytes, PyBUF_WRITE);
}

/* ---- Meeting ---- */

static size_t
block_nbytes(const pyaccel_relay *relay, int rank)
{
    return sizeof(pyaccel_wire_card) + relay->rooms[rank].nbytes;
}

/* The length of everybody's block. // new; NULL with an exception */
static PyObject *
block_sizes(const pyaccel_relay *relay)
{
    PyObject *sizes = PyList_New(relay->base.size);
    for (int rank = 0; sizes != NULL && rank < relay->base.size; rank++) {
        PyObject *nbytes = PyLong_FromSize_t(block_nbytes(relay, rank));
        if (nbytes == NULL) {
            Py_CLEAR(sizes);
        } else {
            (void)PyList_SetItem(sizes, rank, nbytes);
        }
    }
    return sizes;
}

/* Reads everybody's card out of the others' blocks, in rank order, and learns of each.
 * The blocks stay alive until the next meeting. */
static int
read_blocks(pyaccel_relay *relay, PyObject *blocks)
{
    PyBuffer_Release(&relay->blocks);
    if (PyObject_GetBuffer(blocks, &relay->blocks, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    size_t wanted = 0;
    for (int rank = 0; rank < relay->base.size; rank++) {
        wanted += rank != relay->base.rank ? block_nbytes(relay, rank) : 0;
    }
    if ((size_t)relay->blocks.len != wanted) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the ranks showed cards of another length; all must use the "
                        "same version of pyaccel");
        return -1;
    }
    const char *at = relay->blocks.buf;
    for (int rank = 0; rank < relay->base.size; rank++) {
        if (rank != relay->base.rank) {
            memcpy(&relay->wires[rank], at, sizeof *relay->wires);
            relay->ahead[rank] = at + sizeof *relay->wires;
            at += block_nbytes(relay, rank);
        }
    }
    for (int rank = 0; rank < relay->base.size; rank++) {
        pyaccel_room_learn(&relay->rooms[rank], relay->wires[rank].follows,
                           relay->base.size);
    }
    return 0;
}

/* Waits for everybody's card in the meeting in which this rank has shown its own. */
static int
call_cards(pyaccel_relay *relay, uint32_t op)
{
    PyObject *blocks = PyObject_CallMethod(relay->transport, "cards", "sdd",
                                           pa_op_text(op), pyaccel_relay_timeout(relay),
                                           (double)relay->base.patience_ns / 1e9);
    int read = blocks != NULL ? read_blocks(relay, blocks) : -1;
    Py_XDECREF(blocks);
    relay->owed = relay->owed && read < 0;
    return read;
}

/* Shows the own card, after all have come to a meeting that this rank left early. */
static int
call_show(pyaccel_relay *relay, const pa_card *card)
{
    if (relay->owed && call_cards(relay, card->op) < 0) {
        return -1;
    }
    pyaccel_wire_card *wire = &relay->wires[relay->base.rank];
    pyaccel_wire_write(wire, card);
    bool fits = wire->follows <= relay->rooms[relay->base.rank].nbytes;
    char *packed = NULL;
    PyObject *ahead = pyaccel_relay_view(fits ? card->follows : NULL, true, &packed);
    PyObject *sizes = ahead != NULL ? block_sizes(relay) : NULL;
    PyObject *shown = NULL;
    if (sizes != NULL) {
        shown = PyObject_CallMethod(relay->transport, "show", "sdy#OO",
                                    pa_op_text(card->op), pyaccel_relay_timeout(relay),
                                    (const char *)wire, (Py_ssize_t)sizeof *wire, ahead,
                                    sizes);
    }
    free(packed);
    Py_XDECREF(ahead);
    Py_XDECREF(sizes);
    Py_XDECREF(shown);
    relay->owed = shown != NULL;
    return shown != NULL ? 0 : -1;
}

static pa_status
relay_meet(pa_comm *comm, const pa_card *mine, pa_card *all, const pa_hooks *hooks,
           pa_error *error)
{
    (void)hooks;
    pyaccel_relay *relay = (pyaccel_relay *)comm;
    PyGILState_STATE lock = PyGILState_Ensure();
    pa_status status = pyaccel_relay_whole(relay, mine->op, error);
    if (status == PA_OK) {
        if (call_show(relay, mine) < 0 || call_cards(relay, mine->op) < 0) {
            status = pyaccel_relay_break(relay, error);
        }
        for (int rank = 0; rank < comm->size && status == PA_OK; rank++) {
            all[rank] = pyaccel_wire_read(&relay->wires[rank]);
        }
    }
    PyGILState_Release(lock);
    return status;
}

static pa_status
relay_excuse(pa_comm *comm, const pa_card *failed, const pa_hooks *hooks)
{
    (void)hooks;
    pyaccel_relay *relay = (pyaccel_relay *)comm;
    pa_status status = PA_OK;
    PyGILState_STATE lock = PyGILState_Ensure();
    if (!relay->broken && call_show(relay, failed) < 0) {
        bool interrupted = PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
        status = pyaccel_relay_break(relay, NULL);
        if (!interrupted) {
            PyErr_Clear(); /* the next call says that the group is broken */
            status = PA_EBROKEN;
        }
    }
    PyGILState_Release(lock);
    return status;
}

/* ---- Streaming ---- */

/* One call of transport.stream, and what has to be freed after it. */
typedef struct relay_stream {
    PyObject *sizes;
    PyObject *recv;
    PyObject *send;
    char **packed; /* [size + 1]; the last is for the own bytes */
} relay_stream;

static void
stream_fini(relay_stream *s, int size)
{
    for (int i = 0; s->packed != NULL && i <= size; i++) {
        free(s->packed[i]);
    }
    free(s->packed);
    Py_XDECREF(s->sizes);
    Py_XDECREF(s->recv);
    Py_XDECREF(s->send);
}

static int
stream_init(relay_stream *s, int size, const pa_flow *send, const pa_flow *recv)
{
    *s = (relay_stream){0};
    s->packed = calloc((size_t)size + 1, sizeof *s->packed);
    s->sizes = PyList_New(size);
    s->recv = PyList_New(size);
    if (s->packed == NULL || s->sizes == NULL || s->recv == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (int rank = 0; rank < size; rank++) {
        PyObject *nbytes = PyLong_FromSize_t(recv[rank].nbytes);
        PyObject *view = pyaccel_relay_view(&recv[rank], false, &s->packed[rank]);
        if (nbytes == NULL || view == NULL) {
            Py_XDECREF(nbytes);
            Py_XDECREF(view);
            return -1;
        }
        (void)PyList_SetItem(s->sizes, rank, nbytes);
        (void)PyList_SetItem(s->recv, rank, view);
    }
    s->send = pyaccel_relay_view(send, true, &s->packed[size]);
    return s->send != NULL ? 0 : -1;
}

/* Whether all that is streamed came ahead, with the cards of the last meeting. Every
 * rank finds the same. */
static bool
all_came(pyaccel_relay *relay, const pa_flow *recv)
{
    bool all = true;
    for (int rank = 0; rank < relay->base.size; rank++) {
        all = all && recv[rank].nbytes == relay->rooms[rank].came;
        relay->rooms[rank].came = 0; /* it is for one stream alone */
    }
    return all;
}

static void
take_what_came(const pyaccel_relay *relay, const pa_flow *send, const pa_flow *recv)
{
    for (int rank = 0; rank < relay->base.size; rank++) {
        if (recv[rank].parts == NULL) {
            continue;
        }
        pa_cursor to = {.parts = recv[rank].parts};
        if (rank == relay->base.rank) {
            pa_cursor from = {.parts = send->parts};
            pa_cursor_copy(&from, &to, send->nbytes);
        } else {
            pa_cursor_write(&to, relay->ahead[rank], recv[rank].nbytes);
        }
    }
}

/* Calls transport.stream. -1 with an exception */
static int
call_stream(pyaccel_relay *relay, uint32_t op, const pa_flow *send, const pa_flow *recv)
{
    int size = relay->base.size;
    relay_stream s;
    PyObject *done = NULL;
    if (stream_init(&s, size, send, recv) == 0) {
        done = PyObject_CallMethod(relay->transport, "stream", "sddOOO", pa_op_text(op),
                                   pyaccel_relay_timeout(relay),
                                   (double)relay->base.patience_ns / 1e9, s.send,
                                   s.sizes, s.recv);
    }
    for (int rank = 0; rank < size && done != NULL; rank++) {
        if (s.packed[rank] != NULL) {
            pa_cursor to = {.parts = recv[rank].parts};
            pa_cursor_write(&to, s.packed[rank], recv[rank].nbytes);
        }
    }
    stream_fini(&s, size);
    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

static pa_status
relay_stream_bytes(pa_comm *comm, uint32_t op, const pa_flow *send, const pa_flow *recv,
                   const pa_hooks *hooks, pa_error *error)
{
    (void)hooks;
    pyaccel_relay *relay = (pyaccel_relay *)comm;
    PyGILState_STATE lock = PyGILState_Ensure();
    pa_status status = pyaccel_relay_whole(relay, op, error);
    if (status == PA_OK) {
        if (all_came(relay, recv)) {
            take_what_came(relay, send, recv);
        } else if (call_stream(relay, op, send, recv) < 0) {
            status = pyaccel_relay_break(relay, error);
        }
    }
    PyGILState_Release(lock);
    return status;
}

/* ---- Ending ---- */

static void
relay_abort(pa_comm *comm, const char *text)
{
    pyaccel_relay *relay = (pyaccel_relay *)comm;
    PyGILState_STATE lock = PyGILState_Ensure();
    if (!relay->broken) {
        relay->broken = true;
        (void)snprintf(relay->broken_text, sizeof relay->broken_text, "%s", text);
        PyObject *type = NULL;
        PyObject *value = NULL;
        PyObject *trace = NULL;
        PyErr_Fetch(&type, &value, &trace);
        Py_XDECREF(PyObject_CallMethod(relay->transport, "abort", "s", text));
        PyErr_Clear(); /* the group is broken here in any case */
        PyErr_Restore(type, value, trace);
    }
    PyGILState_Release(lock);
}

/* Breaks the group here if another rank has said that it is broken. Every wait on the
 * host finds that out by itself, but not who waits for a GPU. */
static void
hear(pyaccel_relay *relay)
{
    PyGILState_STATE lock = PyGILState_Ensure();
    uint64_t now = pa_clock_now();
    if (!relay->broken && now - relay->heard_ns >= HEAR_NS) {
        relay->heard_ns = now;
        PyObject *type = NULL;
        PyObject *value = NULL;
        PyObject *trace = NULL;
        PyErr_Fetch(&type, &value, &trace);
        PyObject *text = PyObject_CallMethod(relay->transport, "broken", NULL);
        PyObject *bytes =
            text != NULL && PyUnicode_Check(text) ? PyUnicode_AsUTF8String(text) : NULL;
        if (bytes != NULL) {
            (void)snprintf(relay->broken_text, sizeof relay->broken_text, "%s",
                           PyBytes_AsString(bytes));
            relay->broken = true;
        }
        PyErr_Clear(); /* what cannot be asked has said nothing */
        Py_XDECREF(bytes);
        Py_XDECREF(text);
        PyErr_Restore(type, value, trace);
    }
    PyGILState_Release(lock);
}

static bool
relay_broken(pa_comm *comm, char *text, size_t capacity)
{
    pyaccel_relay *relay = (pyaccel_relay *)comm;
    if (!relay->broken && comm->devices != NULL &&
        !pa_fork_mark_forked(comm->fork_mark)) {
        hear(relay);
    }
    (void)snprintf(text, capacity, "%s", relay->broken_text);
    return relay->broken;
}

static void
relay_close(pa_comm *comm, bool forked)
{
    pyaccel_relay *relay = (pyaccel_relay *)comm;
    PyGILState_STATE lock = PyGILState_Ensure();
    if (!forked) {
        PyObject *type = NULL;
        PyObject *value = NULL;
        PyObject *trace = NULL;
        PyErr_Fetch(&type, &value, &trace);
        Py_XDECREF(PyObject_CallMethod(relay->transport, "close", "O",
                                       comm->ending ? Py_True : Py_False));
        PyErr_Clear(); /* there is nobody to report to, and nothing left to do */
        PyErr_Restore(type, value, trace);
    }
    PyBuffer_Release(&relay->blocks);
    pyaccel_slot_set(&relay->transport, NULL);
    PyGILState_Release(lock);
    free(relay->wires);
    free(relay->rooms);
    free(relay->ahead);
}

pa_comm *
pyaccel_relay_create(PyObject *transport, const char *name, int rank, int size)
{
    pyaccel_relay *relay = calloc(1, sizeof *relay);
    if (relay == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    relay->backend = (pa_backend){
        .name = name,
        .meet = relay_meet,
        .excuse = relay_excuse,
        .stream = relay_stream_bytes,
        .put = pyaccel_relay_put,
        .take = pyaccel_relay_take,
        .taken = pyaccel_relay_taken,
        .refused = pyaccel_relay_refused,
        .abort = relay_abort,
        .broken = relay_broken,
        .close = relay_close,
    };
    relay->wires = calloc((size_t)size, sizeof *relay->wires);
    relay->rooms = calloc((size_t)size, sizeof *relay->rooms);
    relay->ahead = calloc((size_t)size, sizeof *relay->ahead);
    if (relay->wires == NULL || relay->rooms == NULL || relay->ahead == NULL ||
        pa_comm_init(&relay->base, &relay->backend, rank, size, NULL) != PA_OK) {
        free(relay->wires);
        free(relay->rooms);
        free(relay->ahead);
        free(relay);
        PyErr_NoMemory();
        return NULL;
    }
    relay->transport = Py_NewRef(transport);
    return &relay->base;
}
